//! `leasehold run`: holds a seat while a command runs.
//!
//! The command's exit code becomes ours, as a shell writes it (128 and the signal, if one ended it; 127 and 126 for one that is not
//! there or cannot be run). Signals to us go on to the command and to all that it started. If the lease is lost, or an outage lasts
//! longer than the lease allows, all of them get SIGTERM, and SIGKILL when that does not help, unless `--keep-going`. The seat goes back
//! when none of them is left. Deliberately absent: a death of all of them together with us. Whoever kills us with SIGKILL leaves a command
//! without a seat; its fence is older than that of whoever gets the seat next.

mod idle;
mod outage;
mod signals;
mod tree;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use self::idle::{IdleSource, idle_of, own_terminal};
use self::outage::OnOutage;
use self::signals::{is_from_terminal, signals};
use self::tree::Tree;
use super::progress::Progress;
use super::remote::Remote;
use super::{Exit, Failure};
use crate::client::{Client, Held, QueueTicket, SeatRequest};
use crate::names::PoolName;
use crate::stderr;

const RUN_HELP: &str = "The command finds LEASEHOLD_LEASE_ID and LEASEHOLD_FENCE in its environment. Exit codes: the command's \
     own (128 and the signal, if one ended it); before it runs 3 if there is no seat, 4 if there is no such pool, 5 if the key \
     may not, 6 if the server cannot be reached or is not Leasehold, 126 if the command cannot be run, 127 if there is none.";
