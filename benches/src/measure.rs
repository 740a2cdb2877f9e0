//! What is read off the process, the disk and the clock while a row runs.
//!
//! - Latencies go into a log-linear histogram: 64 buckets an octave, so a percentile is off by at
//!   most 1.6 %, and merging the histograms of many threads loses nothing.
//! - Bytes written are `write_bytes` of `/proc/self/io`: what this process sent towards the block
//!   layer, dirty pages of memory maps included, a page counted once each time it becomes dirty.
//!   The device's own counters stand beside it; they include the file system's journal, and
//!   whatever else the machine does.
//! - Processor time that other processes and the hypervisor took is shown beside every row: on a
//!   shared machine it tells which rows were disturbed. The kernel's own threads count as others.
//! - Disk is allocated blocks of a whole directory, never the lengths of files.
//! - Memory is the peak of RssAnon over samples taken every 20 ms, with RssFile at that moment.

pub(crate) mod cgroup;
pub(crate) mod page_cache;
mod reading;

pub(crate) use reading::ReadCounters;

use std::ffi::c_int;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const OCTAVE_BITS: u32 = 6;
const OCTAVE_BUCKETS: usize = 1 << OCTAVE_BITS;
/// Up to 2^42 ns, more than an hour; anything longer is counted there.
const BUCKETS: usize = OCTAVE_BUCKETS * (42 - OCTAVE_BITS as usize + 1);

const RESIDENT_SAMPLE_MS: u64 = 20;
const CALM_WINDOW: Duration = Duration::from_millis(250);
/// The unit of /proc/stat: USER_HZ, 100 on every Linux that Rust's tier 1 targets run on.
const TICKS_A_SECOND: f64 = 100.0;
/// `stat` and the block layer both count in this unit, whatever the device's sector is.
const BLOCK_BYTES: u64 = 512;

/// Counts durations in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest_ns: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram {
            counts: vec![0; BUCKETS],
            total: 0,
            longest_ns: 0,
        }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(ns)] += 1;
        self.total += 1;
        self.longest_ns = self.longest_ns.max(ns);
    }

    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    /// The duration that a fraction `quantile` of those recorded does not exceed, in
    /// microseconds; none when nothing was recorded.
    pub(crate) fn quantile_us(&self, quantile: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let wanted = (quantile * self.total as f64).ceil().max(1.0);
        let mut seen = 0.0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += count as f64;
            if seen >= wanted {
                let ns = bucket_end(bucket).min(self.longest_ns);
                return Some(ns as f64 / 1000.0);
            }
        }
        Some(self.longest_ns as f64 / 1000.0)
    }
}

fn bucket_of(ns: u64) -> usize {
    let octave = (63 - (ns | 1).leading_zeros()).saturating_sub(OCTAVE_BITS);
    let within = usize::try_from(ns >> octave).unwrap_or(usize::MAX);
    let bucket = within.saturating_add(octave as usize * OCTAVE_BUCKETS);
    bucket.min(BUCKETS - 1)
}

/// The greatest value that falls into `bucket`.
fn bucket_end(bucket: usize) -> u64 {
    if bucket < 2 * OCTAVE_BUCKETS {
        return bucket as u64;
    }
    let octave = bucket / OCTAVE_BUCKETS - 1;
    let within = (bucket % OCTAVE_BUCKETS + OCTAVE_BUCKETS) as u64;
    ((within + 1) << octave) - 1
}

/// The process's and the device's counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_written: u64,
    pub(crate) write_calls: u64,
    /// Processor time of everything but this process, in clock ticks.
    other_ticks: u64,
    /// Of the whole device: none where the directory's device has no block statistics.
    pub(crate) device: Option<DeviceCounters>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeviceCounters {
    pub(crate) bytes_written: u64,
    pub(crate) flushes: u64,
}

impl Counters {
    /// Reads them for this process and for the device that holds `directory`.
    pub(crate) fn read(directory: &Path) -> io::Result<Counters> {
        let text = fs::read_to_string("/proc/self/io")?;
        Ok(Counters {
            bytes_written: field(&text, "write_bytes:")?,
            write_calls: field(&text, "syscw:")?,
            other_ticks: other_ticks().unwrap_or(0),
            device: device_counters(directory),
        })
    }

