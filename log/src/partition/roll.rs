//! Making room and sealing: arming the superblock, and going from one segment to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::MutexGuard;

use super::tail::wake;
use super::{Active, Partition, Tail, closed};
use crate::error::{Error, Result};
use crate::frame::BATCH_BYTES_MAX;
use crate::identity::{Offset, SegmentNumber, Term};
use crate::segment::prepare::Spare;
use crate::segment::sectors::{FOOTER_POSITION, Footer, Header};
use crate::segment::spares::{Claim, Site, Spares};
use crate::segment::unused::Unused;
use crate::segment::{PAGE_BYTES, Segment, file_name};
use crate::vfs::SyncSite;

/// The header of a segment that is about to get its name.
pub(crate) const HEADER: SyncSite = SyncSite("segment header");
/// The name of a segment that is about to get frames.
pub(crate) const SEGMENT_NAME: SyncSite = SyncSite("segment name");

impl Partition {
    /// Blocks until a batch of `bytes` fits behind what is sequenced, going on to a new segment if
    /// it must. Call it with no lock held: it may write, sync and wait for others to.
    ///
    /// # Errors
    ///
    /// [`Error::DiskFull`] if the next segment, and a reserve behind it, cannot be prepared
    /// (nothing is harmed, later calls try again); [`Error::Invalid`] if no segment is large
    /// enough; [`Error::Poisoned`].
    pub fn make_room(&self, bytes: usize) -> Result<()> {
        self.make_room_claiming(Claim::Write, bytes)
    }

    /// [`Partition::make_room`] for [`Partition::try_append_claiming`].
    ///
    /// # Errors
    ///
    /// Those of [`Partition::make_room`]; [`Error::DiskFull`] if what the claim may take of the
    /// reserve is used up.
    pub fn make_room_claiming(&self, claim: Claim, bytes: usize) -> Result<()> {
        let bytes_max = self.batch_bytes_max();
        if bytes > bytes_max {
            let what = format!("a batch of {bytes} bytes; the most is {bytes_max}");
            return Err(Error::Invalid { what });
        }
        self.roll_until(
            claim,
            bytes,
            |tail| tail.has_room(claim, bytes),
            |tail| tail.active_has_room(claim, bytes),
        )
    }

    /// Goes on to a new segment although the one being written has room, so that all that is
    /// sequenced now stands in sealed segments. Does nothing if the segment being written is empty
    /// or there is none.
    ///
    /// Cost: that of a new segment (see [`Partition::make_room`]); appends wait meanwhile. Call it
    /// with no lock held.
    ///
    /// # Errors
    ///
    /// [`Error::DiskFull`] if the next segment cannot be prepared: then the one being written is
    /// as it was, and takes more batches; [`Error::Poisoned`].
    pub fn seal(&self) -> Result<()> {
        let number = |tail: &Tail| Some(tail.active.as_ref()?.segment.number());
        let first = number(&self.tail.lock());
        // Whoever begins another segment, this call or not, has sealed the one it was about.
        let is_sealed = |tail: &Tail| number(tail) != first || !tail.active_has_frames();
        self.roll_until(Claim::Write, 0, is_sealed, is_sealed)
    }

    /// Rolls until `is_done`, one thread at a time. A roll begins a new segment unless, with
    /// nothing pending, the active one `suffices`.
    fn roll_until(
        &self,
        claim: Claim,
        bytes: usize,
        is_done: impl Fn(&Tail) -> bool,
        suffices: impl Fn(&Tail) -> bool,
    ) -> Result<()> {
        loop {
            let mut tail = self.tail.lock();
            self.check_poison()?;
            if is_done(&tail) {
                return Ok(());
            }
            if tail.stopping {
                return Err(closed());
            }
            if tail.rolling {
                self.changed.wait(&mut tail);
                continue;
            }
            tail.rolling = true;
            drop(tail);
            let outcome = self.roll(claim, bytes, &suffices);
            self.tail.lock().rolling = false;
            self.changed.notify_all();
            outcome?;
        }
    }

    /// The size of the file of an ordinary segment of this partition.
    pub fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// The largest batch that an empty segment of this partition takes.
    pub fn batch_bytes_max(&self) -> usize {
        let room = self.options.segment_bytes - PAGE_BYTES;
        usize::try_from(room)
            .unwrap_or(usize::MAX)
            .min(BATCH_BYTES_MAX)
    }

