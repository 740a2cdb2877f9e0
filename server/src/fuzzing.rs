//! The decoders of requests and of imported files as fuzz targets. What a target is stands in
//! `cairn_log::fuzzing`.

pub use cairn_sdk::fuzzing::{Choices, Target, storm};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    crate::http::fuzzing::BATCH,
    crate::http::fuzzing::LIST,
    crate::http::fuzzing::KEY,
    crate::http::fuzzing::CONDITIONS,
    crate::http::fuzzing::BYTE_RANGE,
    crate::cli::import::fuzzing::CSV,
    crate::cli::import::fuzzing::JSON,
    crate::cli::import::fuzzing::NDJSON,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_requests_and_files_break_no_decoder_of_the_server() {
        for target in TARGETS {
            storm(target, 10_000);
        }
    }
}
