use super::*;
use crate::large::piece::PieceKey;
use crate::limits::KEY_BYTES_MAX;

#[test]
fn a_batch_of_usual_size_is_a_mebibyte_of_pieces_whatever_the_key() {
    for key_bytes in [1, KEY_BYTES_MAX] {
        let layout = Layout::for_log(16 << 20, key_bytes);
        assert_eq!(
            (layout.piece_bytes, layout.batch_bytes),
            (64 << 10, 1 << 20)
        );
    }
}

#[test]
fn a_batch_fits_its_segment_with_the_longest_keys() {
    for batch_bytes_max in [12 << 10, 60 << 10, 200 << 10, 1 << 20, 4 << 20] {
        for key_bytes in [1, 100, KEY_BYTES_MAX] {
            let layout = Layout::for_log(batch_bytes_max, key_bytes);
            let pieces = layout.batch_bytes / layout.piece_bytes;
            let beside = PIECE_KEY_BYTES + key_bytes + PIECE_OVERHEAD_BYTES_MAX;
            let bytes = layout.batch_bytes + pieces * beside;
            assert!(bytes <= batch_bytes_max, "{layout:?}, keys of {key_bytes}");
        }
    }
}

#[test]
fn the_key_of_a_piece_leads_back_to_its_owner() {
    let key = PieceKey::new(0x0102, 3, b"owner");
    assert_eq!(key.as_bytes(), b"\0\0\0\0\0\0\x01\x02\0\0\0\x03owner");
    assert_eq!(
        PieceKey::parts(key.as_bytes()),
        Some((0x0102, &b"owner"[..]))
    );
    assert_eq!(PieceKey::parts(&key.as_bytes()[..12]), None);
}
