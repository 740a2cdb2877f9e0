//! What the unit tests of several modules share.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The seeds that a test runs: those below `CAIRN_SEEDS`, or only `CAIRN_SEED`, or those below
/// `usual` if neither is set.
pub(crate) fn seeds(usual: u64) -> Range<u64> {
    if let Some(seed) = number_of("CAIRN_SEED") {
        return seed..seed + 1;
    }
    0..number_of("CAIRN_SEEDS").unwrap_or(usual)
}

/// Whether `CAIRN_SEED` asks for one seed, which need not meet everything that many meet.
pub(crate) fn is_one_seed() -> bool {
    number_of("CAIRN_SEED").is_some()
}

/// Of the places at which a test crashes in turn, it tries every n-th: all of them in the long run.
pub(crate) fn stride(usual: usize) -> usize {
    if number_of("CAIRN_SEEDS").is_some() {
        1
    } else {
        usual
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} must be a number, it is {text:?}")))
}

/// Runs every seed, on all cores, and adds up what happened. A seed that fails is named.
pub(crate) fn run_seeds(seeds: Range<u64>, run: impl Fn(u64) -> Events + Sync) -> Events {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut events = Events::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return events;
            }
            let name = NamedIfItFails(seed);
            events.add(run(seed));
            drop(name);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut events = Events::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(some) => events.add(some),
                Err(panic) => {
                    // The others need not go on.
                    next.store(seeds.end, Ordering::Relaxed);
                    std::panic::resume_unwind(panic);
                }
            }
        }
    });
    events
}

struct NamedIfItFails(u64);

impl Drop for NamedIfItFails {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("seed {seed} failed; CAIRN_SEED={seed} runs it alone");
        }
    }
}

/// How often each kind of event happened. A test that never meets one proves nothing about it.
#[derive(Debug, Default)]
pub(crate) struct Events(BTreeMap<&'static str, usize>);

impl Events {
    pub(crate) fn note(&mut self, event: &'static str) {
        self.note_many(event, 1);
    }

    /// Notes nothing if `count` is 0.
    pub(crate) fn note_many(&mut self, event: &'static str, count: usize) {
        if count > 0 {
            *self.0.entry(event).or_default() += count;
        }
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.0.get(event).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, others: Events) {
        for (event, count) in others.0 {
            self.note_many(event, count);
        }
    }

    /// Fails unless each of these happened. One seed alone need not have met them.
    pub(crate) fn assert_all(&self, events: &[&str]) {
        for event in events {
            assert!(
                self.count(event) > 0 || is_one_seed(),
                "{event} never happened: {self:?}"
            );
        }
    }
}

/// A small seeded generator (xorshift64*, Vigna 2016), so that a failing test can be run again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }
}

/// A clock that stands still until a test moves it.
#[derive(Default)]
pub(crate) struct ManualClock {
    wall_ms: AtomicU64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    pub(crate) fn at(wall_ms: u64) -> ManualClock {
        let clock = ManualClock::default();
        clock.set_wall(wall_ms);
        clock
    }

    pub(crate) fn set_wall(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    /// Lets time pass, on the wall as well.
    pub(crate) fn pass(&self, ms: u64) {
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl cairn_log::Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}
