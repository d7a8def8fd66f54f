//! Holds seats of a [Leasehold](https://example.invalid/leasehold) pool. What it does when is written down for all clients in
//! `clients/spec`; how a program looks is in the README of this crate.

#[cfg(feature = "blocking")]
pub mod blocking;
mod client;
mod error;
mod gateway;
#[doc(hidden)] // For the vectors of the specification.
pub mod machine;
mod seat;
#[cfg(feature = "verify")]
mod verify;

pub use client::{Client, Key};
pub use error::SeatError;
pub use gateway::Gateway;
pub use seat::{Ending, Idle, Listener, Options, Seat, SeatEvent, SeatRequest};
#[cfg(feature = "verify")]
pub use verify::{InvalidProof, Proof, Verifier};
