use super::*;

const BUCKET: BucketId = BucketId(1);

fn note(recent: &Recent, version: u64, keys: &[&str]) {
    let keys = keys.iter().map(|key| key.as_bytes());
    recent.note(BUCKET, version, keys);
}

fn find(recent: &Recent, next: &mut u64, key: &str) -> Result<Option<u64>, Forgotten> {
    let found = recent.find(BUCKET, next, |noted| noted == key.as_bytes())?;
    Ok(found.map(|(_, version)| version))
}

#[test]
fn only_writes_of_a_bucket_that_somebody_reads_are_noted() {
    let recent = Recent::bounded(10_000);
    assert!(!recent.is_noting());
    let start = recent.begin(BUCKET);
    assert!(recent.is_noting());
    recent.note(BucketId(2), 5, std::iter::once(&b"k"[..]));
    note(&recent, 7, &["k", "l"]);
    let mut next = start;
    assert_eq!(find(&recent, &mut next, "l"), Ok(Some(7)));
    assert_eq!(next, start + 2);
    assert_eq!(find(&recent, &mut next, "l"), Ok(None));
    recent.end(BUCKET, start);
    assert!(!recent.is_noting());
    assert_eq!(recent.notes.lock().bytes, 0);
}

#[test]
fn a_reader_sees_what_was_written_since_it_began_and_no_other_takes_it_away() {
    let recent = Recent::bounded(10_000);
    let first = recent.begin(BUCKET);
    note(&recent, 1, &["early"]);
    let (second, third) = (recent.begin(BUCKET), recent.begin(BUCKET));
    note(&recent, 2, &["late"]);
    assert_eq!(find(&recent, &mut second.clone(), "early"), Ok(None));
    assert_eq!(find(&recent, &mut first.clone(), "early"), Ok(Some(1)));
    recent.end(BUCKET, first);
    assert_eq!(recent.notes.lock().buckets[&BUCKET].writes.len(), 1);
    recent.end(BUCKET, second);
    assert_eq!(find(&recent, &mut third.clone(), "late"), Ok(Some(2)));
    recent.end(BUCKET, third);
    assert!(recent.notes.lock().buckets.is_empty());
}

#[test]
fn beyond_the_bound_the_oldest_notes_are_forgotten_and_who_needs_them_is_told() {
    let note_bytes = size_of::<Note>();
    let recent = Recent::bounded(3 * note_bytes);
    let start = recent.begin(BUCKET);
    note(&recent, 1, &["a", "b", "c"]);
    assert_eq!(find(&recent, &mut start.clone(), "c"), Ok(Some(1)));
    let mut behind = start;
    assert_eq!(find(&recent, &mut behind, "a"), Ok(Some(1)));
    note(&recent, 2, &["d"]);
    assert_eq!(find(&recent, &mut start.clone(), "d"), Err(Forgotten));
    assert_eq!(find(&recent, &mut behind, "d"), Ok(Some(2)));
    assert_eq!(recent.notes.lock().bytes, 3 * note_bytes);
    // A key that alone is too long for the bound is forgotten at once.
    note(&recent, 3, &[&"x".repeat(4 * note_bytes)]);
    assert_eq!(find(&recent, &mut behind, "x"), Err(Forgotten));
    assert_eq!(recent.notes.lock().bytes, 0);
}
