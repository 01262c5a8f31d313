//! `import`: people and groups as JSON lines, streamed in and out in bounded memory.
//!
//! Lines take effect as if one after the other. People are written a few at a time, since each write waits for
//! the disk and the ledger commits together what waits together; a group waits for every line before it, so
//! that it finds its members.

mod lines;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::respond::Parameters;
use super::{Manage, organizations};
use crate::domain::fold;
use crate::http::{Body, BodyReader, Chunks, Refusal, Request, Response, StatusCode, respond as answer};
use crate::scim::error::ScimError;
use crate::scim::operator::Imported;
use crate::store::BoxFuture;
use lines::{LINE_LIMIT, Line, Lines};

/// How many lines are being written at a time. With [`LINE_LIMIT`] this bounds the memory of an import.
const IN_FLIGHT: usize = 16;

/// How many lines of the answer wait for a slow reader before the import waits, too.
const ANSWERS: usize = 64;

/// How long the import waits for somebody to take the next line of the answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// `POST import?organization={id}`: 200, one line for each failure as it comes, the summary last. A body that
/// ends without a summary means that the import did not reach its end. A client must read the answer while it
/// sends: one that does not is waited for, and given up in the end.
pub(super) async fn import(manage: Arc<Manage>, request: Request, body: BodyReader) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&request, &["organization"])?;
    let organization = parameters
        .get("organization")
        .ok_or_else(|| Refusal::bad_request("say whose people these are: POST /manage/v1/import?organization={id}"))?;
    let organization = organizations::find(&manage, organization).await?.id;
    let (chunks, answer_body) = Body::chunks(ANSWERS);
    let import = Import::new(writer(&manage, &organization), chunks);
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
    /// The input broke off.
    Because(Refusal),
    /// The server cannot write: so many lines are done.
    Behind(u64, Refusal),
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
            Err(Stop::Because(refusal)) => self.stop(&refusal, None).await,
            Err(Stop::Behind(reached, refusal)) => self.stop(&refusal, Some(reached)).await,
            Err(Stop::Gone) => tracing::info!("nobody reads the answer of an import; stopped"),
        }
    }

    /// `{"error": {"code", "message"}, "reached"?}`: the last line of an import that did not reach its end.
    async fn stop(self, refusal: &Refusal, reached: Option<u64>) {
        let mut answer = json!({"error": {"code": refusal.code, "message": refusal.message}});
        if let (Some(reached), Some(members)) = (reached, answer.as_object_mut()) {
            members.insert("reached".to_owned(), json!(reached));
        }
        if self.tell(&answer).await.is_ok() {
            self.chunks.finish();
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
                let message =
                    format!("the import stopped at line {line}: {}; run it again when that is over", error.detail);
                return Err(Stop::Behind(line - 1, Refusal::unavailable("import-stopped", message)));
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
        let sent = tokio::time::timeout(PATIENCE, self.chunks.send(format!("{line}\n"))).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(Stop::Gone) }
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

/// Writes lines into an organization, with the roles of the bundle in force at the beginning.
fn writer(manage: &Manage, organization: &str) -> Write {
    let scim = Arc::clone(&manage.scim);
    let organization: Arc<str> = organization.into();
    let roles: Arc<[String]> = manage.role_names().into();
    Arc::new(move |line| {
        let (scim, organization, roles) = (Arc::clone(&scim), Arc::clone(&organization), Arc::clone(&roles));
        Box::pin(async move { scim.import_line(&organization, &line, &roles).await })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::*;

    /// Runs an import of the text and answers with its lines.
    async fn run(write: Write, input: impl Into<bytes::Bytes>) -> Vec<Value> {
        let (chunks, body) = Body::chunks(1);
        tokio::spawn(Import::new(write, chunks).run(BodyReader::from_bytes(input)));
        let bytes = body.collect().await.unwrap().to_bytes();
        std::str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn summary(created: u64, updated: u64, failed: u64) -> Value {
        json!({"summary": {"created": created, "updated": updated, "failed": failed}})
    }

    fn user(name: &str) -> String {
        format!("{{\"userName\": \"{name}\"}}\n")
    }

    #[tokio::test]
    async fn each_bad_line_is_its_own_failure_with_its_number_and_input() {
        let write: Write = Arc::new(|input| {
            Box::pin(async move {
                match input["userName"].as_str() {
                    Some("bad") => Err(ScimError::new(StatusCode::BAD_REQUEST, "a bad name")),
                    Some("old") => Ok(Imported::Updated),
                    _ => Ok(Imported::Created),
                }
            })
        });
        let long = "x".repeat(LINE_LIMIT + 1);
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let text =
            format!("{}\r\n\n{{oops\n{}[1]\n{long}\n{deep}\n{}", user("new").trim(), user("bad"), user("old").trim());
        let lines = run(write, text).await;
        let numbers: Vec<_> = lines.iter().filter_map(|line| line["line"].as_u64()).collect();
        assert_eq!(numbers, [3, 4, 5, 6, 7]);
        assert!(lines[0]["error"].as_str().unwrap().starts_with("the line is not JSON"));
        assert_eq!(lines[0]["input"], "{oops");
        assert_eq!(lines[1], json!({"line": 4, "error": "a bad name", "input": {"userName": "bad"}}));
        assert!(lines[3]["input"].as_str().unwrap().len() <= 200);
        assert_eq!(lines[5], summary(1, 1, 5));
        assert_eq!(lines.len(), 6);
    }

    #[tokio::test]
    async fn an_empty_input_has_an_empty_summary() {
        let write: Write = Arc::new(|_| Box::pin(async { Ok(Imported::Created) }));
        assert_eq!(run(write, "").await, [summary(0, 0, 0)]);
    }

    #[tokio::test]
    async fn people_are_written_side_by_side_within_the_limit_and_groups_alone() {
        struct Watch {
            now: AtomicUsize,
            most: AtomicUsize,
            beside_group: AtomicUsize,
        }
        let watch = Arc::new(Watch { now: 0.into(), most: 0.into(), beside_group: 0.into() });
        let seen = Arc::clone(&watch);
        let write: Write = Arc::new(move |input| {
            let watch = Arc::clone(&seen);
            Box::pin(async move {
                let now = watch.now.fetch_add(1, Ordering::SeqCst) + 1;
                watch.most.fetch_max(now, Ordering::SeqCst);
                if input.get("userName").is_none() {
                    watch.beside_group.fetch_max(now - 1, Ordering::SeqCst);
                }
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                watch.now.fetch_sub(1, Ordering::SeqCst);
                Ok(Imported::Created)
            })
        });
        let mut text: String = (0..100).map(|number| user(&format!("u{number}"))).collect();
        text.push_str("{\"displayName\": \"g\"}\n");
        text.extend((100..200).map(|number| user(&format!("u{number}"))));
        assert_eq!(run(write, text).await, [summary(201, 0, 0)]);
        let most = watch.most.load(Ordering::SeqCst);
        assert!((2..=IN_FLIGHT).contains(&most), "{most} at a time");
        assert_eq!(watch.beside_group.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn two_lines_about_one_person_take_effect_in_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let write: Write = Arc::new(move |input| {
            let order = Arc::clone(&seen);
            Box::pin(async move {
                let n = input["n"].as_u64().unwrap();
                // The earlier a line, the longer it takes.
                for _ in 0..(10 - n) {
                    tokio::task::yield_now().await;
                }
                order.lock().unwrap().push(n);
                Ok(Imported::Updated)
            })
        });
        let text =
            "{\"userName\": \"Ann\", \"n\": 1}\n{\"username\": \"ann\", \"n\": 2}\n{\"userName\": \"ANN\", \"n\": 3}\n";
        run(write, text).await;
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_conflict_with_an_earlier_line_in_flight_is_tried_again_after_it() {
        // The first line frees an address that the second one wants.
        let freed = Arc::new(Semaphore::new(0));
        let tries = Arc::new(AtomicUsize::new(0));
        let (at, counted) = (Arc::clone(&freed), Arc::clone(&tries));
        let write: Write = Arc::new(move |input| {
            let (freed, tries) = (Arc::clone(&at), Arc::clone(&counted));
            Box::pin(async move {
                if input["userName"] == "first" {
                    while tries.load(Ordering::SeqCst) == 0 {
                        tokio::task::yield_now().await;
                    }
                    freed.add_permits(1);
                    return Ok(Imported::Updated);
                }
                tries.fetch_add(1, Ordering::SeqCst);
                match freed.try_acquire() {
                    Ok(_) => Ok(Imported::Created),
                    Err(_) => Err(ScimError::uniqueness("emails is taken")),
                }
            })
        });
        assert_eq!(run(write, format!("{}{}", user("first"), user("second"))).await, [summary(1, 1, 0)]);
        assert_eq!(tries.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_import_whose_answer_nobody_reads_stops_and_keeps_no_task() {
        let write: Write = Arc::new(|_| Box::pin(async { Ok(Imported::Created) }));
        let (chunks, body) = Body::chunks(1);
        drop(body);
        let text = "not json\n".repeat(1_000);
        let task = tokio::spawn(Import::new(write, chunks).run(BodyReader::from_bytes(text)));
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_fails_stops_the_import_without_a_summary() {
        let write: Write =
            Arc::new(|_| Box::pin(async { Err(ScimError::new(StatusCode::SERVICE_UNAVAILABLE, "the disk is full")) }));
        let text: String = (0..1000).map(|number| user(&format!("u{number}"))).collect();
        let lines = run(write, text).await;
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["line"], 1);
        assert_eq!(lines[1]["error"]["code"], "import-stopped");
        assert!(lines[1]["error"]["message"].as_str().unwrap().contains("line 1: the disk is full"));
    }
}
