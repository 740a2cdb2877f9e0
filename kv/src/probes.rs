//! Single steps of reads and writes, shown to micro-benchmarks: each is one call of a private type
//! and nothing more, over keys that are numbers.

use std::ops::ControlFlow;
use std::path::Path;

use cairn_log::LogId;
use cairn_log::vfs::Vfs;

use crate::index::filter::Filter;
use crate::index::hash::HashSeed;
use crate::index::hot::HotIndex;
use crate::index::memtable::Memtable;
use crate::index::run::{Place, Run, RunBucket, RunEntry, RunHead, RunIdentity};
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, Origin, Put, Record};

const LOG: LogId = LogId(*b"0123456789abcdef");
const BUCKET: BucketId = BucketId(1);
/// Bytes between records: a key of 24 and a value of 100.
const RECORD_BYTES: u64 = 160;

/// The hash of a key of a bucket.
pub fn hash(key: &[u8]) -> u64 {
    HashSeed::new(LOG).hash(BUCKET, key)
}

/// The payload of a put.
pub fn encode_put(key: &[u8], value: &[u8], into: &mut Vec<u8>) {
    let put = Put {
        key,
        attributes: &[],
        expires_ms: 0,
        value,
    };
    let record = Record {
        origin: Origin::Here { place: 24 },
        bucket: BUCKET,
        body: Body::Put(put),
    };
    record.encode(into);
}

/// The length of the value of a put; 0 if the bytes are none.
pub fn decode_put(payload: &[u8]) -> usize {
    match Record::decode(payload).map(|record| record.body) {
        Ok(Body::Put(put)) => put.value.len(),
        _ => 0,
    }
}

/// A memtable of one bucket.
pub struct MemtableProbe(Memtable);

impl MemtableProbe {
    /// An empty one.
    pub fn new() -> MemtableProbe {
        MemtableProbe(Memtable::new(0))
    }

    /// Enters a version of a key; false if a newer one is there.
    pub fn enter(&self, key: &[u8], version: u64) -> bool {
        let members = self.0.members(BUCKET);
        let location = Location {
            version,
            record: version + 24,
            expires_ms: 0,
            value_bytes: 100,
            kind: Kind::Value,
            is_moved: false,
        };
        self.0.enter(&members, BUCKET, hash(key), key, location)
    }

    /// The newest version of a key, 0 if there is none.
    pub fn locate(&self, key: &[u8]) -> u64 {
        self.0.locate(hash(key), BUCKET, key, u64::MAX).0.version
    }
}

impl Default for MemtableProbe {
    fn default() -> MemtableProbe {
        MemtableProbe::new()
    }
}

/// A filter over hashes.
pub struct FilterProbe(Filter);

impl FilterProbe {
    /// Over these hashes.
    pub fn of(hashes: &[u64]) -> FilterProbe {
        let mut filter = Filter::with_capacity(hashes.len());
        hashes.iter().for_each(|&hash| filter.insert(hash));
        FilterProbe(filter)
    }

    /// Whether the hash may be one of them.
    pub fn may_hold(&self, hash: u64) -> bool {
        self.0.may_hold(hash)
    }
}

/// An index of hot keys.
pub struct HotProbe(HotIndex);

impl HotProbe {
    /// Of these hashes, in at most so many bytes.
    pub fn of(hashes: &[u64], bytes: u64) -> HotProbe {
        let index = HotIndex::new(bytes);
        for (record, &hash) in (1..).zip(hashes) {
            if let Some(stamp) = index.stamp(hash) {
                index.fill(hash, record * RECORD_BYTES, stamp);
            }
        }
        HotProbe(index)
    }

    /// Where the newest version of a key of this hash may stand.
    pub fn find(&self, hash: u64) -> Option<u64> {
        self.0.find(hash)
    }
}

/// A run over a file.
pub struct RunProbe(Run);

impl RunProbe {
    /// Writes and opens a run in which each hash stands once.
    ///
    /// # Panics
    ///
    /// If the disk errs.
    pub fn of(hashes: &[u64], vfs: &dyn Vfs, directory: &Path) -> RunProbe {
        let base = 1 << 30;
        let count = hashes.len() as u64;
        let identity = RunIdentity {
            log: LOG,
            partition: 0,
            segment: 1,
            base,
            end: base + (count + 1) * RECORD_BYTES,
        };
        let entries = (0..).zip(hashes).map(|(number, &hash)| {
            let version = base + number * RECORD_BYTES;
            let place = Place {
                record: version + 24,
                version: Some(version),
                is_tombstone: false,
                is_superseded: false,
            };
            RunEntry { hash, place }
        });
        let entries: Vec<RunEntry> = entries.collect();
        let head = RunHead {
            identity,
            last_version: base,
            newest_time_ms: 0,
            buckets: vec![RunBucket {
                bucket: BUCKET.0,
                entries: count,
                keys_delta: 0,
                bytes_delta: 0,
                written: base,
                first: 0,
            }],
            controls: Vec::new(),
        };
        Run::write(vfs, directory, &head, entries.into_iter()).expect("the disk writes");
        RunProbe(Run::open(vfs, directory, &identity).expect("just written"))
    }

    /// The place of the first record of this hash; `None` too if the disk errs.
    pub fn find(&self, hash: u64) -> Option<u64> {
        let found = self.0.find(hash, |place| ControlFlow::Break(place.record));
        found.ok()?.break_value()
    }
}
