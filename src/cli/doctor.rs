//! `leasehold doctor`: is this Redis fit to keep seats, and what is to be done.
//!
//! Without a `redis_url` it looks at the embedded Redis of the data directory, which a node has to be running.

use std::fmt::Write as _;

use super::{Exit, Failure};
use crate::alerts::mail::MailServer;
use crate::config::{Flags, Settings};
use crate::finding::{Finding, Level};
use crate::store::embedded::Embedded;
use crate::store::{Error, diagnose};

mod oidc;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Doctor {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    flags: Flags,
    /// Print a list of findings as JSON
    #[arg(long)]
    json: bool,
}

/// What else than Redis can be looked at.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Look at the provider of the single sign-on: its documents, its clock, and which role somebody would get
    Oidc(oidc::Oidc),
}

/// Where the embedded Redis of these settings listens.
fn embedded(settings: &Settings) -> Result<String, Failure> {
    Embedded::elsewhere(&settings.data_dir).ok_or_else(|| {
        let sentence = format!(
            "there is no redis_url, and no embedded Redis runs in {}. Start `leasehold serve` there, or say which Redis \
             is meant: --redis-url, --data-dir",
            settings.data_dir.display()
        );
        Failure::new(Exit::Unavailable, sentence)
    })
}

/// Exits with 1 if leases can be lost, and with 6 if Redis cannot be reached.
pub(super) fn run(doctor: &Doctor) -> Result<Exit, Failure> {
    if let Some(Other::Oidc(oidc)) = &doctor.other {
        return oidc::run(oidc);
    }
    let mut settings = super::load(&doctor.flags)?.check()?;
    if settings.redis_url.is_none() {
        settings.redis_url = Some(embedded(&settings)?.into());
    }
    let options = super::store_options(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let look = async {
        let mut findings = diagnose(&options).await?;
        findings.extend(mail(&settings).await);
        Ok(findings)
    };
    let findings = super::block_on(runtime, look)
        .map_err(|error: Error| Failure::new(Exit::Unavailable, error))?;
    report(&findings, doctor.json)
}

/// Whether the server that takes mail would take some; nothing where none is set.
async fn mail(settings: &Settings) -> Option<Finding> {
    let server = MailServer::of(settings)?;
    let place = server.to_string();
    Some(match server.check().await {
        Ok(()) => Finding::ok(place, "takes mail"),
        Err(wrong) => Finding::new(
            Level::Warning,
            place,
            wrong,
            "webhooks that lead to mailto: addresses wait until it does; look at smtp_url",
        ),
    })
}

/// Prints what was found; the worst of it is the exit status.
fn report(findings: &[Finding], json: bool) -> Result<Exit, Failure> {
    let worst = findings.iter().map(|finding| finding.level).max();

    let mut text = String::new();
    if json {
        text = serde_json::to_string_pretty(findings).expect("strings have a JSON form");
        text.push('\n');
    } else {
        for finding in findings {
            let sign = match finding.level {
                Level::Ok => "ok      ",
                Level::Warning => "warning ",
                Level::Error => "error   ",
            };
            writeln!(text, "{sign} {}: {}", finding.place, finding.found)
                .expect("a string takes any text");
            if !finding.advice.is_empty() {
                writeln!(text, "         → {}", finding.advice).expect("a string takes any text");
            }
        }
    }
    super::print(&text)?;
    Ok(if worst == Some(Level::Error) {
        Exit::Error
    } else {
        Exit::Ok
    })
}
