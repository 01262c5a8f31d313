//! A small HTTP/1.1 client: the verbs of the command line, the demo, the keys of token issuers, the tests.
//!
//! HTTP over TCP, TLS or a Unix socket, connections kept alive, everything within a deadline and a size. It
//! follows no redirect and reads no proxy setting.

mod trust;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Body, BodyReader, Method, StatusCode};

/// Connections kept for the next request.
const KEPT: usize = 64;

/// Bytes of an answer that is read whole, and of one that is read piece by piece.
const WHOLE: usize = 64 * 1024 * 1024;
const STREAMED: u64 = 64 * 1024 * 1024 * 1024;

/// How long a request may take, unless said otherwise.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why there is no answer. An answer with an error status is an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address of ours.
    #[error("{0:?} is no server address; write http://HOST:PORT, https://HOST:PORT or unix:/PATH")]
    Address(String),
    /// Nobody to believe over TLS.
    #[error("the authorities for https cannot be used: {0}")]
    Authorities(String),
    /// A path, header or token that HTTP cannot carry.
    #[error("the request for {path} cannot be written: {cause}")]
    Request {
        /// The path.
        path: String,
        /// What hyper says.
        cause: hyper::http::Error,
    },
    /// A body that cannot be written as JSON.
    #[error("the request body cannot be written as JSON: {0}")]
    Encode(serde_json::Error),
    /// Nobody answers there.
    #[error("cannot connect to {server}: {cause}; is the server running?")]
    Connect {
        /// The server.
        server: String,
        /// What the machine says.
        cause: std::io::Error,
    },
    /// The connection broke.
    #[error("{server} broke off: {cause}")]
    Broken {
        /// The server.
        server: String,
        /// What hyper says.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{server} did not answer within {deadline:?}")]
    Timeout {
        /// The server.
        server: String,
        /// The deadline.
        deadline: Duration,
    },
    /// The answer is not what was asked for.
    #[error("the answer is not the JSON that was expected: {0}")]
    Decode(serde_json::Error),
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`ClientError::Decode`] where it is not that.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(ClientError::Decode)
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Streamed {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, by pieces or lines; each must come within the client's deadline.
    pub body: BodyReader,
}

/// A client of one server. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    server: Arc<Server>,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
    headers: HeaderMap,
    deadline: Duration,
    most: usize,
}

struct Server {
    address: String,
    host: HeaderValue,
    target: Target,
}

/// Which resolved addresses may be connected to.
type Admits = fn(IpAddr) -> bool;

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.address)
    }
}

enum Target {
    Tcp { host: String, port: u16, tls: Option<TlsConnector>, admits: Admits },
    Unix(PathBuf),
}

impl Client {
    /// A client of the server at `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. Connects when first asked.
    /// Over TLS the machine's authorities are believed.
    ///
    /// # Errors
    /// [`ClientError::Address`], [`ClientError::Authorities`].
    pub fn new(address: &str) -> Result<Self, ClientError> {
        Self::reaching(address, None, |_| true)
    }

