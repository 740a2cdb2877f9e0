#![no_main]

cairn_fuzz::fuzz!("log_frames");
