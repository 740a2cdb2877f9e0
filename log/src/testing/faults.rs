//! Whether a read of a map waited for the disk, as the kernel counts it.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Syncs the files of a directory and of those in it, and has the kernel forget their pages.
pub(crate) fn evict(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            evict(&path);
        } else {
            let file = File::open(&path).unwrap();
            file.sync_all().unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

/// Faults of this thread that found no page and had to read one. None on a file system that keeps
/// nothing but pages.
pub(crate) fn major_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(9).unwrap().parse().unwrap()
}
