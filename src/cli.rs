//! The operator's commands: one file each, and the words they share.
//!
//! Data goes to stdout, talk to stderr. How a command ended is its exit code, [`Exit`].

mod alert;
mod apply;
mod arguments;
mod audit;
mod bench;
mod block;
mod config;
mod declared;
mod demo;
mod doctor;
mod exit;
mod export;
mod failover;
mod healthcheck;
mod holder;
mod key;
mod lease;
mod man;
mod plan;
mod pool;
mod progress;
mod queue;
mod remote;
mod report;
mod run;
mod serve;
mod session;
mod sizing;
mod table;
mod watch;
mod webhook;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

pub use self::arguments::parse;
pub use self::exit::{Exit, Failure};
use crate::config::{Flags, Loaded, Settings, WrongSetting};
use crate::stderr;
use crate::store::Options;

/// Concurrent-seat leases for a fleet of stateless nodes, kept in Redis.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// `true` if a program reads the output: it gets failures as JSON, too.
    #[arg(skip)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command the program serves.
    #[command(flatten)]
    serve: serve::Serve,
}

const PRECEDENCE: &str = "Each setting can also be given in the environment (--drain-wait-ms as \
     LEASEHOLD_DRAIN_WAIT_MS) or in the file leasehold.toml (drain_wait_ms); the command line wins over the \
     environment, and that over the file. `leasehold config` prints every value and where it came from.";

const EXAMPLES: &str = "Without a command it serves, with the options of `leasehold serve`.

Examples:
  leasehold serve --pool demo=5                     a server with a private Redis and five seats
  leasehold pool set crm capacity=50                fifty seats for the pool crm
  leasehold lease list crm --sort=-started_at       who has them, the newest first
  leasehold run --pool crm --wait -- ./nightly.sh   hold one while a command runs
  LEASEHOLD_KEY=lh_... leasehold watch --server https://seats.example";

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrongly asked, 3 denied, 4 not found, 5 not allowed, 6 unavailable, \
     10 changes that `apply --dry-run` found. `leasehold run` ends with the code of its command. With --json a failure is one line of JSON on stderr, with a stable \
     `code`, the `message` and the `exit` code.";

const COMPLETIONS: &str = "For this shell only: source <(leasehold completions bash). For good: leasehold completions bash \
     > /etc/bash_completion.d/leasehold, leasehold completions zsh > \"${fpath[1]}/_leasehold\", leasehold completions fish \
     > ~/.config/fish/completions/leasehold.fish.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP interface; this is also what happens without a command
    #[command(after_help = PRECEDENCE)]
    Serve(serve::Serve),
    /// Serve a demonstration: made-up pools with five weeks of history and people who come and go
    Demo(demo::Demo),
    /// Print every setting and where it came from
    #[command(after_help = PRECEDENCE)]
    Config(config::Config),
    /// Check whether the configured Redis is fit to keep seats, and print what to fix
    Doctor(doctor::Doctor),
    /// Make a replica the master, under Sentinel, without losing a write
    ///
    /// Needs a user who may pause clients and change roles; see deploy/redis.
    Failover(failover::Failover),
    /// Ask the node of these settings whether it lives, as a container's health check does
    Healthcheck(healthcheck::Healthcheck),
    /// Create and change pools, keys and webhooks as files declare them
    Apply(apply::Apply),
    /// Print pools, keys and webhooks as the file that `leasehold apply` reads
    Export(export::Export),
    /// List, show, set and delete pools
    #[command(subcommand)]
    Pool(pool::Pool),
    /// List and terminate leases
    #[command(subcommand)]
    Lease(lease::Lease),
    /// List those who wait for a seat
    #[command(subcommand)]
    Queue(queue::Queue),
    /// List, show, end, notify, block and unblock holders
    #[command(subcommand)]
    Holder(holder::Holder),
    /// List blocks
    #[command(subcommand)]
    Block(block::Block),
    /// Create, list, change, roll and revoke keys
    #[command(subcommand)]
    Key(key::Key),
    /// List who is logged in to the admin pages, and end sessions
    #[command(subcommand)]
    Session(session::Session),
    /// List alerts
    #[command(subcommand)]
    Alert(alert::Alert),
    /// Create, list, test, roll and delete webhooks, and see what was sent to them
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    /// List what operators did
    Audit(audit::Audit),
    /// Report what happened in a pool: usage, history, denials, holders, tenants or patterns
    Report(report::Report),
    /// Estimate how many seats a pool needs, by replaying its recorded demand
    Sizing(sizing::Sizing),
    /// Estimate how many nodes and how much Redis a number of agents needs
    Plan(plan::Plan),
    /// Watch how full the pools are
    Watch(watch::Watch),
    /// Hold a seat while a command runs
    Run(run::Run),
    /// Load a pool with simulated holders, and measure the answers
    Bench(Box<bench::Bench>),
    /// Print the HTTP interface as OpenAPI 3.1
    Openapi,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands
    Man(man::Man),
}

