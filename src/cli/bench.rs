//! `leasehold bench`: a crowd of holders that come, beat, go, crash and come back, over HTTP, as agents do.
//!
//! A closed loop with pauses for thinking, so it shows what holders would see, and not how much a node can bear; that is
//! `make bench`. It ends by itself, gives its seats back, and loads another machine only when that is named in
//! `--server`: what `LEASEHOLD_SERVER` names is where an operator works, not what he wants to load.

mod holder;
mod screen;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use self::holder::Holder;
use self::tally::Tally;
use super::remote::read_key;
use super::{Exit, Failure};
use crate::client::{Client, Error};
use crate::names::PoolName;
use crate::stderr;

/// How long the server may take to be there at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long holders may take to give their seats back at the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// Longest run, so that one that was forgotten ends.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

const EXAMPLES: &str = "\
Examples:
  leasehold bench --pool demo --seats 30 --holders 40           a minute of agents, on this machine
  leasehold bench --pool crm --holders 2000 --stay 10m --for 1h --server https://seats.example
  leasehold bench --pool crm --holders 200 --beat 100ms --json  2 000 heartbeats a second, and a report for programs

Exits with 0 if every request got the answer that it should, and with 1 if some did not.";

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bench {
    /// Pool to load
    #[arg(long)]
    pool: PoolName,
    /// Create the pool with this number of seats, if it does not exist; needs the key of an admin
    #[arg(long, value_name = "N")]
    seats: Option<u32>,
    /// How many holders come and go
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    holders: u32,
    /// Number of tenants that the holders are spread over
    #[arg(long, value_name = "N", default_value = "0")]
    tenants: u32,
    /// How long a holder stays, on average
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    stay: Duration,
    /// How long it is away, on average
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    away: Duration,
    /// Time between heartbeats, instead of what the server asks for
    #[arg(long, value_name = "TIME", value_parser = time)]
    beat: Option<Duration>,
    /// Percent of stays that end without a release, as in a crash
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = clap::value_parser!(u8).range(0..=100))]
    crash: u8,
    /// Percent of stays that end with `leave`, as a closing page does; half of them return in time
    #[arg(long, value_name = "PERCENT", default_value = "30", value_parser = clap::value_parser!(u8).range(0..=100))]
    leave: u8,
    /// Queue for a seat instead of asking again
    #[arg(long)]
    wait: bool,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = time)]
    length: Duration,
    /// Number of requests after which the run ends
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// Time between two lines of progress
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    every: Duration,
    /// Address of the server; required for anything but this machine [default: http://127.0.0.1:7070]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// File that holds the key; without one it is taken from LEASEHOLD_KEY
    #[arg(long, env = "LEASEHOLD_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|_| "give a time with its unit: 500ms, 30s, 10m, 24h".to_owned())?;
    if time > LONGEST {
        return Err("give at most 30days".to_owned());
    }
    Ok(time)
}

/// Why it ended.
enum StopReason {
    /// It was time, or there were enough requests.
    Done,
    /// Somebody said so.
    Stopped,
    /// It makes no sense to go on.
    Refused(Error),
}

