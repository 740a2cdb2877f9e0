use super::*;

fn held(version: u64, value: &str) -> Held {
    let value = value.to_owned();
    Held { version, value }
}

/// A writer that holds `a` and `b`, and whose pending batch puts `a` and `c` and deletes `b`.
fn writer() -> Writer {
    let mut writer = Writer::new("w", 1);
    writer.sequence = 7;
    writer.version = 6;
    for key in ["a", "b"] {
        writer.acknowledged.insert(key.into(), held(6, "w.000006"));
    }
    writer.pending = Some(Write::Batch(vec!["a".into(), "c".into()], vec!["b".into()]));
    writer
}

fn settled(change: impl FnOnce(&mut State)) -> Result<Option<Outcome>, String> {
    let mut writer = writer();
    let mut found = writer.acknowledged.clone();
    change(&mut found);
    writer.settle(&found)
}

fn put(state: &mut State, key: &str, version: u64) {
    state.insert(key.into(), held(version, "w.000007"));
}

#[test]
fn a_pending_batch_may_be_there_wholly_or_not_at_all() {
    assert_eq!(settled(|_| ()), Ok(Some(Outcome::Lost)));
    let whole = settled(|state| {
        put(state, "a", 9);
        put(state, "c", 9);
        state.remove("b");
    });
    assert_eq!(whole, Ok(Some(Outcome::Found(Some(9)))));
}

#[test]
fn a_partial_batch_is_rejected() {
    settled(|state| put(state, "a", 9)).unwrap_err();
    settled(|state| put(state, "c", 9)).unwrap_err();
    settled(|state| drop(state.remove("b"))).unwrap_err();
    let without_the_delete = settled(|state| {
        put(state, "a", 9);
        put(state, "c", 9);
    });
    without_the_delete.unwrap_err();
    let two_versions = settled(|state| {
        put(state, "a", 9);
        put(state, "c", 10);
        state.remove("b");
    });
    two_versions.unwrap_err();
}

#[test]
fn a_lost_write_and_an_older_value_are_rejected() {
    let mut writer = writer();
    writer.acknowledge(9);
    let acknowledged = writer.acknowledged.clone();
    assert_eq!(writer.settle(&acknowledged), Ok(None));
    let mut found = acknowledged.clone();
    found.remove("c");
    writer.settle(&found).unwrap_err();
    found = acknowledged.clone();
    found.insert("a".into(), held(6, "w.000006"));
    writer.settle(&found).unwrap_err();
    found = acknowledged.clone();
    found.insert("a".into(), held(8, "w.000007"));
    writer.settle(&found).unwrap_err();
}

#[test]
fn a_key_that_comes_back_from_an_acknowledged_delete_is_rejected() {
    let mut writer = writer();
    writer.acknowledge(9);
    let mut found = writer.acknowledged.clone();
    found.insert("b".into(), held(6, "w.000006"));
    writer.settle(&found).unwrap_err();
}

#[test]
fn a_version_that_does_not_grow_is_rejected() {
    let old = settled(|state| {
        put(state, "a", 6);
        put(state, "c", 6);
        state.remove("b");
    });
    old.unwrap_err();
}
