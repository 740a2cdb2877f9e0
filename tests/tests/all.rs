//! Everything that spans packages, in one binary.