pub(super) fn run(bench: &Bench) -> Result<Exit, Failure> {
    let server = bench.server()?;
    if u16::from(bench.crash) + u16::from(bench.leave) > 100 {
        return Err(Failure::new(
            Exit::Usage,
            "--crash and --leave are more than 100 together: what is left of 100 are stays that end with a release",
        ));
    }
    let client = Client::new(&server, read_key(bench.key_file.as_deref())?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    super::block_on(runtime, bench.load(&server, client))
}

impl Bench {
    fn server(&self) -> Result<String, Failure> {
        match (&self.server, std::env::var_os("LEASEHOLD_SERVER")) {
            (Some(server), _) => Ok(server.clone()),
            (None, None) => Ok("http://127.0.0.1:7070".to_owned()),
            (None, Some(_)) => Err(Failure::new(
                Exit::Usage,
                "LEASEHOLD_SERVER names a server, but a load has to be meant: say which one with --server",
            )),
        }
    }

    async fn load(&self, server: &str, client: Client) -> Result<Exit, Failure> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            found = self.find_pool(&client) => found?,
            _ = terminate.recv() => return Ok(Exit::Ok),
            _ = interrupt.recv() => return Ok(Exit::Ok),
        }

        let tally = Arc::new(Tally::new(self.requests));
        let (stop, stopped) = watch::channel(false);
        let (refuse, mut refused) = mpsc::channel(1);
        let mut crowd = JoinSet::new();
        for number in 1..=self.holders {
            let holder = Holder::new(self, number, client.clone(), Arc::clone(&tally));
            crowd.spawn(holder.live(stopped.clone(), refuse.clone()));
        }
        let began = Instant::now();
        let mut ticks = tokio::time::interval_at(began + self.every, self.every.max(TICK));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                () = tokio::time::sleep_until(began + self.length) => break StopReason::Done,
                () = tally.enough() => break StopReason::Done,
                Some(error) = refused.recv() => break StopReason::Refused(error),
                _ = terminate.recv() => break StopReason::Stopped,
                _ = interrupt.recv() => break StopReason::Stopped,
                _ = ticks.tick() => self.tell(server, &tally),
            }
        };
        // Those who hold a seat give it back. A second signal does not wait for that.
        stop.send_replace(true);
        tokio::select! {
            _ = tokio::time::timeout(FAREWELL, async { while crowd.join_next().await.is_some() {} }) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let report = tally.report(&self.pool, server, self.holders);
        if stderr::is_terminal() {
            screen::clear();
        }
        super::print(&if self.json {
            format!(
                "{}\n",
                serde_json::to_string_pretty(&report).expect("numbers and strings")
            )
        } else {
            screen::summary(&report)
        })?;
        match end {
            StopReason::Refused(error) => Err(error.into()),
            StopReason::Done | StopReason::Stopped if report.failed > 0 => Err(Failure::new(
                Exit::Error,
                format!(
                    "{} of {} requests failed: see the failures above",
                    report.failed, report.requests
                ),
            )),
            StopReason::Done | StopReason::Stopped => Ok(Exit::Ok),
        }
    }

    /// Looks for the pool, and makes it if that was asked for. Waits for a server that is only just starting.
    async fn find_pool(&self, client: &Client) -> Result<(), Failure> {
        let pool = &self.pool;
        let availability = format!("/v1/pools/{pool}/availability");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = client.call(Method::GET, &availability, &[], None).await;
            let error = match (asked, self.seats) {
                (Ok(_), _) => return Ok(()),
                (Err(Error::Problem { status: 404, .. }), Some(seats)) => {
                    let policy = json!({ "capacity": seats });
                    let path = format!("/v1/pools/{pool}");
                    match client.call(Method::PUT, &path, &[], Some(&policy)).await {
                        Ok(_) => return Ok(()),
                        Err(error) => error,
                    }
                }
                (Err(Error::Problem { status: 404, .. }), None) => {
                    return Err(Failure::new(
                        Exit::NotFound,
                        format!("there is no pool {pool}: make it, or give --seats"),
                    ));
                }
                (Err(error), _) => error,
            };
            if !error.is_temporary() || Instant::now() > deadline {
                return Err(error.into());
            }
            stderr::say_line(format_args!("leasehold: {error}; trying again"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn tell(&self, server: &str, tally: &Tally) {
        let moment = tally.moment();
        let text = if stderr::is_terminal() {
            screen::frame(&format!("{} on {server}", self.pool), self.length, &moment)
        } else {
            screen::line(&moment)
        };
        stderr::say(text);
    }
}

/// The shortest time between two frames.
const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_an_end() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in ["90", "", "-1s", "31days"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
