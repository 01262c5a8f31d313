//! Raw requests to a gateway: no client between the test and the wire that could repair anything.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Reply, read_reply};

/// Long enough for the slowest gateway's own timeouts.
const PATIENCE: Duration = Duration::from_secs(40);

/// A connection to a gateway.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Opens one.
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends bytes as they are and reads one answer; `None` where the gateway closed the connection without one.
    pub fn ask(&mut self, bytes: &[u8]) -> Option<Reply> {
        // A gateway may hang up on what it does not like before all of it is written.
        let _sent = self.0.get_mut().write_all(bytes);
        let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "" };
        loop {
            let reply = read_reply(&mut self.0, method).ok()?;
            if reply.status >= 200 {
                return Some(reply);
            }
        }
    }
}

/// A request with these header lines.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}
