//! Concurrent-seat leases for a fleet of stateless nodes, kept in Redis.
//!
//! # Layout, in reading order
//!
//! The ground, which knows nothing of seats in Redis:
//!
//! * [`names`] and [`time`]: checked names, ids and timestamps.
//! * `blocking`: where long work goes, so that no heartbeat waits for it.
//! * `stderr`: the only place that writes there.
//! * [`tls`]: what nodes show and accept.
//! * `trace_context`: which trace a request belongs to.
//! * `finding`: what a check found, and what to do.
//! * [`config`]: every setting, its unit and its default.
//! * [`telemetry`]: logs and metrics.
//! * `tasks`: work that goes on for as long as the program, and is started again when it fails.
//!
//! The domain, without HTTP and without Redis:
//!
//! * [`lease`] and [`pool`]: a seat that is held, and the policy that it is held under.
//! * [`access_key`]: keys of operators and clients.
//! * [`scope`]: the pools and tenants that somebody may see.
//! * [`token`]: the signed secret that renews and releases one lease.
//! * [`proof`]: signed proofs of leases, which others verify.
//! * [`oidc`]: the provider of a single sign-on, and what it says of people.
//! * [`webhook`]: where alerts go, in which form, and how that is signed.
//!
//! The floors above it, each of which knows only those below:
//!
//! * [`store`]: the only module that speaks Redis; one method per Lua script.
//! * [`history`]: what happened in a pool, and what it means.
//! * [`alerts`]: when somebody should be notified, and how that gets to webhooks and mail.
//! * [`http`]: the only module that speaks HTTP; one file per resource.
//! * `ui`: the admin pages.
//! * [`service`]: one node, put together.
//! * [`cli`]: the operator's commands.
//!
//! [`client`] is for programs that hold a seat while they run.

// Both panic when they cannot write, and wait for whoever reads.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod access_key;
pub mod alerts;
mod blocking;
pub mod cli;
pub mod client;
pub mod config;
mod finding;
pub mod history;
pub mod http;
pub mod lease;
pub mod names;
pub mod oidc;
pub mod pool;
pub mod proof;
pub mod scope;
pub mod service;
mod stderr;
pub mod store;
mod tasks;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod token;
mod trace_context;
mod ui;
pub mod webhook;
