//! Whether a history of concurrent operations on one object is linearizable: whether each operation
//! can be given a moment between its call and its answer such that, taken in that order one by one,
//! all answers are right.
//!
//! The search is exact (Wing and Gong, "Testing and Verifying Concurrent Objects", 1993), and visits
//! no state twice (Lowe, "Testing for Linearizability", 2017). A client makes one call at a time, so
//! what has had its moment is told by one position a client.
//!
//! The object is a pair of keys, so that what reads or writes both is an operation as well. Each
//! value is written once in a history: the value tells the version.

use std::collections::HashSet;

/// What a pair of keys holds.
pub(super) type Pair = [Option<u64>; 2];

/// A call and its answer.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Moments of one clock; no two are the same.
    pub(super) called: u64,
    pub(super) answered: u64,
    pub(super) action: Action,
}

/// What was done, and what the answer was. Keys are 0 and 1.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Put(usize, u64),
    /// Says whether the key existed.
    Delete(usize, bool),
    Get(usize, Option<u64>),
    GetBoth(Pair),
    /// Writes a value if the key has, or lacks, the one before.
    CompareAndSet {
        key: usize,
        before: Option<u64>,
        after: u64,
        written: bool,
    },
    /// Writes some keys if both are still what was read.
    Commit {
        read: Pair,
        write: [Option<Option<u64>>; 2],
    },
    /// A commit that was refused. That may be so for reasons that the pair does not show.
    Refused,
}

impl Action {
    /// The pair after this, if the answer is right.
    fn apply(&self, pair: Pair) -> Option<Pair> {
        let with = |key: usize, value| {
            let mut after = pair;
            after[key] = value;
            after
        };
        match *self {
            Action::Put(key, value) => Some(with(key, Some(value))),
            Action::Delete(key, existed) => {
                (pair[key].is_some() == existed).then(|| with(key, None))
            }
            Action::Get(key, found) => (pair[key] == found).then_some(pair),
            Action::GetBoth(found) => (pair == found).then_some(pair),
            Action::CompareAndSet {
                key,
                before,
                after,
                written,
            } => match (pair[key] == before, written) {
                (true, true) => Some(with(key, Some(after))),
                (false, false) => Some(pair),
                _ => None,
            },
            Action::Commit { read, write } => {
                let after = [0, 1].map(|key| write[key].unwrap_or(pair[key]));
                (pair == read).then_some(after)
            }
            Action::Refused => Some(pair),
        }
    }
}

/// Checks the events of each client, in the order in which it made them, from an empty pair on.
///
/// # Errors
///
/// If the history is not linearizable: what the clients were at where no order went further.
pub(super) fn check(clients: &[Vec<Event>]) -> Result<(), String> {
    type State = (Vec<usize>, Pair);
    let mut open: Vec<State> = vec![(vec![0; clients.len()], [None, None])];
    let mut seen: HashSet<State> = HashSet::new();
    let mut furthest = open[0].clone();
    while let Some((positions, pair)) = open.pop() {
        let next = |client: usize| clients[client].get(positions[client]);
        // Whoever was called after an answer has its moment after that one.
        let pending = (0..clients.len()).filter_map(next);
        let Some(first_answer) = pending.map(|event| event.answered).min() else {
            return Ok(());
        };
        for client in 0..clients.len() {
            let Some(event) = next(client).filter(|event| event.called < first_answer) else {
                continue;
            };
            let Some(after) = event.action.apply(pair) else {
                continue;
            };
            let mut state = (positions.clone(), after);
            state.0[client] += 1;
            if !seen.insert(state.clone()) {
                continue;
            }
            if state.0.iter().sum::<usize>() > furthest.0.iter().sum() {
                furthest = state.clone();
            }
            open.push(state);
        }
    }
    let (positions, pair) = furthest;
    let stuck = clients.iter().zip(&positions);
    let stuck: Vec<_> = stuck.map(|(events, &at)| events.get(at)).collect();
    Err(format!("no order goes beyond {pair:?} and then {stuck:#?}"))
}

#[cfg(test)]
mod tests {
    use super::Action::*;
    use super::*;