    /// As [`Self::new`], believing the authorities in a PEM file instead of the machine's, and connecting only to
    /// addresses that are admitted: a name that resolves to others is refused.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reaching(
        address: &str,
        authorities: Option<&Path>,
        admits: fn(IpAddr) -> bool,
    ) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(address.to_owned());
        let (target, host) = if let Some(path) = address.strip_prefix("unix:") {
            (Target::Unix(PathBuf::from(path)), "localhost".to_owned())
        } else {
            let plain = address.strip_prefix("http://");
            let authority = plain.or_else(|| address.strip_prefix("https://")).ok_or_else(wrong)?;
            let authority = authority.trim_end_matches('/');
            let authority: hyper::http::uri::Authority = authority.parse().map_err(|_| wrong())?;
            let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
            let tls = if plain.is_some() { None } else { Some(trust::connector(authorities)?) };
            let port = authority.port_u16().unwrap_or(if plain.is_some() { 80 } else { 443 });
            (Target::Tcp { host, port, tls, admits }, authority.to_string())
        };
        let host = HeaderValue::try_from(host).map_err(|_| wrong())?;
        let server = Arc::new(Server { address: address.to_owned(), host, target });
        Ok(Self { server, idle: Arc::default(), headers: HeaderMap::new(), deadline: DEADLINE, most: WHOLE })
    }

    /// Sends `Authorization: Bearer …` with each request. A token that HTTP cannot carry is not sent.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        match HeaderValue::try_from(format!("Bearer {token}")) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.header(AUTHORIZATION, value)
            }
            Err(_) => self,
        }
    }

    /// Sends a header with each request.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Gives each request so much time.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reads answers of at most so many bytes whole.
    #[must_use]
    pub const fn most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn delete(&self, path: &str) -> Result<Reply, ClientError> {
        self.send(Method::DELETE, path, None, Bytes::new()).await
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn post(&self, path: &str, body: &impl serde::Serialize) -> Result<Reply, ClientError> {
        self.send_json(Method::POST, path, body).await
    }

    /// PUT of JSON.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn put(&self, path: &str, body: &impl serde::Serialize) -> Result<Reply, ClientError> {
        self.send_json(Method::PUT, path, body).await
    }

    /// PATCH of JSON.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn patch(&self, path: &str, body: &impl serde::Serialize) -> Result<Reply, ClientError> {
        self.send_json(Method::PATCH, path, body).await
    }

    /// Any method, with the body and its media type as they are.
    ///
    /// # Errors
    /// No connection, no answer in time, or one that broke off. A status is not an error.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        media_type: Option<&str>,
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        let exchange = async {
            let (response, sender) = self.exchange(method, path, media_type, Body::from(body)).await?;
            let (parts, incoming) = response.into_parts();
            let collected = Limited::new(incoming, self.most).collect().await;
            let body = collected.map_err(|cause| self.broken(cause))?.to_bytes();
            self.keep(sender);
            Ok(Reply { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(self.deadline, exchange).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    /// POST whose body is sent and whose answer is read piece by piece. The deadline holds for each piece of
    /// the answer, not for the whole. The sender of [`Body::chunks`] must finish or the server sees it break off.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn post_stream(&self, path: &str, media_type: &str, body: Body) -> Result<Streamed, ClientError> {
        let (response, _) = self.exchange(Method::POST, path, Some(media_type), body).await?;
        let (parts, incoming) = response.into_parts();
        let body = BodyReader::new(incoming, STREAMED, self.deadline);
        Ok(Streamed { status: parts.status, headers: parts.headers, body })
    }

    async fn send_json(&self, method: Method, path: &str, body: &impl serde::Serialize) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Encode)?;
        self.send(method, path, Some("application/json"), Bytes::from(body)).await
    }

    /// Sends on a kept connection, or on a new one where none is kept or the kept one was closed before it took the request.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        media_type: Option<&str>,
        body: Body,
    ) -> Result<(hyper::Response<Incoming>, SendRequest<Body>), ClientError> {
        let mut request = self.request(method, path, media_type, body)?;
        while let Some(mut sender) = self.kept() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut failure) => match failure.take_message() {
                    // Never sent: the server closed an idle connection just then.
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(failure.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(|cause| self.broken(cause))?;
        Ok((response, sender))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        media_type: Option<&str>,
        body: Body,
    ) -> Result<hyper::Request<Body>, ClientError> {
        let mut builder = hyper::Request::builder().method(method).uri(path).header(HOST, &self.server.host);
        if let Some(media_type) = media_type {
            builder = builder.header(CONTENT_TYPE, media_type);
        }
        let written = builder.body(body).map_err(|cause| ClientError::Request { path: path.to_owned(), cause });
        written.map(|mut request| {
            request.headers_mut().extend(self.headers.clone());
            request
        })
    }

    async fn connect(&self) -> Result<SendRequest<Body>, ClientError> {
        let failed = |cause| ClientError::Connect { server: self.server.address.clone(), cause };
        match &self.server.target {
            Target::Tcp { host, port, tls, admits } => {
                let found = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(failed)?;
                let addresses: Vec<_> = found.filter(|address| admits(address.ip())).collect();
                if addresses.is_empty() {
                    return Err(failed(std::io::Error::other("the name leads to no address that may be asked")));
                }
                let stream = TcpStream::connect(&*addresses).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let Some(tls) = tls else { return self.shake_hands(TokioIo::new(stream)).await };
                let name = ServerName::try_from(host.clone()).map_err(|cause| failed(std::io::Error::other(cause)))?;
                let stream = tls.connect(name, stream).await.map_err(failed)?;
                self.shake_hands(TokioIo::new(stream)).await
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                self.shake_hands(TokioIo::new(stream)).await
            }
        }
    }

    async fn shake_hands<S>(&self, stream: S) -> Result<SendRequest<Body>, ClientError>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(stream).await.map_err(|cause| self.broken(cause))?;
        // Its errors reach whoever waits for an answer; it ends when the last sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn kept(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    fn keep(&self, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT && !sender.is_closed() {
            idle.push(sender);
        }
    }

    fn broken(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { server: self.server.address.clone(), cause: cause.into() }
    }

    fn too_late(&self) -> ClientError {
        ClientError::Timeout { server: self.server.address.clone(), deadline: self.deadline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ours_or_refused() {
        for good in [
            "http://127.0.0.1:8080",
            "https://localhost:8443",
            "http://[::1]:80/",
            "http://localhost",
            "unix:/run/gate.sock",
        ] {
            assert!(Client::new(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:80", "ftp://localhost", "http://", "http://a b", "http://host/path"] {
            assert!(matches!(Client::new(bad), Err(ClientError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn a_token_does_not_show_in_debug() {
        let client = Client::new("http://localhost").unwrap().bearer("hush");
        assert!(!format!("{client:?}").contains("hush"));
    }
}
