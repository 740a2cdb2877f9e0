//! The decoders of the key-value layer as fuzz targets. What a target is stands in
//! [`cairn_log::fuzzing`].

pub use cairn_log::fuzzing::{Choices, Target, storm};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    crate::record::fuzzing::TARGET,
    crate::attributes::fuzzing::TARGET,
    crate::index::state::fuzzing::TARGET,
    crate::index::run::fuzzing::TARGET,
    crate::index::checked_file::fuzzing::TARGET,
    crate::store::fuzzing::TARGET,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_encodings_break_no_decoder_of_the_key_value_layer() {
        // A whole store is opened several times for each input: it has a test of its own.
        let is_decoder = |target: &&Target| target.name != crate::store::fuzzing::TARGET.name;
        for target in TARGETS.iter().filter(is_decoder) {
            storm(target, 10_000);
        }
    }
}
