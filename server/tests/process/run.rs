//! Starts the binary and talks to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A running server; killed when dropped.
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
    pub(super) ready: String,
    log: mpsc::Receiver<String>,
}

pub(super) fn cairn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CAIRN_")) {
        command.env_remove(name);
    }
    command
}

impl Server {
    pub(super) fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = cairn();
        command
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--listen", "127.0.0.1:0"]);
        Self::of_command(command.args(arguments))
    }

    pub(super) fn in_memory(arguments: &[&str]) -> Self {
        Self::of_command(
            cairn()
                .args(["serve", "--memory", "--listen", "127.0.0.1:0"])
                .args(arguments),
        )
    }

    pub(super) fn of_command(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let stderr = child.stderr.take().unwrap();
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.send(line).ok();
            }
        });
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut ready)
            .unwrap();
        if ready.is_empty() {
            let log: Vec<_> = log.iter().collect();
            panic!("no ready line: {log:#?}");
        }
        let address = ready
            .split(' ')
            .find_map(|word| word.strip_prefix("http="))
            .unwrap();
        Self {
            address: address.parse().unwrap(),
            child,
            ready,
            log,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Sends raw text on a connection of its own and reads until it is closed.
    pub(super) fn exchange(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        read_all(&mut stream)
    }

    pub(super) fn get(&self, target: &str) -> String {
        self.exchange(&format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))
    }

    pub(super) fn put(&self, target: &str, body: &str) -> String {
        self.exchange(&format!(
            "PUT {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Runs a command of the binary against this server.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        cairn()
            .args(arguments)
            .args(["--url", &self.url()])
            .output()
            .unwrap()
    }

    pub(super) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Sends SIGTERM; the exit code, and all that was logged.
    pub(super) fn stop(mut self) -> (Option<i32>, Vec<String>) {
        self.signal("-TERM");
        let code = self.child.wait().unwrap().code();
        let mut rest = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut rest)
            .unwrap();
        assert_eq!(rest, "", "nothing but the ready line goes to stdout");
        (code, self.log.iter().collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(super) fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .expect("an answer and an end");
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A problem document with this status and code.
#[track_caller]
pub(super) fn is_problem(answer: &str, status: u16, code: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    assert!(
        answer.contains("content-type: application/problem+json"),
        "{answer}"
    );
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
}