    /// Gives back what the cut at open left, or prepares segments ahead of use: the next, once a
    /// quarter of the active one is filled, and the reserve, once little space is free. Says whether
    /// it did anything. A log that is only read pays nothing; one that was written, a look at the
    /// free space.
    ///
    /// # Errors
    ///
    /// [`Error::DiskFull`] and other failures to prepare; they harm nothing.
    pub fn step_prepare(&self) -> Result<bool> {
        if self.give_back_unused() {
            return Ok(true);
        }
        let mut spares = self.spares();
        let (is_open, is_filling) = {
            let tail = self.tail.lock();
            (tail.armed && !tail.stopping, tail.is_filling())
        };
        if !is_open || self.is_poisoned() {
            return Ok(false);
        }
        let taken = usize::from(is_filling || self.is_disk_full());
        let provided = self.noting_full(|| spares.provide(&self.site(), taken));
        if provided.is_ok() || spares.has_reserve() {
            self.tail.lock().scarce = false;
        }
        provided
    }

    /// Whether the last attempt to prepare a segment found no room for it: ordinary writes are
    /// refused, now or when the active segment is full, until space is given back.
    pub fn is_disk_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Gives back the room that a cut at open left; says whether there was any. Nothing is prepared
    /// before, since on a full disk it may be all there is. Who comes meanwhile waits.
    pub(super) fn give_back_unused(&self) -> bool {
        let mut unused = self.unused.lock();
        unused.take().map(Unused::give_back).is_some()
    }