    pub(crate) fn since(self, earlier: Counters) -> Counters {
        let device = self.device.zip(earlier.device);
        Counters {
            bytes_written: self.bytes_written.saturating_sub(earlier.bytes_written),
            write_calls: self.write_calls.saturating_sub(earlier.write_calls),
            other_ticks: self.other_ticks.saturating_sub(earlier.other_ticks),
            device: device.map(|(now, before)| DeviceCounters {
                bytes_written: now.bytes_written.saturating_sub(before.bytes_written),
                flushes: now.flushes.saturating_sub(before.flushes),
            }),
        }
    }

    /// Processor seconds that this process did not use.
    pub(crate) fn other_cpu_s(self) -> f64 {
        self.other_ticks as f64 / TICKS_A_SECOND
    }
}

/// Waits until others have used less than `cores` for a moment, at most `patience`.
pub(crate) fn wait_for_calm(cores: f64, patience: Duration) {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let before = other_ticks().unwrap_or(0);
        std::thread::sleep(CALM_WINDOW);
        let used = other_ticks().unwrap_or(0).saturating_sub(before);
        if (used as f64 / TICKS_A_SECOND) < cores * CALM_WINDOW.as_secs_f64() {
            return;
        }
    }
}

/// What another process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessCounters {
    pub(crate) bytes_written: u64,
    pub(crate) resident: Resident,
}

impl ProcessCounters {
    pub(crate) fn read(process_id: u32) -> io::Result<ProcessCounters> {
        let text = fs::read_to_string(format!("/proc/{process_id}/io"))?;
        Ok(ProcessCounters {
            bytes_written: field(&text, "write_bytes:")?,
            resident: Resident::read_from(&format!("/proc/{process_id}/status"))?,
        })
    }
}

/// Seconds of processor time that neither this process nor that one has used so far.
pub(crate) fn other_cpu_s_beside(process_id: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
    let others = other_ticks()?.saturating_sub(own_ticks(&stat)?);
    Some(others as f64 / TICKS_A_SECOND)
}

fn other_ticks() -> Option<u64> {
    let all = busy_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    let own = own_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(all.saturating_sub(own))
}

/// Processor time, in clock ticks, that the live threads of this process have taken whose names begin
/// with `name`.
pub(crate) fn thread_ticks(name: &str) -> io::Result<u64> {
    let mut ticks = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        // One that ends meanwhile is not there any more.
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
            continue;
        };
        let is_named = stat
            .split_once('(')
            .is_some_and(|(_, rest)| rest.starts_with(name));
        if is_named {
            ticks += own_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
        }
    }
    Ok(ticks)
}

/// User, nice, system, interrupts and what the hypervisor took; neither idle nor waiting.
fn busy_ticks(stat: &str) -> Option<u64> {
    let ticks: Vec<u64> = stat
        .lines()
        .next()?
        .split_ascii_whitespace()
        .skip(1)
        .map_while(|number| number.parse().ok())
        .collect();
    Some(ticks.get(..3)?.iter().sum::<u64>() + ticks.get(5..8)?.iter().sum::<u64>())
}

/// User and system time: fields 14 and 15, counted from behind the name, which may hold anything.
fn own_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn device_counters(directory: &Path) -> Option<DeviceCounters> {
    let device = fs::metadata(directory).ok()?.dev();
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000);
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    parse_block_stat(&text)
}

/// Fields 7 (sectors written) and 16 (flushes completed, since Linux 5.5) of the kernel's
/// Documentation/block/stat.
fn parse_block_stat(text: &str) -> Option<DeviceCounters> {
    let mut fields = text.split_ascii_whitespace();
    let sectors: u64 = fields.nth(6)?.parse().ok()?;
    let flushes: u64 = fields.nth(8)?.parse().ok()?;
    Some(DeviceCounters {
        bytes_written: sectors * BLOCK_BYTES,
        flushes,
    })
}

