//! What is read and checked when a run is opened. The format stands in [`super`].

use std::io;
use std::path::Path;

use cairn_log::LogId;
use cairn_log::vfs::File;

use super::block::{
    BLOCK_BYTES, CONTENT_BYTES, Counts, Fields, Layout, Section, Seed, in_memory, items,
};
use super::{BAD_SUM, BUCKET_BYTES, RunBucket, RunFault, RunIdentity, damaged};

pub(super) const MAGIC: [u8; 8] = *b"CAIRNRUN";
pub(super) const FORMAT: u32 = 1;

/// What the first block says beside the identity.
pub(super) struct First {
    pub(super) last_version: u64,
    pub(super) newest_time_ms: u64,
    pub(super) layout: Layout,
}

impl First {
    /// Of a first block, which must be that of a run of this identity.
    pub(super) fn decode(
        path: &Path,
        block: &[u8],
        identity: &RunIdentity,
    ) -> Result<First, RunFault> {
        let mut fields = Fields(block);
        let magic: [u8; 8] = fields.bytes();
        let format = fields.u32();
        let partition = fields.u16();
        fields.u16();
        let found = RunIdentity {
            log: LogId(fields.bytes()),
            partition,
            segment: fields.u64(),
            base: fields.u64(),
            end: fields.u64(),
        };
        if magic != MAGIC {
            return Err(damaged(path, 0, "not the beginning of a run"));
        }
        // By what it says it is: a sound run of something else is no damage.
        if !Seed::new(&found).verifies(0, block) {
            return Err(damaged(path, 0, BAD_SUM));
        }
        if format != FORMAT {
            let what = format!("{}: a run of format {format}", path.display());
            return Err(RunFault::Other(what));
        }
        if found != *identity {
            let what = format!("{}: the run of another: {found:?}", path.display());
            return Err(RunFault::Other(what));
        }
        let (last_version, newest_time_ms) = (fields.u64(), fields.u64());
        let layout = Layout::new(Counts {
            buckets: fields.u32(),
            controls: fields.u32(),
            filter_lines: fields.u32(),
            entries: fields.u32(),
        });
        if layout.starts() != [(); 7].map(|()| u64::from(fields.u32())) {
            return Err(damaged(path, 88, "sections that don't follow one another"));
        }
        Ok(First {
            last_version,
            newest_time_ms,
            layout,
        })
    }
}

/// The sections that are read when a run is opened.
pub(super) struct Loaded<'a> {
    layout: &'a Layout,
    /// From the second block on.
    blocks: Vec<u8>,
}

impl Loaded<'_> {
    pub(super) fn read<'a>(
        path: &Path,
        file: &dyn File,
        seed: Seed,
        layout: &'a Layout,
    ) -> Result<Loaded<'a>, RunFault> {
        // The file was found to be longer, so this is no number that damage made up.
        let blocks = layout.by_hash.first - layout.buckets.first;
        let mut bytes = vec![0; in_memory(blocks) * BLOCK_BYTES];
        let start = layout.buckets.byte_of(0);
        read(path, file, &mut bytes, start)?;
        for (number, block) in (layout.buckets.first..).zip(bytes.chunks(BLOCK_BYTES)) {
            if !seed.verifies(number, block) {
                return Err(damaged(path, number * BLOCK_BYTES as u64, BAD_SUM));
            }
        }
        Ok(Loaded {
            layout,
            blocks: bytes,
        })
    }

    pub(super) fn buckets(&self, path: &Path) -> Result<Vec<RunBucket>, RunFault> {
        let mut buckets: Vec<RunBucket> = Vec::new();
        let mut first = 0_u64;
        for (index, item) in (0..).zip(self.section::<BUCKET_BYTES>(path, &self.layout.buckets)?) {
            let at = self.layout.buckets.byte_of(index);
            let mut fields = Fields(&item);
            let bucket = fields.u32();
            fields.u32();
            let row = RunBucket {
                bucket,
                entries: fields.u64(),
                keys_delta: fields.i64(),
                bytes_delta: fields.i64(),
                written: fields.u64(),
                first,
            };
            if buckets.last().is_some_and(|before| before.bucket >= bucket) {
                return Err(damaged(path, at, "buckets out of order"));
            }
            first = first.saturating_add(row.entries);
            buckets.push(row);
        }
        if first != self.layout.by_key.items {
            let at = self.layout.buckets.byte_of(0);
            return Err(damaged(path, at, "buckets that don't add up to the run"));
        }
        Ok(buckets)
    }

    pub(super) fn controls(
        &self,
        path: &Path,
        identity: &RunIdentity,
    ) -> Result<Vec<u64>, RunFault> {
        let mut controls: Vec<u64> = Vec::new();
        for (index, item) in (0..).zip(self.section(path, &self.layout.controls)?) {
            let offset = u64::from(u32::from_le_bytes(item));
            let record = identity.base.saturating_add(offset);
            let in_order = controls.last().is_none_or(|&before| before < record);
            if record >= identity.end || !in_order {
                let at = self.layout.controls.byte_of(index);
                return Err(damaged(path, at, "a control record out of place"));
            }
            controls.push(record);
        }
        Ok(controls)
    }

    pub(super) fn fences(&self, path: &Path) -> Result<Vec<u32>, RunFault> {
        let items = self.section(path, &self.layout.fences)?;
        let fences: Vec<u32> = items.into_iter().map(u32::from_le_bytes).collect();
        if !fences.is_sorted() {
            let at = self.layout.fences.byte_of(0);
            return Err(damaged(path, at, "fences out of order"));
        }
        Ok(fences)
    }

    /// The items of a section, behind which there must be nothing: the count is right.
    pub(super) fn section<const N: usize>(
        &self,
        path: &Path,
        section: &Section,
    ) -> Result<Vec<[u8; N]>, RunFault> {
        let skipped = in_memory(section.first - self.layout.buckets.first);
        let blocks = self.blocks.chunks(BLOCK_BYTES).skip(skipped);
        let mut all = Vec::with_capacity(in_memory(section.items));
        for (nth, block) in (0..section.blocks()).zip(blocks) {
            let found = items::<N>(section, nth, block);
            let rest = block.get(found.as_flattened().len()..CONTENT_BYTES);
            if rest.is_none_or(|rest| rest.iter().any(|&byte| byte != 0)) {
                let at = section.byte_of(section.items);
                return Err(damaged(path, at, "more than was counted"));
            }
            all.extend_from_slice(found);
        }
        Ok(all)
    }
}

pub(super) fn read(
    path: &Path,
    file: &dyn File,
    buffer: &mut [u8],
    offset: u64,
) -> Result<(), RunFault> {
    match file.read_exact_at(buffer, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(damaged(path, offset, "the file ends early"))
        }
        done => Ok(done?),
    }
}
