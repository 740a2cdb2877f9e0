//! The command line: a file a command.

mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs the command of this process.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(command) => serve::run(command),
    }
}

/// Fast, crash-safe storage of keys and values over a log
#[derive(Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Command),
}

const EXIT_FAILED: u8 = 1;
