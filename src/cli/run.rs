//! `leasehold run`: holds a seat while a command runs.
//!
//! The command's exit code becomes ours, as a shell writes it (128 and the signal, if one ended it). Signals to us go on
//! to the command. If the lease is lost the command is told to stop, and killed when it does not, unless `--keep-going`.
//! Deliberately absent: a death of the command together with us. Whoever kills us with SIGKILL leaves a command without a
//! seat; its fence is older than that of whoever gets the seat next.

use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::progress::Progress;
use super::remote::Remote;
use super::{Exit, Failure};
use crate::client::{Client, Held, QueueTicket, SeatRequest};
use crate::names::PoolName;
use crate::stderr;

const RUN_HELP: &str = "The command finds LEASEHOLD_LEASE_ID and LEASEHOLD_FENCE in its environment. Exit codes: the command's \
     own (128 and the signal, if one ended it); before it runs 3 if there is no seat, 4 if there is no such pool, 5 if the key \
     may not, 6 if the server cannot be reached, 1 if the command cannot be run.";

/// Longest that can be asked for, in seconds.
const A_YEAR: u64 = 366 * 86_400;
/// Longest time to leave the queue in.
const LEAVE: Duration = Duration::from_secs(2);

/// What the environment may hold that is not for the command.
const SECRETS_OF_THE_ENVIRONMENT: [&str; 6] = [
    "LEASEHOLD_KEY",
    "LEASEHOLD_ADMIN_KEY",
    "LEASEHOLD_SECRET",
    "LEASEHOLD_PREVIOUS_SECRETS",
    "LEASEHOLD_REDIS_URL",
    "LEASEHOLD_WEBHOOK_PROXY",
];

