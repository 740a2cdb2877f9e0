//! Everything that spans packages, in one binary.

mod documents;
mod laws;
mod layering;
mod process;
