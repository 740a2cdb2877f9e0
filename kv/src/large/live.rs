//! Which pieces are live, for whoever collects garbage. The rule stands in [`super`].

use super::piece::PieceKey;
use crate::error::{Error, ErrorKind, Result};
use crate::index::versions::{Kind, Location};
use crate::keyspace::{Keyspace, Pin};
use crate::record::BucketId;

impl Keyspace {
    /// Whether a piece is still needed; `bucket` is an internal one and `key` a key of it. The
    /// answer "no" is final.
    ///
    /// Cost: one look-up of the owner's key; of a large value also its commit record. If that is
    /// superseded and the bucket has snapshots, the same for each version of the owner that they
    /// show, and as many more as the logarithm of their number.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the key is no piece's, or the owner's record does not verify; `Io` also if an
    /// index file is damaged: whoever asks may be the one who has to make it anew.
    pub(crate) fn is_piece_live(&self, bucket: BucketId, key: &[u8]) -> Result<bool> {
        let Some((upload, owner)) = PieceKey::parts(key) else {
            let key = key.escape_ascii();
            let message = format!("the key \"{key}\" of bucket {} is no piece's", bucket.0);
            return Err(Error::new(ErrorKind::Corrupt, message));
        };
        // Asked before the owner: an upload is held until its commit is sequenced. And after: a
        // reader holds what it found, then makes sure that nothing newer is durable.
        let uses = self.uses();
        let live = uses.is_held(upload)
            || !self.is_superseded(bucket.owner(), owner, upload)?
            // After the newest version: a snapshot that shows what that supersedes is known by now.
            || self.is_in_snapshot(bucket.owner(), owner, upload)?
            || uses.is_held(upload);
        Ok(live)
    }

    /// Whether a snapshot shows the commit of `upload`.
    fn is_in_snapshot(&self, bucket: BucketId, owner: &[u8], upload: u64) -> Result<bool> {
        // The commit is above the name of its upload.
        let moments = self.pins().above(bucket, upload);
        let shown = |moment: u64| self.newest_at(bucket, owner, moment);
        let (Some(&first), Some(&last)) = (moments.first(), moments.last()) else {
            return Ok(false);
        };
        let mut ranges = vec![(0, shown(first)?, moments.len() - 1, shown(last)?)];
        while let Some((first, at_first, last, at_last)) = ranges.pop() {
            if self.is_commit(bucket, owner, &at_first, upload)?
                || self.is_commit(bucket, owner, &at_last, upload)?
            {
                return Ok(true);
            }
            // Where the ends show one version, all between them do.
            if at_first.version != at_last.version && last - first > 1 {
                let middle = first.midpoint(last);
                let at_middle = shown(moments[middle])?;
                ranges.push((first, at_first, middle, at_middle));
                ranges.push((middle, at_middle, last, at_last));
            }
        }
        Ok(false)
    }

    /// Whether the version of a key that stands at `location` is the commit of `upload`.
    fn is_commit(
        &self,
        bucket: BucketId,
        owner: &[u8],
        location: &Location,
        upload: u64,
    ) -> Result<bool> {
        if location.version <= upload || location.kind != Kind::Large {
            return Ok(false);
        }
        let (_, large) = self.read_large(bucket, owner, location)?;
        Ok(large.upload == upload)
    }

    /// Whether a version of a key that is newer than this one is durable. Once so, it stays so.
    pub(super) fn is_outlived(&self, bucket: BucketId, key: &[u8], version: u64) -> Result<bool> {
        let (pin, _) = self.pin();
        let watermark = self.log().durable().get();
        let durable = self.visible_at(bucket, key, &Pin { watermark, ..pin })?;
        Ok(durable.version > version)
    }

    /// Whether the newest version of the owner's key is durable and not the commit of `upload`.
    fn is_superseded(&self, bucket: BucketId, owner: &[u8], upload: u64) -> Result<bool> {
        let newest = self.newest_as_it_is(bucket, owner)?;
        if !self.is_durable(newest.version) {
            return Ok(false);
        }
        if newest.kind != Kind::Large {
            return Ok(true);
        }
        let (_, large) = self.read_large(bucket, owner, &newest)?;
        Ok(large.upload != upload)
    }

    /// Takes dead pieces out of the index as garbage collection does, but as a write.
    #[cfg(test)]
    pub(crate) fn forget_pieces(
        self: &std::sync::Arc<Self>,
        bucket: &std::sync::Arc<crate::bucket::state::BucketState>,
        keys: &[&[u8]],
    ) -> Result<crate::commit::Commit> {
        use crate::batch::{EffectRef, OperationRef};
        let operations = keys.iter().map(|&key| OperationRef {
            key,
            effect: EffectRef::Delete,
        });
        let no_conditions = std::iter::empty::<crate::keyspace::Condition<'_>>();
        let durability = crate::version::Durability::Buffered;
        let id = bucket.id.pieces();
        self.submit_to(id, bucket, operations, no_conditions, durability)
    }
}
