//! A blocking HTTP client on one connection that is kept alive.
//!
//! It never retries and never reconnects, so a request is sent at most once and a missing reply is
//! seen as what it is: an outcome that nobody knows.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take before the request counts as failed.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// A whole reply.
#[derive(Debug)]
pub struct Reply {
    /// The status, such as 200.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Where nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let stream = BufReader::new(stream);
        Ok(Client { stream })
    }

    /// The port at this end.
    ///
    /// # Errors
    ///
    /// Where the connection is gone.
    pub fn port(&self) -> Result<u16> {
        Ok(self.stream.get_ref().local_addr()?.port())
    }

    /// Sends a request, which asks for the durability `local`, and waits for the whole reply.
    ///
    /// # Errors
    ///
    /// Where the connection ends first, or the reply is none of HTTP with a `content-length`.
    pub fn send(&mut self, method: &str, target: &str, body: &[u8]) -> Result<Reply> {
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\ncairn-durability: local\r\n\
             content-length: {length}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply> {
        let status_line = self.line()?;
        let status = status_line.strip_prefix("HTTP/1.1 ");
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| malformed(&status_line))?;
        let mut length = None;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse().map_err(|_| malformed(&line))?);
            }
        }
        let mut body = vec![0; length.ok_or_else(|| malformed("no content-length"))?];
        self.stream.read_exact(&mut body)?;
        Ok(Reply { status, body })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n");
        let line = line.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        Ok(line.to_owned())
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("a malformed reply: {what}"))
}
