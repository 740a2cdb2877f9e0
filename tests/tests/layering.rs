//! The packages depend on one another as the design's map says, and on nothing they must not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each package may import of the others.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("cairn-log", &[]),
    ("cairn-kv", &["cairn-log"]),
    ("cairn-sdk", &["cairn-kv", "cairn-log"]),
    ("cairn-server", &["cairn-sdk", "cairn-kv", "cairn-log"]),
    (
        "cairn-tests",
        &["cairn-log", "cairn-kv", "cairn-sdk", "cairn-server"],
    ),
    (
        "cairn-benches",
        &["cairn-log", "cairn-kv", "cairn-sdk", "cairn-server"],
    ),
];

/// What the log and the key-value layer must not reach, however far down.
const NO_EXECUTOR: [&str; 6] = [
    "tokio",
    "axum",
    "hyper",
    "reqwest",
    "serde_json",
    "async-std",
];

/// The only files of the product that may hold `unsafe`.
const UNSAFE_FILES: [&str; 2] = ["log/src/vfs/map.rs", "log/src/code/kernel.rs"];

type Graph = BTreeMap<String, BTreeSet<String>>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace holds this package")
        .to_owned()
}

/// What the lock file resolves, by name.
struct Dependencies {
    members: BTreeSet<String>,
    /// Of every kind: what a package needs to be built or tested, too.
    of_any_kind: Graph,
    /// What ends up in a program that uses the package.
    normal: Graph,
}

fn dependencies() -> Dependencies {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--all-features",
            "--locked",
        ])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let members = list(&metadata["workspace_members"])
        .iter()
        .map(|id| names[&text(id)].clone())
        .collect();
    let (mut of_any_kind, mut normal) = (Graph::new(), Graph::new());
    for node in list(&metadata["resolve"]["nodes"]) {
        let from = &names[&text(&node["id"])];
        for dependency in list(&node["deps"]) {
            let to = &names[&text(&dependency["pkg"])];
            add_arrow(&mut of_any_kind, from, to);
            let kinds = list(&dependency["dep_kinds"]);
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                add_arrow(&mut normal, from, to);
            }
        }
    }
    Dependencies {
        members,
        of_any_kind,
        normal,
    }
}

fn add_arrow(graph: &mut Graph, from: &str, to: &str) {
    graph
        .entry(from.to_owned())
        .or_default()
        .insert(to.to_owned());
}

fn forbidden_arrows(graph: &Graph, members: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for member in members {
        let allowed = ALLOWED.iter().find(|(name, _)| name == member);
        let Some((_, allowed)) = allowed else {
            found.push(format!("{member} is not in the map"));
            continue;
        };
        for target in graph.get(member).into_iter().flatten() {
            if members.contains(target) && !allowed.contains(&target.as_str()) {
                found.push(format!("{member} -> {target}"));
            }
        }
    }
    found
}

fn reachable(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(package) = open.pop() {
        for next in graph.get(&package).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

fn executors_reached(graph: &Graph, from: &str) -> Vec<String> {
    let reached = reachable(graph, from);
    let reached = NO_EXECUTOR.iter().filter(|name| reached.contains(**name));
    reached
        .map(|name| format!("{from} reaches {name}"))
        .collect()
}

#[test]
fn packages_depend_on_one_another_as_the_map_says() {
    let found = dependencies();
    assert_eq!(found.members.len(), ALLOWED.len(), "{:?}", found.members);
    assert_eq!(
        forbidden_arrows(&found.of_any_kind, &found.members),
        Vec::<String>::new()
    );
    for heart in ["cairn-log", "cairn-kv"] {
        assert!(
            !reachable(&found.normal, heart).is_empty(),
            "{heart} has dependencies"
        );
        assert_eq!(
            executors_reached(&found.normal, heart),
            Vec::<String>::new()
        );
    }
}

#[test]
fn the_check_rejects_a_bad_graph() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in pairs {
            add_arrow(&mut graph, from, to);
        }
        graph
    };
    let members = ["cairn-log", "cairn-kv", "cairn-new"]
        .map(str::to_owned)
        .into();
    let graph = arrows(&[("cairn-log", "cairn-kv"), ("cairn-kv", "a"), ("a", "tokio")]);
    assert_eq!(
        forbidden_arrows(&graph, &members),
        ["cairn-log -> cairn-kv", "cairn-new is not in the map"]
    );
    assert_eq!(
        executors_reached(&graph, "cairn-kv"),
        ["cairn-kv reaches tokio"]
    );
}

#[test]
fn unsafe_stands_only_where_the_design_says() {
    let root = workspace();
    let mut open: Vec<PathBuf> = ["log", "kv", "sdk", "server"]
        .iter()
        .map(|package| root.join(package).join("src"))
        .collect();
    let mut files = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a source directory");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let name = path
            .strip_prefix(&root)
            .expect("inside")
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".rs") || UNSAFE_FILES.contains(&name.as_str()) {
            continue;
        }
        files += 1;
        let source = std::fs::read_to_string(&path).expect("source is UTF-8");
        assert!(!holds_unsafe(&source), "{name} holds unsafe code");
    }
    assert!(files > 20, "the sources were found");
}

/// Whether the code, comments left out, says `unsafe` or lifts the lint against it.
fn holds_unsafe(source: &str) -> bool {
    let code = source.lines().filter_map(|line| line.split("//").next());
    // A hyphen belongs to the word: `unsafe-inline` is a policy for browsers.
    let ends_word = |of: char| !of.is_alphanumeric() && of != '_' && of != '-';
    let mut words = code.flat_map(|line| line.split(ends_word));
    words.any(|word| word == "unsafe" || word == "unsafe_code")
}

#[test]
fn the_check_finds_unsafe_code_in_every_form() {
    for source in [
        "unsafe { read() }",
        "let x = unsafe\n{ read() };",
        "pub unsafe fn read() {}",
        "unsafe impl Send for X {}",
        "#[unsafe(no_mangle)]",
        "#![expect(unsafe_code)]",
    ] {
        assert!(holds_unsafe(source), "{source}");
    }
    assert!(!holds_unsafe(
        "//! No `unsafe` here.\nlet unsafely = 1; // unsafe"
    ));
}
