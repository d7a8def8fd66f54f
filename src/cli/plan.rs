//! `leasehold plan`: how many nodes and how much Redis a number of agents needs.
//!
//! Its numbers are those that `make bench` measured, read from the table of `docs/performance.md`, so that they stand in one place. Half
//! of what was measured counts: beyond that answers become slow before anything fails.

use std::fmt::Write as _;

use serde_json::json;

use super::{Exit, Failure};

/// What `make bench` wrote.
const TABLE: &str = include_str!("../../docs/performance.md");

/// How long the history keeps each start and end.
const HISTORY_DAYS: f64 = 35.0;

/// Connections that a node takes (`max_connections`).
const CONNECTIONS: f64 = 10_000.0;

const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, clap::Args)]
pub(super) struct Plan {
    /// Agents that hold a seat at the same time
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    agents: u64,
    /// TTL of their leases, in seconds; a heartbeat comes three times as often
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ttl: u64,
    /// Log-ins of each agent on a day
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    logins: u64,
    /// Time in which all of them log in, in minutes, as in the morning
    #[arg(long, value_name = "MINUTES", default_value = "15", value_parser = clap::value_parser!(u64).range(1..=1_440))]
    rush: u64,
    /// Pools
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pools: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the plan; asks nobody.
pub(super) fn run(plan: &Plan) -> Result<Exit, Failure> {
    let needed = Needed::of(plan, &Measured::read(TABLE)?);
    super::print(&if plan.json {
        needed.to_json()
    } else {
        needed.to_text(plan)
    })
}

/// What a node and a Redis did on the machine of the bench.
#[derive(Debug)]
struct Measured {
    /// Which machine that was, and when.
    on: String,
    renews_per_second: f64,
    logins_per_second: f64,
    /// The share of a core that Redis takes for each heartbeat a second.
    redis_core: f64,
    lease_bytes: f64,
    event_bytes: f64,
    /// What a pool has in roll-ups when it is busy in every minute.
    pool_bytes: f64,
    node_mib: f64,
    connection_mib: f64,
}

impl Measured {
    fn read(table: &str) -> Result<Self, Failure> {
        let row = |name: &str| -> Result<(&str, f64), Failure> {
            let row = table.lines().find_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split(" | ");
                let title = cells.next()?.strip_prefix(name)?;
                Some((title, number(cells.next()?)?))
            });
            row.ok_or_else(|| {
                Failure::new(
                    Exit::Error,
                    format!("docs/performance.md has no row \"{name}\"; run make bench"),
                )
            })
        };
        let (at, redis_percent) = row("Redis processor time for 1 000 000 leases, ")?;
        let beats = number(at).unwrap_or(f64::INFINITY);
        let (_, idle) = row("resident memory of a node, idle")?;
        let (_, full) = row("the same with 10 000 connections")?;
        let on = table.lines().find(|line| line.starts_with("Measured on "));
        Ok(Self {
            on: on
                .unwrap_or_default()
                .split(';')
                .next()
                .unwrap_or_default()
                .to_owned(),
            renews_per_second: row("`POST /v1/leases/renew`, 100 000 leases in one pool")?.1,
            logins_per_second: row("acquire and release")?.1,
            redis_core: redis_percent / 100.0 / beats,
            lease_bytes: row("Redis memory for each of 1 000 000 leases in one pool")?.1,
            event_bytes: row("memory of an event")?.1,
            pool_bytes: row("all slots of such a pool, when it is older than 800 days")?.1 * 1e6,
            node_mib: idle,
            connection_mib: (full - idle) / CONNECTIONS,
        })
    }
}

/// The number at the start of a cell; spaces separate thousands.
fn number(text: &str) -> Option<f64> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.' && letter != ' ')
        .unwrap_or(text.len());
    text[..end].replace(' ', "").parse().ok()
}

/// What a plan comes to.
#[derive(Debug)]
struct Needed {
    heartbeats_per_second: f64,
    logins_per_second: f64,
    nodes: f64,
    node_cores: f64,
    node_mib: f64,
    redis_cores: f64,
    redis_masters: f64,
    leases_mib: f64,
    history_mib: f64,
    maxmemory_mib: f64,
    on: String,
}

impl Needed {
    fn of(plan: &Plan, measured: &Measured) -> Self {
        let agents = plan.agents as f64;
        let heartbeats = agents * 3.0 / plan.ttl as f64;
        let logins = agents / (plan.rush as f64 * 60.0);
        // Of what a node can do, as parts of one, while the other one is away.
        let load = heartbeats / (measured.renews_per_second / 2.0)
            + logins / (measured.logins_per_second / 2.0);
        let busy = load.max(agents / CONNECTIONS).ceil();
        let nodes = busy + 1.0;
        let redis_cores = heartbeats * measured.redis_core;
        let events = agents * plan.logins as f64 * 2.0 * HISTORY_DAYS;
        let leases = agents * measured.lease_bytes / MIB;
        let history =
            (events * measured.event_bytes + plan.pools as f64 * measured.pool_bytes) / MIB;
        Self {
            heartbeats_per_second: heartbeats,
            logins_per_second: logins,
            nodes,
            node_cores: (load / busy).max(0.1),
            node_mib: measured.node_mib + agents / busy * measured.connection_mib,
            redis_cores,
            redis_masters: (redis_cores / 0.5).ceil().max(1.0),
            leases_mib: leases,
            history_mib: history,
            // Twice what is there, in steps that people choose.
            maxmemory_mib: ((leases + history) * 2.0 / 64.0).ceil() * 64.0,
            on: measured.on.clone(),
        }
    }

