//! Request targets of keys and buckets, as a client writes them.
//!
//! A URL library folds `.` and `..` segments, even percent-encoded ones, and some merge `//`. Such
//! a key goes as `/v1/key/{bucket}?key_b64=`; every other key keeps the readable form.

use super::encode_key_parameter;

/// The request target of a key: `/v1/kv/...` where every URL library keeps it as it is, else
/// `/v1/key/...?key_b64=`.
pub fn key_target(bucket: &str, key: &[u8]) -> String {
    let bucket = percent_encode(bucket.as_bytes());
    if survives_a_url_library(key) {
        format!("/v1/kv/{bucket}/{}", percent_encode(key))
    } else {
        format!("/v1/key/{bucket}?key_b64={}", encode_key_parameter(key))
    }
}

/// The request target of a resource of a bucket, such as `/v1/kv/users`.
pub fn bucket_target(resource: &str, bucket: &str) -> String {
    format!("/v1/{resource}/{}", percent_encode(bucket.as_bytes()))
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 and `/`.
pub fn percent_encode(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

fn survives_a_url_library(key: &[u8]) -> bool {
    key.split(|&byte| byte == b'/')
        .all(|segment| !matches!(segment, b"" | b"." | b".."))
}