/// Longest that can be asked for, in seconds.
const A_YEAR: u64 = 366 * 86_400;
/// How often to check how much is left of the lease, and if any process of the command is.
const CHECK: Duration = Duration::from_millis(200);
/// Longest time in which a seat is given back.
const RELEASE: Duration = Duration::from_secs(3);
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
    /// Holder of the seat [default: anonymous]
    #[arg(long)]
    holder: Option<String>,
    /// Sub-account that it belongs to
    #[arg(long)]
    tenant: Option<String>,
    /// What operators read next to the holder [default: the command]
    #[arg(long)]
    label: Option<String>,
    /// Wait for a seat instead of failing when all are in use, without limit or for this many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "0", value_parser = clap::value_parser!(u64).range(..=A_YEAR))]
    wait: Option<u64>,
    /// Let the command go on when the lease is lost
    #[arg(long)]
    keep_going: bool,
    /// What the command runs on, for pools with seats for some platforms only
    #[arg(long)]
    platform: Option<String>,
    /// What happens while the server cannot be reached, after the end of what it promised: warn or continue for as long as the pool
    /// allows, stop at once, or stop=SECONDS
    #[arg(long, value_name = "WHAT", default_value = "warn")]
    on_outage: OnOutage,
    /// Report for how long nobody has used the terminal, to a pool that gives idle seats away
    #[arg(long, value_name = "WHAT")]
    idle: Option<IdleSource>,
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
        let terminal = match self.idle {
            Some(IdleSource::Tty) => Some(own_terminal().ok_or_else(|| {
                let what = "--idle tty reports the last input of a terminal, and there is none; leave it out, or start this from one";
                Failure::new(Exit::Usage, what)
            })?),
            None => None,
        };
        let mut held = self.acquire(client).await?;
        if let Some(terminal) = terminal {
            held.report_idle(move || idle_of(terminal));
        }
        self.say("held", &format!("holding the lease {}", held.id()), &held);
        // From here on signals are for the command.
        let mut signals = signals()?;
        // Before the command starts, so that no end is missed.
        let mut ends = signal(SignalKind::child())?;
        let mut tree = Tree::new();
        let mut child = match self.spawn(&held) {
            Ok(child) => child,
            Err(error) => return Ok(self.not_started(held, &error).await),
        };
        tree.begins_with(child.id());
        let mut lost = false;
        let mut warned = false;
        let mut ending = false;
        let mut kill_at: Option<Instant> = None;
        let mut status = None;
        let mut checks = tokio::time::interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let status = loop {
            tokio::select! {
                ended = child.wait(), if status.is_none() => {
                    status = Some(ended?);
                    // What it left behind works on this seat, too.
                    if !self.keep_going && tree.is_there() {
                        tree.tell(Signal::TERM);
                        kill_at = kill_at.or_else(|| Some(self.kill_at()));
                    } else {
                        break status.expect("set above");
                    }
                }
                Some(signal) = signals.recv() => tree.tell(signal),
                loss = held.lost(), if !lost => {
                    lost = true;
                    let reason = loss.reason.as_deref().unwrap_or(&loss.code);
                    self.say("lost", &format!("the seat is lost: {reason}"), &held);
                    if !self.keep_going {
                        tree.tell(Signal::TERM);
                        kill_at = Some(self.kill_at());
                    }
                }
                _ = ends.recv() => tree.reap(),
                _ = checks.tick() => {
                    if let Some(status) = status && !tree.is_there() {
                        break status;
                    }
                    self.warn_of_end(&held, &mut ending);
                    if !lost && kill_at.is_none() && !self.keep_going {
                        kill_at = self.check_outage(&held, &tree, &mut warned);
                    }
                }
                () = tokio::time::sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    kill_at = None;
                    stderr::say_line(format_args!("leasehold: the command did not stop in time and is killed"));
                    tree.tell(Signal::KILL);
                }
            }
        };
        if !lost {
            give_back(held).await;
        }
        Ok(code(status))
    }

    /// Gives the seat of a command back that could not be started, as shells name that.
    async fn not_started(&self, held: Held, error: &std::io::Error) -> ExitCode {
        // Not worth an error of its own: the seat comes back by itself.
        let _ = tokio::time::timeout(RELEASE, held.release()).await;
        let program = self.command[0].to_string_lossy();
        stderr::say_line(format_args!(
            "leasehold: {program} cannot be run: {error}; the seat was given back"
        ));
        ExitCode::from(match error.kind() {
            std::io::ErrorKind::NotFound => 127,
            _ => 126,
        })
    }

    /// Says once that a policy can end the lease soon.
    fn warn_of_end(&self, held: &Held, ending: &mut bool) {
        let ends = held.ends();
        let is_new = ends.is_some() && !*ending;
        *ending = ends.is_some();
        let Some(ends) = ends.filter(|_| is_new) else {
            return;
        };
        let why = match ends.reason.as_str() {
            "idle" => "nobody has used this terminal for long",
            _ => "this seat is held for long",
        };
        let what = match ends.then.as_str() {
            "yield" => "it goes to whoever needs one",
            _ => "it ends",
        };
        self.say(
            "ending",
            &format!("{why}; {what} in {} s", ends.within.as_secs()),
            held,
        );
    }

    fn kill_at(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.kill_after)
    }

    /// Warns when the lease may be over, and tells the command to stop in time, so that it is gone when it has to be. Returns
    /// when that is, if the server said it.
    fn check_outage(&self, held: &Held, tree: &Tree, warned: &mut bool) -> Option<Instant> {
        let left = held.left();
        let rest = self.on_outage.rest(&left);
        if left.certain.is_zero() && !*warned && self.on_outage != OnOutage::Continue {
            *warned = true;
            let on = match rest {
                Some(rest) => format!("the command may go on for {} s", rest.as_secs()),
                None => "the command goes on".to_owned(),
            };
            self.say(
                "grace",
                &format!("the server cannot be reached, and the lease may be over; {on}"),
                held,
            );
        }
        *warned &= left.certain.is_zero();
        // A third of the lease is left for the next heartbeat, which is late only when something is wrong.
        let ahead = Duration::from_secs(self.kill_after).min(left.length / 3);
        let rest = rest.filter(|rest| *rest <= ahead)?;
        self.say(
            "outage_grace_over",
            "the server cannot be reached for too long, and the command gets its signal to stop",
            held,
        );
        tree.tell(Signal::TERM);
        Some(Instant::now() + rest)
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
            .env("LEASEHOLD_FENCE", held.fence().to_string());
        if !is_from_terminal() {
            // What a terminal sends to its group comes by way of us, and once.
            command.process_group(0);
        }
        command.spawn()
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
            platform: self.platform.clone(),
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
                "no seat came free within {seconds} s; wait longer with --wait, or ask who runs the pool {} for more",
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

/// Gives the seat back, and says if that failed.
async fn give_back(held: Held) {
    match tokio::time::timeout(RELEASE, held.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => stderr::say_line(format_args!(
            "leasehold: the seat comes back by itself, it could not be released: {error}"
        )),
        Err(_) => stderr::say_line(format_args!(
            "leasehold: the seat comes back by itself, the server did not answer in time"
        )),
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

/// As shells say it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
