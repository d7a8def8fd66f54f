//! `leasehold run`: holds a seat while a command runs.
//!
//! The command's exit code becomes ours, as a shell writes it (128 and the signal, if one ended it). Signals to us go on
//! to the command. If the lease is lost the command is told to stop, unless `--keep-going`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::remote::Remote;
use super::{Exit, Failure};
use crate::client::{Ask, Client, Error, Held};
use crate::pool::PoolName;

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// Pool to take a seat in
    #[arg(long)]
    pool: PoolName,
    /// Who holds the seat [default: nobody in particular]
    #[arg(long)]
    holder: Option<String>,
    /// Sub-account that it belongs to
    #[arg(long)]
    tenant: Option<String>,
    /// What operators read next to the holder [default: the command]
    #[arg(long)]
    label: Option<String>,
    /// Wait for a seat instead of failing when all are in use
    #[arg(long)]
    wait: bool,
    /// Let the command go on when the lease is lost
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    remote: Remote,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,
}

pub(super) fn run(run: &Run) -> Result<ExitCode, Failure> {
    let client = run.remote.client()?;
    run.remote.run(run.hold(&client))
}

impl Run {
    async fn hold(&self, client: &Client) -> Result<ExitCode, Failure> {
        let mut held = self.acquire(client).await?;
        let (program, arguments) = self.command.split_first().expect("clap asks for one");
        // From here on signals are for the command.
        let mut signals = [
            (signal(SignalKind::terminate())?, Signal::TERM),
            (signal(SignalKind::hangup())?, Signal::HUP),
            (signal(SignalKind::interrupt())?, Signal::INT),
            (signal(SignalKind::quit())?, Signal::QUIT),
        ];
        let mut child = match Command::new(program).args(arguments).spawn() {
            Ok(child) => child,
            Err(error) => {
                // Not worth an error of its own: the seat comes back by itself.
                let _ = held.release().await;
                let text = format!("{} cannot be run: {error}", program.to_string_lossy());
                return Err(Failure::new(Exit::Error, text));
            }
        };
        let [terminate, hangup, interrupt, quit] = &mut signals;
        let mut is_lost = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = terminate.0.recv() => pass_on(&child, terminate.1),
                _ = hangup.0.recv() => pass_on(&child, hangup.1),
                // A terminal sends these two to the command as well.
                _ = interrupt.0.recv() => if !from_terminal() { pass_on(&child, interrupt.1) },
                _ = quit.0.recv() => if !from_terminal() { pass_on(&child, quit.1) },
                loss = held.lost(), if !is_lost => {
                    is_lost = true;
                    eprintln!("leasehold: the seat is lost: {}", loss.reason.as_deref().unwrap_or(&loss.code));
                    if !self.keep_going {
                        pass_on(&child, Signal::TERM);
                    }
                }
            }
        };
        if !is_lost && let Err(error) = held.release().await {
            eprintln!(
                "leasehold: the seat comes back by itself, it could not be released: {error}"
            );
        }
        Ok(code(status))
    }

    async fn acquire(&self, client: &Client) -> Result<Held, Failure> {
        let command: Vec<_> = self
            .command
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        let mut label: String = command
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        label.truncate(label.trim_end().len());
        let ask = Ask {
            holder: self.holder.clone(),
            tenant: self.tenant.clone(),
            label: self
                .label
                .clone()
                .or(Some(label).filter(|label| !label.is_empty())),
            platform: None,
        };
        loop {
            match client.acquire(&self.pool, &ask).await {
                Err(Error::Problem {
                    status: 409,
                    retry_after_ms,
                    detail,
                    ..
                }) if self.wait => {
                    eprintln!("leasehold: {detail}");
                    let wait = Duration::from_millis(retry_after_ms.clamp(500, 10_000));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = tokio::signal::ctrl_c() => return Err(Failure::new(Exit::Denied, "stopped waiting")),
                    }
                }
                held => return Ok(held?),
            }
        }
    }
}

/// Whether we and the command have one terminal, which sends its signals to both.
fn from_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdin().is_terminal()
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        // It fails when the command has just ended, which is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// As shells say it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
