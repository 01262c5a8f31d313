//! The protected service: writes down every request that reaches it, word by word, and answers 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// First word of the request line.
    pub method: String,
    /// Second word of the request line.
    pub target: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a header, or nothing.
    pub fn only(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// The recorder. Its threads end with the test's process.
pub struct Upstream {
    /// `127.0.0.1:PORT`.
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&recorder);
                std::thread::spawn(move || drop(stream.map(|stream| serve(stream, &seen))));
            }
        });
        Self { address, seen }
    }

    /// How much has been seen.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// What came after the first `from`.
    pub fn since(&self, from: usize) -> Vec<Seen> {
        self.seen.lock().unwrap()[from..].to_vec()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Seen>>) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut stream = BufReader::new(stream);
    loop {
        let first = line(&mut stream)?;
        let (method, rest) = first.split_once(' ')?;
        let target = rest.rsplit_once(' ').map_or(rest, |(target, _)| target);
        let mut headers = Vec::new();
        loop {
            let line = line(&mut stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let request = Seen { method: method.to_owned(), target: target.to_owned(), headers };
        let body = request.only("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let chunked = request.all("transfer-encoding").iter().any(|coding| coding.eq_ignore_ascii_case("chunked"));
        let is_head = method == "HEAD";
        seen.lock().unwrap().push(request);
        if chunked {
            loop {
                let size = line(&mut stream)?;
                let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
                stream.read_exact(&mut vec![0; size]).ok()?;
                line(&mut stream)?;
                if size == 0 {
                    break;
                }
            }
        } else {
            std::io::copy(&mut (&mut stream).take(body), &mut std::io::sink()).ok()?;
        }
        let body = if is_head { "" } else { "reached" };
        let answer = format!("HTTP/1.1 200 OK\r\nX-Upstream: reached\r\nContent-Length: 7\r\n\r\n{body}");
        answers.write_all(answer.as_bytes()).ok()?;
    }
}

/// A line without its ending, each byte one character: nothing of what came is lost or repaired.
fn line(stream: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    if stream.take(1024 * 1024).read_until(b'\n', &mut bytes).ok()? == 0 {
        return None;
    }
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    Some(bytes.into_iter().map(char::from).collect())
}
