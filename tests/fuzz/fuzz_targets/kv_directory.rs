#![no_main]

cairn_fuzz::fuzz!("kv_directory");
