use super::*;
use crate::vfs::conformance::{Test, conformance_tests};
use crate::vfs::simulated::Random;

fn with_disk(test: Test) {
    let directory = tempfile::tempdir().unwrap();
    test(&Overlay::default(), directory.path());
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "the disk is as it was");
}

conformance_tests!(with_disk);

const SITE: SyncSite = SyncSite("test");

fn read(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_file_of_the_disk_is_changed_for_every_handle_and_not_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let original: Vec<u8> = (0..=250).cycle().take(20_000).collect();
    fs::write(&path, &original).unwrap();
    let disk = Overlay::default();
    let (writer, reader) = (disk.open(&path).unwrap(), disk.open(&path).unwrap());
    let map = reader.map(4096..20_000).unwrap();
    let mut model = original.clone();
    let mut random = Random::new(7);
    for _ in 0..300 {
        let at = usize::try_from(random.below(20_000)).unwrap();
        if random.below(10) == 0 {
            writer.set_length(at as u64).unwrap();
            model.truncate(at);
            writer.set_length(20_000).unwrap();
            model.resize(20_000, 0);
        } else {
            let length = (20_000 - at).min(usize::try_from(random.below(6_000)).unwrap());
            writer.write_at(&vec![9; length], at as u64).unwrap();
            model[at..at + length].fill(9);
        }
        assert!(read(reader.as_ref()) == model);
    }
    writer.sync_data(SITE).unwrap();
    map.publish(20_000);
    assert!(*map.bytes(4096..20_000).unwrap() == model[4096..]);
    assert!(fs::read(&path).unwrap() == original);
}

#[test]
fn an_unwritten_file_is_borrowed_from_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, vec![5; 10_000]).unwrap();
    let disk = Overlay::default();
    let file = disk.open(&path).unwrap();
    let map = file.map(4096..10_000).unwrap();
    map.publish(10_000);
    let borrowed = |range| matches!(map.bytes(range), Some(Cow::Borrowed(_)));
    assert!(borrowed(4096..10_000));
    disk.open(&path).unwrap().write_at(b"x", 9_000).unwrap();
    assert!(borrowed(4096..8_192));
    assert_eq!(map.bytes(9_000..9_002).unwrap()[..], *b"x\x05");
}

#[test]
fn names_of_the_disk_are_moved_and_removed_here_only() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["a", "b", "c"] {
        fs::write(at(name), name).unwrap();
    }
    let disk = Overlay::default();
    disk.remove(&at("a")).unwrap();
    disk.rename(&at("b"), &at("c")).unwrap();
    disk.hard_link(&at("c"), &at("d")).unwrap();
    disk.create(&at("a")).unwrap();
    assert_eq!(disk.list(directory.path()).unwrap(), ["a", "c", "d"]);
    assert_eq!(read(disk.open(&at("a")).unwrap().as_ref()), b"");
    assert_eq!(read(disk.open(&at("d")).unwrap().as_ref()), b"b");
    let found = disk.open(&at("b")).unwrap_err();
    assert_eq!(found.kind(), io::ErrorKind::NotFound);
    for name in ["a", "b", "c"] {
        assert_eq!(fs::read(at(name)).unwrap(), name.as_bytes());
    }
    assert!(!at("d").exists());
}

#[test]
fn the_lock_is_that_of_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let other = crate::vfs::RealDisk.lock(&path).unwrap();
    let disk = Overlay::default();
    let met = disk.lock(&path).unwrap_err();
    assert_eq!(met.kind(), io::ErrorKind::WouldBlock);
    drop(other);
    let held = disk.lock(&path).unwrap();
    let met = crate::vfs::RealDisk.lock(&path).unwrap_err();
    assert_eq!(met.kind(), io::ErrorKind::WouldBlock);
    drop(held);
    crate::vfs::RealDisk.lock(&path).unwrap();
}
