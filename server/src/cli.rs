//! The command line: a file a command.
//!
//! Every command but `serve`, `backup` and `verify` talks to a store through `cairn_sdk::Cairn`, a server's (`--url`) or
//! the one in a directory (`--data`). What a command is asked for goes to stdout; everything else,
//! errors and progress included, goes to stderr.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 a condition failed.

mod backup;
mod bucket;
mod completions;
mod delete;
mod directory;
mod download;
mod export;
mod get;
pub(crate) mod import;
mod log;
mod output;
mod place;
mod progress;
mod put;
mod scan;
mod serve;
mod status;
mod store;
mod stream;
mod upload;
mod verify;
mod watch;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use cairn_sdk::{Code, Error};
use clap::{Args, Parser, Subcommand};

use output::Output;

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Client(client) = &cli.command
        && let Err(usage) = client.common().place.check()
    {
        usage.exit();
    }
    match cli.command {
        Command::Serve(command) => serve::run(command),
        Command::Backup(command) => backup::run(&command),
        Command::Verify(command) => verify::run(&command),
        Command::Completions(command) => completions::run(&command),
        Command::Client(client) => run_client(client),
    }
}

fn run_client(client: Client) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failed::from(error).report(false),
    };
    let json = client.common().json;
    let outcome = runtime.block_on(async {
        match client {
            Client::Put(command) => put::run(command).await,
            Client::Get(command) => get::run(command).await,
            Client::Delete(command) => delete::run(command).await,
            Client::Scan(command) => scan::run(command).await,
            Client::Watch(command) => watch::run(command).await,
            Client::Import(command) => import::run(command).await,
            Client::Export(command) => export::run(command).await,
            Client::Upload(command) => upload::run(command).await,
            Client::Download(command) => download::run(command).await,
            Client::Bucket(command) => bucket::run(command).await,
            Client::Log(command) => log::run(command).await,
            Client::Status(command) => status::run(command).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(json),
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
    #[command(flatten)]
    Client(Client),
    Backup(backup::Command),
    Verify(verify::Command),
    Completions(completions::Command),
}

#[derive(Subcommand)]
enum Client {
    Put(put::Command),
    Get(get::Command),
    Delete(delete::Command),
    Scan(scan::Command),
    Watch(watch::Command),
    Import(import::Command),
    Export(export::Command),
    Upload(upload::Command),
    Download(download::Command),
    Bucket(bucket::Command),
    Log(log::Command),
    Status(status::Command),
}

impl Client {
    fn common(&self) -> &Common {
        match self {
            Client::Put(command) => &command.common,
            Client::Get(command) => &command.common,
            Client::Delete(command) => &command.common,
            Client::Scan(command) => &command.common,
            Client::Watch(command) => &command.common,
            Client::Import(command) => &command.common,
            Client::Export(command) => &command.common,
            Client::Upload(command) => &command.common,
            Client::Download(command) => &command.common,
            Client::Bucket(command) => &command.common,
            Client::Log(command) => &command.common,
            Client::Status(command) => &command.common,
        }
    }
}

/// What every command of a client takes
#[derive(Args)]
struct Common {
    #[command(flatten)]
    place: store::Place,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn output(&self) -> Output {
        Output::new(self.json)
    }
}

/// Bytes of an argument, which need not be UTF-8.
fn bytes(argument: OsString) -> Vec<u8> {
    argument.into_vec()
}

/// Why a command failed, and with which exit code.
#[derive(Debug)]
enum Failed {
    /// Of the store or of this machine: its code is told either way.
    Error(Error),
    /// Whoever reads stdout has left: nothing is wrong, and nothing more is wanted.
    NobodyReads,
}

const EXIT_FAILED: u8 = 1;
const EXIT_NOT_FOUND: u8 = 3;
const EXIT_CONDITION_FAILED: u8 = 4;

impl Failed {
    /// What was given can not be used.
    fn invalid(detail: impl Into<String>) -> Self {
        Failed::Error(Error::new(Code::InvalidArgument, detail))
    }

    /// The operating system refused a file of the user's.
    fn file(path: &Path, error: &std::io::Error) -> Self {
        Failed::Error(Error::new(Code::Io, format!("{}: {error}", path.display())))
    }

    fn exit_code(&self) -> u8 {
        match self {
            Failed::Error(error) => match error.code() {
                Code::KeyNotFound | Code::BucketNotFound | Code::NotFound => EXIT_NOT_FOUND,
                Code::VersionMismatch => EXIT_CONDITION_FAILED,
                _ => EXIT_FAILED,
            },
            Failed::NobodyReads => 0,
        }
    }

    fn report(self, json: bool) -> ExitCode {
        let Failed::Error(error) = &self else {
            return ExitCode::SUCCESS;
        };
        if json {
            let mut document = serde_json::json!({
                "code": error.code(),
                "detail": error.detail(),
            });
            if let Some(version) = error.version() {
                document["version"] = version.into();
            }
            eprintln!("{document}");
        } else {
            eprintln!("cairn: {error}");
        }
        ExitCode::from(self.exit_code())
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Error(error)
    }
}

impl From<cairn_kv::Error> for Failed {
    fn from(error: cairn_kv::Error) -> Self {
        Failed::Error(error.into())
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failed::NobodyReads,
            _ => Failed::Error(Error::new(Code::Io, error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
