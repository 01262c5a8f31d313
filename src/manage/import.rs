//! `import`: people and groups as JSON lines, streamed in and out in bounded memory.
//!
//! Lines take effect as if one after the other. People are written a few at a time, since each write waits for
//! the disk and the ledger commits together what waits together; a group waits for every line before it, so
//! that it finds its members.

mod lines;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::respond::Parameters;
use super::{Manage, organizations};
use crate::domain::fold;
use crate::http::{Body, BodyReader, Chunks, Refusal, Request, Response, StatusCode, respond as answer};
use crate::scim::{Imported, ScimError};
use lines::{LINE_LIMIT, Line, Lines};

/// How many lines are being written at a time. With [`LINE_LIMIT`] this bounds the memory of an import.
const IN_FLIGHT: usize = 16;

/// How many lines of the answer wait for a slow reader before the import waits, too.
const ANSWERS: usize = 64;

/// `POST import?organization={id}`: 200, one line for each failure as it comes, the summary last. A body that
/// ends without a summary means that the import did not reach its end.
pub(super) async fn import(manage: Arc<Manage>, request: Request, body: BodyReader) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&request, &["organization"])?;
    let organization = parameters.get("organization").ok_or_else(|| {
        Refusal::bad_request("say whose people these are: POST /manage/v1/import?organization={id}")
    })?;
    let organization = organizations::find(&manage, organization).await?.id;
    let (chunks, answer_body) = Body::chunks(ANSWERS);
    let import = Import::new(manage.writer(organization), chunks);
    // The answer begins before the input ends: failures are told as they occur. The task ends by itself when
    // the input does, or when nobody reads the answer any more.
    tokio::spawn(import.run(body));
    let mut response = answer(StatusCode::OK, "application/jsonl", "");
    *response.body_mut() = answer_body;
    Ok(response)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    created: u64,
    updated: u64,
    failed: u64,
}

/// Writes one line.
type Write = Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Imported, ScimError>> + Send + Sync>;

struct Import {
    write: Write,
    chunks: Chunks,
    /// Lines being written, in the order of the input.
    waiting: VecDeque<Waiting>,
    summary: Summary,
}

struct Waiting {
    line: u64,
    input: Value,
    /// Whom the line is about; two lines about the same person are not written at a time.
    person: String,
    written: JoinHandle<Result<Imported, ScimError>>,
}

/// The import cannot go on.
enum Stop {
    /// Nobody reads the answer.
    Gone,
    /// The input broke off, or the server cannot write.
    Because(Refusal),
}

impl Import {
    fn new(write: Write, chunks: Chunks) -> Self {
        Self { write, chunks, waiting: VecDeque::new(), summary: Summary::default() }
    }

    async fn run(mut self, body: BodyReader) {
        match self.lines(body).await {
            Ok(()) => {
                let Summary { created, updated, failed } = self.summary;
                let summary = json!({"summary": {"created": created, "updated": updated, "failed": failed}});
                if self.tell(&summary).await.is_ok() {
                    self.chunks.finish();
                }
            }
            Err(Stop::Because(refusal)) => {
                let error = json!({"error": {"code": refusal.code, "message": refusal.message}});
                if self.tell(&error).await.is_ok() {
                    self.chunks.finish();
                }
            }
            Err(Stop::Gone) => tracing::info!("nobody reads the answer of an import; stopped"),
        }
    }

    async fn lines(&mut self, mut body: BodyReader) -> Result<(), Stop> {
        let mut lines = Lines::default();
        let outcome = loop {
            match body.chunk().await {
                Ok(Some(piece)) => lines.push(piece),
                Ok(None) => break Ok(()),
                Err(refusal) => break Err(refusal),
            }
            while let Some(line) = lines.next() {
                self.line(line).await?;
            }
        };
        if outcome.is_ok()
            && let Some(line) = lines.finish()
        {
            self.line(line).await?;
        }
        self.settle_all().await?;
        outcome.map_err(Stop::Because)
    }

    async fn line(&mut self, line: Line) -> Result<(), Stop> {
        let value = match parse(&line) {
            Ok(value) => value,
            Err(message) => {
                // In the order of the input, also for failures.
                self.settle_all().await?;
                let input = Value::String(String::from_utf8_lossy(&line.bytes).into_owned());
                return self.failed(line.number, &message, &input).await;
            }
        };
        let person = person(&value);
        // A group, or a second line about somebody who is being written, waits for everything before it.
        if person.as_ref().is_none_or(|person| self.waiting.iter().any(|other| other.person == *person)) {
            self.settle_all().await?;
        }
        while self.waiting.len() >= IN_FLIGHT {
            self.settle().await?;
        }
        let written = tokio::spawn((self.write)(value.clone()));
        let alone = person.is_none();
        self.waiting.push_back(Waiting {
            line: line.number,
            input: value,
            person: person.unwrap_or_default(),
            written,
        });
        if alone { self.settle_all().await } else { Ok(()) }
    }

    async fn settle_all(&mut self) -> Result<(), Stop> {
        while !self.waiting.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the oldest line being written.
    async fn settle(&mut self) -> Result<(), Stop> {
        let Some(Waiting { line, input, written, .. }) = self.waiting.pop_front() else { return Ok(()) };
        let mut outcome = written.await;
        // Written beside others it may have met a name or address that an earlier line gives up. Now every
        // earlier line is written, so a second refusal is its own.
        if matches!(&outcome, Ok(Err(error)) if error.status == StatusCode::CONFLICT) {
            outcome = Ok((self.write)(input.clone()).await);
        }
        match outcome {
            Ok(Ok(Imported::Created)) => self.summary.created += 1,
            Ok(Ok(Imported::Updated)) => self.summary.updated += 1,
            Ok(Err(error)) if error.status.is_server_error() => {
                self.failed(line, &error.detail, &input).await?;
                let message = format!("the import stopped at line {line}: {}; run it again when that is over", error.detail);
                return Err(Stop::Because(Refusal::unavailable("import-stopped", message)));
            }
            Ok(Err(error)) => self.failed(line, &error.detail, &input).await?,
            Err(cause) => {
                tracing::error!(line, %cause, "a line of an import failed in an unforeseen way");
                self.failed(line, "this line met an internal error; the log says more", &input).await?;
            }
        }
        Ok(())
    }

    async fn failed(&mut self, line: u64, error: &str, input: &Value) -> Result<(), Stop> {
        self.summary.failed += 1;
        self.tell(&json!({"line": line, "error": error, "input": input})).await
    }

    async fn tell(&self, line: &Value) -> Result<(), Stop> {
        self.chunks.send(format!("{line}\n")).await.map_err(|_| Stop::Gone)
    }
}

fn parse(line: &Line) -> Result<Value, String> {
    if line.too_long {
        return Err(format!("the line is longer than {LINE_LIMIT} bytes; only its beginning is shown"));
    }
    let value: Value = serde_json::from_slice(&line.bytes).map_err(|fault| format!("the line is not JSON: {fault}"))?;
    if value.is_object() { Ok(value) } else { Err("the line is not a JSON object".to_owned()) }
}

/// The name by which lines about the same person are told; `None` for groups and whatever else is no person.
fn person(value: &Value) -> Option<String> {
    let (_, name) = value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case("userName"))?;
    Some(fold(name.as_str()?))
}
