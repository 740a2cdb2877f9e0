//! The decoders of Cairn under a fuzzer that is guided by coverage.
//!
//! Each target is defined beside its decoder (`fuzzing.rs` there) and listed by its crate; here is
//! one binary for each, in `fuzz_targets`, and the corpus that a run starts from, made of valid
//! encodings by `seed`. `README.md` says how to run them.

use cairn_log::fuzzing::Target;

/// Every target of the project.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    cairn_log::fuzzing::TARGETS
        .iter()
        .chain(cairn_kv::fuzzing::TARGETS)
        .chain(cairn_sdk::fuzzing::TARGETS)
        .chain(cairn_server::fuzzing::TARGETS)
}

/// The target of this name.
///
/// # Panics
///
/// If there is none.
pub fn target(name: &str) -> &'static Target {
    targets()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("there is no target {name}"))
}

/// Defines the fuzz target of a name.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        static TARGET: std::sync::LazyLock<&cairn_log::fuzzing::Target> =
            std::sync::LazyLock::new(|| $crate::target($name));
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.check)(bytes));
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_target_has_a_binary_and_every_binary_a_target() {
        let names: Vec<&str> = targets().map(|target| target.name).collect();
        let targets: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(targets.len(), names.len(), "a name stands twice");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
        let binaries: BTreeSet<String> = std::fs::read_dir(directory)
            .unwrap()
            .filter_map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()?
                    .to_str()
                    .map(str::to_owned)
            })
            .collect();
        assert_eq!(binaries, targets);
    }
}
