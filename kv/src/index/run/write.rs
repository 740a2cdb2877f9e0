//! Writing a run. The format, and what a crash leaves, stand in [`super`].

use std::io;
use std::path::Path;

use cairn_log::vfs::{File, SyncSite, Vfs};

use super::block::{BLOCK_BYTES, CONTENT_BYTES, Counts, Layout, Seed, in_memory, item};
use super::load::{FORMAT, MAGIC};
use super::name::{file_name, remove_if_there, temporary_name};
use super::place::offset_in;
use super::{
    BUCKET_BYTES, BY_HASH_BYTES, HEAD_BYTES, PLACE_BYTES, Place, Run, RunEntry, RunFault, RunHead,
    RunIdentity, top,
};
use crate::index::filter::Filter;

/// The run's bytes, before the run gets its name.
pub(crate) const RUN: SyncSite = SyncSite("run");
/// The run's name.
pub(crate) const RUN_NAME: SyncSite = SyncSite("run name");

impl Run {
    /// Writes the run of a segment, whole and synced, replacing whatever had its name.
    ///
    /// The entries come in order of (bucket, key), newest first within a key, and
    /// `head.buckets[i].entries` of them belong to bucket `i`; `first` of a bucket is not looked
    /// at. Takes 24 bytes of memory a record. If there is an error and the run was not there
    /// before, it is not there after, unless the error is that of the last sync; only a crash
    /// leaves the temporary file behind.
    ///
    /// # Panics
    ///
    /// If the head does not fit the entries or something lies outside the segment.
    pub(crate) fn write(
        vfs: &dyn Vfs,
        directory: &Path,
        head: &RunHead,
        entries: impl ExactSizeIterator<Item = RunEntry>,
    ) -> Result<(), RunFault> {
        let draft = Draft::new(head, entries);
        let segment = head.identity.segment;
        let temporary = directory.join(temporary_name(segment));
        remove_if_there(vfs, &temporary)?;
        let written = vfs.create(&temporary).and_then(|file| {
            draft.write(&*file)?;
            file.sync_data(RUN)?;
            vfs.rename(&temporary, &directory.join(file_name(segment)))
        });
        if let Err(error) = written {
            // Whether or not this works: the next write of the run removes it as well.
            let _ = vfs.remove(&temporary);
            return Err(error.into());
        }
        Ok(vfs.sync_directory(directory, RUN_NAME)?)
    }
}

/// A run in memory, about to be written.
struct Draft<'a> {
    head: &'a RunHead,
    /// In key order.
    places: Vec<[u8; PLACE_BYTES]>,
    /// By hash: top in the upper half, index into `places` in the lower.
    by_hash: Vec<u64>,
    filter: Filter,
    layout: Layout,
}

