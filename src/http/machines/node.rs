//! The metrics of the node itself that are read when somebody asks.

use metrics::{counter, gauge};

use crate::stderr;
use crate::store::Store;
use crate::telemetry::{LOG_DROPPED, POOLS, SWEEPER_LAG};

/// Sets the gauges of the node.
pub(crate) fn record(store: &Store) {
    gauge!(POOLS).set(store.known_pools().len() as f64);
    metrics_process::Collector::default().collect();
    counter!(LOG_DROPPED).absolute(stderr::dropped());
    if let Some(lag) = store.sweeper_lag() {
        gauge!(SWEEPER_LAG).set(lag.as_secs_f64());
    }
}
