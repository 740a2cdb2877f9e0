//! `cairn serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Args};
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use super::{EXIT_FAILED, Failed};
use crate::config::{Config, LogFormat, Settings, Unusable};

/// Serve a store over HTTP
#[derive(Args)]
#[command(mut_args(with_default()))]
pub(super) struct Command {
    #[command(flatten)]
    settings: Settings,
    /// Configuration file (TOML); flags and environment stand above it
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(command: Command) -> ExitCode {
    match serve(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(failed) => failed.report(false),
    }
}

/// Whether all of it went well.
fn serve(command: Command) -> Result<bool, Failed> {
    let config = Config::resolve(command.settings, command.config.as_deref());
    let config = config.map_err(|Unusable(detail)| Failed::invalid(detail))?;
    log(&config).map_err(|error| Failed::invalid(format!("log = {:?}: {error}", config.log)))?;
    Ok(crate::serve::run(config)?)
}

/// Adds its default to the help of a setting. The parser has none of its own: between a flag and the
/// default stands the file.
fn with_default() -> impl FnMut(Arg) -> Arg {
    let defaults = Config::resolve(Settings::default(), None).ok();
    let defaults = defaults.and_then(|config| serde_json::to_value(config).ok());
    let defaults = defaults.unwrap_or_default();
    move |arg| {
        let default = match &defaults[arg.get_id().as_str()] {
            Value::Null => return arg,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{help} [default: {default}]"))
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
