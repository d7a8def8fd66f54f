//! One outage that is longer than every term: nobody loses a seat by it.

use std::time::Duration;

use super::faults::Fault;
use super::stage::{Stage, Topology};
use super::table::Row;

/// A round of its own stage, in addition to the others: while Redis is away there is little to do.
pub(crate) async fn of(lasting: Duration) -> Row {
    let mut stage = Stage::start(Topology::Alone)
        .await
        .expect("Redis alone can be had everywhere");
    let ms = u64::try_from(lasting.as_millis()).expect("minutes");
    super::round(&mut stage, Fault::RedisKilled(ms), 0, true).await
}
