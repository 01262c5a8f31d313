//! `import`: sends a file of JSON lines, shows failures as they come and the sum at the end.

mod lines;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use self::lines::{Failures, skip};
use super::arguments::Import;
use super::exit::Exit;
use super::output::OutputFormat;
use super::remote::{Fault, encoded};
use super::session::{Session, Verdict, text};
use crate::http::{Body, BodyReader, Chunks};

/// Read from the file at a time, in bytes; so many pieces wait at most.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 4;

/// The longest line of the answer, in bytes: a failure holds the line that failed, perhaps escaped.
const LONGEST: usize = 8 * 1024 * 1024;

const BAR: &str = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left{msg}";
const SPINNER: &str = "{spinner} {bytes}, {bytes_per_sec}{msg}";

/// `import FILE`: 0 all in, 6 some lines failed, 1 the import did not reach its end.
pub async fn import(session: &mut Session<'_>, flags: &Import) -> Verdict {
    let (mut source, size) = open(&flags.file)?;
    let skipped = skip(&mut source, flags.skip).map_err(|cause| unreadable(&flags.file, &cause))?;
    let mut failures = match &flags.failures {
        Some(into) => Some(Failures::open(into, &flags.file, flags.skip)?),
        None => None,
    };
    let bar = bar(session, size);
    bar.set_position(skipped);
    let (chunks, body) = Body::chunks(PIECES);
    let sent = bar.clone();
    // Blocking reads have a thread of their own; it ends with the file, or when nobody takes its pieces.
    let reader = tokio::task::spawn_blocking(move || feed(source, chunks, &sent));
    let path = format!("/manage/v1/import?organization={}", encoded(&flags.organization));
    let answer = session.remote.upload(&path, body).await?;
    let followed = follow(session, answer, &bar, flags.skip, failures.as_mut()).await;
    bar.finish_and_clear();
    let exit = followed?;
    if let (Exit::Partial, Some(into)) = (exit, &flags.failures) {
        session.out.say(&format!("the lines that failed are in `{}`: put them right and import them", into.display()));
    }
    match reader.await {
        Ok(Ok(())) => Ok(exit),
        Ok(Err(cause)) => Err(Fault::failure(format!("`{}` cannot be read to its end: {cause}", flags.file.display()))),
        Err(cause) => Err(Fault::failure(format!("`{}` cannot be read: {cause}", flags.file.display()))),
    }
}

fn unreadable(path: &Path, cause: &io::Error) -> Fault {
    Fault::failure(format!("`{}` cannot be read: {cause}", path.display()))
}

/// The input and its size in bytes, where anybody knows it.
fn open(path: &Path) -> Result<(BufReader<Box<dyn Read + Send>>, Option<u64>), Fault> {
    if path == Path::new("-") {
        return Ok((BufReader::with_capacity(PIECE, Box::new(io::stdin())), None));
    }
    let file = File::open(path).map_err(|cause| unreadable(path, &cause))?;
    let size = file.metadata().map_err(|cause| unreadable(path, &cause))?.len();
    Ok((BufReader::with_capacity(PIECE, Box::new(file)), Some(size)))
}

/// Shown on a terminal only.
fn bar(session: &Session<'_>, size: Option<u64>) -> ProgressBar {
    if !session.out.watched() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), BAR),
        None => (ProgressBar::no_length(), SPINNER),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Reads pieces and hands them over; finishes the body only at the true end of the file.
fn feed(mut source: impl Read, chunks: Chunks, sent: &ProgressBar) -> io::Result<()> {
    let handle = tokio::runtime::Handle::current();
    loop {
        let mut piece = vec![0; PIECE];
        let length = match source.read(&mut piece) {
            Ok(0) => {
                chunks.finish();
                return Ok(());
            }
            Ok(length) => length,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        piece.truncate(length);
        if handle.block_on(chunks.send(Bytes::from(piece))).is_err() {
            // The server stopped reading; its answer says why.
            return Ok(());
        }
        sent.inc(length as u64);
    }
}

/// Reads the answer to its end.
async fn follow(
    session: &mut Session<'_>,
    mut answer: BodyReader,
    bar: &ProgressBar,
    skipped: u64,
    mut failures: Option<&mut Failures>,
) -> Verdict {
    let mut failed: u64 = 0;
    let broken = |refusal: crate::http::Refusal| {
        Fault::failure(format!("the answer broke off: {}; run the import again, that is safe", refusal.message))
    };
    while let Some(line) = answer.line(LONGEST).await.map_err(broken)? {
        let mut value: Value = serde_json::from_slice(&line)
            .map_err(|_| Fault::failure("the server's answer to the import cannot be read"))?;
        if let Some(summary) = value.get("summary") {
            bar.finish_and_clear();
            let [created, updated, failed] = ["created", "updated", "failed"].map(|name| text(summary, name));
            session.out.say(&format!("created {created}, updated {updated}, failed {failed}"));
            return Ok(if failed == "0" { Exit::Success } else { Exit::Partial });
        }
        if let Some(error) = value.get("error").filter(|error| error.is_object()) {
            return Err(stopped(error, &value, skipped));
        }
        failed += 1;
        bar.set_message(format!(", {failed} failed"));
        let number = value.get("line").and_then(Value::as_u64).unwrap_or(0) + skipped;
        if let Some(members) = value.as_object_mut() {
            members.insert("line".to_owned(), Value::from(number));
        }
        if let Some(failures) = failures.as_deref_mut() {
            failures.write(number, &value)?;
        }
        bar.suspend(|| match session.out.format {
            OutputFormat::Json => session.out.raw(format!("{value}\n").as_bytes()),
            OutputFormat::Table => session.out.line(&format!("line {number}: {}", text(&value, "error"))),
        });
    }
    Err(Fault::failure("the server ended the import without a summary: run it again, that is safe"))
}

/// The import stopped before its end: why, and how to go on.
fn stopped(error: &Value, answer: &Value, skipped: u64) -> Fault {
    let reached = answer.get("reached").and_then(Value::as_u64).map(|lines| lines + skipped);
    let go_on = reached.map(|lines| format!("; {lines} lines are done: go on with --skip {lines}")).unwrap_or_default();
    Fault::failure(format!("{}{go_on}", text(error, "message")))
}
