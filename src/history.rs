//! What happened in a pool, and what it means.
//!
//! Scripts write one event for each start, end, denial and change, in the step that decides it. Everything here is
//! worked out from that, so it is exact and costs a decision nothing: [`replay`] goes through the events in the order
//! of their instants, and [`rollup`] keeps the result by minute, hour and day, because events are kept for 35 days
//! and days for 800. What has not been rolled up yet is replayed when it is read, so an answer is never old.
//!
//! Deliberately absent: polling. A level between two looks would be a guess.

mod attempt;
pub mod busiest_day;
pub mod demand;
pub mod denials;
pub mod formulas;
pub mod growth;
pub mod holders;
pub mod last_day;
pub mod levels;
pub mod patterns;
pub mod prices;
pub mod reading;
pub mod replay;
pub mod rollup;
pub mod sizing;
pub mod slot;
pub mod summary;
pub mod tenants;
pub mod usage;
