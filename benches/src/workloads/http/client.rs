//! One client for all servers: keep-alive connections over tokio's streams, one request on its way
//! on each, with as little of a client as there can be.
//!
//! HTTP/1.1 and RESP are two dialects of the same loop. Of an answer only what is needed is read:
//! the status, the length and the body. There is no allocation in the loop. One thread serves a
//! single connection, two serve more, each with its share of the connections and a runtime of its
//! own, so that the client never takes more than two cores.

use super::topic;
use crate::data::{self, Random, Shape};
use crate::engines::Outcome;
use crate::measure::Histogram;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHAPE: Shape = Shape::SMALL;
const THREADS_MAX: usize = 2;
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// No answer of a live server takes so long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    Put,
    /// To a topic, of a server that has some.
    Append,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Http,
    Redis,
}

/// What is to be asked of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) dialect: Dialect,
    pub(super) operation: Operation,
    pub(super) connections: usize,
    /// Gets are of the rows below this one.
    pub(super) loaded: u64,
    /// Whether a value that is read has to be that of its key; its size is checked in any case.
    pub(super) checks_stamps: bool,
}

/// What came of it.
pub(super) struct Done {
    /// Answered while the clock ran.
    pub(super) operations: u64,
    pub(super) latency: Histogram,
    /// What each connection has written, in the warm-up too.
    pub(super) written: Vec<Vec<Written>>,
}

/// A row that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) row: u64,
    /// Of an append: the offset that it was answered with.
    pub(super) place: u64,
}

/// When connections count, and when they end.
#[derive(Clone, Copy)]
enum Until {
    Time {
        begin: Instant,
        end: Instant,
    },
    /// Each connection does its share of so many rows.
    Rows(u64),
}

impl Load {
    /// Runs for `warming` uncounted, and then for `length`.
    pub(super) fn run(&self, warming: Duration, length: Duration) -> Outcome<Done> {
        let begin = Instant::now() + warming;
        let end = begin + length;
        self.run_until(Until::Time { begin, end })
    }

    /// Does the operation once for each of the first `rows` rows.
    pub(super) fn count(&self, rows: u64) -> Outcome<Done> {
        self.run_until(Until::Rows(rows))
    }

    /// How many of these rows do not come back as they were written.
    pub(super) fn compare(&self, written: &[Written]) -> Outcome<u64> {
        runtime()?.block_on(async {
            let mut connection = Connection::open(self).await?;
            let mut expected = vec![0; SHAPE.value_bytes];
            let mut wrong = 0;
            for &Written { row, .. } in written {
                data::fill_value(row, 0, &mut expected);
                let value = connection.ask(Operation::Get, row).await?;
                wrong += u64::from(value != expected);
            }
            Ok(wrong)
        })
    }

    fn run_until(&self, until: Until) -> Outcome<Done> {
        let threads = self.connections.min(THREADS_MAX);
        let of_threads: Vec<Outcome<Vec<OfConnection>>> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|thread| {
                    let connections = (thread..self.connections).step_by(threads);
                    scope.spawn(move || self.run_connections(connections, until))
                })
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().map_err(|_| "a client panicked")?)
                .collect()
        });
        let mut done = Done {
            operations: 0,
            latency: Histogram::new(),
            written: Vec::new(),
        };
        for of_thread in of_threads {
            for of_connection in of_thread? {
                done.operations += of_connection.operations;
                done.latency.merge(&of_connection.latency);
                done.written.push(of_connection.written);
            }
        }
        Ok(done)
    }

    fn run_connections(
        &self,
        numbers: impl Iterator<Item = usize>,
        until: Until,
    ) -> Outcome<Vec<OfConnection>> {
        runtime()?.block_on(async {
            let running: Vec<_> = numbers
                .map(|number| tokio::spawn(self.run_connection(number, until)))
                .collect();
            let mut done = Vec::new();
            for connection in running {
                done.push(connection.await??);
            }
            Ok(done)
        })
    }

    fn run_connection(
        &self,
        number: usize,
        until: Until,
    ) -> impl Future<Output = Outcome<OfConnection>> + Send + use<> {
        let load = *self;
        async move {
            let mut random = Random::new(number as u64);
            let mut done = OfConnection {
                operations: 0,
                latency: Histogram::new(),
                written: Vec::new(),
            };
            let mut connection = Connection::open(&load).await?;
            for own in (number as u64..).step_by(load.connections) {
                let row = match load.operation {
                    Operation::Get => random.below(load.loaded),
                    Operation::Put | Operation::Append => own,
                };
                let asked = Instant::now();
                match until {
                    Until::Time { end, .. } if asked >= end => break,
                    Until::Rows(rows) if own >= rows => break,
                    _ => {}
                }
                let value = connection.ask(load.operation, row).await?;
                if load.operation == Operation::Get && !load.is_right(value, row) {
                    return Err(format!("the value of row {row} is wrong").into());
                }
                let place = match load.operation {
                    Operation::Append => topic::offset_of(value)?,
                    Operation::Get | Operation::Put => 0,
                };
                let answered = Instant::now();
                if load.operation != Operation::Get {
                    done.written.push(Written { row, place });
                }
                let counts = match until {
                    Until::Time { begin, end } => asked >= begin && answered <= end,
                    Until::Rows(_) => true,
                };
                if counts {
                    done.operations += 1;
                    done.latency.record(answered - asked);
                }
            }
            Ok(done)
        }
    }

    fn is_right(&self, value: &[u8], row: u64) -> bool {
        if self.checks_stamps {
            data::bears_stamp(value, SHAPE.value_bytes, row, 0)
        } else {
            value.len() == SHAPE.value_bytes
        }
    }
}