#[derive(Debug, clap::Args)]
#[command(after_help = RUN_HELP)]
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
    /// Wait for a seat instead of failing when all are in use, for ever or for so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "0", value_parser = clap::value_parser!(u64).range(..=A_YEAR))]
    wait: Option<u64>,
    /// Let the command go on when the lease is lost
    #[arg(long)]
    keep_going: bool,
    /// How long a command that lost its seat may take to stop before it is killed, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(..=A_YEAR))]
    kill_after: u64,
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
        self.say("held", &format!("holding the lease {}", held.id()), &held);
        // From here on signals are for the command.
        let mut signals = signals()?;
        let mut child = match self.spawn(&held) {
            Ok(child) => child,
            Err(error) => {
                // Not worth an error of its own: the seat comes back by itself.
                let _ = held.release().await;
                let program = self.command[0].to_string_lossy();
                let sentence = format!("{program} cannot be run: {error}; the seat was given back");
                return Err(Failure::new(Exit::Error, sentence));
            }
        };
        let mut is_lost = false;
        let mut kill_at: Option<Instant> = None;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                Some(signal) = signals.recv() => pass_on(&child, signal),
                loss = held.lost(), if !is_lost => {
                    is_lost = true;
                    let reason = loss.reason.as_deref().unwrap_or(&loss.code);
                    self.say("lost", &format!("the seat is lost: {reason}"), &held);
                    if !self.keep_going {
                        pass_on(&child, Signal::TERM);
                        kill_at = Some(Instant::now() + Duration::from_secs(self.kill_after));
                    }
                }
                () = tokio::time::sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    kill_at = None;
                    stderr::say_line(format_args!("leasehold: the command did not stop within {} s and is killed", self.kill_after));
                    pass_on(&child, Signal::KILL);
                }
            }
        };
        if !is_lost && let Err(error) = held.release().await {
            stderr::say_line(format_args!(
                "leasehold: the seat comes back by itself, it could not be released: {error}"
            ));
        }
        Ok(code(status))
    }

    fn spawn(&self, held: &Held) -> std::io::Result<Child> {
        let (program, arguments) = self.command.split_first().expect("clap asks for one");
        let mut command = Command::new(program);
        // Whoever takes a seat for a program does not give it the key; one that takes seats itself is given LEASEHOLD_KEY_FILE.
        for name in SECRETS_OF_THE_ENVIRONMENT {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("LEASEHOLD_LEASE_ID", held.id())
            .env("LEASEHOLD_FENCE", held.fence().to_string())
            .spawn()
    }

    /// What happens to the seat. stdout belongs to the command, so this goes to stderr; with `--json` also what needs no
    /// person, a line for each event.
    fn say(&self, event: &str, sentence: &str, held: &Held) {
        if self.remote.json {
            let line: Value = json!({"event": event, "lease_id": held.id(), "fence": held.fence(), "detail": sentence});
            // JSON has its own escapes.
            stderr::say(format!("{line}\n"));
        } else if event != "held" {
            stderr::say_line(format_args!("leasehold: {sentence}"));
        }
    }

    async fn acquire(&self, client: &Client) -> Result<Held, Failure> {
        let ask = SeatRequest {
            holder: self.holder.clone(),
            tenant: self.tenant.clone(),
            label: self.label.clone().or_else(|| self.command_as_label()),
            platform: None,
        };
        let Some(seconds) = self.wait else {
            return Ok(client.acquire(&self.pool, &ask).await?);
        };
        let progress = Progress::spinner("waiting for a seat");
        let mut is_told = stderr::is_terminal();
        let told = |place: &QueueTicket| {
            let words = place_in_words(place);
            // A log has it once.
            if !std::mem::replace(&mut is_told, true) {
                stderr::say_line(format_args!("leasehold: {words}"));
            }
            progress.say(&words);
        };
        let limit = match seconds {
            0 => Duration::from_secs(u64::from(u32::MAX)),
            seconds => Duration::from_secs(seconds),
        };
        let mut turn = client.in_turn(&self.pool, &ask);
        let mut terminate = signal(SignalKind::terminate())?;
        let why = tokio::select! {
            held = turn.seat(told) => return Ok(held?),
            () = tokio::time::sleep(limit) => format!(
                "no seat came free within {seconds} s; wait longer with --wait, or add seats: leasehold pool set {} capacity=N",
                self.pool
            ),
            _ = tokio::signal::ctrl_c() => "stopped waiting".to_owned(),
            _ = terminate.recv() => "stopped waiting".to_owned(),
        };
        // Nobody behind it is to wait for the place to lapse. That it does is what is left when this fails.
        let _ = tokio::time::timeout(LEAVE, turn.leave()).await;
        Err(Failure::new(Exit::Denied, why))
    }

    fn command_as_label(&self) -> Option<String> {
        let words: Vec<_> = self
            .command
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        let label: String = words
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        Some(label.trim_end().to_owned()).filter(|label| !label.is_empty())
    }
}

fn place_in_words(place: &QueueTicket) -> String {
    let eta = place
        .eta
        .map(|eta| format!(", about {} s", eta.as_secs().max(1)))
        .unwrap_or_default();
    match (place.position, &place.detail) {
        (Some(position), _) => format!("waiting for a seat: number {position} in the queue{eta}"),
        (None, Some(detail)) => detail.clone(),
        (None, None) => format!("waiting for a seat{eta}"),
    }
}

/// The signals that are passed on. Interrupt and quit come from a terminal to the command as well, so there they are left
/// alone.
fn signals() -> std::io::Result<mpsc::UnboundedReceiver<Signal>> {
    let (send, receive) = mpsc::unbounded_channel();
    let from_terminal = std::io::stdin().is_terminal();
    for (kind, number, also_from_terminal) in [
        (SignalKind::terminate(), Signal::TERM, false),
        (SignalKind::hangup(), Signal::HUP, false),
        (SignalKind::user_defined1(), Signal::USR1, false),
        (SignalKind::user_defined2(), Signal::USR2, false),
        (SignalKind::interrupt(), Signal::INT, true),
        (SignalKind::quit(), Signal::QUIT, true),
    ] {
        let mut signals = signal(kind)?;
        let send = send.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if !(from_terminal && also_from_terminal) && send.send(number).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receive)
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
