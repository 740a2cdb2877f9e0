//! Cairn beside its peers: the same workloads on the same data in the same run, with the disk's
//! own floor measured around them.

#[allow(dead_code)]
mod data;
#[allow(dead_code)]
mod measure;

fn main() {}
