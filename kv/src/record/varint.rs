//! LEB128: seven bits a byte, lowest first, the high bit set on all but the last. Each number has
//! exactly one encoding: longer ones are refused.

/// Appends `number`.
pub(crate) fn push(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    buffer.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front of `rest`, or leaves `rest` alone and returns `None`.
pub(crate) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (index, &byte) in rest.iter().enumerate().take(BYTES_MAX) {
        let bits = u64::from(byte & 0x7f);
        if index == BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * index);
        if byte < 0x80 {
            if byte == 0 && index > 0 {
                return None;
            }
            *rest = &rest[index + 1..];
            return Some(number);
        }
    }
    None
}

const BYTES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_encoding_that_decodes_to_it() {
        let mut numbers = vec![0, 1, u64::MAX];
        for shift in 0..64 {
            numbers.extend([1 << shift, (1 << shift) - 1, (1_u64 << shift) | 1]);
        }
        for number in numbers {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            assert!(bytes.len() <= BYTES_MAX);
            let mut rest = &bytes[..];
            assert_eq!(take(&mut rest), Some(number));
            assert!(rest.is_empty());
            for cut in 0..bytes.len() {
                assert_eq!(
                    take(&mut &bytes[..cut]),
                    None,
                    "{number} cut to {cut} bytes"
                );
            }
        }
    }

    #[test]
    fn longer_encodings_and_numbers_over_64_bits_are_refused() {
        for bytes in [&[0x80, 0x00][..], &[0xff, 0x00], &[0xff; 11], &[0x80; 10]] {
            assert_eq!(take(&mut &bytes[..]), None);
        }
        let mut over = [0xff; 10];
        over[9] = 0x02;
        assert_eq!(take(&mut &over[..]), None);
        over[9] = 0x01;
        assert_eq!(take(&mut &over[..]), Some(u64::MAX));
    }
}
