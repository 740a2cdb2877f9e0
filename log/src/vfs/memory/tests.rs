use super::*;
use crate::vfs::conformance::{Test, conformance_tests};

fn with_disk(test: Test) {
    let disk = MemoryDisk::default();
    disk.create_directory(Path::new("/db")).unwrap();
    test(&disk, Path::new("/db"));
}

conformance_tests!(with_disk);

fn memory_bytes(disk: &MemoryDisk) -> usize {
    let names = disk.names.lock();
    let files = names.values().filter_map(|node| match node {
        Node::File(file) => Some(file.content.read().chunks.len() * CHUNK_BYTES),
        Node::Directory => None,
    });
    files.sum()
}

#[test]
fn zeros_cost_no_memory() {
    let disk = MemoryDisk::default();
    let file = disk.create(Path::new("/file")).unwrap();
    let zeros = vec![0; 1 << 20];
    for piece in 0..64 {
        file.write_at(&zeros, piece << 20).unwrap();
    }
    assert_eq!(file.length().unwrap(), 64 << 20);
    assert_eq!(memory_bytes(&disk), 0);
    file.write_at(&[1; 3 * CHUNK_BYTES], 100).unwrap();
    assert_eq!(memory_bytes(&disk), 4 * CHUNK_BYTES);
    file.write_at(&zeros, 0).unwrap();
    assert_eq!(
        memory_bytes(&disk),
        0,
        "zeros over data give the memory back"
    );
}

#[test]
fn a_sparse_file_of_5_tib_costs_no_memory() {
    let disk = MemoryDisk::default();
    let file = disk.create(Path::new("/file")).unwrap();
    file.set_length(5 << 40).unwrap();
    file.write_at(b"end", (5 << 40) - 3).unwrap();
    assert_eq!(memory_bytes(&disk), CHUNK_BYTES);
    file.set_length(0).unwrap();
    assert_eq!(memory_bytes(&disk), 0);
}
