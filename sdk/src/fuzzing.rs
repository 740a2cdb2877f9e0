//! The decoders of the wire as fuzz targets. What a target is stands in `cairn_log::fuzzing`.

pub use cairn_kv::fuzzing::{Choices, Target, storm};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    crate::wire::batch::fuzzing::TARGET,
    crate::scan::cursor::fuzzing::TARGET,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_texts_break_no_decoder_of_the_wire() {
        for target in TARGETS {
            storm(target, 10_000);
        }
    }
}
