//! Parses the command line and runs one command.

use std::process::ExitCode;

use clap::Parser as _;
use leasehold::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
