//! Real files through the SDK, into a store of this process and into a server: what comes out is what
//! went in.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use cairn_sdk::{Bucket, Cairn, Scan};
use cairn_tests::server::Server;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const BATCH_ROWS: usize = 2_000;
const PAGE_ROWS: usize = 3_000;

#[test]
fn zip_codes_and_movies_come_out_of_a_store_of_this_process_as_they_went_in() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    run(async {
        let cairn = Cairn::open(directory.path()).await.expect("a new store");
        fill(&cairn).await;
        cairn.close().await.expect("all is synced");
        drop(cairn);
        let cairn = Cairn::open(directory.path()).await.expect("the same store");
        check(&cairn).await;
    });
}

#[test]
fn zip_codes_and_movies_come_out_of_a_server_as_they_went_in() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path());
    let url = format!("http://{}", server.address());
    run(async {
        let cairn = Cairn::connect(&url).await.expect("a server");
        fill(&cairn).await;
        check(&cairn).await;
    });
}

async fn fill(cairn: &Cairn) {
    for (name, rows) in [("zips", zip_codes()), ("movies", movies())] {
        let created = cairn.create_bucket(name, Default::default()).await;
        assert!(created.expect("a new bucket"));
        let bucket = cairn.bucket(name);
        let rows: Vec<_> = rows.into_iter().collect();
        let mut newest = 0;
        for rows in rows.chunks(BATCH_ROWS) {
            let batch = rows.iter().cloned();
            let batch = batch.fold(bucket.batch(), |batch, (key, value)| batch.put(key, value));
            let version = batch.commit().await.expect("a batch is written");
            assert!(version > newest, "{version} after {newest}");
            newest = version;
        }
    }
    let files = cairn.bucket("files");
    cairn
        .create_bucket("files", Default::default())
        .await
        .expect("a new bucket");
    for name in ["zipcodes.csv", "movies.json"] {
        let reader = Cursor::new(bytes_of(name));
        files.put_reader(name, reader).await.expect("a file");
    }
}

async fn check(cairn: &Cairn) {
    for (name, rows, prefix) in [("zips", zip_codes(), "9"), ("movies", movies(), "00000031")] {
        let bucket = cairn.bucket(name);
        let info = bucket.info().await.expect("the bucket is there");
        assert_eq!(info.keys, rows.len() as u64);
        let forwards: Vec<_> = rows.iter().collect();
        let backwards: Vec<_> = rows.iter().rev().collect();
        let is_within = |row: &(&Vec<u8>, &Vec<u8>)| row.0.starts_with(prefix.as_bytes());
        let within: Vec<_> = rows.iter().filter(is_within).collect();
        assert!((1..rows.len()).contains(&within.len()) && rows.len() > PAGE_ROWS);
        assert_rows(bucket.scan(), &forwards).await;
        assert_rows(bucket.scan().reverse(), &backwards).await;
        assert_rows(bucket.scan().prefix(prefix), &within).await;
        let (key, value) = forwards[rows.len() / 2];
        let entry = bucket.get(key).await.expect("a read");
        assert_eq!(entry.expect("a key of the file").value, value[..]);
    }
    for name in ["zipcodes.csv", "movies.json"] {
        assert!(streamed(&cairn.bucket("files"), name).await == bytes_of(name));
    }
}

async fn assert_rows(scan: Scan, expected: &[(&Vec<u8>, &Vec<u8>)]) {
    let mut pages = scan.limit(PAGE_ROWS).pages();
    let (mut found, mut versions) = (0, Vec::new());
    while let Some(page) = pages.next().await.expect("a page") {
        versions.push(page.version);
        for item in page.items {
            let value = item.value_b64.expect("small values are in the page").0;
            let (known, wanted) = expected.get(found).expect("a row too many");
            assert!(
                item.key_b64.0 == known[..] && value == wanted[..],
                "{:?} {value:?} in place of {wanted:?}",
                item.key
            );
            found += 1;
        }
    }
    assert_eq!(found, expected.len());
    versions.dedup();
    assert_eq!(versions.len(), 1, "all pages are of one snapshot");
}

async fn streamed(bucket: &Bucket, key: &'static str) -> Vec<u8> {
    let stream = bucket.get_stream(key).await.expect("a read");
    let mut stream = stream.expect("the file is there");
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await.expect("a part") {
        bytes.extend_from_slice(&part);
    }
    bytes
}

/// The lines by their zip code.
fn zip_codes() -> Rows {
    let text = String::from_utf8(bytes_of("zipcodes.csv")).expect("it is text");
    let lines = text.lines().skip(1).map(|line| line.as_bytes().to_vec());
    let rows: Rows = lines.map(|line| (line[..5].to_vec(), line)).collect();
    assert_eq!(rows.len(), 42_049);
    rows
}

/// The movies by their number.
fn movies() -> Rows {
    let movies = serde_json::from_slice::<Vec<serde_json::Value>>(&bytes_of("movies.json"));
    let movies = movies.expect("it is JSON").into_iter().enumerate();
    let rows = movies.map(|(at, movie)| (format!("{at:010}").into(), movie.to_string().into()));
    let rows: Rows = rows.collect();
    assert_eq!(rows.len(), 3_201);
    rows
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(real(name)).expect("the file is read")
}

fn real(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = ["../shared/data", "../../shared/data"];
    let mut paths = places.iter().map(|above| root.join(above).join(name));
    paths.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{name} is missing: it belongs into ../shared/data beside the workspace")
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}
