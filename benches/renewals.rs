//! The coalescer against a real Redis: the time of one heartbeat while that many are under way at once, and of `renew_many`.
//!
//! One at a time is the price of a beat without company; the time of 1 000 divided by 1 000 is what company saves.

#[expect(dead_code, reason = "shared with `make bench`, which uses all of it")]
#[path = "limits/node.rs"]
mod node;
#[expect(dead_code, reason = "shared with `make bench`, which uses all of it")]
#[path = "limits/population.rs"]
mod population;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use leasehold::store::Renewed;
use tokio::runtime::Runtime;

use self::node::Redis;
use self::population::{Population, pools};

const LEASES: usize = 10_000;

fn renewals(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads");
    let (redis, store, mut one_pool, mut many_pools) = runtime.block_on(async {
        let redis = Redis::start().await;
        let store = redis.store().await;
        let one = pools(&store, "crowd", 1, 100_000).await;
        let many = pools(&store, "team", 1_000, 10).await;
        let one_pool = Population::acquire(&store, &one, LEASES).await;
        let many_pools = Population::acquire(&store, &many, LEASES).await;
        (redis, store, one_pool, many_pools)
    });

    let mut group = criterion.benchmark_group("renewals");
    group
        .measurement_time(Duration::from_secs(5))
        .sample_size(20);
    for (name, population) in [("one pool", &mut one_pool), ("1000 pools", &mut many_pools)] {
        for at_once in [1, 64, 1_000] {
            // No lease may end while others are measured.
            runtime.block_on(population.renew());
            let mut next = 0;
            group.throughput(Throughput::Elements(at_once as u64));
            group.bench_function(format!("{name}, {at_once} at once"), |bencher| {
                bencher.iter(|| {
                    let begin = next % (LEASES - at_once + 1);
                    next += at_once;
                    let beats = population.renewals[begin..begin + at_once].iter();
                    let renewed = runtime.block_on(join_all(beats.map(|beat| store.renew(beat))));
                    assert!(
                        renewed
                            .iter()
                            .all(|renewed| matches!(renewed, Ok(Renewed::Renewed(_)))),
                        "a beat was lost"
                    );
                });
            });
        }
        runtime.block_on(population.renew());
        group.throughput(Throughput::Elements(500));
        group.bench_function(format!("{name}, renew_many of 500"), |bencher| {
            bencher.iter(|| runtime.block_on(store.renew_many(&population.renewals[..500])));
        });
    }
    group.finish();
    drop(store);
    runtime.block_on(redis.stop());
}

criterion_group!(benches, renewals);
criterion_main!(benches);
