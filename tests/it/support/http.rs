//! HTTP/1.1 in its plainest form: one connection, one request after another.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Itself, where the status is one of these.
    #[track_caller]
    pub fn expect(self, statuses: &[u16]) -> Self {
        assert!(statuses.contains(&self.status), "wanted {statuses:?}, got {}: {}", self.status, self.text());
        self
    }
}

/// One connection to one listener; opened when needed.
pub struct Client {
    address: String,
    headers: String,
    open: Option<BufReader<TcpStream>>,
}

impl Client {
    /// To `HOST:PORT`.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), headers: String::new(), open: None }
    }

    /// With `Authorization: Bearer` on every request.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// With a header on every request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// A connection of its own that sends whatever the test likes.
    pub fn raw(&self) -> TcpStream {
        self.connect().unwrap()
    }

    /// Sends a request with a body of JSON, or with none where it is null.
    #[track_caller]
    pub fn json(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        self.try_json(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Self::json`], for servers that may die meanwhile.
    pub fn try_json(&mut self, method: &str, path: &str, body: &Value) -> Result<Reply, Error> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let kind = if path.starts_with("/scim/") { "application/scim+json" } else { "application/json" };
        self.send(method, path, kind, text.as_bytes())
    }

    /// Sends a request. An answer with an error status is an answer.
    pub fn send(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Reply, Error> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{}", self.address, self.headers);
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            request.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.exchange(method, &bytes)
    }

    /// Sends a request that the caller wrote, byte by byte.
    pub fn exchange(&mut self, method: &str, bytes: &[u8]) -> Result<Reply, Error> {
        let mut stream = match self.open.take() {
            Some(open) => open,
            None => BufReader::new(self.connect()?),
        };
        stream.get_mut().write_all(bytes)?;
        let reply = read(&mut stream, method)?;
        if !reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.open = Some(stream);
        }
        Ok(reply)
    }

    fn connect(&self) -> Result<TcpStream, Error> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

/// Reads one answer.
pub fn read(stream: &mut impl BufRead, method: &str) -> Result<Reply, Error> {
    let status_line = line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("no status: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    if method == "HEAD" || matches!(status, 204 | 304) || (100..200).contains(&status) {
        return Ok(reply);
    }
    if reply.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(stream)?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            let at = reply.body.len();
            reply.body.resize(at + size, 0);
            stream.read_exact(&mut reply.body[at..])?;
            line(stream)?;
            if size == 0 {
                return Ok(reply);
            }
        }
    }
    let length: usize = reply.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    reply.body.resize(length, 0);
    stream.read_exact(&mut reply.body)?;
    Ok(reply)
}

fn line(stream: &mut impl BufRead) -> Result<String, Error> {
    let mut line = String::new();
    if stream.take(64 * 1024).read_line(&mut line)? == 0 {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
