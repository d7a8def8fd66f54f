//! The answers to requests that get no seat.

use std::time::Duration;

use crate::http::access::Client;
use crate::http::pool_not_found;
use crate::http::problem::{Code, Problem};
use crate::names::{PoolName, Tenant};
use crate::store::{Acquired, Denial};
use crate::time::millis;

/// How many seats all have together, which those who are for some tenants do not read.
const OF_ALL: [&str; 2] = ["in_use", "capacity"];

/// The same for a caller, who may be for some tenants only.
pub(super) fn problem_for(
    client: &Client,
    pool: &PoolName,
    tenant: Option<&Tenant>,
    acquired: Acquired,
) -> Problem {
    let problem = problem(pool, tenant, acquired);
    match client.caller.tenants_in(pool) {
        Some(_) => problem.without(&OF_ALL),
        None => problem,
    }
}

/// The problem that says why there is no seat.
fn problem(pool: &PoolName, tenant: Option<&Tenant>, acquired: Acquired) -> Problem {
    match acquired {
        Acquired::PoolFull(denial) => {
            let full = match denial.capacity {
                // Not granted, because others came first.
                seats if denial.in_use < seats => format!("The seats of the pool {pool} that are free are promised to those who wait."),
                0 => format!("The pool {pool} has no seats at present."),
                1 => format!("The only seat of the pool {pool} is in use."),
                seats => format!("All {seats} seats of the pool {pool} are in use."),
            };
            let detail = format!("{full} Ask again when one can come free.");
            denied(Code::PoolFull, detail, denial)
        }
        Acquired::TenantFull(denial, rule) => {
            let detail = if rule == "reserved" {
                "The seats that are free are reserved for other tenants. Ask again when one can come free."
            } else {
                "The tenant uses all the seats that it may. Ask again when one of them can come free."
            };
            denied(Code::TenantFull, detail.to_owned(), denial).with("limit", rule)
                .with("tenant", tenant)
        }
        Acquired::NamedSeatsExhausted(denial) => denied(
            Code::NamedSeatsExhausted,
            "You have reached your user limit for the period.".to_owned(),
            denial,
        ),
        Acquired::QueueFull(denial) => denied(
            Code::QueueFull,
            format!("As many wait for a seat of the pool {pool} as may. Ask again later."),
            denial,
        ),
        Acquired::HolderBlocked(denial, until, reason) => {
            let why = reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
            let detail = format!("An operator has blocked this holder until {until}{why}");
            denied(Code::HolderBlocked, detail, denial)
                .with("blocked_until", until)
                .with("reason", reason)
        }
        Acquired::PlatformNotLicensed(platforms) => Problem::new(
            Code::PlatformNotLicensed,
            format!(
                "The pool {pool} has seats for these platforms only: {platforms}. Say in `platform` which one it is."
            ),
        )
        .with("platforms", platforms.split(", ").collect::<Vec<_>>()),
        Acquired::Maintenance(denial, message) => Problem::new(Code::Maintenance, message)
            .with("outcome", "none")
            .with("in_use", denial.in_use)
            .with("capacity", denial.capacity)
            .retry_after_ms(millis(denial.retry_after)),
        Acquired::TicketExpired => Problem::new(
            Code::TicketExpired,
            "The ticket was not shown in time, and its place went to the next. Ask again without it.",
        ),
        Acquired::ForeignTicket => Problem::new(
            Code::Forbidden,
            "This ticket is of another tenant than the key. Ask without it.",
        ),
        Acquired::Recovering { retry_after } => Problem::new(
            Code::Recovering,
            "The store has lost its data, and those who had a seat come first. Ask again when they have come back.",
        )
        .with("outcome", "none")
        .cause("Redis has lost its data, and those who had a seat come first")
        .retry_after_ms(millis(retry_after)),
        Acquired::NoPool => pool_not_found(pool),
        Acquired::Changed => Problem::new(
            Code::StoreUnavailable,
            "The policy of the pool changes too fast to be asked. Ask again.",
        )
        .with("outcome", "none")
        .retry_after_ms(millis(Duration::from_secs(1))),
        Acquired::Granted(_) | Acquired::Existing(_) | Acquired::Queued { .. } => {
            Problem::new(Code::Internal, "Something went wrong inside. It was logged.")
                .cause("a seat is no problem")
        }
    }
}

fn denied(code: Code, detail: String, denial: Denial) -> Problem {
    metrics::counter!(crate::telemetry::DENIALS, "code" => code.as_str()).increment(1);
    Problem::new(code, detail)
        .with("in_use", denial.in_use)
        .with("capacity", denial.capacity)
        .retry_after_ms(millis(denial.retry_after))
}
