//! Who rolls up what, and when nobody has to.

use std::time::Duration;

use leasehold::history::rollup;
use leasehold::history::slot::Step;

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

    // A pool in which nothing happened, and then one in which something did.
    let found = one.changed_pools(LATER).await.expect("an answer");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].last, found[0].denied), (None, false));
    event(&mut connection, &stream, (1_000, 0), "started", "a", "").await;
    assert!(
        other
            .changed_pools(LATER)
            .await
            .expect("an answer")
            .is_empty()
    );
    assert!(
        one.changed_pools(LATER)
            .await
            .expect("an answer")
            .is_empty()
    );

    // Whose turn it is does not matter.
    let found = other.changed_pools(NOW).await.expect("an answer");
    assert_eq!(found[0].pool, pool);
    assert_eq!(found[0].last.map(|id| id.written_ms()), Some(1_000));
    let denials = stream.replace(":events", ":denials");
    set(&mut connection, &denials, "16:pool_full", "3").await;
    let again = one.changed_pools(NOW).await.expect("an answer");
    assert_eq!((again[0].last, again[0].denied), (found[0].last, true));
    assert!(found[0].now <= again[0].now);
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
