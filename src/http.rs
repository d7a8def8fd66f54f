//! The only module that speaks HTTP.

pub mod extract;
pub mod machines;
pub mod problem;
pub mod server;
pub mod trace;
