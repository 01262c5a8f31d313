//! A running server, as the verbs see it: where it is, the token for it, and calls that answer with JSON or
//! with a sentence on what went wrong. The wire itself is a parameter ([`Transport`]), so that tests need none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::arguments::Common;
use super::exit::Exit;
use crate::http::{Body, BodyReader, Method, StatusCode};

/// Looks up an environment variable.
pub type Environment = dyn Fn(&str) -> Option<String>;

/// Where data is when nobody says.
pub const DEFAULT_DATA: &str = "./cedargate-data";

/// A future that can be stored.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A verb could not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How the process ends.
    pub exit: Exit,
    /// The server's code for it, where it came from there.
    pub code: Option<String>,
    /// What, where, and what to do next.
    pub message: String,
}

impl Fault {
    /// It did not work at run time.
    pub fn failure(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, code: None, message: message.into() }
    }

    /// Ends with the given code.
    pub fn of(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into() }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: None, message: message.into() }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The server's URL without a path.
    pub base: String,
    /// Path and query.
    pub path: String,
    /// For `Authorization: Bearer`.
    pub token: Option<String>,
    /// JSON, where there is a body.
    pub body: Option<Value>,
}

/// One answer, read whole.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// `Cedargate-Revision`, where there is one.
    pub revision: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// A POST whose body is read, and whose answer comes, piece by piece.
#[derive(Debug)]
pub struct Upload {
    /// The server's URL without a path.
    pub base: String,
    /// Path and query.
    pub path: String,
    /// For `Authorization: Bearer`.
    pub token: Option<String>,
    /// The body.
    pub body: Body,
}

/// The answer to an [`Upload`].
#[derive(Debug)]
pub struct Streaming {
    /// The status.
    pub status: StatusCode,
    /// The body, still to be read.
    pub body: BodyReader,
}

/// Does `T` on a server; a failure is a sentence.
pub type Carrier<T, R> = Arc<dyn Fn(T) -> BoxFuture<'static, Result<R, String>> + Send + Sync>;

/// Carries requests to a server.
#[derive(Clone)]
pub struct Transport {
    /// Whole ones.
    pub call: Carrier<Call, Reply>,
    /// Streamed ones.
    pub upload: Carrier<Upload, Streaming>,
}

/// Which of the server's listeners a verb asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Operators'.
    Ops,
    /// Operators', for what needs no token.
    Health,
    /// Gateways'.
    Gate,
}

impl Listener {
    const fn name(self) -> &'static str {
        match self {
            Self::Ops | Self::Health => "ops",
            Self::Gate => "gate",
        }
    }
}

/// A listener of a running server.
#[derive(Clone)]
pub struct Remote {
    /// Its URL without a path.
    pub base: String,
    /// The token for it.
    pub token: Option<String>,
    transport: Transport,
}

/// A value as one segment of a path or one value of a query.
pub fn encoded(text: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, KEPT).to_string()
}

/// The data folder of a client verb: flag, then environment, then the default.
pub fn data_folder(common: &Common, environment: &Environment) -> PathBuf {
    let given = common.data.clone().or_else(|| environment("CEDARGATE_DATA__FOLDER").map(PathBuf::from));
    given.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA))
}

/// An address of the running server, as its `addresses.json` tells.
pub fn address(data: &Path, listener: &str) -> Option<String> {
    let text = std::fs::read_to_string(data.join("addresses.json")).ok()?;
    let addresses: Value = serde_json::from_str(&text).ok()?;
    Some(addresses.get(listener)?.as_str()?.trim_end_matches('/').to_owned())
}

