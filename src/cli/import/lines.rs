//! Lines of the input itself: skipping those that are done, and copying those that failed, byte by byte and in
//! bounded memory whatever their length. Empty lines count, as they do for the server.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use super::super::remote::Fault;

/// Where lines that failed go, and where they come from.
pub(super) struct Failures {
    into: BufWriter<File>,
    name: String,
    /// The input, read a second time behind the answer; `None` for stdin, which cannot be.
    source: Option<BufReader<File>>,
    /// Lines of the source that are behind.
    passed: u64,
}

impl Failures {
    /// Begins a file of failures. It may not be the input.
    pub fn open(into: &Path, input: &Path, skipped: u64) -> Result<Self, Fault> {
        let name = into.display().to_string();
        let same = |input: &Path| into.canonicalize().is_ok_and(|into| input.canonicalize().is_ok_and(|i| i == into));
        if same(input) {
            return Err(Fault::usage("--failures names the input itself; name another file"));
        }
        let unwritable = |cause: io::Error| Fault::failure(format!("`{name}` cannot be written: {cause}"));
        let unreadable = |cause: io::Error| Fault::failure(format!("`{}` cannot be read: {cause}", input.display()));
        let source = if input == Path::new("-") {
            None
        } else {
            let mut source = BufReader::new(File::open(input).map_err(unreadable)?);
            skip(&mut source, skipped).map_err(unreadable)?;
            Some(source)
        };
        let file = File::create(into).map_err(unwritable)?;
        Ok(Self { into: BufWriter::new(file), name, source, passed: skipped })
    }

    /// Writes a line that failed, as it was; of stdin, as the server understood it.
    pub fn write(&mut self, number: u64, failure: &Value) -> Result<(), Fault> {
        let written = match &mut self.source {
            Some(source) => {
                let between = number.saturating_sub(self.passed + 1);
                self.passed = number;
                skip(source, between).and_then(|_| copy_line(source, &mut self.into))
            }
            None => {
                let input = failure.get("input").unwrap_or(&Value::Null);
                let text = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
                self.into.write_all(text.as_bytes())
            }
        };
        let flushed = written.and_then(|()| self.into.write_all(b"\n")).and_then(|()| self.into.flush());
        flushed.map_err(|cause| Fault::failure(format!("`{}` cannot be written: {cause}", self.name)))
    }
}

/// Passes over so many lines; answers their bytes.
pub(super) fn skip(source: &mut impl BufRead, lines: u64) -> io::Result<u64> {
    let (mut left, mut bytes) = (lines, 0);
    while left > 0 {
        let piece = source.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        let (length, whole) = piece.iter().position(|byte| *byte == b'\n').map_or((piece.len(), 0), |at| (at + 1, 1));
        source.consume(length);
        bytes += length as u64;
        left -= whole;
    }
    Ok(bytes)
}

/// Copies up to the end of the line, without it.
fn copy_line(source: &mut impl BufRead, into: &mut impl Write) -> io::Result<()> {
    loop {
        let piece = source.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        into.write_all(piece.get(..end.unwrap_or(piece.len())).unwrap_or_default())?;
        let length = end.map_or(piece.len(), |at| at + 1);
        source.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_skipped_and_copied_whatever_the_pieces() {
        let text = b"one\n\nthree is longer than a piece\nfour";
        for capacity in [1, 2, 7, 1_000] {
            let mut source = BufReader::with_capacity(capacity, &text[..]);
            assert_eq!(skip(&mut source, 2).unwrap(), 5);
            let mut copied = Vec::new();
            copy_line(&mut source, &mut copied).unwrap();
            assert_eq!(copied, b"three is longer than a piece");
            copied.clear();
            copy_line(&mut source, &mut copied).unwrap();
            assert_eq!(copied, b"four");
            assert_eq!(skip(&mut source, 9).unwrap(), 0, "the end is the end");
        }
    }
}
