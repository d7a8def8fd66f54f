//! What the commands share that talk to a server: where it is, the key, how answers become exit codes and tables.

use std::future::Future;
use std::path::PathBuf;

use reqwest::Method;
use secrecy::SecretString;
use serde_json::Value;

use super::{Exit, Failure};
use crate::client::{Client, Error};

/// Where the server is, and how to speak to it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Remote {
    /// Address of the server
    #[arg(
        long,
        env = "LEASEHOLD_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    server: String,
    /// File that holds the key; without one it is taken from LEASEHOLD_KEY
    #[arg(long, env = "LEASEHOLD_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

impl Remote {
    /// Runs what talks to the server.
    pub(super) fn run<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work)
    }

    /// The client. The key is never an argument: those are visible to others on the machine.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let key = match &self.key_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::new(
                    Exit::Usage,
                    format!("the key file {} cannot be read: {error}", file.display()),
                )
            })?),
            None => std::env::var("LEASEHOLD_KEY").ok(),
        };
        let key = key
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty());
        Ok(Client::new(&self.server, key.map(SecretString::from))?)
    }

    /// One call.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let client = self.client()?;
        self.run(async { Ok(client.call(method, path, &[], body).await?) })
    }

    /// All items of a list, page after page.
    pub(super) fn list(&self, path: &str, most: usize) -> Result<Vec<Value>, Failure> {
        let client = self.client()?;
        self.run(async {
            let mut items = Vec::new();
            let mut cursor = String::new();
            loop {
                let joint = if path.contains('?') { '&' } else { '?' };
                let page = client
                    .call(Method::GET, &format!("{path}{cursor}"), &[], None)
                    .await?;
                items.extend(page["items"].as_array().cloned().unwrap_or_default());
                match page["next_cursor"].as_str() {
                    Some(next) if items.len() < most => {
                        let next: String =
                            form_urlencoded::byte_serialize(next.as_bytes()).collect();
                        cursor = format!("{joint}cursor={next}");
                    }
                    _ => {
                        items.truncate(most);
                        return Ok(items);
                    }
                }
            }
        })
    }

    /// Prints items as a table for people, or as JSON for programs.
    pub(super) fn show(
        &self,
        items: &[Value],
        columns: &[&str],
        nothing: &str,
    ) -> Result<Exit, Failure> {
        if self.json {
            return self.show_json(&Value::Array(items.to_vec()));
        }
        if items.is_empty() {
            eprintln!("{nothing}");
            return Ok(Exit::Ok);
        }
        super::print(&table(items, columns))
    }

    /// Prints JSON.
    pub(super) fn show_json(&self, value: &Value) -> Result<Exit, Failure> {
        let text = serde_json::to_string_pretty(value).expect("JSON can be written");
        super::print(&format!("{text}\n"))
    }
}

/// Asks before something is destroyed. Without a terminal nobody can be asked, and `--yes` has to be said.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    use std::io::{BufRead as _, IsTerminal as _};
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{question} Say --yes to do it without being asked."),
        ));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Error, "nothing was done"))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Unreachable(_) => Exit::Unavailable,
            Error::Problem { status, code, .. } => match status {
                400 | 413 | 415 => Exit::Usage,
                401 | 403 => Exit::NotAllowed,
                404 => Exit::NotFound,
                409 => Exit::Denied,
                410 if code.starts_with("lease_") => Exit::NotFound,
                429 | 503 => Exit::Unavailable,
                _ => Exit::Error,
            },
        };
        Self::new(exit, error)
    }
}

/// A table with a head. Control characters of others stay out of the terminal.
pub(super) fn table(items: &[Value], columns: &[&str]) -> String {
    let cell = |value: &Value| -> String {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(list) => list
                .iter()
                .map(|item| {
                    item.as_str()
                        .map_or_else(|| item.to_string(), str::to_owned)
                })
                .collect::<Vec<_>>()
                .join(" "),
            value => value.to_string(),
        };
        text.chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    };
    let mut rows = vec![
        columns
            .iter()
            .map(|column| column.to_uppercase())
            .collect::<Vec<_>>(),
    ];
    rows.extend(
        items
            .iter()
            .map(|item| columns.iter().map(|column| cell(&item[*column])).collect()),
    );
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            rows.iter()
                .map(|row| row[at].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_sends_nothing_to_the_terminal() {
        let items = [
            json!({"name": "crm", "seats": 5}),
            json!({"name": "a\u{1b}[31mb", "seats": null}),
        ];
        assert_eq!(
            table(&items, &["name", "seats"]),
            "NAME     SEATS\ncrm      5\na\u{fffd}[31mb\n"
        );
    }
}
