//! `compare`: which workloads run on which engines, at which scale, and where the results go.
//!
//! Families of workloads run one after another. Inside a family the engines take turns, all on
//! the same data in the same directory; with `--repeat N` the whole family runs N times and each
//! figure is the median of its passes. A table is printed as soon as its workload is done, and
//! the JSON file is written anew after each family, so an interrupted run keeps what it measured.

mod scale;

use crate::engines::{ENGINES, Outcome, Registration};
use crate::floor::{Floor, PAGE_BYTES};
use crate::measure;
use crate::report::{self, Check, Row, figure};
use crate::workloads::{capped, durable, http, loaded, overwrite, reopen, twitter, unsynced};
use scale::Scale;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Selects all rows of the Twitter table.
const TWITTER: &str = "twitter";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    /// Empty for all.
    pub(crate) engines: Vec<String>,
    /// Empty for all.
    pub(crate) workloads: Vec<String>,
    pub(crate) repeat: Option<u32>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) twitter: Option<PathBuf>,
    pub(crate) keys: Option<u64>,
    /// Length of the rows that run for a fixed time.
    pub(crate) row_ms: Option<u32>,
    pub(crate) cache_mib: Option<u64>,
    pub(crate) preload: bool,
    /// Seconds to wait for a calm machine before a row; none: don't.
    pub(crate) calm_s: Option<u32>,
}

/// What a workload needs to know.
pub(crate) struct Context {
    pub(crate) directory: PathBuf,
    pub(crate) engines: Vec<Registration>,
    /// Names of engines and servers asked for; empty for all.
    named: Vec<String>,
    /// Names asked for; empty for all.
    pub(crate) workloads: Vec<String>,
    pub(crate) scale: Scale,
    pub(crate) cache_bytes: u64,
    pub(crate) cache_is_given: bool,
    /// Durable rows write into a store that is loaded first.
    pub(crate) preload: bool,
    /// How long to wait for a calm machine before a row; zero: don't.
    pub(crate) calm: Duration,
}

/// The folder that a run makes, empties and removes: nothing else in `--dir` is touched.
const SCRATCH: &str = "cairn-benches";
const KEYS: u64 = 1_000_000;
const CACHE_MIB: u64 = 1_024;

impl Context {
    fn new(options: &Options) -> Outcome<Context> {
        let engines: Vec<Registration> = ENGINES
            .iter()
            .copied()
            .filter(|engine| chosen(&options.engines, engine.name))
            .collect();
        for name in &options.engines {
            let serves = http::PEERS.contains(&name.as_str());
            let stores = ENGINES.iter().any(|engine| engine.name == name);
            if name != report::FLOOR && !serves && !stores {
                return Err(format!("no engine {name}; there are {}", names()).into());
            }
        }
        for name in &options.workloads {
            if !known_workload(name) {
                let all = workloads().collect::<Vec<_>>().join(", ");
                return Err(format!("no workload {name}; there are {all}, twitter-N").into());
            }
        }
        let keys = options.keys.unwrap_or(KEYS);
        let scale = match options.quick {
            true => Scale::quick(keys),
            false => Scale::full(keys),
        };
        let directory = options.directory.clone().unwrap_or_else(default_directory);
        Ok(Context {
            directory: directory.join(SCRATCH),
            engines,
            named: options.engines.clone(),
            workloads: options.workloads.clone(),
            scale: match options.row_ms {
                Some(ms) => scale.lasting(Duration::from_millis(ms.into())),
                None => scale,
            },
            cache_bytes: options.cache_mib.unwrap_or(CACHE_MIB) << 20,
            cache_is_given: options.cache_mib.is_some(),
            preload: options.preload,
            calm: Duration::from_secs(options.calm_s.unwrap_or(0).into()),
        })
    }

    pub(crate) fn selects(&self, workload: &str) -> bool {
        chosen(&self.workloads, workload)
    }

