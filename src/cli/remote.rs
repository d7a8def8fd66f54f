//! What the commands share that talk to a server: where it is, the key, how answers become exit codes and tables.

use std::future::Future;
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::Value;

use super::progress::Progress;
use super::table::{lines, table};
use super::{Exit, Failure};
use crate::client::{Client, Error};
use crate::config::without_edges;
use crate::stderr;

/// Rows of a page of a file, as many as the server gives.
const PAGE: usize = 1_000;

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
        super::block_on(runtime, work)
    }

    /// The client.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let server = self.server.trim();
        if !(server.starts_with("http://") || server.starts_with("https://")) {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} is no address of a server; give one such as http://127.0.0.1:7070",
                    self.server
                ),
            ));
        }
        let key = read_key(self.key_file.as_deref())?;
        Ok(Client::new(server, key)?)
    }

    /// One call, whose answer has this field if it is Leasehold's.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        field: &str,
    ) -> Result<Value, Failure> {
        let client = self.client()?;
        self.run(async {
            let answer = client.call(method, path, &[], body).await?;
            match answer.get(field) {
                Some(_) => Ok(answer),
                None => Err(client.not_leasehold(StatusCode::OK).into()),
            }
        })
    }

    /// Deletes something, which has no answer.
    pub(super) fn delete(&self, path: &str) -> Result<(), Failure> {
        let client = self.client()?;
        self.run(async {
            match client.call(Method::DELETE, path, &[], None).await? {
                Value::Null => Ok(()),
                _ => Err(client.not_leasehold(StatusCode::OK).into()),
            }
        })
    }

    /// One call that does something only if a condition of HTTP holds.
    pub(super) fn call_if(
        &self,
        method: Method,
        path: &str,
        condition: (&str, &str),
        body: &Value,
    ) -> Result<Value, Failure> {
        let client = self.client()?;
        self.run(async { Ok(client.call(method, path, &[condition], Some(body)).await?) })
    }

    /// A file as the server sends it, page after page, at most `limit` rows; all without a limit. The columns come once.
    pub(super) fn file(
        &self,
        page: impl Fn(usize, Option<&str>) -> String,
        most: Option<usize>,
    ) -> Result<String, Failure> {
        let client = self.client()?;
        let progress = Progress::spinner("reading");
        let (file, has_more) = self.run(async {
            let mut left = most.unwrap_or(usize::MAX);
            let (mut file, mut cursor) = (String::new(), None::<String>);
            loop {
                let rows = left.min(PAGE);
                let (text, next) = client.text(&page(rows, cursor.as_deref())).await?;
                match cursor {
                    None => file.push_str(&text),
                    Some(_) => file.push_str(text.split_once("\r\n").map_or("", |(_, rows)| rows)),
                }
                progress.say(&format!("reading: {} KiB", file.len() / 1024));
                left -= rows;
                if next.is_none() || left == 0 {
                    return Ok((file, next.is_some()));
                }
                cursor = next;
            }
        })?;
        drop(progress);
        if has_more {
            stderr::say_line(format_args!(
                "these are {}, and there are more: say --limit N, or leave it out",
                most.unwrap_or_default()
            ));
        }
        Ok(file)
    }

    /// A file of this media type that takes long to make, whole.
    pub(super) fn long_file(&self, path: &str, kind: &str) -> Result<Vec<u8>, Failure> {
        let client = self.client()?;
        let _progress = Progress::spinner("reading");
        self.run(async { Ok(client.file(path, kind).await?.to_vec()) })
    }

    /// The items of a list, page after page, at most `limit`. Reports if there are more.
    pub(super) fn list(&self, path: &str, most: usize) -> Result<Vec<Value>, Failure> {
        let client = self.client()?;
        let progress = Progress::spinner("reading");
        let say = |count: usize| progress.say(&format!("reading: {count} rows"));
        let (items, has_more) = self.run(async { Ok(items(&client, path, most, say).await?) })?;
        drop(progress);
        if has_more {
            stderr::say_line(format_args!(
                "these are {most}, and there are more: say --limit N"
            ));
        }
        Ok(items)
    }

    /// Address of the server.
    pub(super) fn server(&self) -> &str {
        &self.server
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
            stderr::say_line(format_args!("{nothing}"));
            return Ok(Exit::Ok);
        }
        super::print(&table(items, columns))
    }

    /// Prints one thing: its fields for people, JSON for programs.
    pub(super) fn show_one(&self, thing: &Value) -> Result<Exit, Failure> {
        if self.json {
            return self.show_json(thing);
        }
        super::print(&lines(thing))
    }

    /// Reports what was done: a sentence for people, JSON for programs.
    pub(super) fn done(&self, sentence: &str, thing: &Value) -> Result<Exit, Failure> {
        if self.json {
            return self.show_json(thing);
        }
        stderr::say_line(format_args!("{sentence}"));
        Ok(Exit::Ok)
    }

    /// Prints JSON.
    pub(super) fn show_json(&self, value: &Value) -> Result<Exit, Failure> {
        let text = serde_json::to_string_pretty(value).expect("JSON can be written");
        super::print(&format!("{text}\n"))
    }
}

