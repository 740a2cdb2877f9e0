//! The key of a piece. Its layout stands in [`super`].

use smallvec::SmallVec;

use crate::record::PIECE_KEY_BYTES;

/// The key of one piece of one upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PieceKey(SmallVec<[u8; 64]>);

impl PieceKey {
    pub(super) fn new(upload: u64, number: u32, owner: &[u8]) -> PieceKey {
        let mut bytes = SmallVec::with_capacity(PIECE_KEY_BYTES + owner.len());
        bytes.extend_from_slice(&upload.to_be_bytes());
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(owner);
        PieceKey(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The upload and the owner's key that a piece's key names; `None` if it is none.
    pub(super) fn parts(key: &[u8]) -> Option<(u64, &[u8])> {
        let (head, owner) = key.split_first_chunk::<PIECE_KEY_BYTES>()?;
        let (upload, _) = head.split_first_chunk()?;
        (!owner.is_empty()).then_some((u64::from_be_bytes(*upload), owner))
    }
}

/// Below the keys of the pieces of all uploads, and above those of the records that named them.
pub(crate) fn first_key() -> [u8; 8] {
    1_u64.to_be_bytes()
}

/// Above the keys of all pieces of the upload that a piece's key names, and of no other; `None` if
/// it is the key of none.
pub(crate) fn behind_upload(key: &[u8]) -> Option<[u8; 8]> {
    let (upload, _) = PieceKey::parts(key)?;
    Some(upload.checked_add(1)?.to_be_bytes())
}
