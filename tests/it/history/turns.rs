//! Who rolls up what, and when nobody has to.

use std::time::Duration;

use leasehold::history::rollup;
use leasehold::history::slot::Step;
use leasehold::store::{RollupLooks, Store};
use redis::aio::MultiplexedConnection;

use super::{event, past, set, store_that_sweeps};
use crate::harness::{Redis, wait_until};

const NOW: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn nodes_take_turns_to_look_for_what_can_be_rolled_up() {
    let redis = Redis::start().await;
    let (one, pool, mut connection, stream) = past(&redis).await;
    let other = store_that_sweeps(&redis, Duration::from_millis(100)).await;
    wait_until("it knows the pool", Duration::from_secs(20), async || {
        other.known_pools().contains(&pool)
    })
    .await;

    let due = async || one.pools_to_roll_up().await.expect("an answer");
    let look = async |store: &Store, every| {
        let mut looks = RollupLooks::default();
        store
            .note_rollups(&mut looks, every)
            .await
            .expect("an answer")
    };
    // A pool in which nothing happened, and then one in which something did.
    assert_eq!(look(&one, LATER).await, 0);
    event(&mut connection, &stream, (1_000, 0), "started", "a", "").await;
    assert_eq!(look(&other, LATER).await, 0, "it was just looked at");
    assert_eq!(look(&one, LATER).await, 0, "it was just looked at");
    assert_eq!(due().await, []);

    // Whose turn it is does not matter, and once is enough.
    assert_eq!(look(&other, NOW).await, 1);
    assert_eq!(look(&one, NOW).await, 0, "it is noted");
    assert_eq!(due().await, std::slice::from_ref(&pool));

    // What was rolled up is due no more, unless something has happened.
    let first = Some("1000-0".parse().expect("a place"));
    let finish = async |last| {
        one.finish_roll_up(&pool, last, LATER)
            .await
            .expect("an answer");
    };
    let denials = stream.replace(":events", ":denials");
    set(&mut connection, &denials, "16:pool_full", "3").await;
    finish(Some(first)).await;
    let rollups = one_key(&mut connection, "*:rollups").await;
    assert_eq!(
        members(&mut connection, &rollups).await,
        1,
        "there are denials"
    );
    let _: u64 = redis::cmd("DEL")
        .arg(&denials)
        .query_async(&mut connection)
        .await
        .expect("an answer");
    event(&mut connection, &stream, (2_000, 0), "ended", "a", "").await;
    finish(Some(first)).await;
    finish(None).await;
    assert_eq!(
        members(&mut connection, &rollups).await,
        1,
        "there is another event"
    );
    finish(Some(Some("2000-0".parse().expect("a place")))).await;
    assert_eq!(members(&mut connection, &rollups).await, 0);
}

async fn one_key(connection: &mut MultiplexedConnection, glob: &str) -> String {
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(glob)
        .query_async(connection)
        .await
        .expect("an answer");
    keys.into_iter().next().expect("a key")
}

async fn members(connection: &mut MultiplexedConnection, key: &str) -> u64 {
    redis::cmd("ZCARD")
        .arg(key)
        .query_async(connection)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn a_node_rolls_up_by_itself_what_has_happened() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    let now = store.clock().await.expect("a clock").0;
    let begin = now - 3_600_000;
    for (number, kind, reason) in [
        (0, "configured", "2"),
        (1, "started", ""),
        (2, "ended", "7"),
    ] {
        let at = (begin + 60_000 * i64::from(number), 0);
        event(&mut connection, &stream, at, kind, "a", reason).await;
    }
    let rolling = tokio::spawn(rollup::run(store.clone()));
    let rolled = stream.replace(":events", ":rolled");
    wait_until("it is rolled up", Duration::from_secs(60), async || {
        redis::cmd("EXISTS")
            .arg(&rolled)
            .query_async(&mut connection.clone())
            .await
            .unwrap_or(false)
    })
    .await;
    rolling.abort();
    // Only slots that are put away know of it now.
    let _: u64 = redis::cmd("XTRIM")
        .arg(&stream)
        .arg("MAXLEN")
        .arg(0)
        .query_async(&mut connection)
        .await
        .expect("trimmed");
    let slots = rollup::slots(&store, &pool, Step::Minute, begin, begin + 240_000)
        .await
        .expect("an answer")
        .expect("a history");
    assert_eq!(slots.slots.iter().map(|slot| slot.grants).sum::<u64>(), 1);
    let held: u64 = slots.slots.iter().map(|slot| slot.seat_ms).sum();
    assert_eq!(held, 60_000);
}
