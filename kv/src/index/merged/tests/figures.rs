//! How fast it is: `cargo test --release -p cairn-kv --lib figures -- --ignored --nocapture`.

use std::time::Instant;

use cairn_log::vfs::RealDisk;

use super::*;
use crate::index::hash::HashSeed;

fn fill(way: Way, merged: &Merged, keys: impl Iterator<Item = usize>, version: u64) {
    let seed = HashSeed::new(IDENTITY.log);
    let view: Result<_, Fault> = merged.merge(way, Expected::default(), |merge| {
        for number in keys {
            let key = format!("user:{number:019}");
            let hash = seed.hash(BucketId(1), key.as_bytes());
            merge.put(BucketId(1), key.as_bytes(), hash, entry(version, version))?;
        }
        Ok(Summary {
            covered: version,
            state: Vec::new(),
        })
    });
    view.unwrap();
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let directory = std::env::temp_dir().join(format!("cairn-index-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("index");
    let disks: [(&str, Arc<dyn Vfs>); 2] = [("memory", memory()), ("real", Arc::new(RealDisk))];
    for (name, vfs) in disks {
        let path = if name == "memory" {
            Path::new(PATH)
        } else {
            &path
        };
        const KEYS: usize = 1_000_000;
        let open = || Merged::open(&vfs, path, IDENTITY, 64 << 20).unwrap();
        let merged = open();
        let rate = |what: &str, count: usize, since: Instant| {
            let rate = count as f64 / since.elapsed().as_secs_f64();
            println!("{name}: {what}: {:.0} k/s", rate / 1e3);
        };
        let since = Instant::now();
        fill(Way::InPlace, &merged, (0..KEYS).map(|n| n * 10), 1);
        rate("merge 1 M sorted keys into nothing", KEYS, since);
        let length = || vfs.open(path).unwrap().length().unwrap() >> 20;
        println!("{name}: {} MiB", length());
        for (way, version) in [
            (Way::InPlace, 2),
            (Way::Anew, 3),
            (Way::InPlace, 4),
            (Way::Anew, 5),
        ] {
            let since = Instant::now();
            let place = usize::try_from(version).unwrap();
            fill(
                way,
                &merged,
                (0..KEYS / 10).map(|n| n * 100 + place),
                version,
            );
            rate(
                &format!("{way:?}: 100 k new keys into 1 M"),
                KEYS / 10,
                since,
            );
            println!("{name}: {} MiB", length());
            let since = Instant::now();
            fill(way, &merged, (0..KEYS / 3).map(|n| n * 30), version);
            rate(
                &format!("{way:?}: 333 k known keys into 1 M"),
                KEYS / 3,
                since,
            );
            println!("{name}: {} MiB", length());
        }
        drop(merged);
        let since = Instant::now();
        let merged = open();
        println!("{name}: open: {:?}", since.elapsed());
        let view = merged.view();
        let mut random = Random(1);
        for round in ["cold", "warm"] {
            let since = Instant::now();
            for _ in 0..300_000 {
                let key = format!("user:{:019}", random.below(KEYS) * 10);
                assert!(view.get(BucketId(1), key.as_bytes()).unwrap().is_some());
            }
            rate(&format!("get, {round}"), 300_000, since);
        }
        let since = Instant::now();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let count = view.range(BucketId(1), all, false).unwrap().count();
        rate("range", count, since);
    }
    std::fs::remove_dir_all(directory).unwrap();
}
