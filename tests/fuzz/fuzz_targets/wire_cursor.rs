#![no_main]

cairn_fuzz::fuzz!("wire_cursor");
