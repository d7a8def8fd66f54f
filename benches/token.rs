//! What a token costs: each heartbeat verifies one.

use criterion::{Criterion, criterion_group, criterion_main};
use leasehold::lease::Seat;
use leasehold::names::LeaseId;
use leasehold::time::Timestamp;
use leasehold::token::{Claims, Tokens};
use secrecy::SecretString;
use std::hint::black_box;

fn token(criterion: &mut Criterion) {
    let secret = SecretString::from("b2YgdGhlIGJlbmNobWFya3MsIG9mIG5vdGhpbmcgZWxzZQ");
    let tokens = Tokens::new(&secret, []);
    let now = Timestamp(1_795_000_000_000);
    let claims = Claims {
        id: LeaseId::random(),
        pool: "crm".parse().expect("a plain name"),
        generation: 1_795_000_000_000,
        holder: "agent-000007".to_owned().try_into().ok(),
        tenant: None,
        label: None,
        platform: None,
        seat: Seat::Concurrent,
        fence: 1_795_000_000_000_000,
        started_at: now,
        issued_at: now,
        details: false,
    };
    let text = tokens.sign(&claims);
    criterion.bench_function("token/verify", |bencher| {
        bencher.iter(|| tokens.verify(black_box(&text), now));
    });
    criterion.bench_function("token/sign", |bencher| {
        bencher.iter(|| tokens.sign(black_box(&claims)));
    });
    criterion.bench_function("instant/text", |bencher| {
        bencher.iter(|| black_box(now).to_string());
    });
}

criterion_group!(benches, token);
criterion_main!(benches);
