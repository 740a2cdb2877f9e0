//! The binary itself, over real sockets, signals and files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process {
    mod backup;
    mod clients;
    mod command;
    mod directory;
    mod full_disk;
    mod large;
    mod life;
    mod log;
    mod run;
    mod verify;
    mod watches;
}
