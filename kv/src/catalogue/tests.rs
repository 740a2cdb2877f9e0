use super::*;
use crate::bucket::options::BucketOptions;
use crate::bucket::state::Created;

fn bucket(id: u32, name: &str, partition: u16, version: u64) -> Arc<BucketState> {
    let created = Created {
        version,
        time_ms: 0,
    };
    let name = BucketName::new(name).unwrap();
    Arc::new(BucketState::new(
        BucketId(id),
        name,
        partition,
        BucketOptions::default(),
        created,
    ))
}

fn dropped(id: u32, name: &str, partition: u16, version: u64) -> Arc<BucketState> {
    let bucket = bucket(id, name, partition, version);
    bucket.drop_at(version + 1);
    bucket
}

#[test]
fn new_buckets_go_where_the_fewest_are_and_old_names_where_they_were() {
    let mut catalogue = Catalogue::default();
    assert_eq!(catalogue.partition_for("a", 3), 0);
    catalogue.enter(bucket(1, "a", 0, 10));
    assert_eq!(catalogue.partition_for("b", 3), 1);
    catalogue.enter(bucket(2, "b", 1, 10));
    catalogue.enter(bucket(3, "c", 2, 10));
    catalogue.enter(bucket(4, "d", 0, 20));
    assert_eq!(catalogue.partition_for("e", 3), 1);
    catalogue.strike(&dropped(1, "a", 0, 10));
    catalogue.enter(bucket(5, "f", 0, 30));
    assert_eq!(
        catalogue.partition_for("a", 3),
        0,
        "its old place, although it is not the emptiest"
    );
}

#[test]
fn ids_are_never_given_twice_not_even_after_a_replay() {
    let mut catalogue = Catalogue::default();
    assert_eq!(catalogue.next_id().unwrap(), BucketId(1));
    assert_eq!(catalogue.next_id().unwrap(), BucketId(2));
    let found = vec![dropped(7, "a", 0, 10), bucket(3, "b", 1, 10)];
    assert_eq!(
        Catalogue::rebuild(found).unwrap().next_id().unwrap(),
        BucketId(8)
    );
    let spent = Catalogue::rebuild(vec![bucket(u32::MAX, "a", 0, 10)]);
    assert_eq!(
        spent.unwrap().next_id().unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn buckets_are_bounded_and_removal_makes_room() {
    let mut catalogue = Catalogue::default();
    for number in 0..BUCKETS_MAX {
        let id = catalogue.next_id().unwrap();
        catalogue.enter(bucket(id.0, &format!("b{number}"), 0, 10));
    }
    assert_eq!(
        catalogue.next_id().unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    catalogue.strike(&dropped(1, "b0", 0, 10));
    assert!(catalogue.next_id().is_ok());
    assert_eq!(catalogue.live().count(), BUCKETS_MAX - 1);
}

#[test]
fn ids_end_where_those_of_internal_buckets_begin() {
    let found = vec![dropped(BucketId::MAX.0 - 1, "a", 0, 10)];
    let mut catalogue = Catalogue::rebuild(found).unwrap();
    assert_eq!(catalogue.next_id().unwrap(), BucketId::MAX);
    assert!(!BucketId::MAX.is_pieces());
    let refusal = catalogue.next_id().unwrap_err();
    assert!(refusal.message().contains("bucket ids"), "{refusal}");
}

#[test]
fn a_replay_finds_the_newest_bucket_of_each_name() {
    let found = vec![
        bucket(3, "a", 1, 30),
        dropped(1, "a", 1, 10),
        dropped(2, "b", 0, 10),
    ];
    let catalogue = Catalogue::rebuild(found).unwrap();
    assert!(matches!(catalogue.named("a"), Some(Named::Live(found)) if found.id == BucketId(3)));
    assert!(matches!(
        catalogue.named("b"),
        Some(Named::Former {
            partition: 0,
            dropped: 11
        })
    ));
    assert!(catalogue.named("c").is_none());
}

#[test]
fn a_name_or_an_id_claimed_twice_is_corruption() {
    for found in [
        vec![bucket(1, "a", 0, 10), bucket(2, "a", 0, 20)],
        vec![bucket(1, "a", 0, 10), bucket(2, "a", 1, 10)],
        vec![dropped(1, "a", 0, 10), bucket(2, "a", 1, 10)],
        vec![bucket(1, "a", 0, 10), bucket(1, "b", 1, 10)],
    ] {
        assert_eq!(
            Catalogue::rebuild(found).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }
}