/// How long the end of the program waits for whoever reads stderr.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);

/// The whole command line. Without a command the settings are taken as well, but `leasehold --help` is about commands.
fn command() -> clap::Command {
    Cli::command().mut_args(|arg| arg.hide(true))
}

/// Runs the one command that was asked for.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(serve)) => serve::run(&serve),
        Some(Command::Demo(demo)) => demo::run(&demo),
        Some(Command::Config(config)) => config::run(&config),
        Some(Command::Doctor(doctor)) => doctor::run(&doctor),
        Some(Command::Failover(failover)) => failover::run(&failover),
        Some(Command::Healthcheck(healthcheck)) => healthcheck::run(&healthcheck),
        Some(Command::Apply(apply)) => apply::run(&apply),
        Some(Command::Export(export)) => export::run(&export),
        Some(Command::Pool(pool)) => pool::run(&pool),
        Some(Command::Lease(lease)) => lease::run(&lease),
        Some(Command::Queue(queue)) => queue::run(&queue),
        Some(Command::Holder(holder)) => holder::run(&holder),
        Some(Command::Block(block)) => block::run(&block),
        Some(Command::Key(key)) => key::run(&key),
        Some(Command::Session(session)) => session::run(&session),
        Some(Command::Alert(alert)) => alert::run(&alert),
        Some(Command::Webhook(webhook)) => webhook::run(&webhook),
        Some(Command::Audit(audit)) => audit::run(&audit),
        Some(Command::Report(report)) => report::report(&report),
        Some(Command::Sizing(sizing)) => sizing::sizing(&sizing),
        Some(Command::Plan(plan)) => plan::run(&plan),
        Some(Command::Watch(watch)) => watch::run(&watch),
        Some(Command::Run(run)) => match run::run(&run) {
            // The command's own code, which need not be one of ours.
            Ok(code) => {
                stderr::flush(LAST_WORDS);
                return code;
            }
            Err(failure) => Err(failure),
        },
        Some(Command::Bench(bench)) => bench::run(&bench),
        Some(Command::Openapi) => openapi(),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Man(man)) => man::run(&man),
    };
    let exit = match done {
        Ok(exit) => exit,
        Err(failure) => {
            failure.tell(cli.json);
            failure.exit
        }
    };
    stderr::flush(LAST_WORDS);
    ExitCode::from(exit as u8)
}

/// The settings as the flags, this process's environment and the file in the working directory make them.
fn load(flags: &Flags) -> Result<Loaded, WrongSetting> {
    Settings::load(flags, std::env::vars_os(), Path::new(""))
}

/// How to reach the Redis of the settings, for commands that speak to it without a node.
fn store_options(settings: &Settings) -> Result<Options, Failure> {
    let Some(url) = &settings.redis_url else {
        return Err(Failure::new(
            Exit::Usage,
            "there is no redis_url: the embedded Redis is private to its node and looks after itself",
        ));
    };
    Ok(Options {
        url: url.clone(),
        tls: settings.redis_tls()?,
        key_prefix: settings.key_prefix(),
        connections: settings.redis_connections,
        timeout: settings.redis_timeout(),
        sweep_every: std::time::Duration::ZERO,
        durability: settings.durability,
        metrics_max_pools: 0,
    })
}

/// Runs a command's work. A look-up of a name may go on for a minute after it, and is not waited for.
fn block_on<T>(runtime: tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// Writes a CSV file to stdout, with what tells a spreadsheet that it is UTF-8.
fn print_for_spreadsheets(file: &str) -> Result<Exit, Failure> {
    print(&format!("\u{feff}{file}"))
}

/// Writes data to stdout. Whoever reads it may stop early, as `head` does: that is no failure.
fn print(text: &str) -> Result<Exit, Failure> {
    // What was said before it is read before it.
    stderr::flush(LAST_WORDS);
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Ok),
    }
}

fn openapi() -> Result<Exit, Failure> {
    let json = serde_json::to_string_pretty(crate::http::openapi())
        .expect("a description of strings and numbers");
    print(&format!("{json}\n"))
}

fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "leasehold", &mut script);
    print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn settings_can_be_given_with_and_without_the_command() {
        for line in [
            &["leasehold", "--listen", "127.0.0.1:1"][..],
            &["leasehold", "serve", "--listen", "127.0.0.1:1"],
        ] {
            let cli = Cli::try_parse_from(line).expect("parsed");
            let serve = match cli.command {
                Some(Command::Serve(serve)) => serve,
                None => cli.serve,
                Some(other) => panic!("{other:?}"),
            };
            assert!(format!("{serve:?}").contains("127.0.0.1:1"));
        }
    }

    #[test]
    fn a_wrong_flag_is_a_usage_error() {
        let error = Cli::try_parse_from(["leasehold", "--lissten", "x"]).expect_err("refused");
        assert_eq!(error.exit_code(), Exit::Usage as i32);
    }
}
