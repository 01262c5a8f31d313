//! Lines out of pieces: cuts a stream of bytes at line feeds and never holds more than one line of stated
//! length. Knows nothing of JSON.

use bytes::Bytes;

/// How long a line may be, in bytes, without its line feed.
pub(super) const LINE_LIMIT: usize = 1024 * 1024;

/// How much of a line that is too long is kept to recognise it by, in bytes.
const KEPT: usize = 200;

/// A line of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1, blank lines included.
    pub(super) number: u64,
    /// Its bytes without line feed and carriage return; of a line that is too long only the beginning.
    pub(super) bytes: Vec<u8>,
    /// Whether it was longer than [`LINE_LIMIT`].
    pub(super) too_long: bool,
}

/// Takes pieces, gives lines. Blank lines are counted and left out; `\r\n` and a byte order mark are fine.
#[derive(Debug, Default)]
pub(super) struct Lines {
    piece: Bytes,
    line: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Lines {
    /// Takes the next piece. Call [`Self::next`] until it is out of lines before.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "the piece before is used up");
        self.piece = piece;
    }

    /// The next whole line, or `None` where another piece is needed.
    pub(super) fn next(&mut self) -> Option<Line> {
        while let Some(end) = self.piece.iter().position(|byte| *byte == b'\n') {
            let head = self.piece.split_to(end);
            let _line_feed = self.piece.split_to(1);
            self.take(&head);
            if let Some(line) = self.complete() {
                return Some(line);
            }
        }
        let rest = std::mem::take(&mut self.piece);
        self.take(&rest);
        None
    }

    /// The last line, where the input does not end with a line feed.
    pub(super) fn finish(&mut self) -> Option<Line> {
        if self.line.is_empty() { None } else { self.complete() }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.too_long {
            return;
        }
        if self.line.len() + bytes.len() > LINE_LIMIT {
            self.too_long = true;
            self.line.extend(bytes.iter().take(KEPT.saturating_sub(self.line.len())));
            self.line.truncate(KEPT);
            self.line.shrink_to_fit();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn complete(&mut self) -> Option<Line> {
        self.number += 1;
        let mut bytes = std::mem::take(&mut self.line);
        let too_long = std::mem::take(&mut self.too_long);
        if self.number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if !too_long && bytes.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        Some(Line { number: self.number, bytes, too_long })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(u64, String, bool)> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut keep = |line: Line| {
            found.push((line.number, String::from_utf8_lossy(&line.bytes).into_owned(), line.too_long));
        };
        for piece in pieces {
            lines.push(Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next() {
                keep(line);
            }
        }
        if let Some(line) = lines.finish() {
            keep(line);
        }
        found
    }

    #[test]
    fn every_cut_of_the_pieces_gives_the_same_lines() {
        let text = b"\xef\xbb\xbfone\r\n\n  \r\ntwo\nthree";
        let wanted = vec![(1, "one".into(), false), (4, "two".into(), false), (5, "three".into(), false)];
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(cut(&pieces), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_beyond_is_cut_and_skipped() {
        let fits = vec![b'x'; LINE_LIMIT];
        assert_eq!(cut(&[&fits, b"\nnext\n"]).len(), 2);
        assert!(!cut(&[&fits, b"\n"])[0].2);

        let mut beyond = vec![b'y'; LINE_LIMIT + 1];
        let lines = cut(&[&beyond, b"yyy\nnext\n"]);
        assert_eq!((lines[0].1.len(), lines[0].2), (KEPT, true));
        assert_eq!(lines[1], (2, "next".into(), false));

        beyond.extend_from_slice(b"\nnext");
        assert_eq!(cut(&[&beyond])[1].1, "next", "in one piece");
    }

    #[test]
    fn nothing_gives_no_line() {
        assert!(cut(&[]).is_empty());
        assert!(cut(&[b"", b"\n\n"]).is_empty());
    }
}