    /// Of engines that are no store of this process.
    pub(crate) fn selects_engine(&self, name: &str) -> bool {
        chosen(&self.named, name)
    }

    /// Whether engines were asked for by name.
    pub(crate) fn names_engines(&self) -> bool {
        !self.named.is_empty()
    }

    fn selects_twitter(&self) -> bool {
        self.workloads.is_empty() || self.names_twitter()
    }

    fn names_twitter(&self) -> bool {
        self.workloads.iter().any(|name| name.starts_with(TWITTER))
    }

    pub(crate) fn wait_for_calm(&self) {
        measure::wait_for_calm(report::DISTURBED_CORES, self.calm);
    }

    /// Tells on the terminal what a row came to, while the table is still being made.
    pub(crate) fn progress(&self, row: &Row) {
        let rate = match (&row.check, row.get(figure::OPS_PER_S)) {
            (Check::Failed(reason), _) => format!("FAILED: {reason}"),
            (_, Some(rate)) => format!("{rate:.0}/s"),
            (_, None) => "done".into(),
        };
        eprintln!(
            "  {} {} x{} {} {rate}",
            row.workload, row.engine, row.threads, row.variant
        );
    }
}

fn chosen(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|chosen| chosen == name)
}

fn names() -> String {
    let stores = ENGINES.iter().map(|engine| engine.name);
    let names: Vec<&str> = stores.chain(http::PEERS).collect();
    names.join(", ")
}

/// All workloads but the rows of the Twitter table.
fn workloads() -> impl Iterator<Item = &'static str> {
    let mut seen = Vec::new();
    [
        durable::WORKLOAD,
        unsynced::PUT_BUFFERED,
        unsynced::BATCH_SORTED,
    ]
    .into_iter()
    .chain(loaded::workloads())
    .chain([capped::WORKLOAD, reopen::WORKLOAD])
    .chain([overwrite::OVERWRITE, overwrite::SPACE])
    .chain([http::GET, http::PUT, http::LOG])
    .filter(move |name| {
        let new = !seen.contains(name);
        seen.push(name);
        new
    })
}

fn known_workload(name: &str) -> bool {
    let of_table = name
        .strip_prefix(twitter::PREFIX)
        .is_some_and(|number| number.parse::<u32>().is_ok());
    name == TWITTER || of_table || workloads().any(|workload| workload == name)
}

/// Below the workspace's build directory: on a real disk, and ignored by version control.
fn default_directory() -> PathBuf {
    workspace_root().join("target").join("compare")
}

fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The table of Twitter's workloads: `--twitter FILE`, or the file in the folder that
/// `CAIRN_BENCH_DATA` names, or in `shared/data` beside the workspace.
fn twitter_table(options: &Options) -> (PathBuf, Option<String>) {
    let path = options.twitter.clone().unwrap_or_else(|| {
        std::env::var_os("CAIRN_BENCH_DATA")
            .map_or_else(|| workspace_root().join("../shared/data"), PathBuf::from)
            .join(twitter::TABLE_FILE)
    });
    let table = fs::read_to_string(&path).ok();
    (path, table)
}

type Family<'a> = Box<dyn Fn(&Context) -> Outcome<Vec<Row>> + 'a>;

