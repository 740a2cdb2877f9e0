//! The JSON of a batch as a fuzz target: a body that parses is printed to one that parses to the
//! same batch, and each of its keys is told by exactly one of its two forms.

use super::*;
use crate::fuzzing::Target;

pub(crate) const TARGET: Target = Target {
    name: "wire_batch",
    check,
    seeds,
};

fn check(bytes: &[u8]) {
    let Ok(batch) = serde_json::from_slice::<BatchRequest>(bytes) else {
        return;
    };
    let text = serde_json::to_vec(&batch).expect("a batch is JSON");
    let again: BatchRequest = serde_json::from_slice(&text).expect("what was printed parses");
    assert_eq!(again.overflowed(), (false, false), "no more was kept");
    assert_eq!(again.ops.list, batch.ops.list);
    assert_eq!(again.conditions.list, batch.conditions.list);
    for op in &batch.ops.list {
        let (text, b64) = match op {
            Op::Put(put) => (&put.key, &put.key_b64),
            Op::Delete(delete) => (&delete.key, &delete.key_b64),
        };
        assert_eq!(op.key().is_ok(), text.is_some() != b64.is_some());
    }
}

impl BatchRequest {
    fn overflowed(&self) -> (bool, bool) {
        (self.ops.overflowed, self.conditions.overflowed)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"ops":[]}"#,
        r#"{"if":[{"key":"a","version":7},{"key_b64":"AAE=","version":0}],"ops":[]}"#,
        r#"{"ops":[{"put":{"key":"a","value":"text","ttl_ms":1000}},{"delete":{"key_b64":"AAE="}}]}"#,
        r#" { "ops" : [ { "put" : { "key_b64" : "", "value_b64" : "/w==", "ttl_ms" : null } } ] } "#,
        r#"{"ops":[{"put":{"key":"\u00fc\ud83d\ude00\n","value":""}}]}"#,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
