//! Waking the thread that writes index files.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Wakes the thread that writes index files.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Mutex<Raised>,
    changed: Condvar,
}

#[derive(Default)]
struct Raised {
    work: bool,
    stop: bool,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.raised.lock().work = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.raised.lock().stop = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.raised.lock().stop
    }

    /// Waits for work, but no longer than until a deadline may have passed or a reader may have let
    /// go of what is to be dropped; `false` if it is time to stop.
    pub(super) fn wait(&self) -> bool {
        let mut raised = self.raised.lock();
        if !raised.work && !raised.stop {
            self.changed.wait_for(&mut raised, PERIOD);
        }
        raised.work = false;
        !raised.stop
    }

    /// Waits a while before another attempt; `false` if it is time to stop.
    pub(super) fn pause(&self) -> bool {
        let mut raised = self.raised.lock();
        if !raised.stop {
            self.changed.wait_for(&mut raised, RETRY);
        }
        !raised.stop
    }
}

/// How often maintenance looks by itself.
const PERIOD: Duration = Duration::from_secs(1);

/// How long after a failure maintenance is tried again.
const RETRY: Duration = Duration::from_secs(1);
