//! What the contract promises, checked from outside: one file per promise, against real nodes and a real Redis.
//!
//! `cargo test --test it` runs everything; `cargo test --test it race::` one promise. The Redis comes from
//! `TEST_REDIS_URL`, the `PATH` or a container: see `harness/redis.rs`.

mod access;
mod acquire;
mod admin_pages;
mod alerts;
mod audit;
mod bad_input;
mod chaos;
mod checker;
mod coalescing;
mod command_line;
mod durability;
mod events;
mod expiry;
mod failover;
mod harness;
mod history;
mod keys;
mod leave;
mod lifecycle;
mod list;
mod lost_reply;
mod lua_headers;
mod manual;
mod metrics;
mod model;
mod monitoring;
mod nodes;
mod openapi;
mod out_of_memory;
mod outage;
mod pages_of_others;
mod pools;
mod race;
mod redis_access;
mod redis_cluster;
mod refusals;
mod release;
mod renew;
mod renew_many;
mod roles;
mod rotation;
mod rules;
mod script_flush;
mod secrets;
mod sentinel;
mod systemd;
mod terminate;
mod webhooks;
mod widget;