fn field(text: &str, name: &str) -> io::Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no field {name} in the kernel's answer")))
}

/// Allocated blocks of everything below `directory`, in bytes. A file that vanishes meanwhile
/// (an engine's background work) counts as nothing.
pub(crate) fn disk_bytes(directory: &Path) -> io::Result<u64> {
    let mut total = 0;
    let mut pending: Vec<PathBuf> = vec![directory.to_path_buf()];
    while let Some(next) = pending.pop() {
        let entries = match fs::read_dir(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => pending.push(entry.path()),
                Ok(found) => total += found.blocks() * BLOCK_BYTES,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(total)
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resident {
    pub(crate) anonymous: u64,
    pub(crate) file: u64,
}

impl Resident {
    pub(crate) fn read() -> io::Result<Resident> {
        Resident::read_from("/proc/self/status")
    }

    fn read_from(path: &str) -> io::Result<Resident> {
        let text = fs::read_to_string(path)?;
        Ok(Resident {
            anonymous: field(&text, "RssAnon:")? * 1024,
            file: field(&text, "RssFile:")? * 1024,
        })
    }
}

/// Watches resident memory from a thread of its own until it is asked for the peak.
pub(crate) struct ResidentWatch {
    shared: Arc<WatchShared>,
    thread: Option<JoinHandle<()>>,
    before: Resident,
}

#[derive(Default)]
struct WatchShared {
    stop: AtomicBool,
    anonymous: AtomicU64,
    file: AtomicU64,
}

impl ResidentWatch {
    pub(crate) fn start() -> io::Result<ResidentWatch> {
        let shared = Arc::new(WatchShared::default());
        let watched = Arc::clone(&shared);
        let before = Resident::read()?;
        let thread = std::thread::Builder::new()
            .name("resident".into())
            .spawn(move || {
                while !watched.stop.load(Ordering::Relaxed) {
                    watched.sample();
                    std::thread::park_timeout(Duration::from_millis(RESIDENT_SAMPLE_MS));
                }
            })?;
        Ok(ResidentWatch {
            shared,
            thread: Some(thread),
            before,
        })
    }

    /// Memory at the start: what the harness itself holds, and what earlier rows left behind.
    pub(crate) fn before(&self) -> Resident {
        self.before
    }

    /// The sample with the most anonymous memory.
    pub(crate) fn peak(mut self) -> Resident {
        self.end();
        self.shared.sample();
        Resident {
            anonymous: self.shared.anonymous.load(Ordering::Relaxed),
            file: self.shared.file.load(Ordering::Relaxed),
        }
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread has no way to fail that would change what was sampled.
            let _ = thread.join();
        }
    }
}

impl Drop for ResidentWatch {
    fn drop(&mut self) {
        self.end();
    }
}

impl WatchShared {
    fn sample(&self) {
        let Ok(now) = Resident::read() else { return };
        if now.anonymous >= self.anonymous.load(Ordering::Relaxed) {
            self.anonymous.store(now.anonymous, Ordering::Relaxed);
            self.file.store(now.file, Ordering::Relaxed);
        }
    }
}

/// Gives the allocator's free pages back to the kernel, so that a row's memory is its own and not
/// what the row before it freed.
pub(crate) fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> c_int;
        }
        // SAFETY: malloc_trim is declared as in glibc's malloc.h, takes no pointer, is marked
        // MT-Safe in its manual, and only returns pages that hold no allocation.
        unsafe {
            malloc_trim(0);
        }
    }
}

/// The type of the file system that holds `directory`, as /proc/self/mountinfo names it.
pub(crate) fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let directory = directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_path_buf());
    mounts
        .lines()
        .filter_map(|line| {
            let mount = line.split(' ').nth(4)?;
            let kind = line.split(" - ").nth(1)?.split(' ').next()?;
            directory.starts_with(mount).then_some((mount.len(), kind))
        })
        .max_by_key(|&(length, _)| length)
        .map_or_else(|| "unknown".into(), |(_, kind)| kind.to_string())
}

#[cfg(test)]
mod tests;
