//! Parses the command line and runs one command.

use std::process::ExitCode;

use leasehold::cli;

// The system's allocator costs a heartbeat a fifth more of the node's time (see docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::parse())
}
