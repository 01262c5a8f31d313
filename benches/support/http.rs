//! One keep-alive connection that asks and waits: any method, any status.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::workload::Failure;

/// An answer may take this long: a peer may look at everybody for one question.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection with its credential; opened again where the server closes it after an answer.
pub struct Connection {
    address: SocketAddr,
    authorization: String,
    media_type: &'static str,
    stream: Option<TcpStream>,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, if the status is one of success.
    pub fn json(&self) -> Result<Value, Failure> {
        self.expect(200..300)?;
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// An error where the status is not within the range.
    pub fn expect(&self, range: std::ops::Range<u16>) -> Result<(), Failure> {
        if range.contains(&self.status) {
            return Ok(());
        }
        Err(format!("an answer of {}: {}", self.status, String::from_utf8_lossy(&self.body)).into())
    }
}

impl Connection {
    /// Nothing is sent yet.
    pub fn new(address: SocketAddr, token: &str, media_type: &'static str) -> Self {
        Self { address, authorization: format!("Bearer {token}"), media_type, stream: None }
    }

    /// Sends and reads the whole answer.
    pub fn send(&mut self, method: &str, target: &str, body: &str) -> Result<Answer, Failure> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream
            }
        };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: bench\r\nauthorization: {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.authorization,
            self.media_type,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let (answer, open) = read(&mut stream)?;
        if open {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    /// The answer's JSON, which must be of success.
    pub fn json(&mut self, method: &str, target: &str, body: &Value) -> Result<Value, Failure> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, target, &body)?.json()
    }
}

fn read(stream: &mut TcpStream) -> Result<(Answer, bool), Failure> {
    let mut buffer = Vec::with_capacity(4096);
    let mut part = [0_u8; 16 * 1024];
    let mut more = |buffer: &mut Vec<u8>| -> Result<bool, Failure> {
        let count = stream.read(&mut part)?;
        buffer.extend_from_slice(part.get(..count).unwrap_or(&[]));
        Ok(count > 0)
    };
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if !more(&mut buffer)? {
            return Err("the server closed the connection before its answer".into());
        }
    };
    let text = std::str::from_utf8(buffer.get(..head).unwrap_or(&[]))?.to_ascii_lowercase();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let status: u16 = text.split(' ').nth(1).ok_or("an answer without a status")?.parse()?;
    let open = text.starts_with("http/1.1") && header("connection") != Some("close");
    match header("content-length").map(str::parse::<usize>).transpose()? {
        Some(length) => while buffer.len() < head + length && more(&mut buffer)? {},
        None if status == 204 || status == 304 => {}
        None => while more(&mut buffer)? {},
    }
    buffer.drain(..head);
    Ok((Answer { status, body: buffer }, open))
}