/// Runs what was asked for. False when a row failed: its engine erred, or did not return what
/// had been written to it.
pub(crate) fn run(options: &Options) -> Outcome<bool> {
    let context = Context::new(options)?;
    let started = Instant::now();
    let (table_path, table) = twitter_table(options);
    if table.is_none() && (context.names_twitter() || options.twitter.is_some()) {
        return Err(format!("cannot read {}", table_path.display()).into());
    }
    let scratch = Scratch::claim(&context.directory)?;
    print_header(&context)?;

    let mut families: Vec<Family> = Vec::new();
    if context.selects(durable::WORKLOAD) {
        families.push(Box::new(durable::run));
    }
    if context.selects(unsynced::PUT_BUFFERED) || context.selects(unsynced::BATCH_SORTED) {
        families.push(Box::new(unsynced::run));
    }
    let (small, large) = loaded::selected(&context);
    if small {
        families.push(Box::new(loaded::run_small));
    }
    if large {
        families.push(Box::new(loaded::run_large));
    }
    if context.selects(capped::WORKLOAD) {
        families.push(Box::new(capped::run));
    }
    if context.selects(reopen::WORKLOAD) {
        families.push(Box::new(reopen::run));
    }
    if context.selects(overwrite::OVERWRITE) || context.selects(overwrite::SPACE) {
        families.push(Box::new(overwrite::run));
    }
    if [http::GET, http::PUT, http::LOG]
        .iter()
        .any(|workload| context.selects(workload))
    {
        families.push(Box::new(http::run));
    }
    if let Some(table) = table.as_deref().filter(|_| context.selects_twitter()) {
        families.push(Box::new(move |context| twitter::run(context, table)));
    } else if context.selects_twitter() {
        println!(
            "\nThe twitter-N rows are left out: there is no {}. Name the table with --twitter FILE.",
            table_path.display()
        );
    }

    let mut all: Vec<Row> = Vec::new();
    for family in families {
        let began = Instant::now();
        let passes: Outcome<Vec<Vec<Row>>> = (0..options.repeat.unwrap_or(1))
            .map(|_| family(&context))
            .collect();
        let mut rows = report::merge_passes(passes?);
        http::set_embedded(&mut rows, &all);
        let mut printed: Vec<&str> = Vec::new();
        for row in &rows {
            if !printed.contains(&row.workload.as_str()) {
                printed.push(&row.workload);
                println!("{}", report::table(&row.workload, &rows));
            }
        }
        println!("  ({:.0} s)", began.elapsed().as_secs_f64());
        all.extend(rows);
        if let Some(path) = &options.json {
            fs::write(path, report::json(&all))?;
        }
    }
    let failed: Vec<&Row> = all.iter().filter(|row| row.check.failed()).collect();
    let disturbed = all.iter().filter(|row| row.disturbed()).count();
    println!(
        "\n{} rows, {} failed, in {:.0} s",
        all.len(),
        failed.len(),
        started.elapsed().as_secs_f64()
    );
    if disturbed > 0 {
        println!(
            "{disturbed} rows were disturbed: others used more than {} of a core meanwhile",
            report::DISTURBED_CORES
        );
    }
    scratch.remove()?;
    Ok(failed.is_empty())
}

/// The folder of a run, locked against another run: both would measure nonsense.
struct Scratch {
    directory: PathBuf,
    lock: File,
}

impl Scratch {
    fn claim(directory: &Path) -> Outcome<Scratch> {
        fs::create_dir_all(directory)?;
        let lock = File::create(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            return Err(format!("another run uses {}", directory.display()).into());
        }
        Ok(Scratch {
            directory: directory.to_path_buf(),
            lock,
        })
    }

    fn remove(self) -> Outcome<()> {
        fs::remove_dir_all(&self.directory)?;
        self.lock.unlock()?;
        Ok(())
    }
}

/// Machine, file system and disk floor: without them a figure means nothing.
fn print_header(context: &Context) -> Outcome<()> {
    let cores = std::thread::available_parallelism()?;
    let floor = Floor::prepare(&context.directory)?.append(PAGE_BYTES, 1, context.scale.floor)?;
    println!(
        "{} on {cores} cores, {}, {} file system; 4 KiB append + fdatasync {:.0}/s; \
         block cache {} MiB for each engine that has one",
        if context.scale.quick { "quick" } else { "full" },
        kernel(),
        measure::file_system(&context.directory),
        floor.records_per_s,
        context.cache_bytes >> 20
    );
    if cfg!(debug_assertions) {
        println!("NOT A RELEASE BUILD: no figure below means anything");
    }
    Ok(())
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}

#[cfg(test)]
mod tests;
