//! Heads of HTTP/1.1 requests as they come: where one ends, how long its body is, and whether another is the same.
//!
//! Strict where parsers differ: what could be read in two ways (a bare line feed, two lengths, a transfer coding) is not
//! read here at all, and its connection is left to the library for good.

use std::ops::Range;

use crate::http::AlikeHandler;

/// Longer heads are left to the library, in bytes.
pub(super) const LONGEST: usize = 4096;
/// More digits of a length are left to the library.
const MOST_DIGITS: usize = 5;

/// What stands at the begin of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Head(Head),
    /// Its end has not come.
    Part,
    /// No head that everybody reads in the same way.
    Doubt,
}

/// A head, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// As far as the blank line, which is included.
    pub(super) length: usize,
    /// Of the body.
    pub(super) body: usize,
    /// Where the digits of `Content-Length` stand, where the head may be kept.
    digits: Option<Range<usize>>,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Read {
        let mut at = 0;
        let mut digits: Option<Range<usize>> = None;
        let mut keeps = true;
        for line in bytes.get(..LONGEST.min(bytes.len())).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = line.strip_suffix(b"\r\n") else {
                // The end of what came, or a line feed alone.
                return if line.ends_with(b"\n") || bytes.len() >= LONGEST { Read::Doubt } else { Read::Part };
            };
            if at == 0 {
                if !is_request_line(text) {
                    return Read::Doubt;
                }
            } else if text.is_empty() {
                let length = digits.clone().map_or(Some(0), |digits| number(bytes.get(digits)?));
                let Some(body) = length else { return Read::Doubt };
                return Read::Head(Self { length: at + line.len(), body, digits: digits.filter(|_| keeps) });
            } else {
                match Field::of(text) {
                    Field::Length(value) if digits.is_none() => digits = Some(at + value.start..at + value.end),
                    Field::Length(_) | Field::Doubt => return Read::Doubt,
                    Field::Single => keeps = false,
                    Field::Other => {}
                }
            }
            at += line.len();
        }
        if bytes.len() >= LONGEST { Read::Doubt } else { Read::Part }
    }

    /// What is kept of it, to know another by.
    pub(super) fn pattern(&self, bytes: &[u8]) -> Option<Pattern> {
        let digits = self.digits.clone()?;
        let before = bytes.get(..digits.start)?.into();
        Some(Pattern { before, after: bytes.get(digits.end..self.length)?.into() })
    }
}

/// `METHOD target HTTP/1.1`, with nothing that is not printable.
fn is_request_line(line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    parts.next().is_none()
        && version == Some(b"HTTP/1.1")
        && method.is_some_and(|method| !method.is_empty() && method.iter().all(u8::is_ascii_uppercase))
        && target.is_some_and(|target| target.starts_with(b"/") && target.iter().all(u8::is_ascii_graphic))
}

/// A header field, as far as it matters here.
enum Field {
    /// `Content-Length`, with the place of its digits in the line.
    Length(Range<usize>),
    /// One that speaks of its own request or of the connection: no other request is answered by this head.
    Single,
    /// One that changes where the request ends, or that cannot be read.
    Doubt,
    Other,
}

impl Field {
    fn of(line: &[u8]) -> Self {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Self::Doubt };
        let (name, value) = line.split_at(colon);
        let is_name =
            !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_');
        let is_text = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
        if !is_name || !is_text {
            return Self::Doubt;
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("content-length") {
            let padding = value.iter().skip(1).take_while(|byte| **byte == b' ').count();
            let start = colon + 1 + padding;
            return Self::Length(start..line.len());
        }
        if is("transfer-encoding") || is("upgrade") {
            return Self::Doubt;
        }
        if is("connection") || is("expect") || is("trailer") || is("te") || is("x-request-id") {
            return Self::Single;
        }
        Self::Other
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    let fits = (1..=MOST_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// A head but for the digits of its body's length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    before: Box<[u8]>,
    after: Box<[u8]>,
}

impl Pattern {
    /// The target's path, as sent.
    pub(super) fn path(&self) -> &str {
        let target = self.before.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        std::str::from_utf8(path).unwrap_or("")
    }

    /// The body, where these bytes are one whole request with this head and nothing else.
    pub(super) fn body_of<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let rest = bytes.strip_prefix(&*self.before)?;
        let digits = rest.iter().take(MOST_DIGITS + 1).position(|byte| !byte.is_ascii_digit())?;
        let (length, rest) = rest.split_at_checked(digits)?;
        let body = rest.strip_prefix(&*self.after)?;
        (number(length)? == body.len()).then_some(body)
    }
}

/// A head that came before, and what answers requests that have it.
pub(super) struct Known {
    pub(super) pattern: Pattern,
    pub(super) handler: AlikeHandler,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST /v1/authorize HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAccept: */*\r\n\r\n";

    fn head(text: &str) -> Option<Head> {
        match Head::read(text.as_bytes()) {
            Read::Head(head) => Some(head),
            Read::Part | Read::Doubt => None,
        }
    }

    #[test]
    fn a_head_ends_at_its_blank_line_however_it_comes() {
        for cut in 0..HEAD.len() {
            assert_eq!(Head::read(&HEAD.as_bytes()[..cut]), Read::Part, "{cut}");
        }
        let found = head(&format!("{HEAD}{{}}")).unwrap();
        assert_eq!((found.length, found.body), (HEAD.len(), 2));
        assert_eq!(head("GET / HTTP/1.1\r\n\r\n").map(|head| (head.length, head.body)), Some((18, 0)));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for text in [
            "POST / HTTP/1.1\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\n\r\n",
            "\r\nPOST / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.0\r\n\r\n",
            "POST  / HTTP/1.1\r\n\r\n",
            "POST /a#b c HTTP/1.1\r\n\r\n",
            "POST http://a/ HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost : a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1 \r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: \r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 123456\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
        ] {
            assert_eq!(Head::read(text.as_bytes()), Read::Doubt, "{text:?}");
        }
        let long = format!("POST / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(LONGEST));
        assert_eq!(Head::read(long.as_bytes()), Read::Doubt);
    }

    #[test]
    fn a_request_is_known_by_every_byte_of_its_head() {
        let pattern = head(HEAD).unwrap().pattern(HEAD.as_bytes()).unwrap();
        let known = |text: String| pattern.body_of(text.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(known(format!("{HEAD}{{}}")), Some(b"{}".to_vec()));
        let longer = HEAD.replace(": 2", ": 12");
        assert_eq!(known(format!("{longer}{}", "x".repeat(12))), Some(vec![b'x'; 12]));
        for other in [format!("{HEAD}{{"), format!("{HEAD}{{}}P"), format!("{longer}{{}}"), HEAD.replace(": 2", ": ")] {
            assert_eq!(known(other.clone()), None, "{other:?}");
        }
        for at in 0..HEAD.len() {
            let mut bytes = format!("{HEAD}{{}}").into_bytes();
            bytes[at] ^= 1;
            assert_eq!(pattern.body_of(&bytes), None, "{at}");
        }
    }

    #[test]
    fn what_speaks_of_one_request_alone_is_not_kept() {
        for line in ["Connection: close", "Expect: 100-continue", "X-Request-Id: 1"] {
            let text = HEAD.replace("Accept: */*", line);
            assert_eq!(head(&text).unwrap().pattern(text.as_bytes()), None, "{line}");
        }
        // Without a length there is no body to tell requests apart by.
        assert_eq!(head("GET / HTTP/1.1\r\n\r\n").unwrap().pattern(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
