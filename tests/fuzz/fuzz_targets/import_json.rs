#![no_main]

cairn_fuzz::fuzz!("import_json");