impl Remote {
    /// Finds the listener and the token for it.
    ///
    /// # Errors
    /// Where no server can be found, or the token cannot be read.
    pub fn find(
        listener: Listener,
        common: &Common,
        environment: &Environment,
        transport: Transport,
    ) -> Result<Self, Fault> {
        let data = data_folder(common, environment);
        let base = match &common.server {
            Some(url) if url.starts_with("http://") => url.trim_end_matches('/').to_owned(),
            Some(url) => {
                return Err(Fault::usage(format!("--server wants a URL such as http://127.0.0.1:9191, not `{url}`")));
            }
            None => address(&data, listener.name()).ok_or_else(|| {
                Fault::failure(format!(
                    "no server runs on the data folder `{}` (it has no addresses.json that names the {} listener): \
                     start one with `cedargate serve`, or name another with --data or --server",
                    data.display(),
                    listener.name()
                ))
            })?,
        };
        Ok(Self { base, token: token(listener, common, environment, &data)?, transport })
    }

    /// One call; an answer that is not a success is a fault with the server's own sentence.
    ///
    /// # Errors
    /// See above; also where nothing answers.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<(Value, Reply), Fault> {
        let reply = self.raw(method, path, body).await?;
        if !reply.status.is_success() {
            return Err(self.refused(&reply));
        }
        if reply.body.is_empty() {
            return Ok((Value::Null, reply));
        }
        let value = serde_json::from_slice(&reply.body).map_err(|_| {
            Fault::failure(format!("{} does not answer with JSON: is it a Cedargate server?", self.base))
        })?;
        Ok((value, reply))
    }

    /// GET, for its JSON.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn get(&self, path: &str) -> Result<Value, Fault> {
        Ok(self.call(Method::GET, path, None).await?.0)
    }

    /// One call, whatever the answer's status.
    ///
    /// # Errors
    /// Where nothing answers.
    pub async fn raw(&self, method: Method, path: &str, body: Option<Value>) -> Result<Reply, Fault> {
        let call = Call { method, base: self.base.clone(), path: path.to_owned(), token: self.token.clone(), body };
        (self.transport.call)(call).await.map_err(|cause| self.unreachable(&cause))
    }

    /// POST of a body that is read, and of an answer that comes, piece by piece.
    ///
    /// # Errors
    /// Where nothing answers, or the answer is not a success.
    pub async fn upload(&self, path: &str, body: Body) -> Result<BodyReader, Fault> {
        let upload = Upload { base: self.base.clone(), path: path.to_owned(), token: self.token.clone(), body };
        let mut streaming = (self.transport.upload)(upload).await.map_err(|cause| self.unreachable(&cause))?;
        if streaming.status.is_success() {
            return Ok(streaming.body);
        }
        let body = streaming.body.chunk().await.ok().flatten().unwrap_or_default();
        Err(self.refused(&Reply { status: streaming.status, revision: None, body }))
    }

    fn unreachable(&self, cause: &str) -> Fault {
        Fault::failure(format!(
            "{cause}; the server was looked for at {}: start one with `cedargate serve`, or name another with --data or --server",
            self.base
        ))
    }

    /// The fault in an answer that is not a success.
    pub fn refused(&self, reply: &Reply) -> Fault {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let text = |name: &str| Some(body.get("error")?.get(name)?.as_str()?.to_owned());
        let message = text("message").unwrap_or_else(|| format!("{} answered {}", self.base, reply.status));
        Fault { exit: Exit::Failure, code: text("code"), message }
    }
}

fn token(listener: Listener, common: &Common, environment: &Environment, data: &Path) -> Result<Option<String>, Fault> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(|cause| Fault::failure(format!("the token file `{}` cannot be read: {cause}", path.display())))
    };
    match (listener, &common.token_file) {
        (Listener::Health, _) => Ok(None),
        (Listener::Ops | Listener::Gate, Some(path)) => read(path).map(Some),
        // A gate on the loopback interface needs no credential.
        (Listener::Gate, None) => Ok(environment("CEDARGATE_GATE_TOKEN")),
        (Listener::Ops, None) => {
            if let Some(token) = environment("CEDARGATE_OPERATOR_TOKEN") {
                return Ok(Some(token));
            }
            if common.server.is_some() {
                // The token of this folder's server is not for somebody else's.
                return Err(Fault::failure(
                    "--server needs the operator token of that server: set CEDARGATE_OPERATOR_TOKEN or name a --token-file",
                ));
            }
            read(&data.join("operator.token")).map(Some)
        }
    }
}
