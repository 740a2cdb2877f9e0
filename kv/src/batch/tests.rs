use super::*;

fn kind(batch: &Batch) -> Option<ErrorKind> {
    batch.check().err().map(|error| error.kind())
}

#[test]
fn operations_and_conditions_come_back_in_the_order_they_were_added() {
    let options = PutOptions {
        ttl_ms: Some(5),
        ..Default::default()
    };
    let batch = Batch::new()
        .put("b", "1")
        .require("x", Expect::Exists)
        .delete("a")
        .put_with("c", "", options.clone());
    batch.check().unwrap();
    assert_eq!(batch.len(), 3);
    let keys: Vec<_> = batch.operations().map(|operation| operation.key).collect();
    assert_eq!(keys, [b"b", b"a", b"c"]);
    let values: Vec<_> = batch
        .operations()
        .map(|operation| match operation.effect {
            EffectRef::LargePut { .. } => unreachable!("no batch has one"),
            EffectRef::Put { value, options } => Some((value, options.ttl_ms)),
            EffectRef::Delete => None,
        })
        .collect();
    assert_eq!(
        values,
        [Some((&b"1"[..], None)), None, Some((b"", Some(5)))]
    );
    let conditions: Vec<_> = batch.conditions().collect();
    assert_eq!(conditions, [(&b"x"[..], &Expect::Exists)]);
}

#[test]
fn a_key_twice_is_an_error_wherever_it_stands() {
    for keys in [&["a", "a"][..], &["b", "a", "b"], &["a", "b", "c", "a"]] {
        let batch = keys
            .iter()
            .fold(Batch::new(), |batch, key| batch.put(key, ""));
        assert_eq!(kind(&batch), Some(ErrorKind::InvalidArgument), "{keys:?}");
        let batch = keys
            .iter()
            .fold(Batch::new(), |batch, key| batch.delete(key));
        assert_eq!(kind(&batch), Some(ErrorKind::InvalidArgument), "{keys:?}");
    }
    assert_eq!(
        kind(&Batch::new().put("a", "").require("a", Expect::Absent)),
        None
    );
    assert_eq!(
        kind(&Batch::new().put("b", "").put("a", "").put("c", "")),
        None
    );
}

#[test]
fn keys_values_and_deadlines_are_bounded() {
    let key = vec![1; KEY_BYTES_MAX];
    assert_eq!(kind(&Batch::new().delete(&key)), None);
    assert_eq!(
        kind(&Batch::new().delete([1; KEY_BYTES_MAX + 1])),
        Some(ErrorKind::KeyTooLarge)
    );
    assert_eq!(
        kind(&Batch::new().delete("")),
        Some(ErrorKind::InvalidArgument)
    );
    assert_eq!(
        kind(&Batch::new().require("", Expect::Exists)),
        Some(ErrorKind::InvalidArgument)
    );

    let mut value = vec![1; VALUE_RECORD_BYTES_MAX];
    assert_eq!(kind(&Batch::new().put(&key, &value)), None);
    value.push(1);
    assert_eq!(
        kind(&Batch::new().put(&key, &value)),
        Some(ErrorKind::ValueTooLarge)
    );

    for (ttl_ms, fault) in [
        (0, Some(ErrorKind::InvalidArgument)),
        (1, None),
        (TTL_MS_MAX, None),
        (TTL_MS_MAX + 1, Some(ErrorKind::InvalidArgument)),
    ] {
        let options = PutOptions {
            ttl_ms: Some(ttl_ms),
            ..Default::default()
        };
        assert_eq!(
            kind(&Batch::new().put_with("k", "", options)),
            fault,
            "{ttl_ms}"
        );
    }
}

#[test]
fn batches_are_bounded_by_operations_bytes_and_conditions() {
    let number = |number: usize| number.to_be_bytes();
    let mut batch = (0..BATCH_OPS_MAX).fold(Batch::new(), |batch, at| batch.delete(number(at)));
    assert_eq!(kind(&batch), None);
    batch = batch.delete("one more");
    assert_eq!(kind(&batch), Some(ErrorKind::BatchTooLarge));

    let value = vec![1; BATCH_BYTES_MAX / 2 - 1];
    let batch = Batch::new().put("a", &value).put("b", &value);
    assert_eq!(kind(&batch), None);
    assert_eq!(kind(&batch.delete("c")), Some(ErrorKind::BatchTooLarge));

    let attributes = Attributes::new().with("n", "v").unwrap();
    let options = PutOptions {
        attributes,
        ..Default::default()
    };
    let batch = Batch::new().put("a", &value).put_with("b", &value, options);
    assert_eq!(
        kind(&batch),
        Some(ErrorKind::BatchTooLarge),
        "attributes count"
    );

    let whole = vec![1; VALUE_RECORD_BYTES_MAX];
    assert_eq!(kind(&Batch::new().put("a", &whole)), None);
    let batch = Batch::new().put("a", &whole).delete("b");
    assert_eq!(kind(&batch), Some(ErrorKind::BatchTooLarge));

    let mut batch = Batch::new();
    for at in 0..BATCH_CONDITIONS_MAX {
        batch = batch.require(number(at), Expect::Absent);
    }
    assert_eq!(kind(&batch), None);
    assert_eq!(
        kind(&batch.require("k", Expect::Absent)),
        Some(ErrorKind::BatchTooLarge)
    );

    let long = |at: usize| [&number(at)[..], &[0; KEY_BYTES_MAX - 8]].concat();
    let most = BATCH_BYTES_MAX / KEY_BYTES_MAX;
    let batch = (0..most).fold(Batch::new(), |batch, at| {
        batch.require(long(at), Expect::Exists)
    });
    assert_eq!(kind(&batch), None);
    assert_eq!(
        kind(&batch.require("k", Expect::Exists)),
        Some(ErrorKind::BatchTooLarge)
    );

    let versions = vec![Version::new(1); CONDITION_VERSIONS_MAX + 1];
    let batch = Batch::new().require("k", Expect::OneOf(versions[1..].to_vec()));
    assert_eq!(kind(&batch), None);
    let batch = batch.require("k", Expect::NoneOf(versions));
    assert_eq!(kind(&batch), Some(ErrorKind::InvalidArgument));
}

#[test]
fn a_faulty_batch_keeps_its_first_fault_and_takes_no_more_memory() {
    let mut batch = Batch::new().put("a", "1").delete("");
    let held = batch.bytes.capacity();
    for _ in 0..100 {
        batch = batch
            .put("b", vec![0; 1 << 20])
            .require("c", Expect::Exists);
    }
    assert_eq!(kind(&batch), Some(ErrorKind::InvalidArgument));
    assert_eq!(batch.bytes.capacity(), held);
    assert_eq!(batch.len(), 1);
}

#[test]
fn expectations_hold_of_the_versions_they_name() {
    let (absent, one, two) = (Version::ABSENT, Version::new(1), Version::new(2));
    for (expect, holds) in [
        (Expect::Exists, [false, true, true]),
        (Expect::Absent, [true, false, false]),
        (Expect::OneOf(vec![one]), [false, true, false]),
        (Expect::OneOf(vec![absent, two]), [true, false, true]),
        (Expect::OneOf(vec![]), [false, false, false]),
        (Expect::NoneOf(vec![one]), [true, false, true]),
        (Expect::NoneOf(vec![absent]), [false, true, true]),
        (Expect::NoneOf(vec![]), [true, true, true]),
    ] {
        for (version, holds) in [absent, one, two].into_iter().zip(holds) {
            assert_eq!(expect.holds(version), holds, "{expect:?} of {version}");
        }
    }
}
