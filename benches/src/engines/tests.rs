//! What every adapter must do, run for each engine that is built in.

use super::*;
use crate::data::{Pairs, fill_key, fill_value};
use crate::workloads::{Expectation, ScratchDirectory};

const KEYS: u64 = 5_000;

fn tuning(purpose: Purpose) -> Tuning {
    Tuning {
        purpose,
        shape: Shape::SMALL,
        cache_bytes: 32 << 20,
        cache_is_given: false,
    }
}

fn for_each_engine(test: &str, run: impl Fn(Registration, &Path) -> Outcome<()>) {
    for registration in ENGINES {
        let name = format!(
            "cairn-benches-{}-{test}-{}",
            std::process::id(),
            registration.name
        );
        let directory = ScratchDirectory::new(&std::env::temp_dir().join(name)).unwrap();
        if let Err(error) = run(*registration, directory.path()) {
            panic!("{}: {error}", registration.name);
        }
    }
}

fn key(index: u64) -> Vec<u8> {
    let mut key = vec![0; Shape::SMALL.key_bytes];
    fill_key(index, &mut key);
    key
}

fn value(index: u64, version: u32) -> Vec<u8> {
    let mut value = vec![0; Shape::SMALL.value_bytes];
    fill_value(index, version, &mut value);
    value
}

fn read(engine: &dyn Engine, mode: ReadMode, index: u64) -> Option<Vec<u8>> {
    let mut found = None;
    let mut present = false;
    engine
        .read(mode, &mut |reader| {
            present = reader.get(&key(index), &mut |value| found = Some(value.to_vec()))?;
            Ok(())
        })
        .unwrap();
    assert_eq!(present, found.is_some());
    found
}

#[test]
fn what_is_written_is_read_in_both_modes() {
    for purpose in [Purpose::DurableWrites, Purpose::BufferedWrites] {
        for_each_engine("written", |registration, directory| {
            let engine = (registration.open)(directory, &tuning(purpose))?;
            for durability in [Durability::Synced, Durability::Buffered] {
                engine.put(&key(1), &value(1, 1), durability)?;
                engine.put(&key(2), &value(2, 1), durability)?;
                engine.put(&key(1), &value(1, 2), durability)?;
                engine.delete(&key(2), durability)?;
                for mode in [ReadMode::Held, ReadMode::PerGet] {
                    assert_eq!(read(engine.as_ref(), mode, 1), Some(value(1, 2)));
                    assert_eq!(read(engine.as_ref(), mode, 2), None);
                }
            }
            engine.close()
        });
    }
}

#[test]
fn a_load_holds_exactly_its_rows_and_survives_a_close() {
    for_each_engine("load", |registration, directory| {
        let tuning = tuning(Purpose::LoadThenRead);
        let expected = Expectation::loaded(Shape::SMALL, KEYS);
        let engine = (registration.open)(directory, &tuning)?;
        engine.load(&mut Rows::new(Shape::SMALL, KEYS))?;
        assert!(!expected.check(engine.as_ref())?.failed());
        engine.settle()?;
        assert!(!expected.check(engine.as_ref())?.failed());
        engine.close()?;
        let engine = (registration.open)(directory, &tuning)?;
        assert!(!expected.check(engine.as_ref())?.failed());
        engine.close()
    });
}

#[test]
fn a_batch_and_a_flush_keep_what_they_were_given() {
    for_each_engine("batch", |registration, directory| {
        let engine = (registration.open)(directory, &tuning(Purpose::BufferedWrites))?;
        let mut expected = Expectation::new(Shape::SMALL);
        let mut pairs = Pairs::new(Shape::SMALL);
        for index in 0..1_000 {
            pairs.push(index, 3);
            expected.add(index, 3);
        }
        engine.batch(&pairs, Durability::Buffered)?;
        engine.flush()?;
        assert!(!expected.check(engine.as_ref())?.failed());
        engine.close()
    });
}

#[test]
fn a_held_reader_does_not_see_later_writes_and_a_fresh_one_does() {
    for_each_engine("held", |registration, directory| {
        let engine = (registration.open)(directory, &tuning(Purpose::BufferedWrites))?;
        engine.put(&key(1), &value(1, 1), Durability::Buffered)?;
        let mut held = None;
        engine.read(ReadMode::Held, &mut |reader| {
            std::thread::scope(|scope| {
                let writer =
                    scope.spawn(|| engine.put(&key(1), &value(1, 2), Durability::Buffered));
                writer.join().unwrap()
            })?;
            reader.get(&key(1), &mut |value| held = Some(value.to_vec()))?;
            Ok(())
        })?;
        assert_eq!(held, Some(value(1, 1)));
        assert_eq!(
            read(engine.as_ref(), ReadMode::PerGet, 1),
            Some(value(1, 2))
        );
        engine.close()
    });
}

#[test]
fn durable_puts_of_many_threads_are_all_kept() {
    for_each_engine("threads", |registration, directory| {
        let engine = (registration.open)(directory, &tuning(Purpose::DurableWrites))?;
        let engine = engine.as_ref();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for index in 0..8 {
                        let index = thread * 8 + index;
                        engine
                            .put(&key(index), &value(index, 0), Durability::Synced)
                            .unwrap();
                    }
                });
            }
        });
        let expected = Expectation::loaded(Shape::SMALL, 32);
        assert!(!expected.check(engine)?.failed());
        Ok(())
    });
}

#[test]
fn a_missing_row_is_noticed() {
    for_each_engine("missing", |registration, directory| {
        let engine = (registration.open)(directory, &tuning(Purpose::BufferedWrites))?;
        engine.put(&key(0), &value(0, 0), Durability::Buffered)?;
        engine.put(&key(1), &value(1, 9), Durability::Buffered)?;
        for wrong in [1, 2, 3] {
            assert!(
                Expectation::loaded(Shape::SMALL, wrong)
                    .check(engine.as_ref())?
                    .failed()
            );
        }
        engine.close()
    });
}

/// Other threads of that name may be at work in other tests, so only what is too early is told.
#[test]
fn cairn_is_settled_no_sooner_than_its_index_threads_rest() {
    let registration = ENGINES
        .iter()
        .find(|engine| engine.name == "cairn")
        .unwrap();
    let name = format!("cairn-benches-{}-settle", std::process::id());
    let directory = ScratchDirectory::new(&std::env::temp_dir().join(name)).unwrap();
    let tuning = tuning(Purpose::LoadThenRead);
    let engine = (registration.open)(directory.path(), &tuning).unwrap();
    let is_named = |thread: std::io::Result<std::fs::DirEntry>| {
        let comm = std::fs::read_to_string(thread.unwrap().path().join("comm"));
        comm.is_ok_and(|comm| comm.starts_with(cairn::INDEX_THREADS))
    };
    assert!(std::fs::read_dir("/proc/self/task").unwrap().any(is_named));

    let began = Instant::now();
    let works_for = Duration::from_millis(600);
    let worker = std::thread::Builder::new()
        .name(format!("{}-test", cairn::INDEX_THREADS))
        .spawn(move || while began.elapsed() < works_for {})
        .unwrap();
    engine.settle().unwrap();
    assert!(began.elapsed() >= works_for);
    worker.join().unwrap();
    engine.close().unwrap();
}
