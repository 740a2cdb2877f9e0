//! Tests that span the packages live in `tests/tests`; this library holds what they share.
