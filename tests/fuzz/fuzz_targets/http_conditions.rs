#![no_main]

cairn_fuzz::fuzz!("http_conditions");
