//! `leasehold audit`: who did what.

use super::remote::Remote;
use super::{Exit, Failure};
use clap::builder::RangedU64ValueParser;

#[derive(Debug, clap::Args)]
pub(super) struct Audit {
    /// Only by this key (its id), or admin_key, open or unknown
    #[arg(long)]
    actor: Option<String>,
    /// Only actions that begin with this, such as key or leases.terminate
    #[arg(long)]
    action: Option<String>,
    /// Only about this pool
    #[arg(long)]
    pool: Option<String>,
    /// Only done, refused or failed
    #[arg(long)]
    outcome: Option<String>,
    /// From then on: a day such as 2026-11-28, which is its start in --tz, or a timestamp
    #[arg(long)]
    from: Option<String>,
    /// Before then
    #[arg(long)]
    to: Option<String>,
    /// Time zone of --from and --to, by its IANA name. Default: UTC
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Maximum number of entries, the newest first
    #[arg(long, default_value = "100", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(audit: &Audit) -> Result<Exit, Failure> {
    let mut wanted = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [
        ("actor", &audit.actor),
        ("action", &audit.action),
        ("pool", &audit.pool),
        ("outcome", &audit.outcome),
        ("from", &audit.from),
        ("to", &audit.to),
        ("tz", &audit.tz),
    ] {
        if let Some(value) = value {
            wanted.append_pair(name, value);
        }
    }
    wanted.append_pair("limit", &audit.limit.clamp(1, 1_000).to_string());
    let entries = audit
        .remote
        .list(&format!("/v1/audit?{}", wanted.finish()), audit.limit)?;
    let columns = [
        "at",
        "actor_name",
        "action",
        "pool",
        "target",
        "outcome",
        "times",
        "address",
    ];
    audit
        .remote
        .show(&entries, &columns, "nobody has changed anything")
}
