//! Buckets of keys and values over the Cairn log.
