//! The servers as processes: started on a free port of the loopback, ready before a row begins,
//! killed by their own process id when it ends.
//!
//! `cairn` is the binary of this workspace in the profile of this bench, built first if it is older
//! than its sources. `axum` is this bench as a child: one route, a fixed value, and a runtime as
//! the server of Cairn makes its own. `redis` is that of the machine, if it has one.

use super::client::{Dialect, Load, Operation};
use crate::data::{self, Shape};
use crate::engines::Outcome;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::get;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The first argument of the child that is the bare axum server.
pub(crate) const AXUM_CHILD: &str = "serve-axum";
const READY_TIME_MAX: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A server that answers.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    dialect: Dialect,
    settings: String,
}

impl Server {
    /// `cairn serve` over an empty directory, with its default settings.
    pub(super) fn cairn(binary: &Path, directory: &Path) -> Outcome<Server> {
        let mut command = mortal(binary.as_os_str());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(name);
            }
        }
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "error",
                "--data",
            ])
            .arg(directory.join("cairn"));
        let settings = "`cairn serve`, default settings, a process of its own; a put is answered \
                        when it is synced";
        Server::announced(command, settings)
    }

    pub(super) fn axum() -> Outcome<Server> {
        let mut command = mortal(std::env::current_exe()?.as_os_str());
        command.arg(AXUM_CHILD);
        let settings = "one route, a fixed value of 100 B; a put reads the body and keeps nothing; \
                        the same runtime as `cairn serve`";
        Server::announced(command, settings)
    }

    /// None without a `redis-server` on this machine.
    pub(super) fn redis(directory: &Path) -> Outcome<Option<Server>> {
        let probe = Command::new("redis-server").arg("--version").output();
        let Ok(version) = probe else {
            return Ok(None);
        };
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version.split(' ').find(|word| word.starts_with("v="));
        let address = free_address()?;
        let mut command = mortal(OsStr::new("redis-server"));
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
            .arg("--dir")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let server = Server {
            child: command.spawn()?,
            address,
            dialect: Dialect::Redis,
            settings: format!(
                "redis-server {}, append-only file, appendfsync always, no snapshots; RESP",
                version.unwrap_or("v=?")
            ),
        };
        let deadline = Instant::now() + READY_TIME_MAX;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not answer".into());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(Some(server))
    }

    /// A server that prints a line with `http=ADDRESS` once it listens.
    fn announced(mut command: Command, settings: &str) -> Outcome<Server> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut server = Server {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            dialect: Dialect::Http,
            settings: settings.to_owned(),
        };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let address = words.find_map(|word| word.strip_prefix("http="));
        server.address = address
            .ok_or_else(|| format!("{command:?} did not get ready"))?
            .parse()?;
        Ok(server)
    }

    pub(super) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn settings(&self) -> &str {
        &self.settings
    }

    /// Something to ask of it; every value that is read has to be the right one.
    pub(super) fn load(&self, operation: Operation, connections: usize) -> Load {
        Load {
            address: self.address,
            dialect: self.dialect,
            operation,
            connections,
            loaded: 1,
            checks_stamps: true,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended by itself has made its row fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command whose process the kernel ends when this one dies, where `setpriv` is there to ask for
/// it: a run that is killed leaves no server behind.
fn mortal(program: &OsStr) -> Command {
    let probe = Command::new("setpriv").arg("--version").output();
    if probe.is_ok_and(|probe| probe.status.success()) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        return command;
    }
    Command::new(program)
}

/// A port that was free a moment ago: redis takes none by itself.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The binary of this workspace, in the profile of this bench; minutes if it has to be built.
pub(super) fn cairn_binary() -> Outcome<PathBuf> {
    let bench = std::env::current_exe()?;
    let profile = bench
        .ancestors()
        .skip(1)
        .find(|path| path.file_name() != Some(OsStr::new("deps")))
        .ok_or("the bench stands in no directory")?;
    let name = match profile.file_name().and_then(OsStr::to_str) {
        Some("debug") => "dev",
        Some(name) => name,
        None => return Err("the bench stands in no profile".into()),
    };
    let target = profile.parent().ok_or("a profile without a target")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "cairn-server",
            "--profile",
            name,
        ])
        .arg("--target-dir")
        .arg(target)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("the server does not build: cargo build -p cairn-server".into());
    }
    Ok(profile.join("cairn"))
}

/// The child's whole life: serves until it is killed.
pub(crate) fn serve_axum() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut output = std::io::stdout();
        writeln!(output, "axum ready http={}", listener.local_addr()?)?;
        output.flush()?;
        let mut value = vec![0; Shape::SMALL.value_bytes];
        data::fill_value(0, 0, &mut value);
        let value = Bytes::from(value);
        let read = move || std::future::ready(value.clone());
        let routes = get(read).put(|_: Bytes| std::future::ready(StatusCode::NO_CONTENT));
        let router = Router::new().route("/v1/kv/{bucket}/{key}", routes);
        axum::serve(listener, router).await?;
        Ok(())
    })
}
