use super::*;
use crate::vfs::conformance::{Test, conformance_tests};

fn with_disk(test: Test) {
    let directory = tempfile::tempdir().unwrap();
    test(&RealDisk, directory.path());
}

conformance_tests!(with_disk);
