//! Concurrent-seat leases for a fleet of stateless nodes, kept in Redis.
//!
//! # Layout, in reading order
//!
//! * [`names`] and [`time`]: checked names, ids and timestamps.
//! * [`lease`] and [`pool`]: the domain. No HTTP, no Redis.
//! * [`access_key`]: keys of operators and clients.
//! * [`token`]: the signed secret that renews and releases one lease.
//! * [`store`]: the only module that speaks Redis; one method per Lua script.
//! * [`webhook`]: where alerts go, and how that is signed.
//! * [`history`]: what happened in a pool, and what it means.
//! * [`alerts`]: what is worth telling about, and how it gets to webhooks.
//! * [`http`]: the only module that speaks HTTP; one file per resource.
//! * `ui`: the admin pages.
//! * [`config`]: every setting, its unit and its default.
//! * [`telemetry`]: logs and metrics.
//! * `blocking`: where long work goes, so that no heartbeat waits for it.
//! * `tasks`: work that goes on for as long as the program, and is started again when it fails.
//! * `stderr`: the only place that writes there.
//! * [`client`]: for programs that hold a seat while they run.
//! * [`cli`]: the operator's commands.

// Both panic when they cannot write, and wait for whoever reads.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod access_key;
pub mod alerts;
mod blocking;
pub mod cli;
pub mod client;
pub mod config;
pub mod history;
pub mod http;
pub mod lease;
pub mod names;
pub mod pool;
mod stderr;
pub mod store;
mod tasks;
pub mod telemetry;
pub mod time;
pub mod token;
mod ui;
pub mod webhook;
