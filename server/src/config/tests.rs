use super::*;

fn file(text: &str) -> Result<File, Unusable> {
    File::parse(text, Path::new(""))
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let below = file("listen = \"127.0.0.1:1\"\nrequests_max = 7\nmemory = true").unwrap();
    let given = Settings {
        listen: Some("127.0.0.1:2".to_owned()),
        ..Settings::default()
    };
    let config = Config::combine(given, below).unwrap();
    assert_eq!(config.listen, "127.0.0.1:2");
    assert_eq!(config.requests_max, 7);
    assert!(config.memory);
    assert_eq!(config.shutdown_grace_ms, 10_000);
    assert_eq!(config.data, Path::new("./cairn-data"));
}

#[test]
fn an_unknown_name_in_the_file_is_an_error_with_the_name() {
    for text in [
        "lisen = \"127.0.0.1:1\"",
        "lisen = 1\n[[token]]\nname = \"a\"\nsecret = \"b\"\nrole = \"reader\"",
        "[[token]]\nname = \"a\"\nsecret = \"b\"\nrole = \"reader\"\nlisen = 1",
        "[lisen]\na = 1",
    ] {
        let Unusable(detail) = file(text).unwrap_err();
        assert!(detail.contains("lisen"), "{detail}");
    }
    for text in ["tokens = 1", "tokens = 1\n[[topic]]\nname = \"a\""] {
        let Unusable(detail) = file(text).unwrap_err();
        for known in ["`tokens`", "`listen`", "`token`", "`topic`", "line 1"] {
            assert!(detail.contains(known), "{known} is not in: {detail}");
        }
    }
    for text in [
        "listen = 1",
        "listen = ",
        "requests_max = -1",
        "token = 3",
        "memory = \"yes\"",
    ] {
        assert!(file(text).is_err(), "{text}");
    }
}

#[test]
fn absurd_settings_are_refused_by_name() {
    for name in [
        "requests_max",
        "connections_max",
        "partitions",
        "blocking_threads",
    ] {
        let below = file(&format!("{name} = 0")).unwrap();
        let Unusable(detail) = Config::combine(Settings::default(), below).unwrap_err();
        assert!(detail.contains(name), "{detail}");
    }
    let both = Settings {
        memory: Some(true),
        data: Some("d".into()),
        ..Settings::default()
    };
    assert!(Config::combine(both, File::default()).is_err());
}

#[test]
fn tokens_need_a_name_a_role_and_one_secret() {
    let table = |rest: &str| file(&format!("[[token]]\nname = \"a\"\n{rest}"));
    let good = table("secret = \"s\"\nrole = \"writer\"\nbuckets = [\"logs-*\"]").unwrap();
    assert_eq!(good.token[0].role, Role::Writer);
    assert_eq!(good.token[0].buckets, ["logs-*"]);
    assert_eq!(
        table("secret = \"s\"\nrole = \"admin\"").unwrap().token[0].buckets,
        ["*"]
    );
    for bad in [
        "secret = \"s\"",
        "role = \"reader\"",
        "role = \"owner\"\nsecret = \"s\"",
        "role = \"reader\"\nsecret = \"\"",
        "role = \"reader\"\nsecret = \"two words\"",
        "role = \"reader\"\nsecret = \"s\"\nsecret_file = \"f\"",
        "role = \"reader\"\nsecret_file = \"no such file\"",
        "role = \"reader\"\nsecret = \"s\"\ns3_access_key = \"k\"",
        "role = \"reader\"\nsecret = \"s\"\n[[token]]\nname = \"a\"\nrole = \"reader\"\nsecret = \"t\"",
        "role = \"reader\"\nsecret = \"s\"\n[[token]]\nname = \"b\"\nrole = \"reader\"\nsecret = \"s\"",
    ] {
        assert!(table(bad).is_err(), "{bad}");
    }
}

