//! Writes the corpus that the fuzzer starts from: `seed DIRECTORY` makes `DIRECTORY/TARGET/seed-N`
//! for every target. What a fuzzer has added beside them stays.
//!
//! An example and not a binary: the fuzzer would instrument that, and it has no fuzzer in it to link.

use std::fs;
use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: seed DIRECTORY"));
    };
    for target in cairn_fuzz::targets() {
        let corpus = directory.join(target.name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
        println!("{}", target.name);
    }
    Ok(())
}
