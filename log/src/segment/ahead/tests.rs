use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::*;
use crate::identity::{Incarnation, LogId, PartitionId, SegmentNumber, Term};
use crate::segment::PAGE_BYTES;
use crate::segment::sectors::Header;
use crate::vfs::Map;

/// Keeps what it is asked for.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<Range<u64>>>);

impl Map for Asked {
    fn publish(&self, _end: u64) {}

    fn bytes(&self, _range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn will_need(&self, range: Range<u64>) {
        self.0.lock().push(range);
    }
}

const BASE: u64 = 10_000;

/// A segment of so many bytes, all published.
fn segment(bytes: u64) -> (Segment, Arc<Asked>) {
    let header = Header {
        log: LogId([7; 16]),
        partition: PartitionId(0),
        number: SegmentNumber(1),
        incarnation: Incarnation(1),
        term: Term(0),
        base: Offset::new(BASE),
        previous_end: Offset::new(BASE),
        file_bytes: PAGE_BYTES + (64 << 20),
    };
    let asked = Arc::new(Asked::default());
    let segment = Segment {
        path: PathBuf::new(),
        seed: header.seed(),
        header,
        map: Arc::clone(&asked) as Arc<dyn Map>,
        published: AtomicU64::new(BASE),
    };
    segment.publish(Offset::new(BASE + bytes));
    (segment, asked)
}

#[test]
fn a_walk_asks_for_all_whole_windows_once_and_before_it_reads_them() {
    const BYTES: u64 = 10 * WINDOW_BYTES + 1_000;
    for batch_bytes in [500, 5_000, WINDOW_BYTES, 3 * WINDOW_BYTES + 1, BYTES] {
        let (segment, asked) = segment(BYTES);
        let mut ahead = Ahead::default();
        for batch in 0..BYTES / batch_bytes {
            let offset = Offset::new(BASE + batch * batch_bytes);
            let end = offset.plus(batch_bytes);
            ahead.come_to(&segment, offset, end);
            let asked_end = asked.0.lock().last().unwrap().end;
            let whole_end = PAGE_BYTES + 10 * WINDOW_BYTES;
            assert!(
                asked_end >= segment.position(end).min(whole_end),
                "at {offset}"
            );
        }
        let mut end = PAGE_BYTES;
        for wish in asked.0.lock().iter() {
            assert_eq!(wish.start, end, "asked twice, or not at all");
            end = wish.end;
        }
        assert_eq!(end, PAGE_BYTES + 10 * WINDOW_BYTES);
    }
}

#[test]
fn who_follows_the_end_asks_for_nothing() {
    let (segment, asked) = segment(0);
    let mut ahead = Ahead::default();
    for step in 0..1_000 {
        let offset = Offset::new(BASE + step * 500);
        segment.publish(offset.plus(500));
        ahead.come_to(&segment, offset, offset.plus(500));
    }
    assert_eq!(*asked.0.lock(), []);
}