    /// Clients as lists of (called, answered, action).
    fn history<const N: usize>(clients: [&[(u64, u64, Action)]; N]) -> Result<(), String> {
        let events = clients.map(|events| {
            let event = |(called, answered, action): &(u64, u64, Action)| Event {
                called: *called,
                answered: *answered,
                action: action.clone(),
            };
            events.iter().map(event).collect()
        });
        check(&events)
    }

    fn set(before: Option<u64>, after: u64, written: bool) -> Action {
        CompareAndSet {
            key: 0,
            before,
            after,
            written,
        }
    }

    #[test]
    fn operations_that_overlap_may_have_happened_in_any_order() {
        for found in [None, Some(1), Some(2)] {
            let puts = [(1, 10, Put(0, 1)), (11, 20, Put(0, 2))];
            history([&puts, &[(5, 15, Get(0, found))]]).unwrap();
        }
        // The order of the answers is not that of the moments.
        let early = [(1, 20, Put(0, 1))];
        history([&early, &[(2, 3, Get(0, Some(1))), (4, 5, Get(0, Some(1)))]]).unwrap();
    }

    #[test]
    fn a_stale_read_is_found() {
        let puts = [(1, 2, Put(0, 1)), (3, 4, Put(0, 2))];
        history([&puts, &[(5, 6, Get(0, Some(2)))]]).unwrap();
        history([&puts, &[(5, 6, Get(0, Some(1)))]]).unwrap_err();
        history([&puts, &[(5, 6, Get(0, None))]]).unwrap_err();
        // What another was shown already.
        let put = [(1, 20, Put(0, 1))];
        history([&put, &[(2, 3, Get(0, Some(1)))], &[(4, 5, Get(0, None))]]).unwrap_err();
    }

    #[test]
    fn a_lost_update_is_found() {
        let one = [(1, 2, Put(0, 1)), (3, 10, set(Some(1), 2, true))];
        history([&one, &[(4, 9, set(Some(1), 3, false))]]).unwrap();
        history([&one, &[(4, 9, set(Some(1), 3, true))]]).unwrap_err();
        history([&one, &[(11, 12, Get(0, Some(1)))]]).unwrap_err();
        let both = [
            (1, 2, Put(0, 1)),
            (3, 4, Put(0, 2)),
            (5, 6, Delete(0, false)),
        ];
        history([&both]).unwrap_err();
    }

    #[test]
    fn a_dirty_read_is_found() {
        let refused = [(1, 2, Put(0, 1)), (3, 10, set(Some(7), 2, false))];
        history([&refused, &[(4, 5, Get(0, Some(1)))]]).unwrap();
        history([&refused, &[(4, 5, Get(0, Some(2)))]]).unwrap_err();
        let never = [(1, 2, Put(0, 1)), (3, 10, Refused)];
        history([&never, &[(4, 5, Get(1, Some(9)))]]).unwrap_err();
    }

    #[test]
    fn half_of_a_transaction_is_found() {
        let write = [Some(Some(1)), Some(Some(2))];
        let commit = [(
            1,
            10,
            Commit {
                read: [None; 2],
                write,
            },
        )];
        for found in [[None, None], [Some(1), Some(2)]] {
            history([&commit, &[(2, 3, GetBoth(found))]]).unwrap();
        }
        history([&commit, &[(2, 3, GetBoth([Some(1), None]))]]).unwrap_err();
        let apart = [(2, 3, Get(0, Some(1))), (4, 5, Get(1, None))];
        history([&commit, &apart]).unwrap_err();
    }

    #[test]
    fn write_skew_is_found() {
        let of = |key: usize, value| {
            let mut write = [None; 2];
            write[key] = Some(Some(value));
            Commit {
                read: [None; 2],
                write,
            }
        };
        history([&[(1, 10, of(0, 1))], &[(2, 9, of(1, 2))]]).unwrap_err();
        history([&[(1, 10, of(0, 1))], &[(2, 9, Refused)]]).unwrap();
    }

    #[test]
    fn a_refusal_without_a_cause_is_found() {
        let put = [(1, 2, Put(0, 1)), (3, 4, set(Some(1), 2, false))];
        history([&put]).unwrap_err();
    }
}
