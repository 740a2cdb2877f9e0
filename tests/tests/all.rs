//! Everything that spans packages, in one binary.

mod laws;
mod layering;
mod process;
