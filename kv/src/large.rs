//! Large values: values in pieces, from the first byte that arrives to the last that is read.
//!
//! ```text
//! Upload::write   -> 1 MiB of pieces at a time, `Buffered`  -> the bucket's internal bucket
//! Upload::finish  -> one record, `Local`, with conditions   -> the bucket: key -> upload
//! ValueReader     -> key -> upload -> piece -> verified bytes
//! ```
//!
//! A large value is ordinary records, so recovery, runs, merges and reads of the index know
//! nothing of it. What is new stands in two places:
//!
//! * A *piece* is a put of at most 64 KiB in the internal bucket that belongs to the bucket: the
//!   same id with the top bit set. It has the log's checksum, which every read verifies, and it is
//!   found by its key like any other. Its key, integers big-endian:
//!
//!   ```text
//!   0 upload u64 | 8 number u32, from 0 | 12 the owner's key
//!   ```
//! * The *commit record* (kind 5 of `record`) is the key's version: attributes, deadline, size,
//!   upload, piece size, and BLAKE3 of the whole. Where a value ends follows from its size.
//!
//! # An upload's name
//!
//! Pieces of two uploads must never be taken for each other's, whatever crashes lie between. So an
//! upload begins with a record of its own (the piece 0 of upload 0, empty), and its name is that
//! record's version: an offset of the log, and the log gives no offset twice, not even one whose
//! bytes a power loss took.
//!
//! # What a crash leaves
//!
//! Everything of an upload goes to one partition, in order, the commit record last. Recovery keeps
//! a prefix of the log: where the commit record is, all pieces are. The sync that makes it durable
//! covers all that stands before it in its segment, and no frame enters a segment before the one
//! before it is synced; so pieces need no sync of their own, and a `Buffered` upload is treated as
//! `Local`. Without its commit record an upload is pieces that no key leads to: nothing has
//! changed. Conditions are judged when the commit record is sequenced; the last commit wins.
//!
//! # Which pieces are live
//!
//! A piece is live while its upload is written or read in this process ([`Uses`]), or while its
//! owner's newest version is the commit of its upload, or is not durable yet and so may not stay, or
//! while a snapshot shows that commit. Once dead it is dead for ever: an upload has one commit, versions
//! only grow, and a snapshot to come is newer than all of them. Pieces of a
//! removed bucket go with it. `Keyspace::is_piece_live` answers this to whoever collects garbage,
//! which takes dead pieces out of the index as well. A deadline that has passed
//! kills nothing before its tombstone is logged. A view, a scan or history keeps no pieces: a reader
//! opened from one may find that they are gone, and says `Compacted`.
//!
//! # Memory
//!
//! An upload holds the megabyte that is being filled, and one more on its way into the log. A
//! reader holds nothing: a piece is borrowed from the log's map.

mod live;
mod piece;
mod reader;
mod upload;
mod uses;

pub use reader::ValueReader;
pub use upload::Upload;
pub(crate) use uses::Uses;
