//! The laws, each by tests that bear its number.

mod log_crashes;
