//! The `cairn` binary: a server, and a command line that talks to one or to a directory.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn_server::main()
}
