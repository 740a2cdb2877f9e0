//! The copy of what a recovery keeps above its cut: written under a temporary name, and given its
//! name once a superblock slot names it.

use std::path::PathBuf;

use super::found::FoundFile;
use super::{Place, sync_directory};
use crate::error::{Error, Result};
use crate::identity::{Offset, SegmentNumber};
use crate::segment::sectors::{Footer, Header};
use crate::segment::{Listing, PAGE_BYTES, copy_name, file_name};
use crate::superblock::Superblock;
use crate::vfs::{SECTOR_BYTES, SyncSite};

/// The copy of what was kept above the cut.
pub(crate) const COPY: SyncSite = SyncSite("recovery copy");
/// The temporary name of that copy.
pub(crate) const COPY_NAME: SyncSite = SyncSite("recovery copy name");
/// The final name of the copy.
pub(crate) const ADOPT: SyncSite = SyncSite("recovery copy adopted");

/// Copies the log from `start` to `end` out of the newest file into a synced file of its own.
pub(super) fn copy_tail(
    place: &Place<'_>,
    newest: &FoundFile,
    start: Offset,
    end: Offset,
) -> Result<FoundFile> {
    let number = newest.header.number.next();
    let bytes = end.since(start);
    let header = Header {
        number,
        base: start,
        previous_end: start,
        file_bytes: PAGE_BYTES + bytes,
        ..newest.header
    };
    let path = place.directory.join(copy_name(number));
    let io = |error| Error::io("copy the log's tail to", &path, error);
    let file = place.vfs.create(&path).map_err(io)?;
    let mut buffer = vec![0; COPY_CHUNK_BYTES];
    let mut done = 0;
    while done < bytes {
        let chunk = usize::try_from(bytes - done)
            .unwrap_or(COPY_CHUNK_BYTES)
            .min(COPY_CHUNK_BYTES);
        newest
            .file
            .read_exact_at(&mut buffer[..chunk], newest.position(start) + done)
            .map_err(|error| Error::io("read", &newest.path, error))?;
        file.write_at(&buffer[..chunk], PAGE_BYTES + done)
            .map_err(io)?;
        done += chunk as u64;
    }
    let footer = Footer { end };
    file.write_at(&header.encode(), 0).map_err(io)?;
    file.write_at(&footer.encode(&header), SECTOR_BYTES as u64)
        .map_err(io)?;
    file.sync_data(COPY).map_err(io)?;
    sync_directory(place, COPY_NAME)?;
    Ok(FoundFile {
        path,
        file,
        header,
        footer: Some(footer),
        footer_is_damaged: false,
    })
}

/// Unlinks what never became part of the log, and gives a published copy its name.
///
/// A copy that is the newest file is named anew even if it has its name: the directory sync that
/// followed may have failed, and only a name that is given after it is covered by the next.
pub(super) fn tidy(place: &Place<'_>, block: &Superblock) -> Result<()> {
    let listing = Listing::read(place.vfs, place.directory)?;
    let remove = |name: &str| {
        let path = place.directory.join(name);
        place
            .vfs
            .remove(&path)
            .map_err(|error| Error::io("remove", &path, error))
    };
    listing.temporary.iter().try_for_each(|name| remove(name))?;
    let published = block.cut.and_then(|cut| cut.copy);
    if !block.closed
        && let Some(number) = published
        && listing.segments.last() == Some(&number)
    {
        let (named, unnamed) = (file_name(number), copy_name(number));
        let (named, unnamed) = (place.directory.join(named), place.directory.join(unnamed));
        place
            .vfs
            .rename(&named, &unnamed)
            .map_err(|error| Error::io("rename", &named, error))?;
        adopt(place, number)?;
    }
    for &number in &listing.copies {
        if Some(number) == published && !listing.segments.contains(&number) {
            adopt(place, number)?;
        } else {
            remove(&copy_name(number))?;
        }
    }
    Ok(())
}

/// Gives a copy its name, durably.
pub(super) fn adopt(place: &Place<'_>, number: SegmentNumber) -> Result<PathBuf> {
    let from = place.directory.join(copy_name(number));
    let to = place.directory.join(file_name(number));
    place
        .vfs
        .rename(&from, &to)
        .map_err(|error| Error::io("rename", &from, error))?;
    // Durable before any later recovery can publish a cut that no longer names this copy.
    sync_directory(place, ADOPT)?;
    Ok(to)
}

const COPY_CHUNK_BYTES: usize = 1 << 20;
