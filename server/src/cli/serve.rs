//! `cairn serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::EXIT_FAILED;
use crate::config::{Config, LogFormat, Settings};

/// Serve a store over HTTP
#[derive(Args)]
pub(super) struct Command {
    #[command(flatten)]
    settings: Settings,
    /// Configuration file (TOML); flags and environment stand above it
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(command: Command) -> ExitCode {
    let config = match Config::resolve(command.settings, command.config.as_deref()) {
        Ok(config) => config,
        Err(unusable) => return failed(&unusable),
    };
    if let Err(error) = log(&config) {
        return failed(&format!("log = {:?}: {error}", config.log));
    }
    match crate::serve::run(config) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(failure) => failed(&failure),
    }
}

fn log(config: &Config) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(&config.log)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

fn failed(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("cairn: {why}");
    ExitCode::from(EXIT_FAILED)
}
