//! The laws, each by tests that bear its number.

mod log_corruption;
mod log_crashes;
mod log_sync_audit;
mod store_corruption;
mod store_poison;
