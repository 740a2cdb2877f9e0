//! All open connections: how many there are, which to close for a new one, and when all are gone.
//!
//! Idle connections cost a task and a socket, so there may be thousands. At the limit the one that
//! has been idle longest gives way; only when none is idle a new connection is refused. All are
//! looked at from time to time, and those that have been idle for too long are closed: a timer of
//! its own would cost each request that it is set and reset.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::http::App;

/// The open connections of a server.
pub(crate) struct Connections {
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
}

struct Shared {
    max: usize,
    app: Arc<App>,
    began: Instant,
    open: Mutex<Open>,
    /// Told when the last one ends.
    none: Notify,
}

#[derive(Default)]
struct Open {
    next_id: u64,
    lines: HashMap<u64, Arc<State>>,
    /// How many of them gave way and are about to end.
    giving_way: usize,
}

/// One open connection; dropping it ends it.
pub(crate) struct Line {
    id: u64,
    state: Arc<State>,
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
}

/// What the others may know of a connection.
struct State {
    /// Requests being answered.
    busy: AtomicUsize,
    /// When it last became idle, in milliseconds since the server began.
    idle_since_ms: AtomicU64,
    closing: Notify,
    /// Changed under the lock of all lines.
    gives_way: AtomicBool,
}

impl Connections {
    pub(crate) fn new(max: usize, app: Arc<App>) -> Self {
        let shared = Shared {
            max,
            app,
            began: Instant::now(),
            open: Mutex::default(),
            none: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
            closing: watch::Sender::new(false),
        }
    }

    /// Makes room for a connection; `None` when every other one is busy.
    pub(crate) fn admit(&self) -> Option<Line> {
        let metrics = &self.shared.app.metrics;
        if self.staying() >= self.shared.max && !self.evict() {
            metrics.connections_refused.inc();
            return None;
        }
        let state = Arc::new(State {
            busy: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(self.shared.now_ms()),
            closing: Notify::new(),
            gives_way: AtomicBool::new(false),
        });
        let mut open = self.shared.open.lock();
        open.next_id += 1;
        let id = open.next_id;
        open.lines.insert(id, Arc::clone(&state));
        drop(open);
        metrics.connections_accepted.inc();
        metrics.connections.inc();
        Some(Line {
            id,
            state,
            shared: Arc::clone(&self.shared),
            closing: self.closing.subscribe(),
        })
    }

    /// Tells the connection that has been idle longest to close; false when none is idle.
    pub(crate) fn evict(&self) -> bool {
        let mut open = self.shared.open.lock();
        let longest = open
            .lines
            .values()
            .filter(|state| !state.gives_way.load(Ordering::Relaxed))
            .filter_map(|state| Some((state.idle_since_ms()?, state)))
            .min_by_key(|(since_ms, _)| *since_ms);
        let Some((_, state)) = longest else {
            return false;
        };
        state.gives_way.store(true, Ordering::Relaxed);
        state.closing.notify_one();
        open.giving_way += 1;
        self.shared.app.metrics.connections_evicted.inc();
        true
    }

    /// Tells every connection that has been idle for so long to close, again and again.
    pub(crate) async fn close_idle(&self, idle: Duration) {
        let period = (idle / IDLE_PART).clamp(IDLE_PERIOD_MIN, IDLE_PERIOD_MAX);
        loop {
            tokio::time::sleep(period).await;
            let now_ms = self.shared.now_ms();
            for state in self.shared.open.lock().lines.values() {
                let is_due = state.idle_since_ms().is_some_and(|since_ms| {
                    u128::from(now_ms.saturating_sub(since_ms)) >= idle.as_millis()
                });
                if is_due {
                    state.closing.notify_one();
                }
            }
        }
    }

    /// How many are open and do not give way.
    fn staying(&self) -> usize {
        let open = self.shared.open.lock();
        open.lines.len() - open.giving_way
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.lock().lines.len()
    }

    /// Tells every connection to finish what it does and close.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until none is open.
    pub(crate) async fn ended(&self) {
        loop {
            let told = self.shared.none.notified();
            if self.open() == 0 {
                return;
            }
            told.await;
        }
    }
}

impl State {
    /// Since when nothing has been answered, unless something is.
    fn idle_since_ms(&self) -> Option<u64> {
        let is_idle = self.busy.load(Ordering::Acquire) == 0;
        is_idle.then(|| self.idle_since_ms.load(Ordering::Relaxed))
    }
}

impl Line {
    /// Waits until this connection is to close.
    pub(crate) async fn told_to_close(&mut self) {
        tokio::select! {
            // The server holds the sender as long as connections are of any use.
            _ = self.closing.wait_for(|closing| *closing) => {}
            () = self.state.closing.notified() => {}
        }
    }

    /// What counts requests in.
    pub(crate) fn counter(&self) -> Counter {
        Counter {
            state: Arc::clone(&self.state),
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Counts the requests of a connection.
#[derive(Clone)]
pub(crate) struct Counter {
    state: Arc<State>,
    shared: Arc<Shared>,
}

impl Counter {
    pub(crate) fn is_busy(&self) -> bool {
        self.state.busy.load(Ordering::Relaxed) > 0
    }

    /// Counts a request in; dropping what is returned counts it out.
    pub(crate) fn busy(&self) -> Busy {
        self.state.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.app.metrics.connections.dec();
        let mut open = self.shared.open.lock();
        open.lines.remove(&self.id);
        if self.state.gives_way.load(Ordering::Relaxed) {
            open.giving_way -= 1;
        }
        if open.lines.is_empty() {
            self.shared.none.notify_waiters();
        }
    }
}

/// Marks a connection as busy while it lives.
pub(crate) struct Busy(Counter);

impl Drop for Busy {
    fn drop(&mut self) {
        let Counter { state, shared } = &self.0;
        state
            .idle_since_ms
            .store(shared.now_ms(), Ordering::Relaxed);
        // Who sees that nothing is answered sees since when.
        state.busy.fetch_sub(1, Ordering::Release);
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// How many looks there are in the time that a connection may be idle.
const IDLE_PART: u32 = 8;
const IDLE_PERIOD_MIN: Duration = Duration::from_millis(20);
const IDLE_PERIOD_MAX: Duration = Duration::from_secs(5);
