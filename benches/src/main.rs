//! The benchmark driver.

fn main() {}
