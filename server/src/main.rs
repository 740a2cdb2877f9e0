//! The `cairn` binary: a server, and a command line that talks to one or to a directory.

mod auth;
mod cli;
mod config;
mod http;
mod metrics;
mod problem;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
