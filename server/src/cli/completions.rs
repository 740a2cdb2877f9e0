//! `cairn completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Args)]
pub(super) struct Command {
    /// The shell
    shell: Shell,
    /// Print them as a JSON string
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(
        command.shell,
        &mut super::Cli::command(),
        "cairn",
        &mut script,
    );
    let mut output = super::Output::new(command.json);
    let text = String::from_utf8_lossy(&script);
    let document = serde_json::json!({ "shell": command.shell.to_string(), "script": text });
    let printed = output
        .line(&document, text.trim_end())
        .and_then(|()| output.finish());
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::Failed::from(error).report(command.json),
    }
}
