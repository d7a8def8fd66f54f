//! `leasehold sizing`: how many seats a pool needs.

use reqwest::Method;

use super::remote::Remote;
use super::report::ReportRequest;
use super::table::table;
use super::{Exit, Failure};
use crate::names::PoolName;
use crate::stderr;

#[derive(Debug, clap::Args)]
pub(super) struct Sizing {
    /// Name of the pool
    pool: PoolName,
    /// Start: a day such as 2026-11-28, which starts at midnight in --tz, or a timestamp. Default: as long as events are kept
    #[arg(long)]
    from: Option<String>,
    /// End: a day or a timestamp. Default: now
    #[arg(long)]
    to: Option<String>,
    /// Time zone of the days whose busy hours count, by its IANA name
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Price of a named seat, or tiers: 1:10,51:8
    #[arg(long, value_name = "PRICE", requires = "price_concurrent")]
    price_named: Option<String>,
    /// Price of a concurrent seat, or tiers
    #[arg(long, value_name = "PRICE", requires = "price_named")]
    price_concurrent: Option<String>,
    /// Share of refused requests that the lean choice accepts, 0 to 1
    #[arg(long, value_name = "SHARE")]
    target_lean: Option<String>,
    /// Share of refused requests that the balanced choice accepts, 0 to 1
    #[arg(long, value_name = "SHARE")]
    target_balanced: Option<String>,
    /// What is added for what has not been seen, in percent
    #[arg(long, value_name = "PERCENT")]
    reserve: Option<String>,
    /// For how long in total a level has to be reached for a sustained peak
    #[arg(long, value_name = "MINUTES")]
    sustained_minutes: Option<String>,
    /// Print the curve as CSV, for spreadsheets
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn sizing(sizing: &Sizing) -> Result<Exit, Failure> {
    let remote = &sizing.remote;
    let mut wanted = ReportRequest::new(&format!("/v1/pools/{}/sizing", sizing.pool));
    for (name, value) in [
        ("from", &sizing.from),
        ("to", &sizing.to),
        ("tz", &sizing.tz),
        ("price_named", &sizing.price_named),
        ("price_concurrent", &sizing.price_concurrent),
        ("target_lean", &sizing.target_lean),
        ("target_balanced", &sizing.target_balanced),
        ("reserve", &sizing.reserve),
        ("sustained_minutes", &sizing.sustained_minutes),
    ] {
        wanted.add(name, value.as_deref());
    }
    if sizing.csv {
        wanted.add("format", Some("csv"));
        let file = remote.file(|_, _| wanted.clone().path(), None)?;
        return super::print_for_spreadsheets(&file);
    }
    let answer = remote.call(Method::GET, &wanted.path(), None, "inputs")?;
    if remote.json {
        return remote.show_json(&answer);
    }
    let inputs = &answer["inputs"];
    stderr::say_line(format_args!(
        "{} requests of {} holders, {} truly denied; {} seats now, at most {} wanted at once, {} for {} minutes in total",
        inputs["wishes"],
        inputs["holders"],
        inputs["true_denials"],
        inputs["capacity"],
        inputs["peak"],
        inputs["sustained_peak"],
        inputs["sustained_minutes"],
    ));
    let harvest = &answer["harvest"];
    if harvest.is_object() {
        stderr::say_line(format_args!(
            "{} of {} seats were idle on average; given away when somebody needs them, {} would have been enough, and {} denials avoided",
            harvest["idle_mean"],
            harvest["seats_now"],
            harvest["seats_needed"],
            harvest["denials_avoided"],
        ));
    }
    let choices = ["lean", "balanced", "never_refuse"].map(|name| {
        let mut row = answer["choices"][name].clone();
        row["choice"] = name.into();
        row["with_reserve"] = answer["reserve"][name].clone();
        row
    });
    let columns = [
        "choice",
        "seats",
        "with_reserve",
        "denials",
        "holders_denied",
        "longest_wait_ms",
        "full_ms",
        "unused_seat_hours",
    ];
    let mut text = table(&choices, &columns);
    let compared = &answer["named_vs_concurrent"];
    if compared.is_object() {
        let offers = ["named", "concurrent"].map(|name| {
            let mut row = compared[name].clone();
            row["buy"] = name.into();
            row
        });
        text.push('\n');
        text += &table(&offers, &["buy", "seats", "cost"]);
        let mix = &compared["cheapest_mix"];
        stderr::say_line(format_args!(
            "cheaper: {}; cheapest mix: {} named and {} concurrent for {}",
            compared["cheaper"].as_str().unwrap_or_default(),
            mix["named_seats"],
            mix["concurrent_seats"],
            mix["cost"]
        ));
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        stderr::say_line(format_args!(
            "note: {}",
            warning.as_str().unwrap_or_default()
        ));
    }
    super::print(&text)
}
