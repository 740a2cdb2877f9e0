//! Cairn beside its peers: the same workloads on the same data in the same run, with the disk's
//! own floor measured around them. README.md says how to run it and how it counts.

mod compare;
mod data;
mod engines;
mod floor;
mod measure;
mod report;
mod workloads;

use compare::Options;
use engines::{ENGINES, Outcome};
use std::process::ExitCode;
use workloads::{capped, http, reopen};

const USAGE: &str = "\
usage: cairn-benches compare [options]

  --quick              everything in under three minutes instead of under an hour
  --json FILE          write the rows as a JSON list
  --engines A,B        only these engines; axum and redis are the servers of the http rows
  --workloads X,Y      only these workloads; `twitter` for all rows of that table
  --repeat N           run each workload N times and report medians
  --dir DIR            where the stores go, default target/compare of the workspace
  --twitter FILE       Twitter's workload table, default in $CAIRN_BENCH_DATA
  --row-ms N           length of the rows that run for a fixed time, default 10000, quick 600
  --calm SECONDS       wait so long for a calm machine before a row, and run a disturbed row again
  --keys N             rows of a loaded store with 100-byte values, default 1000000
  --preload            put-durable writes into a store loaded with that many rows
  --cache-mib N        block cache of each engine that has one, default 1024; Cairn's
                       hot index and index cache share it, by default 128 and 64 MiB";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cairn-benches: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Outcome<bool> {
    match arguments.split_first() {
        Some((command, rest)) if command == "compare" => compare::run(&parse(rest)?),
        Some((command, rest)) if command == reopen::CHILD => {
            reopen::load_and_wait(ENGINES, rest).map(|()| true)
        }
        Some((command, rest)) if command == capped::LOAD_CHILD => capped::load(rest).map(|()| true),
        Some((command, rest)) if command == capped::READ_CHILD => capped::read(rest).map(|()| true),
        Some((command, _)) if command == http::AXUM_CHILD => http::serve_axum().map(|()| true),
        Some((command, _)) if command == "--help" || command == "help" => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => Err(USAGE.into()),
    }
}

fn parse(arguments: &[String]) -> Outcome<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        if name == "--quick" {
            options.quick = true;
            continue;
        }
        if name == "--preload" {
            options.preload = true;
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value, or is not known\n{USAGE}"))?;
        match name.as_str() {
            "--json" => options.json = Some(value.into()),
            "--engines" => options.engines = list(value),
            "--workloads" => options.workloads = list(value),
            "--repeat" => options.repeat = Some(positive(name, value)?),
            "--dir" => options.directory = Some(value.into()),
            "--twitter" => options.twitter = Some(value.into()),
            "--keys" => options.keys = Some(positive(name, value)?.into()),
            "--row-ms" => options.row_ms = Some(positive(name, value)?),
            "--calm" => options.calm_s = Some(positive(name, value)?),
            "--cache-mib" => options.cache_mib = Some(positive(name, value)?.into()),
            _ => return Err(format!("{name} is not known\n{USAGE}").into()),
        }
    }
    Ok(options)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().into()).collect()
}

fn positive(name: &str, text: &str) -> Outcome<u32> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name} needs a whole number above 0, not {text}").into()),
    }
}
