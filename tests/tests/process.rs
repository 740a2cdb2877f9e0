//! The server as a process of its own, on the real disk.

mod kill_9;
mod real_files;
mod strace;
