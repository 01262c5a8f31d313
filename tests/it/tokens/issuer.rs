//! A small issuer: an HTTP server on this machine that hands out whatever stands on its shelf and counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Shelf {
    /// 200 with this text.
    Keys(String),
    /// 302 to this address.
    Redirect(String),
    /// 500.
    Broken,
    /// Nothing: the connection stays open until the server is dropped.
    Silent,
}

/// The server.
pub struct KeyServer {
    address: std::net::SocketAddr,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    shelf: Mutex<Shelf>,
    fetches: AtomicUsize,
    fetched: Condvar,
    over: AtomicBool,
    silent: Mutex<Vec<TcpStream>>,
}

impl KeyServer {
    pub fn start(shelf: Shelf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            shelf: Mutex::new(shelf),
            fetches: AtomicUsize::new(0),
            fetched: Condvar::new(),
            over: AtomicBool::new(false),
            silent: Mutex::default(),
        });
        let serving = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.over.load(Ordering::SeqCst) {
                    return;
                }
                // One after another: the client keeps no connection that says it will close.
                let _broken_off = serving.answer(stream.unwrap());
            }
        });
        Self { address, inner, thread: Some(thread) }
    }

    /// Where the keys are.
    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub fn put(&self, shelf: Shelf) {
        *self.inner.shelf.lock().unwrap() = shelf;
    }

    /// How often it was asked.
    pub fn fetches(&self) -> usize {
        self.inner.fetches.load(Ordering::SeqCst)
    }

    /// Waits until it was asked so often.
    pub fn wait_for(&self, fetches: usize) {
        let mut shelf = self.inner.shelf.lock().unwrap();
        while self.fetches() < fetches {
            shelf = self.inner.fetched.wait(shelf).unwrap();
        }
    }
}

impl Inner {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let shelf = {
            let shelf = self.shelf.lock().unwrap();
            self.fetches.fetch_add(1, Ordering::SeqCst);
            self.fetched.notify_all();
            shelf.clone()
        };
        let mut stream = reader.into_inner();
        let (status, extra, body) = match shelf {
            Shelf::Keys(keys) => ("200 OK", String::new(), keys),
            Shelf::Redirect(to) => ("302 Found", format!("location: {to}\r\n"), String::new()),
            Shelf::Broken => ("500 Internal Server Error", String::new(), "oops".into()),
            Shelf::Silent => {
                self.silent.lock().unwrap().push(stream);
                return Ok(());
            }
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\n{extra}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.inner.over.store(true, Ordering::SeqCst);
        let _wake = TcpStream::connect(self.address);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}
