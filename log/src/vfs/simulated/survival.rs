//! What of the unsynced reaches the disk.

use super::random::Random;

/// How a power loss decides about each unsynced sector, length and name change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Everything unsynced is lost.
    Nothing,
    /// Everything unsynced is kept, in its newest state.
    Everything,
    /// Each is decided on its own by this seed: lost, or any of its newer states. How many are
    /// kept differs from file to file, from none to all.
    Random(u64),
}

/// Decides one thing after another.
#[derive(Debug)]
pub(super) enum Survivor {
    Nothing,
    Everything,
    Random { random: Random, kept_of_eight: u64 },
}

impl Survivor {
    pub(super) fn new(survival: Survival) -> Self {
        match survival {
            Survival::Nothing => Self::Nothing,
            Survival::Everything => Self::Everything,
            Survival::Random(seed) => Self::Random {
                random: Random::new(seed),
                kept_of_eight: 4,
            },
        }
    }

    /// Draws anew how much is kept. Even odds alone would hardly ever keep all or none of many.
    pub(super) fn next_group(&mut self) {
        if let Self::Random {
            random,
            kept_of_eight,
        } = self
        {
            *kept_of_eight = random.below(9);
        }
    }

    /// Which of so many newer states is found, in order of age; `None` is the old one.
    pub(super) fn pick(&mut self, newer_states: usize) -> Option<usize> {
        let newest = newer_states.checked_sub(1)?;
        match self {
            Self::Nothing => None,
            Self::Everything => Some(newest),
            Self::Random {
                random,
                kept_of_eight,
            } => random
                .chance(*kept_of_eight, 8)
                .then(|| random.index(newer_states)),
        }
    }

    pub(super) fn keeps(&mut self) -> bool {
        self.pick(1).is_some()
    }
}
