//! Where async meets blocking: one bounded pool for calls that may wait for the disk.
//!
//! A call that is answered from memory runs in place; a cold read, a scan or an open goes through
//! [`Bridge::run`]. At most `threads` calls run at once and at most `waiting_max` wait for their
//! turn, first come, first served; one more is refused with [`Refused::Full`] at once, so a slow
//! disk turns into an answer and not into a queue without end.
//!
//! Dropping the future of a call that still waits takes it out of the queue. A call that runs is
//! not interrupted: it finishes on its thread and keeps its place until then, so the bound holds
//! whatever the callers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded pool of blocking calls. Clones share it. Runs on the tokio runtime of its caller.
#[derive(Clone, Debug)]
pub struct Bridge {
    shared: Arc<Shared>,
}

/// Why a call did not run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many calls wait already; this one was not started.
    Full,
    /// The call panicked.
    Panicked,
    /// The runtime is shutting down; the call was not started.
    Stopped,
}

impl Bridge {
    /// A pool that runs `threads` calls at once (at least one) and lets `waiting_max` wait.
    pub fn new(threads: usize, waiting_max: usize) -> Self {
        let threads = threads.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            shared: Arc::new(Shared {
                places: Arc::new(Semaphore::new(threads)),
                threads,
                waiting: AtomicUsize::new(0),
                waiting_max,
            }),
        }
    }

    /// Runs a blocking call on the pool.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn run<T, F>(&self, call: F) -> Result<T, Refused>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let places = Arc::clone(&self.shared.places);
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let _turn = Turn::take(&self.shared)?;
                places.acquire_owned().await.map_err(|_| Refused::Stopped)?
            }
        };
        run_at(place, call).await
    }

    /// Runs a blocking call on the pool once it is its turn, however many wait: for the next part
    /// of something that was let in already, so that their number is bounded elsewhere.
    ///
    /// # Errors
    /// See [`Refused`]; never `Full`.
    pub async fn run_in_turn<T, F>(&self, call: F) -> Result<T, Refused>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let places = Arc::clone(&self.shared.places);
        let place = places.acquire_owned().await.map_err(|_| Refused::Stopped)?;
        run_at(place, call).await
    }

    /// Calls that run now.
    pub fn running(&self) -> usize {
        self.shared.threads - self.shared.places.available_permits()
    }

    /// Calls that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }
}

async fn run_at<T, F>(place: OwnedSemaphorePermit, call: F) -> Result<T, Refused>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let task = tokio::task::spawn_blocking(move || {
        let value = call();
        drop(place);
        value
    });
    task.await.map_err(|error| match error.is_panic() {
        true => Refused::Panicked,
        false => Refused::Stopped,
    })
}

impl Default for Bridge {
    /// A pool for a process of its own: [`THREADS_PER_CORE`] threads a core.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores * THREADS_PER_CORE, WAITING_MAX)
    }
}

/// A cold read waits for the disk far longer than it computes, so more threads than cores help.
pub const THREADS_PER_CORE: usize = 8;
/// How many calls wait before the next is refused.
pub const WAITING_MAX: usize = 1024;

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    threads: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A place in the queue, given back when the wait ends or is abandoned.
struct Turn<'a>(&'a Shared);

impl<'a> Turn<'a> {
    fn take(shared: &'a Shared) -> Result<Self, Refused> {
        let before = shared.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(shared);
        if before >= shared.waiting_max {
            Err(Refused::Full)
        } else {
            Ok(turn)
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
