use super::*;

#[test]
fn a_name_that_no_engine_has_is_refused() {
    let options = Options {
        engines: vec!["redb".into(), "reddb".into()],
        ..Options::default()
    };
    let refused = Context::new(&options).err().unwrap().to_string();
    assert!(refused.contains("no engine reddb"), "{refused}");
}

#[test]
fn a_name_that_no_workload_has_is_refused() {
    let options = Options {
        workloads: vec!["get-cold".into()],
        ..Options::default()
    };
    let refused = Context::new(&options).err().unwrap().to_string();
    assert!(refused.contains("no workload get-cold"), "{refused}");
}

#[test]
fn servers_are_named_like_engines() {
    let options = Options {
        engines: vec!["axum".into(), "cairn".into()],
        ..Options::default()
    };
    let context = Context::new(&options).ok().unwrap();
    assert!(context.selects_engine("axum") && !context.selects_engine("redis"));
    assert_eq!(context.engines.len(), 1, "axum is no store of this process");
}

#[test]
fn rows_of_the_twitter_table_are_named_alone_or_together() {
    for name in ["twitter", "twitter-2", "twitter-54", "put-durable", "space"] {
        assert!(known_workload(name), "{name}");
    }
    for name in ["twitter-", "twitter-x", "put"] {
        assert!(!known_workload(name), "{name}");
    }
}

#[test]
fn each_workload_is_listed_once() {
    let mut names: Vec<&str> = workloads().collect();
    let listed = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), listed);
}