/// The items of a list, page after page, up to a limit; and whether there are more. `told` gets the count so
/// far.
pub(super) async fn items(
    client: &Client,
    path: &str,
    most: usize,
    told: impl Fn(usize),
) -> Result<(Vec<Value>, bool), Error> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client
            .call(Method::GET, &format!("{path}{cursor}"), &[], None)
            .await?;
        let Some(some) = page["items"].as_array() else {
            return Err(client.not_leasehold(StatusCode::OK));
        };
        items.extend(some.iter().cloned());
        told(items.len());
        match page["next_cursor"].as_str() {
            Some(next) if items.len() < most => {
                let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
                cursor = format!("{joint}cursor={next}");
            }
            next => {
                let has_more = next.is_some() || items.len() > most;
                items.truncate(most);
                return Ok((items, has_more));
            }
        }
    }
}

/// The key of the file, else of the environment. Never an argument: those are visible to others on the machine.
pub(super) fn read_key(file: Option<&Path>) -> Result<Option<SecretString>, Failure> {
    let key = match file {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("the key file {} cannot be read: {error}", file.display()),
            )
        })?),
        None => std::env::var("LEASEHOLD_KEY").ok(),
    };
    let key = key
        .map(|key| without_edges(&key).to_owned())
        .filter(|key| !key.is_empty());
    Ok(key.map(SecretString::from))
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
        )
        .with_code("not_confirmed"));
    }
    stderr::say(format!("{question} [y/N] "));
    stderr::flush(super::LAST_WORDS);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Error, "nothing was done").with_code("not_confirmed"))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, next) = match &error {
            Error::Unreachable(_) => (
                Exit::Unavailable,
                "Does it run, and is that its address? Give another with --server or LEASEHOLD_SERVER.",
            ),
            // It says itself what to do.
            Error::NotLeasehold { .. } => (Exit::Unavailable, ""),
            Error::Problem { status, code, .. } => match status {
                400 | 412 | 413 | 415 => (Exit::Usage, ""),
                401 => (
                    Exit::NotAllowed,
                    "Put the key into LEASEHOLD_KEY, or name its file with --key-file.",
                ),
                403 => (Exit::NotAllowed, ""),
                404 if code == "pool_not_found" => (
                    Exit::NotFound,
                    "`leasehold pool list` says which there are.",
                ),
                404 => (Exit::NotFound, ""),
                409 => (Exit::Denied, ""),
                410 if code.starts_with("lease_") => (Exit::NotFound, ""),
                429 | 503 => (Exit::Unavailable, ""),
                _ => (Exit::Error, ""),
            },
        };
        let (code, retry_after_ms) = match &error {
            Error::Unreachable(_) => ("unreachable".to_owned(), 0),
            Error::NotLeasehold { .. } => ("not_leasehold".to_owned(), 0),
            Error::Problem {
                code,
                retry_after_ms,
                ..
            } => (code.clone(), *retry_after_ms),
        };
        let mut sentence = error.to_string();
        if !next.is_empty() {
            if !sentence.ends_with(['.', '!', '?']) {
                sentence.push('.');
            }
            sentence = format!("{sentence} {next}");
        }
        let mut failure = Self::new(exit, sentence);
        if !code.is_empty() {
            failure = failure.with_code(code);
        }
        failure.retry_after_ms = (retry_after_ms > 0).then_some(retry_after_ms);
        failure
    }
}