impl<'a> Draft<'a> {
    fn new(head: &'a RunHead, entries: impl ExactSizeIterator<Item = RunEntry>) -> Draft<'a> {
        head.check();
        let identity = &head.identity;
        let mut hashes = Vec::with_capacity(entries.len());
        let mut places = Vec::with_capacity(entries.len());
        for entry in entries {
            hashes.push(entry.hash);
            places.push(entry.place.encode(identity));
        }
        let in_buckets: u64 = head.buckets.iter().map(|bucket| bucket.entries).sum();
        assert_eq!(in_buckets, places.len() as u64, "each record is a bucket's");

        // The versions of a key follow one another and need room for one.
        let mut filter = Filter::with_capacity(hashes.chunk_by(u64::eq).count());
        hashes.iter().for_each(|&hash| filter.insert(hash));
        let by_hash = sorted_by_hash(&hashes, &places, identity);
        let layout = Layout::new(Counts {
            buckets: count(head.buckets.len()),
            controls: count(head.controls.len()),
            filter_lines: count(filter.lines().len()),
            entries: count(places.len()),
        });
        Draft {
            head,
            places,
            by_hash,
            filter,
            layout,
        }
    }

    fn write(&self, file: &dyn File) -> io::Result<()> {
        let identity = &self.head.identity;
        let mut blocks = Blocks::new(file, Seed::new(identity));
        blocks.section([self.first()].into_iter())?;
        blocks.section(self.head.buckets.iter().map(|bucket| {
            item::<BUCKET_BYTES>(&[
                &bucket.bucket.to_le_bytes(),
                &[0; 4],
                &bucket.entries.to_le_bytes(),
                &bucket.keys_delta.to_le_bytes(),
                &bucket.bytes_delta.to_le_bytes(),
                &bucket.written.to_le_bytes(),
            ])
        }))?;
        let controls = self.head.controls.iter();
        blocks.section(controls.map(|&record| offset_in(identity, record).to_le_bytes()))?;
        let a_block = CONTENT_BYTES / BY_HASH_BYTES;
        let fences = self.by_hash.iter().step_by(a_block);
        blocks.section(fences.map(|&sorted| top(sorted).to_le_bytes()))?;
        blocks.section(self.filter.lines())?;
        blocks.section(self.by_hash.iter().map(|&sorted| {
            item::<BY_HASH_BYTES>(&[&top(sorted).to_le_bytes(), &self.places[index(sorted)]])
        }))?;
        blocks.section(self.places.iter().copied())?;
        blocks.flush()?;
        assert_eq!(
            blocks.flushed,
            self.layout.end() * BLOCK_BYTES as u64,
            "the layout"
        );
        Ok(())
    }

    fn first(&self) -> [u8; HEAD_BYTES] {
        let identity = &self.head.identity;
        let counts = [
            self.layout.buckets.items,
            self.layout.controls.items,
            self.layout.filter.items,
            self.layout.by_key.items,
        ];
        let numbers: Vec<u8> = (counts.into_iter().chain(self.layout.starts()))
            .flat_map(|number| u32::try_from(number).expect("small").to_le_bytes())
            .collect();
        item(&[
            &MAGIC,
            &FORMAT.to_le_bytes(),
            &identity.partition.to_le_bytes(),
            &[0; 2],
            &identity.log.0,
            &identity.segment.to_le_bytes(),
            &identity.base.to_le_bytes(),
            &identity.end.to_le_bytes(),
            &self.head.last_version.to_le_bytes(),
            &self.head.newest_time_ms.to_le_bytes(),
            &numbers,
        ])
    }
}

impl RunHead {
    /// Holds it to what opening demands.
    fn check(&self) {
        let RunIdentity { base, end, .. } = self.identity;
        assert!(base <= end && end - base <= 1 << 30, "at most a gibibyte");
        let ids_ascend = self.buckets.is_sorted_by(|a, b| a.bucket < b.bucket);
        assert!(ids_ascend, "buckets ascend");
        let offsets_ascend = self.controls.is_sorted_by(|a, b| a < b);
        assert!(offsets_ascend, "control records ascend");
        let inside = self.controls.iter().all(|at| (base..end).contains(at));
        assert!(inside, "control records of the segment");
    }
}

/// The order by hash. See [`Draft::by_hash`].
fn sorted_by_hash(
    hashes: &[u64],
    places: &[[u8; PLACE_BYTES]],
    identity: &RunIdentity,
) -> Vec<u64> {
    let number = |(index, &hash): (u64, &u64)| u64::from(top(hash)) << 32 | index;
    let mut by_hash: Vec<u64> = (0..).zip(hashes).map(number).collect();
    by_hash.sort_unstable();
    for same in by_hash.chunk_by_mut(|&a, &b| top(a) == top(b)) {
        // Stable: relocated ones stay in the order they came in.
        same.sort_by_key(|&sorted| {
            Place::decode(places[index(sorted)], identity).map(|place| place.rank())
        });
    }
    by_hash
}

fn index(sorted: u64) -> usize {
    in_memory(sorted & u64::from(u32::MAX))
}

fn count(items: usize) -> u32 {
    u32::try_from(items).expect("a gibibyte holds fewer records")
}

/// Writes blocks front to back.
struct Blocks<'a> {
    file: &'a dyn File,
    seed: Seed,
    /// Whole blocks, then what the one that is being filled has.
    buffer: Vec<u8>,
    /// Bytes written before those.
    flushed: u64,
}

impl<'a> Blocks<'a> {
    fn new(file: &'a dyn File, seed: Seed) -> Blocks<'a> {
        Blocks {
            file,
            seed,
            buffer: Vec::with_capacity(WRITE_BYTES),
            flushed: 0,
        }
    }

    fn section<const N: usize>(
        &mut self,
        mut items: impl ExactSizeIterator<Item = [u8; N]>,
    ) -> io::Result<()> {
        while items.len() > 0 {
            let start = self.buffer.len();
            for item in items.by_ref().take(CONTENT_BYTES / N) {
                self.buffer.extend_from_slice(&item);
            }
            self.end_block(start)?;
        }
        Ok(())
    }

    /// Fills the block that starts here up with zeros and sums it.
    fn end_block(&mut self, start: usize) -> io::Result<()> {
        self.buffer.resize(start + CONTENT_BYTES, 0);
        let number = (self.flushed + start as u64) / BLOCK_BYTES as u64;
        let sum = self.seed.sum(number, &self.buffer[start..]);
        self.buffer.extend_from_slice(&sum.to_le_bytes());
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(&self.buffer, self.flushed)?;
            self.flushed += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Bytes of a write: sixteen blocks.
const WRITE_BYTES: usize = 64 << 10;
