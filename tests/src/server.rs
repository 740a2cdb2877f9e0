//! The binary of this workspace as a process of its own: built, started and killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::SystemTime;

/// What the binary is made of.
const SOURCES: [&str; 6] = ["Cargo.lock", "Cargo.toml", "log", "kv", "sdk", "server"];

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `cairn serve` on a directory and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not get ready; with what it logged.
    pub fn start(data: &Path) -> Server {
        Server::start_under(&mut Command::new(binary()), data)
    }

    /// Starts the server by a command that lacks only the arguments of `cairn`, and whose process
    /// becomes the server's.
    ///
    /// # Panics
    ///
    /// If the command is not found or the server does not get ready.
    pub fn start_under(command: &mut Command, data: &Path) -> Server {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CAIRN_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let log = child.stderr.take().expect("stderr is piped");
        let (lines, log_lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                // Nobody takes the lines of a server that got ready, yet its pipe must not fill.
                lines.send(line).ok();
            }
        });
        let mut ready = String::new();
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        let read = BufReader::new(stdout).read_line(&mut ready);
        let words = ready.split(' ');
        let address = words.filter_map(|word| word.strip_prefix("http=")).next();
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            child.kill().ok();
            let log: Vec<String> = log_lines.iter().collect();
            panic!("no ready line but {read:?} {ready:?}; the log: {log:#?}");
        };
        Server { child, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of the process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process with SIGKILL.
    ///
    /// # Panics
    ///
    /// If it had ended by itself before.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().expect("the state of a child");
        assert!(ended.is_none(), "the server ended by itself: {ended:?}");
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The binary `cairn` in the profile of this test, built if it is missing or older than a source.
///
/// Cargo builds it before it tests the whole workspace, but not before it tests this package
/// alone; and Cargo tells only the server's own tests where it is.
///
/// # Panics
///
/// If it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let mut above = test.ancestors().skip(1);
        let profile = above.find(|path| path.file_name() != Some(OsStr::new("deps")));
        let profile = profile.expect("a test stands in the directory of its profile");
        let binary = profile
            .join("cairn")
            .with_extension(std::env::consts::EXE_EXTENSION);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let built = modified(&binary);
        let sources = SOURCES.map(|source| newest(&workspace.join(source)));
        if built.is_none() || built < sources.into_iter().max().flatten() {
            build(&workspace, profile);
        }
        assert!(binary.is_file(), "{} is missing", binary.display());
        binary
    })
}

fn build(workspace: &Path, profile: &Path) {
    let name = profile.file_name().and_then(OsStr::to_str);
    let name = match name.expect("a profile has a name") {
        "debug" => "dev",
        other => other,
    };
    let target = profile.parent().expect("a profile has a target directory");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "-p", "cairn-server"])
        .args(["--profile", name, "--target-dir"])
        .arg(target)
        .current_dir(workspace)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the server does not build");
}

/// When the newest file at or below a path was changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let Ok(entries) = path.read_dir() else {
        return modified(path);
    };
    let paths = entries.map_while(Result::ok).map(|entry| entry.path());
    paths.filter_map(|path| newest(&path)).max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}
