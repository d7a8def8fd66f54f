//! How fast a server answers, and how its clock goes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use crate::store::clock_shift::WORTH_A_WORD;
use crate::store::diagnosis::Findings;
use crate::store::error::Error;
use crate::store::keys;

/// A clock that differs by more is worth a warning: the end of a lease is by Redis's clock.
const CLOCK: Duration = Duration::from_secs(2);
/// A slower answer makes every heartbeat slow.
const SLOW: Duration = Duration::from_millis(20);
/// PINGs that the latency is the median of.
const PINGS: usize = 21;

pub(super) async fn check_latency(
    server: &mut MultiplexedConnection,
    notes: &mut Findings<'_>,
) -> Result<(), Error> {
    let mut took = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let asked = Instant::now();
        redis::cmd("PING").exec_async(server).await?;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    let median = took[PINGS / 2];
    let text = format!(
        "answers in {:.2} ms (median of {PINGS})",
        median.as_secs_f64() * 1e3
    );
    if median > SLOW {
        notes.warn(text, "move the nodes nearer to Redis, or see its load");
    } else {
        notes.ok(text);
    }

    let here = SystemTime::now();
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(server).await?;
    let there = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
    let apart = there
        .duration_since(here)
        .unwrap_or_else(|earlier| earlier.duration());
    let text = format!("its clock is {} ms from ours", apart.as_millis());
    if apart > CLOCK {
        notes.warn(
            text,
            "let NTP slew both: leases end by Redis's clock, whatever this one says",
        );
    } else {
        notes.ok(text);
    }
    Ok(())
}

/// How far the time of leases is ahead of the clock of this server.
pub(super) async fn check_shift(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
    let mut largest = 0_u64;
    for bucket in keys::Bucket::all() {
        // In a cluster most buckets are elsewhere.
        let shift: RedisResult<Option<u64>> = redis::cmd("HGET")
            .arg(bucket.clock())
            .arg("shift")
            .query_async(server)
            .await;
        largest = largest.max(shift.ok().flatten().unwrap_or(0));
    }
    let seconds = largest as f64 / 1e3;
    if Duration::from_millis(largest) > WORTH_A_WORD {
        notes.warn(
            format!("its clock went back: leases go on {seconds:.1} s ahead of it, and return to it slowly"),
            "see that NTP keeps the clocks of this host and of those that could take over; until leases are back, schedules begin \
             early and reports are ahead by as much (docs/runbooks/clock-shifted.md)",
        );
    } else {
        notes.ok("leases go by its clock");
    }
}