    fn to_json(&self) -> String {
        let round = |number: f64| (number * 1_000.0).round() / 1_000.0;
        let plan = json!({
            "heartbeats_per_second": round(self.heartbeats_per_second),
            "logins_per_second": round(self.logins_per_second),
            "nodes": self.nodes,
            "node": {"cores": round(self.node_cores), "memory_mib": self.node_mib.ceil()},
            "redis": {
                "masters": self.redis_masters,
                "cores": round(self.redis_cores),
                "leases_mib": round(self.leases_mib),
                "history_mib": round(self.history_mib),
                "maxmemory_mib": self.maxmemory_mib,
                "memory_mib": self.maxmemory_mib * 2.0,
            },
            "measured": self.on,
        });
        format!("{plan:#}\n")
    }

    fn to_text(&self, plan: &Plan) -> String {
        let mut text = String::new();
        let mut line = |name: &str, what: String| {
            writeln!(text, "{name:12}{what}").expect("a String takes everything");
        };
        line(
            "load",
            format!(
                "{} heartbeats a second, and {} log-ins a second while all come within {} min",
                count(self.heartbeats_per_second),
                count(self.logins_per_second),
                plan.rush
            ),
        );
        line(
            "nodes",
            format!(
                "{}, of which one may be away; each {:.1} cores and {:.0} MiB",
                count(self.nodes),
                self.node_cores,
                self.node_mib
            ),
        );
        let masters = if self.redis_masters > 1.0 {
            format!("a cluster of {} masters; ", count(self.redis_masters))
        } else {
            String::new()
        };
        line(
            "Redis",
            format!(
                "{masters}{:.0} % of a core; maxmemory {:.0}mb, and a machine or container with {:.0} MiB",
                (self.redis_cores * 100.0).ceil(),
                self.maxmemory_mib,
                self.maxmemory_mib * 2.0
            ),
        );
        line(
            "of that",
            format!(
                "{:.1} MiB for leases, {:.1} MiB for {HISTORY_DAYS} days of history in {}",
                self.leases_mib,
                self.history_mib,
                match plan.pools {
                    1 => "a pool".to_owned(),
                    pools => format!("{} pools", count(pools as f64)),
                }
            ),
        );
        let _ = write!(
            text,
            "\nHalf of what was measured counts as what there is, and each agent as a connection. {}\n",
            self.on
        );
        text
    }
}

/// A number for people: whole from ten on.
fn count(number: f64) -> String {
    if number < 10.0 && number.fract() > 0.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(agents: u64) -> Plan {
        Plan {
            agents,
            ttl: 60,
            logins: 2,
            rush: 15,
            pools: 1,
            json: false,
        }
    }

    #[test]
    fn every_number_is_in_the_table_of_the_bench() {
        let measured = Measured::read(TABLE).expect("make bench wrote them");
        assert!(measured.renews_per_second > 10_000.0, "{measured:?}");
        assert!(measured.redis_core < 0.000_1, "{measured:?}");
        assert!(
            (100.0..1_000.0).contains(&measured.lease_bytes),
            "{measured:?}"
        );
        assert!(measured.connection_mib > 0.0, "{measured:?}");
        assert!(measured.on.starts_with("Measured on 20"), "{measured:?}");
        assert!(Measured::read("| a | b |").is_err());
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (text, value) in [
            ("60 723 requests/s", Some(60_723.0)),
            ("29 % of a core", Some(29.0)),
            ("2.7 MB", Some(2.7)),
            ("reached", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }

    #[test]
    fn there_is_always_a_node_to_spare_and_more_load_needs_more() {
        let measured = Measured::read(TABLE).expect("make bench wrote them");
        let small = Needed::of(&plan(5_000), &measured);
        assert!((small.nodes - 2.0).abs() < f64::EPSILON, "{small:?}");
        assert!((small.heartbeats_per_second - 250.0).abs() < 0.1);
        assert!(small.maxmemory_mib >= (small.leases_mib + small.history_mib) * 2.0);
        let large = Needed::of(&plan(1_000_000), &measured);
        assert!(large.nodes > 100.0, "{large:?}");
        assert!(large.redis_cores > small.redis_cores * 100.0, "{large:?}");
        assert!(
            small
                .to_text(&plan(5_000))
                .contains("250 heartbeats a second")
        );
    }
}
