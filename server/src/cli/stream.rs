//! Bytes on their way between this process and a store: a few at a time, never a whole value.

use std::io::{self, Read};

use bytes::Bytes;
use futures_util::{Stream, stream};

/// What a blocking reader gives, read on a thread beside.
pub(super) fn of_reader(
    reader: impl Read + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(reader, |mut reader| async move {
        let read = move || -> io::Result<_> {
            let mut part = vec![0; PART_BYTES];
            let length = read_full(&mut reader, &mut part)?;
            part.truncate(length);
            Ok((length > 0).then(|| (Bytes::from(part), reader)))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|_| io::Error::other("the reading thread panicked"))?
    })
}

/// Fills a part as far as the reader has bytes, so that a slow pipe does not make many small ones.
fn read_full(reader: &mut impl Read, part: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < part.len() {
        match reader.read(&mut part[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Bytes read at once.
const PART_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_reader_is_given_in_full_parts_until_its_end() {
        for length in [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES] {
            let bytes: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(length).collect();
            let reader = io::Cursor::new(bytes.clone());
            let parts: Vec<Bytes> = of_reader(reader).try_collect().await.unwrap();
            assert_eq!(parts.len(), length.div_ceil(PART_BYTES));
            assert!(parts.concat() == bytes);
        }
    }
}
