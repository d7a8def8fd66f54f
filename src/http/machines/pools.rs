//! The metrics of pools, as Prometheus reads them.
//!
//! They are written here and not by the exporter, because a pool that is gone must lose its series, and the exporter
//! keeps what it has seen. Names of pools need no escape: see [`crate::names::PoolName`].

use std::fmt::Write as _;

use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};

use crate::store::{AcquireOutcome, EndKind, OTHERS, Series};

/// One metric: its lines are those of all series.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// Labels after the pool's, ready to be written, and values.
    values: fn(&Series) -> Vec<(String, u64)>,
}

const FAMILIES: [Family; 14] = [
    Family {
        name: "leasehold_seats_capacity",
        kind: "gauge",
        help: "Seats of the pool now, scheduled changes included. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| now(series, |pool| Some(pool.capacity)),
    },
    Family {
        name: "leasehold_seats_in_use",
        kind: "gauge",
        help: "Seats in use, named ones left out. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| now(series, |pool| Some(pool.in_use)),
    },
    Family {
        name: "leasehold_seats_free",
        kind: "gauge",
        help: "Seats that nobody has, never less than 0. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| now(series, |pool| Some(pool.free())),
    },
    Family {
        name: "leasehold_overcommit",
        kind: "gauge",
        help: "Seats in use beyond the capacity and the overdraft, because the capacity was lowered: nothing is granted until it fits, and then the series ends. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| {
            now(series, |pool| {
                Some(pool.overcommit()).filter(|seats| *seats > 0)
            })
        },
    },
    Family {
        name: "leasehold_seats_waiting",
        kind: "gauge",
        help: "Places taken in the queue, in pools that have one. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| {
            now(series, |pool| {
                pool.policy.queue.as_ref().map(|_| pool.waiting)
            })
        },
    },
    Family {
        name: "leasehold_queue_wait_milliseconds",
        kind: "gauge",
        help: "How long those who were served lately had waited in the queue, to within a quarter: quantile 0.5 and 0.95 of about the last two hundred. One node at a time tells it: use max by (pool, quantile) over all nodes",
        values: |series| {
            let waited = series.now.as_ref().and_then(|pool| pool.waited);
            let quantiles = waited.map(|waited| [("0.5", waited.p50_ms), ("0.95", waited.p95_ms)]);
            let label = |(quantile, ms)| (format!(",quantile=\"{quantile}\""), ms);
            quantiles.into_iter().flatten().map(label).collect()
        },
    },
    Family {
        name: "leasehold_seats_lent",
        kind: "gauge",
        help: "Seats in use that were granted on the overdraft, in pools that have one. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| {
            now(series, |pool| {
                pool.policy.overdraft.as_ref().map(|_| pool.overdrawn)
            })
        },
    },
    Family {
        name: "leasehold_seats_idle",
        kind: "gauge",
        help: "Seats in use that nobody uses by the last report of their holders, in pools whose policy has idle. The same on every node: use max by (pool)",
        values: |series| now(series, |pool| pool.policy.idle.map(|_| pool.idle)),
    },
    Family {
        name: "leasehold_named_seats",
        kind: "gauge",
        help: "Named seats, in pools that have some. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| {
            now(series, |pool| {
                pool.policy.named.as_ref().map(|named| named.seats.into())
            })
        },
    },
    Family {
        name: "leasehold_named_seats_taken",
        kind: "gauge",
        help: "Named seats that are taken in this billing period. One node at a time tells it: use max by (pool) or sum by (pool) over all nodes",
        values: |series| {
            now(series, |pool| {
                pool.policy.named.as_ref().map(|_| pool.named_taken)
            })
        },
    },
    Family {
        name: "leasehold_acquires_total",
        kind: "counter",
        help: "Requests for a seat that this node answered, by result: use sum by (pool)",
        values: |series| {
            let always = [AcquireOutcome::Granted, AcquireOutcome::Denied];
            counted("result", &AcquireOutcome::ALL, &always, |outcome| {
                series.counts.acquires(outcome)
            })
        },
    },
    Family {
        name: "leasehold_true_denials_total",
        kind: "counter",
        help: "Holders that were denied and had no seat two minutes later, as this node noticed: use sum by (pool)",
        values: |series| vec![(String::new(), series.counts.true_denials())],
    },
    Family {
        name: "leasehold_lease_ends_total",
        kind: "counter",
        help: "Leases whose end this node recorded, by reason: use sum by (pool)",
        values: |series| {
            let always = [EndKind::Released, EndKind::Expired];
            counted("reason", &EndKind::ALL, &always, |ended| {
                series.counts.ends(ended)
            })
        },
    },
    Family {
        name: "leasehold_leases_resumed_total",
        kind: "counter",
        help: "Leases that had expired and got their seat again from a late heartbeat to this node: use sum by (pool)",
        values: |series| {
            let resumed = series.counts.resumes();
            (resumed > 0)
                .then(|| (String::new(), resumed))
                .into_iter()
                .collect()
        },
    },
];

/// A number of a pool that was read, where it has it.
fn now(series: &Series, of: impl Fn(&crate::pool::Pool) -> Option<u64>) -> Vec<(String, u64)> {
    let value = series.now.as_ref().and_then(of);
    value
        .map(|value| (String::new(), value))
        .into_iter()
        .collect()
}

/// A count for each word: some always, so that their first increase is one, and the others once there is something.
fn counted<W: Copy + PartialEq>(
    label: &str,
    words: &[(W, &str)],
    always: &[W],
    count: impl Fn(W) -> u64,
) -> Vec<(String, u64)> {
    let counts = words.iter().map(|(word, text)| (word, text, count(*word)));
    let shown = counts.filter(|(word, _, count)| *count > 0 || always.contains(*word));
    shown
        .map(|(_, text, count)| (format!(",{label}=\"{text}\""), count))
        .collect()
}

/// Writes all series behind what the exporter wrote.
pub(crate) fn write(out: &mut String, all: &[Series]) {
    for family in FAMILIES {
        let mut lines = String::new();
        for series in all {
            let pool = series.name.as_ref().map_or(OTHERS, |name| name.as_str());
            for (labels, value) in (family.values)(series) {
                // Writing into a string cannot fail.
                let _ = writeln!(lines, "{}{{pool=\"{pool}\"{labels}}} {value}", family.name);
            }
        }
        if !lines.is_empty() {
            write_help_line(out, family.name, None, None, family.help);
            write_type_line(out, family.name, None, None, family.kind);
            out.push_str(&lines);
        }
    }
}
