//! The `cairn` binary: a server, and a command line that talks to one or to a directory.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Streams and reads would leave freed buffers behind in every thread's share of the memory.
    cairn_log::vfs::bound_free_memory();
    cairn_server::main()
}
