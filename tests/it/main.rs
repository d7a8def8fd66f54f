//! What the contract promises, checked from outside: one file per promise, against real nodes and a real Redis.
//!
//! `cargo test --test it` runs everything; `cargo test --test it race::` one promise. The Redis comes from
//! `TEST_REDIS_URL`, the `PATH` or a container: see `harness/redis.rs`.

mod harness;
mod race;
