//! The command line, against a server and against a directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use serde_json::value::RawValue;

use super::run::{Server, cairn, stdout};

/// Where a command finds its store.
enum Place {
    Server(Box<Server>),
    Directory(tempfile::TempDir),
}

impl Place {
    fn both() -> [Place; 2] {
        [
            Place::Server(Box::new(Server::in_memory(&[]))),
            Place::Directory(tempfile::tempdir().unwrap()),
        ]
    }

    fn run(&self, arguments: &[&str]) -> Output {
        match self {
            Place::Server(server) => server.run(arguments),
            Place::Directory(directory) => {
                let data = directory.path().to_str().unwrap();
                cairn()
                    .args(arguments)
                    .args(["--data", data])
                    .output()
                    .unwrap()
            }
        }
    }

    fn code(&self, arguments: &[&str]) -> Option<i32> {
        self.run(arguments).status.code()
    }
}

pub(super) fn real(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for above in ["../shared/data", "../../shared/data"] {
        let path = root.join(above).join(name);
        if path.is_file() {
            return path;
        }
    }
    panic!("{name} is missing: it belongs into ../shared/data beside the workspace");
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn keys_are_put_got_listed_and_deleted_with_telling_exit_codes() {
    for place in Place::both() {
        let version = stdout(&place.run(&["put", "users", "alice", "hello"]));
        let version = version.trim();
        assert_eq!(stdout(&place.run(&["get", "users", "alice"])), "hello");
        assert_eq!(place.code(&["get", "users", "nobody"]), Some(3));
        assert_eq!(place.code(&["get", "nowhere", "nobody"]), Some(3));
        assert_eq!(
            place.code(&["put", "users", "alice", "x", "--if-absent"]),
            Some(4)
        );
        assert_eq!(
            place.code(&["put", "users", "alice", "x", "--if-version", "1"]),
            Some(4)
        );
        assert_eq!(
            place.code(&["put", "users", "alice", "x", "--if-version", version]),
            Some(0)
        );
        assert_eq!(place.code(&["put", "Users", "alice", "x"]), Some(1));
        assert_eq!(
            place.code(&["put", "users", "alice", "x", "--durability", "certified"]),
            Some(1)
        );
        assert_eq!(place.code(&["put", "users"]), Some(2));
        place.run(&["put", "users", "bob", "y", "--durability", "buffered"]);
        assert_eq!(stdout(&place.run(&["scan", "users"])), "alice\tx\nbob\ty\n");
        assert_eq!(
            stdout(&place.run(&["scan", "users", "--prefix", "b", "--keys-only"])),
            "bob\n"
        );
        assert_eq!(
            stdout(&place.run(&["scan", "users", "--reverse", "--limit", "1"])),
            "bob\ty\n"
        );
        let deleted: Value =
            serde_json::from_str(&stdout(&place.run(&["delete", "users", "bob", "--json"])))
                .unwrap();
        assert_eq!(deleted["existed"], true);
        assert_eq!(place.code(&["delete", "users", "bob"]), Some(0));
        assert_eq!(
            place.code(&["delete", "users", "alice", "--if-version", "1"]),
            Some(4)
        );
        let mismatch = place.run(&["put", "users", "alice", "x", "--if-absent", "--json"]);
        let problem: Value = serde_json::from_str(&told(&mismatch)).unwrap();
        assert_eq!(problem["code"], "version_mismatch");
        assert!(problem["version"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_value_comes_from_stdin_and_goes_to_stdout_as_it_is() {
    let server = Server::in_memory(&[]);
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for dash in [&["-"][..], &[]] {
        let mut put = cairn()
            .args(["put", "b", "k"])
            .args(dash)
            .args(["--url", &server.url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        put.stdin.take().unwrap().write_all(&value).unwrap();
        assert!(put.wait().unwrap().success());
        assert_eq!(server.run(&["get", "b", "k"]).stdout, value);
    }
    let json: Value = serde_json::from_str(&stdout(&server.run(&["scan", "b", "--json"]))).unwrap();
    assert_eq!(
        (&json["key"], &json["size"]),
        (&"k".into(), &100_000.into())
    );
    assert!(json["value_b64"].is_string(), "a large value is fetched");
}

#[test]
fn buckets_are_managed() {
    for place in Place::both() {
        assert_eq!(
            stdout(&place.run(&["bucket", "create", "logs"])),
            "created\n"
        );
        assert_eq!(
            stdout(&place.run(&["bucket", "create", "logs"])),
            "was there\n"
        );
        assert_eq!(
            place.code(&["bucket", "create", "logs", "--history-ms", "5"]),
            Some(1)
        );
        place.run(&["put", "logs", "k", "v"]);
        let info = stdout(&place.run(&["bucket", "info", "logs", "--json"]));
        assert_eq!(serde_json::from_str::<Value>(&info).unwrap()["keys"], 1);
        assert!(stdout(&place.run(&["bucket", "list"])).starts_with("logs\t1 keys"));
        assert_eq!(place.code(&["bucket", "delete", "logs"]), Some(1));
        assert_eq!(
            place.code(&["bucket", "delete", "logs", "--force"]),
            Some(0)
        );
        assert_eq!(place.code(&["bucket", "info", "logs"]), Some(3));
        let status = stdout(&place.run(&["status", "--json"]));
        assert!(serde_json::from_str::<Value>(&status).unwrap()["log_id"].is_string());
    }
}

/// Each row of the zip codes as an import makes it, by its key.
pub(super) fn zip_rows() -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    let text = std::fs::read_to_string(real("zipcodes.csv")).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let row: Vec<String> = names
            .iter()
            .zip(&fields)
            .map(|(name, field)| format!("\"{name}\":\"{field}\""))
            .collect();
        rows.insert(fields[0].to_owned(), format!("{{{}}}", row.join(",")));
    }
    assert_eq!(rows.len(), 42_049);
    rows
}

#[test]
fn zip_codes_come_out_as_they_went_in() {
    let path = real("zipcodes.csv");
    let expected = zip_rows();
    for place in Place::both() {
        let file = path.to_str().unwrap();
        let import = place.run(&["import", "zips", file, "--key", "zip_code", "--json"]);
        assert_eq!(stdout(&import), "{\"imported\":42049,\"skipped\":0}\n");
        let export = stdout(&place.run(&["export", "zips"]));
        let mut rows = 0;
        for (line, (key, row)) in export.lines().zip(&expected) {
            assert!(
                line.starts_with(&format!("{{\"key\":\"{key}\",\"version\":")),
                "{line}"
            );
            assert!(line.ends_with(&format!(",\"value\":{row}}}")), "{line}");
            rows += 1;
        }
        assert_eq!((rows, export.lines().count()), (42_049, 42_049));
    }
}

#[test]
fn movies_come_out_as_they_went_in() {
    let path = real("movies.json");
    let text = std::fs::read_to_string(&path).unwrap();
    // The text of each, since a parsed value forgets the order of fields and how numbers are spelt.
    let movies: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
    let movies: Vec<String> = movies
        .iter()
        .map(|movie| on_one_line(movie.get()))
        .collect();
    for place in Place::both() {
        let import = place.run(&["import", "movies", path.to_str().unwrap(), "--key", "#"]);
        assert_eq!(stdout(&import), "imported 3201 rows\n");
        let export = stdout(&place.run(&["export", "movies"]));
        assert_eq!(export.lines().count(), movies.len());
        for (number, (line, movie)) in export.lines().zip(&movies).enumerate() {
            let key = format!("{{\"key\":\"{:010}\",\"version\":", number + 1);
            assert!(line.starts_with(&key), "{line}");
            let value = line.split_once(",\"value\":").map(|(_, value)| value);
            assert_eq!(value, Some(&*format!("{movie}}}")));
        }
    }
}

/// JSON without the white space between its tokens.
fn on_one_line(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut line = text.to_owned();
    line.retain(|c| {
        let opens_or_closes = c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        in_string ^= opens_or_closes;
        in_string || !c.is_ascii_whitespace()
    });
    line
}

/// A file with a fault: its extension and text, what is said of it, and the rows imported and
/// skipped with `--skip-bad`, or nothing where no row can be told from another.
type Faulty = (
    &'static str,
    &'static [u8],
    &'static str,
    Option<(u64, u64)>,
);

const FAULTY: [Faulty; 24] = [
    (
        "csv",
        b"id,t\n1,a\n2\n3,c\n",
        "line 3: 1 fields",
        Some((2, 1)),
    ),
    (
        "csv",
        b"id,t\n1,a\n2,b,c\n",
        "line 3: 3 fields",
        Some((1, 1)),
    ),
    ("csv", b"id,t\n1,a\n2,\xff\n", "line 3", Some((1, 1))),
    ("csv", b"id,t\n1,a\n\xff,b\n", "line 3", Some((1, 1))),
    ("csv", b"id,t\n,a\n", "line 2", Some((0, 1))),
    ("csv", b"id,t\n1,\"a\n2,b\n3,c\n", "line 2", Some((0, 1))),
    ("csv", b"id,t\n1,a\n2,\"b\nb\",\"c", "line 4", Some((1, 1))),
    (
        "csv",
        b"id,t\n1,\"a\n2,\"b\"\n3,c\n",
        "line 2",
        Some((1, 1)),
    ),
    ("csv", b"id,\"t\n1,a\n", "line 1", None),
    ("csv", b"id,t,id\n1,a,2\n", "line 1", None),
    ("csv", b"t\na\n", "line 1: the header", None),
    ("csv", b"id,\xff\n1,a\n", "line 1: the header", None),
    (
        "json",
        b"[{\"id\":1},\n{\"id\":2}",
        "line 2: the file ends",
        None,
    ),
    (
        "json",
        b"[{\"id\":1},\n{\"id\":\"2",
        "line 2: the file ends",
        None,
    ),
    (
        "json",
        b"[{\"id\":1},\n{\"id\":\"\xff\"}]",
        "line 2",
        Some((1, 1)),
    ),
    ("json", b"[{\"id\":1},\n[2]]", "line 2", Some((1, 1))),
    ("json", b"[{\"id\":1},\n{\"id\" 2}]", "line 2", Some((1, 1))),
    (
        "json",
        b"{\"id\":1}",
        "line 1: a JSON file is one array",
        None,
    ),
    (
        "ndjson",
        b"{\"id\":1}\n{\"id\":null}\n",
        "line 2",
        Some((1, 1)),
    ),
    ("ndjson", b"{\"id\":1}\n{}\n", "line 2", Some((1, 1))),
    ("ndjson", b"{\"id\":1}\nnonsense\n", "line 2", Some((1, 1))),
    ("ndjson", b"{\"id\":1}\n[2]\n", "line 2", Some((1, 1))),
    (
        "ndjson",
        b"{\"id\":1}\n{\"id\":\"\xff\"}\n",
        "line 2",
        Some((1, 1)),
    ),
    ("ndjson", b"{\"id\":1}\n{\"id\":2", "line 2", Some((1, 1))),
];

#[test]
fn a_file_with_a_fault_imports_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Server(Box::new(Server::in_memory(&[])));
    let import = |extension: &str, text: &[u8], more: &[&str]| {
        let file = directory.path().join("rows").with_extension(extension);
        std::fs::write(&file, text).unwrap();
        let import = ["import", "rows", file.to_str().unwrap(), "--key", "id"];
        place.run(&[&import[..], more].concat())
    };
    let nothing_is_there = || place.code(&["bucket", "info", "rows"]) == Some(3);
    let twice = b"{\"id\":1}\n{\"id\":2}\n{\"id\":1}\n";
    let twice = (
        "ndjson",
        &twice[..],
        "line 1 and again on line 3",
        Some((2, 1)),
    );
    for (extension, text, says, left) in FAULTY.into_iter().chain([twice]) {
        let shown = text.escape_ascii();
        let refused = import(extension, text, &[]);
        let why = told(&refused);
        assert_eq!(refused.status.code(), Some(1), "{extension} {shown}: {why}");
        assert!(why.contains(says), "{extension} {shown}: {why}");
        assert!(why.ends_with(" (invalid_argument)\n"), "{why}");
        assert!(nothing_is_there(), "{extension} {shown}");
        let skipped = import(extension, text, &["--skip-bad"]);
        let Some((imported, skips)) = left else {
            assert_eq!(skipped.status.code(), Some(1), "{extension} {shown}");
            assert!(nothing_is_there(), "{extension} {shown}");
            continue;
        };
        let counts = format!("imported {imported} rows, skipped {skips}\n");
        assert_eq!(stdout(&skipped), counts, "{extension} {shown}");
        let is_repeated = told(&skipped).contains("a key given before");
        assert!(is_repeated || told(&skipped).contains(says), "{shown}");
        if imported > 0 {
            stdout(&place.run(&["bucket", "delete", "rows", "--force"]));
        }
    }
}

#[test]
fn what_is_bad_is_skipped_and_of_a_key_twice_one_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.ndjson");
    let path = file.to_str().unwrap();
    let place = Place::Server(Box::new(Server::in_memory(&[])));
    std::fs::write(
        &file,
        "{\"id\":1,\"n\": 1}\nnonsense\n{\"id\":1,\"n\": 2}\n",
    )
    .unwrap();
    let skipped = place.run(&["import", "rows", path, "--key", "id", "--skip-bad"]);
    assert_eq!(stdout(&skipped), "imported 1 rows, skipped 2\n");
    assert_eq!(
        stdout(&place.run(&["get", "rows", "1"])),
        "{\"id\":1,\"n\": 1}"
    );
    let last = place.run(&[
        "import",
        "rows",
        path,
        "--key",
        "id",
        "--skip-bad",
        "--last-wins",
    ]);
    assert_eq!(stdout(&last), "imported 1 rows, skipped 1\n");
    assert_eq!(
        stdout(&place.run(&["get", "rows", "1"])),
        "{\"id\":1,\"n\": 2}"
    );
}

#[test]
fn a_fault_of_this_machine_has_a_code_as_one_of_the_store_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let place = Place::Server(Box::new(Server::in_memory(&[])));
    std::fs::create_dir(path("folder")).unwrap();
    stdout(&place.run(&["put", "b", "k", "v"]));
    let folder = path("folder");
    let (below, under_a_file) = (format!("{folder}/no/file"), path("rows.txt/file"));
    std::fs::write(path("rows.txt"), "").unwrap();
    for (arguments, says, code) in [
        (&["import", "b", "no.csv", "--key", "k"][..], "no.csv", "io"),
        (
            &["import", "b", &path("rows.txt"), "--key", "k"],
            "--format",
            "invalid_argument",
        ),
        (
            &["import", "b", &folder, "--key", "k", "--format", "csv"],
            &folder,
            "invalid_argument",
        ),
        (&["upload", &below, "b/k"], &below, "io"),
        (
            &["upload", &folder, "b/k"],
            "a directory",
            "invalid_argument",
        ),
        (&["download", "b/k", &below], &below, "io"),
        (&["download", "b/k", &under_a_file], &under_a_file, "io"),
        (
            &["download", "b/k", &folder],
            "a directory",
            "invalid_argument",
        ),
        (&["download", "b/k", "."], "a directory", "invalid_argument"),
        (
            &["download", "b/k", &format!("{folder}/new/")],
            "a directory",
            "invalid_argument",
        ),
    ] {
        let output = place.run(arguments);
        let why = told(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {why}");
        assert!(why.contains(says), "{arguments:?}: {why}");
        assert!(
            why.ends_with(&format!(" ({code})\n")),
            "{arguments:?}: {why}"
        );
        let output = place.run(&[arguments, &["--json"]].concat());
        let problem: Value = serde_json::from_str(&told(&output)).unwrap();
        assert_eq!(problem["code"], code, "{arguments:?}");
    }
    let left = std::fs::read_dir(directory.path()).unwrap();
    assert_eq!(left.count(), 2, "nothing is left behind");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_server_or_a_directory_is_named_and_a_flag_stands_above_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let url = "http://127.0.0.1:9";
    let run = |arguments: &[&str], environment: Option<&str>| {
        let mut command = cairn();
        command.args(arguments);
        if let Some(url) = environment {
            command.env("CAIRN_URL", url);
        }
        command.output().unwrap()
    };
    let mut command = cairn();
    command.env("CAIRN_URL", OsStr::from_bytes(b"http://127.0.0.1:9/\xff"));
    let no_text = command.args(["get", "b", "k", "--json"]).output().unwrap();
    assert_eq!(failure(&no_text), ("invalid_argument".to_owned(), Some(1)));
    for both in [
        &["put", "b", "k", "v", "--data", data, "--url", url][..],
        &["bucket", "--data", data, "list", "--url", url],
        &["bucket", "--url", url, "create", "b", "--data", data],
    ] {
        let refused = run(both, None);
        let why = told(&refused);
        assert_eq!(refused.status.code(), Some(2), "{both:?}: {why}");
        assert!(why.contains("--url") && why.contains("--data"), "{why}");
    }
    assert!(!Path::new(data).exists());
    stdout(&run(&["put", "b", "k", "v", "--data", data], Some(url)));
    assert_eq!(
        stdout(&run(&["get", "b", "k", "--data", data], Some(url))),
        "v"
    );
    let other = run(&["get", "b", "k"], Some(url));
    assert!(told(&other).contains("127.0.0.1:9"), "{}", told(&other));
    let server = Server::in_memory(&[]);
    stdout(&server.run(&["put", "b", "k", "served"]));
    let flag = run(&["get", "b", "k", "--url", &server.url()], Some(url));
    assert_eq!(stdout(&flag), "served");
}

#[test]
fn a_snapshot_takes_no_write_of_any_command() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.ndjson");
    std::fs::write(&file, "{\"id\":1}\n").unwrap();
    let file = file.to_str().unwrap();
    for place in Place::both() {
        stdout(&place.run(&["put", "b", "k", "v"]));
        for name in ["b@snap", "b.at.snap"] {
            let object = format!("{name}/k");
            for writes in [
                &["put", name, "k", "v"][..],
                &["delete", name, "k"],
                &["upload", file, &object],
                &["import", name, file, "--key", "id"],
                &["bucket", "create", name],
                &["bucket", "delete", name],
            ] {
                let refused = place.run(writes);
                let why = told(&refused);
                assert_eq!(refused.status.code(), Some(1), "{writes:?}: {why}");
                assert!(why.ends_with(" (read_only)\n"), "{writes:?}: {why}");
            }
            let missing = place.run(&["get", name, "k"]);
            assert_eq!(missing.status.code(), Some(3), "{}", told(&missing));
            assert!(told(&missing).ends_with(" (bucket_not_found)\n"));
        }
        for no_name in ["b@", "b@Snap", "@snap", "B@snap"] {
            let refused = place.run(&["put", no_name, "k", "v"]);
            assert!(
                told(&refused).ends_with(" (invalid_argument)\n"),
                "{no_name}"
            );
        }
    }
}

/// The doors to a directory that make no store in it, with `--json`.
pub(super) fn readers(data: &Path, to: &Path) -> Vec<Output> {
    let [data, to] = [data, to].map(|path| path.to_str().unwrap());
    let readers: [&[&str]; 10] = [
        &["get", "b", "k", "--data", data],
        &["scan", "b", "--data", data],
        &["watch", "b", "--data", data],
        &["delete", "b", "k", "--data", data],
        &["bucket", "delete", "b", "--data", data],
        &["export", "b", "--data", data],
        &["status", "--data", data],
        &["log", "status", "--data", data],
        &["verify", data],
        &["backup", data, "--to", to],
    ];
    let run = |arguments: &&[&str]| cairn().args(*arguments).arg("--json").output().unwrap();
    readers.iter().map(run).collect()
}

/// The code of an error that was told as JSON, and the exit code.
#[track_caller]
pub(super) fn failure(output: &Output) -> (String, Option<i32>) {
    assert!(output.stdout.is_empty(), "{output:?}");
    let problem: Value = serde_json::from_str(&told(output)).expect("a line of JSON");
    let code = problem["code"].as_str().unwrap().to_owned();
    (code, output.status.code())
}

#[test]
fn a_command_that_reads_creates_no_directory_and_a_held_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let [missing, held, to] = ["missing", "held", "to"].map(|name| directory.path().join(name));
    for output in readers(&missing, &to) {
        assert_eq!(failure(&output), ("not_found".to_owned(), Some(3)));
        assert!(told(&output).contains("no such directory"), "{output:?}");
    }
    assert!(!missing.exists() && !to.exists());
    let _server = Server::start(&held, &[]);
    for output in readers(&held, &to) {
        assert_eq!(failure(&output), ("locked".to_owned(), Some(1)));
        assert!(told(&output).contains("another process"), "{output:?}");
    }
    assert!(!to.exists());
    let held = held.to_str().unwrap();
    for arguments in [
        &["get", "b", "k", "--data", held][..],
        &["put", "b", "k", "v", "--data", held],
        &["verify", held],
        &["backup", held, "--to", to.to_str().unwrap()],
    ] {
        let output = cairn().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(told(&output).ends_with(" (locked)\n"), "{}", told(&output));
    }
}

#[test]
fn nobody_at_the_url_is_a_failure_with_its_reason() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}");
    let output = cairn()
        .args(["get", "b", "k", "--url", &url])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("unreachable"), "{}", told(&output));
    let output = cairn()
        .args(["status", "--url", "https://localhost"])
        .output()
        .unwrap();
    assert!(told(&output).contains("http://"), "{}", told(&output));
}

