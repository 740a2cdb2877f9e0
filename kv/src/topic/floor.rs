//! The floor of a topic: retention removed every record below it, and the last one ended there.
//!
//! It is a key of the system bucket that holds the records, written in the batch that buries some
//! of them: so it is there exactly if they are gone, after a crash and in an index made anew as
//! well, and it stays when the topic has no records left. No topic's name begins with a control
//! character, so it stands before all records.
//!
//! ```text
//! key     0x00 · topic, UTF-8
//! value   floor u64 big-endian
//! ```

use crate::bucket::state::BucketState;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;

/// Keys of records begin here, those of floors lie below.
pub(crate) const RECORDS_START: &[u8] = &[1];

/// The key that holds the floor of a topic.
pub(crate) fn floor_key(topic: &str) -> Vec<u8> {
    [&[0], topic.as_bytes()].concat()
}

/// Whether a key of the system bucket holds a floor.
pub(super) fn is_floor_key(key: &[u8]) -> bool {
    key.first() == Some(&0)
}

/// The value that holds a floor.
pub(crate) fn encode_floor(floor: u64) -> [u8; 8] {
    floor.to_be_bytes()
}

/// The floor that a value holds, `None` if it is no floor's.
pub(crate) fn decode_floor(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// The floor of a topic now; 0 if it never lost a record.
pub(super) fn floor(keyspace: &Keyspace, topics: &BucketState, topic: &str) -> Result<u64> {
    let Some(entry) = keyspace.get(topics, &floor_key(topic))? else {
        return Ok(0);
    };
    decode_floor(&entry.value).ok_or_else(|| {
        let message = format!(
            "the floor of the topic {topic:?} is damaged; run `cairn verify` on the data directory"
        );
        Error::new(ErrorKind::Corrupt, message)
    })
}

/// Refuses to read a topic from an offset below its floor. 0 is no offset: it asks for the oldest
/// record there is.
pub(super) fn check_kept(topic: &str, from: u64, floor: u64) -> Result<()> {
    if from == 0 || from >= floor {
        return Ok(());
    }
    let message = format!(
        "records of the topic {topic:?} below offset {floor} are no longer kept, and {from} was \
         asked for; read from {floor}, or from 0 for the oldest that is kept"
    );
    Err(Error::new(ErrorKind::Compacted, message))
}
