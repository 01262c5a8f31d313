//! `import`: sends a file of JSON lines, shows failures as they come and the sum at the end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::Value;

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

/// How far the file is sent.
struct Progress {
    sent: AtomicU64,
    /// In bytes; 0 where nobody knows (stdin).
    size: u64,
}

/// `import FILE`: 0 all in, 6 some lines failed, 1 the import did not reach its end.
pub async fn import(session: &mut Session<'_>, flags: &Import) -> Verdict {
    let (source, size) = open(&flags.file)?;
    let progress = Arc::new(Progress { sent: AtomicU64::new(0), size });
    let (chunks, body) = Body::chunks(PIECES);
    let counter = Arc::clone(&progress);
    // Blocking reads have a thread of their own; it ends with the file, or when nobody takes its pieces.
    let reader = tokio::task::spawn_blocking(move || feed(source, chunks, &counter));
    let path = format!("/manage/v1/import?organization={}", encoded(&flags.organization));
    let answer = session.remote.upload(&path, body).await?;
    let exit = follow(session, answer, &progress).await?;
    match reader.await {
        Ok(Ok(())) => Ok(exit),
        Ok(Err(cause)) => Err(Fault::failure(format!("`{}` cannot be read to its end: {cause}", flags.file.display()))),
        Err(cause) => Err(Fault::failure(format!("`{}` cannot be read: {cause}", flags.file.display()))),
    }
}

fn open(path: &Path) -> Result<(Box<dyn Read + Send>, u64), Fault> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), 0));
    }
    let unreadable = |cause: io::Error| Fault::failure(format!("`{}` cannot be read: {cause}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    Ok((Box::new(file), size))
}

/// Reads pieces and hands them over; finishes the body only at the true end of the file.
fn feed(mut source: Box<dyn Read + Send>, chunks: Chunks, progress: &Progress) -> io::Result<()> {
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
        progress.sent.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Reads the answer to its end.
async fn follow(session: &mut Session<'_>, mut answer: BodyReader, progress: &Progress) -> Verdict {
    let mut failures: u64 = 0;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
    let broken = |refusal: crate::http::Refusal| {
        Fault::failure(format!("the answer broke off: {}; run the import again, that is safe", refusal.message))
    };
    loop {
        // The line being read is kept across the ticks: a read that is dropped half-way would lose bytes.
        let mut reading = std::pin::pin!(answer.line(LONGEST));
        let line = loop {
            tokio::select! {
                line = &mut reading => break line.map_err(broken)?,
                _ = ticks.tick(), if session.out.watched() => show(session, progress, failures),
            }
        };
        let Some(line) = line else { break };
        let value: Value = serde_json::from_slice(&line)
            .map_err(|_| Fault::failure("the server's answer to the import cannot be read"))?;
        if let Some(summary) = value.get("summary") {
            session.out.progress("");
            let [created, updated, failed] = ["created", "updated", "failed"].map(|name| text(summary, name));
            session.out.say(&format!("created {created}, updated {updated}, failed {failed}"));
            return Ok(if failed == "0" { Exit::Success } else { Exit::Partial });
        }
        if let Some(error) = value.get("error").filter(|error| error.is_object()) {
            session.out.progress("");
            return Err(Fault::failure(text(error, "message")));
        }
        failures += 1;
        session.out.progress("");
        match session.out.format {
            OutputFormat::Json => session.out.raw(&[&line[..], b"\n"].concat()),
            OutputFormat::Table => {
                session.out.line(&format!("line {}: {}", text(&value, "line"), text(&value, "error")));
            }
        }
    }
    Err(Fault::failure("the server ended the import without a summary: run it again, that is safe"))
}

fn show(session: &mut Session<'_>, progress: &Progress, failures: u64) {
    let sent = progress.sent.load(Ordering::Relaxed);
    let share = (sent * 100).checked_div(progress.size).map(|share| format!(" ({share} %)")).unwrap_or_default();
    session.out.progress(&format!("sent {} KiB{share}, failed {failures}", sent / 1024));
}