    fn spares(&self) -> MutexGuard<'_, Spares> {
        let mut spares = self.spares.lock();
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        spares.learn(load(&self.counters.writes), load(&self.counters.bytes));
        spares
    }

    fn site(&self) -> Site<'_> {
        Site {
            vfs: self.vfs.as_ref(),
            directory: &self.directory,
            segment_bytes: self.options.segment_bytes,
        }
    }

    /// Prepares something, and notes whether the disk was full.
    fn noting_full<T>(&self, prepare: impl FnOnce() -> Result<T>) -> Result<T> {
        let outcome = prepare();
        let is_full = matches!(outcome, Err(Error::DiskFull { .. }));
        self.full.store(is_full, Ordering::Relaxed);
        outcome
    }

    /// Arms the superblock and, unless the active segment suffices, begins the next one. The
    /// caller holds the `rolling` flag, so nothing new is sequenced.
    fn roll(&self, claim: Claim, bytes: usize, suffices: impl Fn(&Tail) -> bool) -> Result<()> {
        self.drain()?;
        self.arm()?;
        self.give_back_unused();
        self.restore_reserve(claim)?;
        if suffices(&self.tail.lock()) {
            return Ok(());
        }
        // The spare comes first: a full disk must leave the active segment as it is.
        let (spare, scarce) = self.take_spare(claim, bytes)?;
        let (active, end) = {
            let tail = self.tail.lock();
            (tail.active.clone(), tail.end)
        };
        self.replace_segment(active, end, spare, scarce)
            .map_err(|error| self.poison_with(&error))
    }

    /// Prepares the reserve again if the active segment was taken from it. A claim to the reserve
    /// goes on without.
    pub(super) fn restore_reserve(&self, claim: Claim) -> Result<()> {
        if !self.tail.lock().scarce {
            return Ok(());
        }
        let provided = {
            let mut spares = self.spares();
            self.noting_full(|| spares.provide(&self.site(), 0))
        };
        match provided {
            Ok(_) => self.tail.lock().scarce = false,
            Err(Error::DiskFull { .. }) if claim != Claim::Write => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next segment, and whether it is taken from the reserve.
    fn take_spare(&self, claim: Claim, bytes: usize) -> Result<(Spare, bool)> {
        let is_first = self.segments.read().is_empty();
        let mut spares = self.spares();
        let provided = self.noting_full(|| {
            if spares.provide_short(&self.site(), bytes)? {
                Ok(())
            } else if is_first {
                spares.provide_first(&self.site())
            } else {
                spares.provide(&self.site(), 1).map(|_| ())
            }
        });
        let is_scarce = match provided {
            Ok(()) => false,
            Err(Error::DiskFull { .. }) if claim != Claim::Write => {
                // Deletes must not seal what they have had their part of.
                if claim == Claim::Collect || self.active.read().is_none() {
                    spares.provide_last(&self.site(), bytes)?;
                }
                true
            }
            Err(error) => return Err(error),
        };
        let spare = spares.take(bytes).ok_or_else(|| Error::DiskFull {
            path: self.directory.clone(),
        })?;
        Ok((spare, is_scarce))
    }

    /// Waits until nothing is pending and everything sequenced is durable.
    pub(super) fn drain(&self) -> Result<()> {
        loop {
            let mut tail = self.tail.lock();
            self.check_poison()?;
            if tail.leading {
                self.changed.wait(&mut tail);
                continue;
            }
            if tail.open.is_none() {
                if self.durable() == tail.end {
                    return Ok(());
                }
                tail.open_group().needs_sync = true;
            }
            self.lead(tail);
        }
    }

    fn replace_segment(
        &self,
        active: Option<Arc<Active>>,
        end: Offset,
        spare: Spare,
        scarce: bool,
    ) -> Result<()> {
        if let Some(active) = &active {
            // Not synced: until it reaches the disk, the next header's `previous_end`, which is
            // synced before any frame follows, says and vouches for the same.
            let footer = Footer { end }.encode(active.segment.header());
            let path = active.segment.path();
            active
                .file
                .write_at(&footer, FOOTER_POSITION)
                .map_err(|error| Error::io("write", path, error))?;
        }
        let begun = Arc::new(self.begin_segment(end, spare)?);
        let base = begun.segment.base();
        {
            // Readers find the segment before anything in it is visible, and never see the list
            // and the active segment disagree.
            let mut segments = self.segments.write();
            segments.push(Arc::clone(&begun.segment));
            *self.active.write() = Some(Arc::clone(&begun));
        }
        let mut tail = self.tail.lock();
        tail.active = Some(begun);
        tail.scarce = scarce;
        tail.end = base;
        for watermark in [&self.end, &self.written, &self.durable, &self.visible] {
            watermark.store(base.get(), Ordering::Release);
        }
        let watchers = tail.take_watchers(base);
        drop(tail);
        wake(watchers);
        if let Some(sealed) = active {
            sealed.unused().give_back();
        }
        Ok(())
    }

    /// Turns a spare into the segment behind `end`: header, sync, name, directory sync.
    fn begin_segment(&self, end: Offset, spare: Spare) -> Result<Active> {
        let superblock = self.superblock.lock().1;
        let number = self.next_number();
        let header = Header {
            log: self.log,
            partition: self.id,
            number,
            incarnation: superblock.incarnation,
            term: Term::default(),
            base: end.max(superblock.resume),
            previous_end: end,
            file_bytes: spare.file_bytes,
        };
        if header.base.plus(spare.file_bytes) >= Offset::MAX {
            return Err(Error::Invalid {
                what: "the log has reached 2^53 bytes".into(),
            });
        }
        let path = self.directory.join(file_name(number));
        spare
            .file
            .write_at(&header.encode(), 0)
            .map_err(|error| Error::io("write", &spare.path, error))?;
        spare
            .file
            .sync_data(HEADER)
            .map_err(|error| Error::io("sync", &spare.path, error))?;
        self.vfs
            .rename(&spare.path, &path)
            .map_err(|error| Error::io("rename", &spare.path, error))?;
        self.vfs
            .sync_directory(&self.directory, SEGMENT_NAME)
            .map_err(|error| Error::io("sync", &self.directory, error))?;
        let segment = Segment::new(&path, header, spare.file.as_ref(), header.base)?;
        Ok(Active {
            segment: Arc::new(segment),
            file: spare.file,
        })
    }

    fn next_number(&self) -> SegmentNumber {
        self.segments
            .read()
            .last()
            .map_or(SegmentNumber(1), |segment| segment.number().next())
    }
}

impl Active {
    /// What a sealed segment never used of its file.
    fn unused(&self) -> Unused {
        let used = self.segment.position(self.segment.published());
        Unused::behind(Arc::clone(&self.file), used)
    }
}

impl Tail {
    fn active_has_frames(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| self.end > active.segment.base())
    }

    fn is_filling(&self) -> bool {
        let Some(active) = &self.active else {
            return false;
        };
        let segment = &active.segment;
        let used = self.end.since(segment.base());
        4 * used >= segment.limit().since(segment.base())
    }

    /// Whether a batch fits behind what is sequenced, in the part of the segment that the claim
    /// may take.
    pub(super) fn active_has_room(&self, claim: Claim, bytes: usize) -> bool {
        let Some(active) = &self.active else {
            return false;
        };
        let segment = &active.segment;
        let room = segment.limit().since(segment.base());
        let may_take = match claim {
            Claim::Collect => room,
            _ if !self.scarce => room,
            Claim::Delete => room / DELETES_PART,
            Claim::Write => 0,
        };
        self.end.plus(bytes as u64) <= segment.base().plus(may_take)
    }
}

/// The part of a segment taken from the reserve that deletes may fill.
const DELETES_PART: u64 = 4;