pub(super) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime)
}

struct OfConnection {
    operations: u64,
    latency: Histogram,
    written: Vec<Written>,
}

pub(super) struct Connection {
    stream: TcpStream,
    dialect: Dialect,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub(super) async fn open(load: &Load) -> Outcome<Connection> {
        let stream = TcpStream::connect(load.address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            dialect: load.dialect,
            host: load.address.to_string(),
            request: Vec::with_capacity(1024),
            answer: vec![0; ANSWER_BYTES_MAX],
            filled: 0,
        })
    }

    /// Sends a request and waits for its whole answer, whose body is returned.
    async fn ask(&mut self, operation: Operation, row: u64) -> Outcome<&[u8]> {
        self.request.clear();
        self.dialect
            .write_request(operation, row, &self.host, &mut self.request)?;
        self.stream.write_all(&self.request).await?;
        self.answer(operation).await
    }

    /// Sends this request and waits for its whole answer, whose body is returned.
    pub(super) async fn exchange(
        &mut self,
        operation: Operation,
        request: &[u8],
    ) -> Outcome<&[u8]> {
        self.stream.write_all(request).await?;
        self.answer(operation).await
    }

    async fn answer(&mut self, operation: Operation) -> Outcome<&[u8]> {
        self.filled = 0;
        loop {
            // One clock for the stream as a whole would be cheaper yet; this one costs little
            // beside the system call.
            let room = &mut self.answer[self.filled..];
            let read = tokio::time::timeout(ANSWER_TIME_MAX, self.stream.read(room)).await??;
            if read == 0 {
                return Err("the server closed the connection, or its answer has no end".into());
            }
            self.filled += read;
            if let Some(body) = self
                .dialect
                .body_of(operation, &self.answer[..self.filled])?
            {
                return Ok(&self.answer[body]);
            }
        }
    }
}

impl Dialect {
    fn write_request(
        self,
        operation: Operation,
        row: u64,
        host: &str,
        out: &mut Vec<u8>,
    ) -> Outcome<()> {
        let key = text_key(row);
        let key = std::str::from_utf8(&key)?;
        let mut value = [0; SHAPE.value_bytes];
        if operation == Operation::Put {
            data::fill_value(row, 0, &mut value);
        }
        match (self, operation) {
            (Dialect::Http, Operation::Get) => {
                write!(out, "GET {PATH}{key} HTTP/1.1\r\nhost: {host}\r\n\r\n")?;
            }
            (Dialect::Http, Operation::Put) => {
                let length = value.len();
                write!(
                    out,
                    "PUT {PATH}{key} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n"
                )?;
                out.extend_from_slice(&value);
            }
            (Dialect::Http, Operation::Append) => topic::write_append(row, host, out)?,
            (Dialect::Redis, Operation::Append) => return Err("redis has no such topics".into()),
            (Dialect::Redis, Operation::Get) => {
                write!(out, "*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())?;
            }
            (Dialect::Redis, Operation::Put) => {
                let (key_bytes, length) = (key.len(), value.len());
                write!(
                    out,
                    "*3\r\n$3\r\nSET\r\n${key_bytes}\r\n{key}\r\n${length}\r\n"
                )?;
                out.extend_from_slice(&value);
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Where the body of an answer stands, once all of it is there. An answer that is no success
    /// is an error.
    fn body_of(
        self,
        operation: Operation,
        answer: &[u8],
    ) -> Outcome<Option<std::ops::Range<usize>>> {
        match self {
            Dialect::Http => http_body(answer),
            Dialect::Redis => redis_body(operation, answer),
        }
    }
}

/// Below which path the rows are; the same for every HTTP server.
const PATH: &str = "/v1/kv/bench/";

/// The key of a row in hexadecimal digits, as long as the keys of the other workloads, so that no
/// server has anything to decode.
fn text_key(row: u64) -> [u8; SHAPE.key_bytes] {
    let mut bytes = [0; SHAPE.key_bytes / 2];
    data::fill_key(row, &mut bytes);
    let mut text = [0; SHAPE.key_bytes];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    text
}

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn http_body(answer: &[u8]) -> Outcome<Option<std::ops::Range<usize>>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut length = None;
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let start = end + 4;
    let length = match (status, length) {
        (Some("204"), _) => 0,
        (Some(_), Some(length)) => length,
        _ => return Err(format!("an answer without a length: {head}").into()),
    };
    let Some(body) = answer.get(start..start + length) else {
        return Ok(None);
    };
    if !status.is_some_and(|status| status.starts_with('2')) {
        let body = String::from_utf8_lossy(body);
        return Err(format!("an answer that is no success: {head} {body}").into());
    }
    Ok(Some(start..start + length))
}

pub(super) fn redis_body(
    operation: Operation,
    answer: &[u8],
) -> Outcome<Option<std::ops::Range<usize>>> {
    let Some(end) = answer.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&answer[..end])?;
    match (operation, line.strip_prefix('$')) {
        (Operation::Put, _) if line == "+OK" => Ok(Some(end..end)),
        (Operation::Get, Some(length)) if length != "-1" => {
            let start = end + 2;
            let whole = start + length.parse::<usize>()?;
            Ok((answer.len() >= whole + 2).then_some(start..whole))
        }
        _ => Err(format!("an answer that is no success: {line}").into()),
    }
}