#[test]
fn topics_are_kept_as_the_settings_say_and_single_ones_as_their_table_does() {
    let below = file(
        "topic_retention_ms = 5\ntopic_retention_bytes = 6\n\
         [[topic]]\nname = \"a/b\"\nretention_ms = 7\n\
         [[topic]]\nname = \"c\"\nretention_bytes = 0\n\
         [[token]]\nname = \"a\"\nrole = \"reader\"\nsecret = \"s\"",
    );
    let given = Settings {
        topic_retention_ms: Some(8),
        ..Settings::default()
    };
    let config = Config::combine(given, below.unwrap()).unwrap();
    let kept = (config.topic_retention_ms, config.topic_retention_bytes);
    assert_eq!(kept, (8, 6));
    let topics = config.topic.iter();
    let topics: Vec<_> = topics
        .map(|topic| (&*topic.name, topic.retention_ms, topic.retention_bytes))
        .collect();
    assert_eq!(
        topics,
        [("a/b", Some(7), None), ("c", None, Some(0))],
        "what is absent is told from 0"
    );
    assert_eq!(config.token.len(), 1);
    let defaults = Config::combine(Settings::default(), File::default()).unwrap();
    let kept = (defaults.topic_retention_ms, defaults.topic_retention_bytes);
    assert_eq!(kept, (0, 0));
    for bad in [
        "[[topic]]\nretention_ms = 1",
        "[[topic]]\nname = \"a\"\nretention = 1",
        "[[topic]]\nname = \"a\"\nretention_ms = -1",
        "[[topic]]\nname = \"a\"\n[[topic]]\nname = \"a\"",
        "topic = 3",
    ] {
        let Unusable(detail) = file(bad).unwrap_err();
        assert!(detail.contains("topic"), "{detail}");
    }
}

#[test]
fn a_secret_file_stands_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "from-a-file\n").unwrap();
    let path = directory.path().join("cairn.toml");
    let text = "[[token]]\nname = \"a\"\nrole = \"reader\"\nsecret_file = \"secret\"\n";
    std::fs::write(&path, text).unwrap();
    let config = Config::resolve(Settings::default(), Some(&path)).unwrap();
    assert_eq!(config.token[0].secret.as_str(), "from-a-file");
    let shown = serde_json::to_string(&config).unwrap();
    assert!(
        shown.contains("[redacted]") && !shown.contains("from-a-file"),
        "{shown}"
    );
    let missing = directory.path().join("missing.toml");
    let Unusable(detail) = Config::resolve(Settings::default(), Some(&missing)).unwrap_err();
    assert!(detail.contains("missing.toml"), "{detail}");
}

#[test]
fn the_page_about_the_configuration_shows_one_that_is_taken_and_every_default() {
    let page = include_str!("../../../docs/configuration.md");
    let example = page.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cairn.toml");
    std::fs::write(&path, example).unwrap();
    for secret in ["collector", "operator"] {
        let file = directory.path().join(secret).with_extension("secret");
        std::fs::write(file, format!("{secret}-secret\n")).unwrap();
    }
    let config = Config::resolve(Settings::default(), Some(&path)).unwrap();
    let tokens = config.token.iter();
    let tokens: Vec<_> = tokens
        .map(|token| (&*token.name, token.role, token.buckets.join(" ")))
        .collect();
    assert_eq!(
        tokens,
        [
            ("dashboard", Role::Reader, "metrics logs-*".to_owned()),
            ("collector", Role::Writer, "logs-*".to_owned()),
            ("operator", Role::Admin, "*".to_owned()),
        ]
    );
    assert_eq!(config.topic.len(), 1);
    assert!(page.contains(config.token[0].secret.as_str()));

    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')));
    let mut listed: std::collections::BTreeMap<&str, &str> = cells
        .filter_map(|mut cells| Some((cells.nth(1)?, cells.next()?)))
        .collect();
    for role in [Role::Reader, Role::Writer, Role::Admin] {
        assert!(listed.remove(role.as_str()).is_some(), "{role:?}");
    }
    let defaults = Config::combine(Settings::default(), File::default()).unwrap();
    let defaults = serde_json::to_value(defaults).unwrap();
    for (name, default) in defaults.as_object().unwrap() {
        if matches!(&**name, "token" | "topic") {
            continue;
        }
        let default = match default {
            _ if name == "blocking_threads" => {
                format!("{} a core", cairn_sdk::bridge::THREADS_PER_CORE)
            }
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(listed.remove(&**name), Some(&*default), "{name}");
    }
    assert!(listed.is_empty(), "no settings: {listed:?}");
}
