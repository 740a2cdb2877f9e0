//! All open connections: how many there are, which to close for a new one, and when all are gone.
//!
//! Idle connections cost a task and a socket, so there may be thousands. At the limit the one that
//! has been idle longest gives way; only when none is idle a new connection is refused. All are
//! looked at from time to time, and those that have been idle for too long are closed: a timer of
//! its own would cost each request that it is set and reset.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
        if self.open() >= self.shared.max && !self.evict() {
            metrics.connections_refused.inc();
            return None;
        }
        let state = Arc::new(State {
            busy: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(self.shared.now_ms()),
            closing: Notify::new(),
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
        let idle = |state: &State| state.busy.load(Ordering::Relaxed) == 0;
        let longest = open
            .lines
            .iter()
            .filter(|(_, state)| idle(state))
            .min_by_key(|(_, state)| state.idle_since_ms.load(Ordering::Relaxed))
            .map(|(id, _)| *id);
        let Some(state) = longest.and_then(|id| open.lines.remove(&id)) else {
            return false;
        };
        state.closing.notify_one();
        self.shared.app.metrics.connections_evicted.inc();
        true
    }

    /// Tells every connection that has been idle for so long to close, again and again.
    pub(crate) async fn close_idle(&self, idle: Duration) {
        let period = (idle / IDLE_PART).clamp(IDLE_PERIOD_MIN, IDLE_PERIOD_MAX);
        loop {
            tokio::time::sleep(period).await;
            let now_ms = self.shared.now_ms();
            let stays = |state: &State| {
                let since_ms = state.idle_since_ms.load(Ordering::Relaxed);
                let idle_ms = now_ms.saturating_sub(since_ms);
                state.busy.load(Ordering::Relaxed) > 0 || u128::from(idle_ms) < idle.as_millis()
            };
            self.shared.open.lock().lines.retain(|_, state| {
                let stays = stays(state);
                if !stays {
                    state.closing.notify_one();
                }
                stays
            });
        }
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
        state.busy.fetch_sub(1, Ordering::Relaxed);
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