#[test]
fn a_token_opens_what_it_covers() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cairn.toml");
    let file =
        "[[token]]\nname = \"a\"\nsecret = \"hush\"\nrole = \"writer\"\nbuckets = [\"a-*\"]\n";
    std::fs::write(&config, file).unwrap();
    let server = Server::in_memory(&["--config", config.to_str().unwrap()]);
    assert_eq!(server.run(&["put", "a-1", "k", "v"]).status.code(), Some(1));
    assert_eq!(
        server
            .run(&["put", "a-1", "k", "v", "--token", "hush"])
            .status
            .code(),
        Some(0)
    );
    let forbidden = server.run(&["put", "b", "k", "v", "--token", "hush"]);
    assert!(told(&forbidden).contains("forbidden"));
    let mut command = cairn();
    command
        .env("CAIRN_TOKEN", "hush")
        .env("CAIRN_URL", server.url())
        .args(["get", "a-1", "k"]);
    assert_eq!(command.output().unwrap().stdout, b"v");
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = cairn().args(["completions", shell]).output().unwrap();
        assert!(stdout(&output).contains("cairn"));
    }
    assert_eq!(
        cairn()
            .args(["completions", "dos"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn large_values_go_through_pipes_and_files_and_come_back_the_same() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let value: Vec<u8> = (0_u32..)
        .flat_map(u32::to_le_bytes)
        .take(21 << 20)
        .collect();
    std::fs::write(path("film"), &value).unwrap();
    for place in Place::both() {
        let told_version = place.run(&["upload", &path("film"), "files/2024/film", "--json"]);
        assert!(told_version.status.success(), "{}", told(&told_version));
        let version: Value = serde_json::from_slice(&told_version.stdout).unwrap();
        let down = place.run(&["download", "files/2024/film", &path("back")]);
        assert!(down.status.success(), "{}", told(&down));
        assert_eq!(stdout(&down), "22020096 bytes\n");
        assert!(std::fs::read(path("back")).unwrap() == value);
        assert!(!Path::new(&path("back.part")).exists());
        let got = place.run(&["get", "files", "2024/film"]);
        assert!(got.stdout == value);
        let item = place.run(&["get", "files", "2024/film", "--json"]);
        let item: Value = serde_json::from_slice(&item.stdout).unwrap();
        assert_eq!(
            (&item["size"], &item["version"]),
            (&value.len().into(), &version["version"])
        );
        assert!(item["value_b64"].is_null());
        let exported = place.run(&["export", "files"]);
        assert!(exported.status.success(), "{}", told(&exported));
        let row: Value = serde_json::from_slice(&exported.stdout).unwrap();
        assert_eq!(
            row["value_b64"].as_str().map(str::len),
            Some(value.len() / 3 * 4)
        );
        let listed = place.run(&["scan", "files"]);
        assert_eq!(stdout(&listed), "2024/film\n");

        let refused = place.run(&["upload", &path("film"), "files/2024/film", "--if-absent"]);
        assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
        assert_eq!(
            place.code(&["download", "files/nothing", &path("none")]),
            Some(3)
        );
        assert!(!Path::new(&path("none")).exists());
        assert_eq!(
            place.code(&["upload", &path("missing"), "files/k"]),
            Some(1)
        );
        assert_eq!(place.code(&["upload", &path("film"), "files"]), Some(2));

        let mut piped = cairn();
        piped.args(["put", "files", "piped", "-"]);
        match &place {
            Place::Server(server) => piped.args(["--url", &server.url()]),
            Place::Directory(directory) => piped.arg("--data").arg(directory.path()),
        };
        let mut child = piped
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&value[..9 << 20])
            .unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
        assert!(place.run(&["get", "files", "piped"]).stdout == value[..9 << 20]);
    }
}
