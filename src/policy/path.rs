//! Canonicalisation of a request's path: reject, never repair.
//!
//! A gateway and the service behind it may read one path in two ways. Whatever could be read in two ways
//! is refused here, so that what was judged is what is served. No URL parser touches a path. Pure.

use std::borrow::Cow;

/// The longest path that is looked at, in bytes, query included.
pub const LONGEST_PATH: usize = 8 * 1024;

/// A path that can be read in one way only: its segments, still encoded, without the query and without one
/// trailing slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a>(&'a str);

/// What is wrong with a path; its text tells the caller what to send instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Not in origin form.
    #[error("the path must begin with `/`")]
    NoLeadingSlash,
    /// Too long to be one of ours.
    #[error("the path is longer than 8192 bytes")]
    TooLong,
    /// `//`.
    #[error("the path holds an empty segment (`//`)")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path holds a dot segment (`.` or `..`)")]
    DotSegment,
    /// `;`.
    #[error("the path holds a `;` parameter")]
    PathParameter,
    /// `\`.
    #[error("the path holds a backslash")]
    Backslash,
    /// `#`.
    #[error("the path holds a fragment (`#`)")]
    Fragment,
    /// Control characters, blanks and everything beyond ASCII.
    #[error("the path holds a control character, a blank or a character beyond ASCII that is not percent-encoded")]
    RawCharacter,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a `%` that two hexadecimal digits do not follow")]
    BadEscape,
    /// `%2f`, `%5c`, `%25`, `%00`, `%3b`, control characters, and characters that some systems take for one of these.
    #[error("the path holds an encoded `/`, `\\`, `%`, `;` or control character")]
    EncodedDelimiter,
    /// `%c0%ae`: escapes that are not UTF-8, which a lenient reader may take for something else.
    #[error("the path holds escapes that are not UTF-8")]
    NotUtf8,
    /// `%6f`, `%2e`: letters, digits, `-`, `.`, `_`, `~` need no encoding, and encoding them hides a literal.
    #[error("the path holds an encoded letter, digit, `-`, `.`, `_` or `~`; send it as it is")]
    EncodedUnreserved,
}

impl<'a> CanonicalPath<'a> {
    /// Takes the path of a request as sent, query included.
    pub fn parse(raw: &'a str) -> Result<Self, PathFault> {
        if raw.len() > LONGEST_PATH {
            return Err(PathFault::TooLong);
        }
        let path = raw.split_once('?').map_or(raw, |(path, _)| path);
        let Some(rest) = path.strip_prefix('/') else { return Err(PathFault::NoLeadingSlash) };
        check_characters(rest)?;
        // Exactly one trailing slash means nothing (`domain.md` Q27); a second one is an empty segment.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if !rest.is_empty() {
            for segment in rest.split('/') {
                match segment {
                    "" => return Err(PathFault::EmptySegment),
                    "." | ".." => return Err(PathFault::DotSegment),
                    encoded if encoded.contains('%') => check_meaning(&decode(encoded).ok_or(PathFault::NotUtf8)?)?,
                    _ => {}
                }
            }
        } else if path.len() > 1 {
            return Err(PathFault::EmptySegment);
        }
        Ok(Self(rest))
    }

    /// The segments in order; none for `/`.
    pub fn segments(self) -> impl Iterator<Item = &'a str> {
        (!self.0.is_empty()).then(|| self.0.split('/')).into_iter().flatten()
    }
}

fn check_characters(path: &str) -> Result<(), PathFault> {
    let bytes = path.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => return Err(PathFault::Backslash),
            b';' => return Err(PathFault::PathParameter),
            b'#' => return Err(PathFault::Fragment),
            b'%' => {
                let high = bytes.get(at + 1).copied().and_then(hexadecimal);
                let low = bytes.get(at + 2).copied().and_then(hexadecimal);
                let (Some(high), Some(low)) = (high, low) else { return Err(PathFault::BadEscape) };
                check_decoded(high * 16 + low)?;
                at += 2;
            }
            0x21..=0x7e => {}
            _ => return Err(PathFault::RawCharacter),
        }
        at += 1;
    }
    Ok(())
}

const fn check_decoded(byte: u8) -> Result<(), PathFault> {
    match byte {
        b'/' | b'\\' | b'%' | b';' | 0x00..=0x1f | 0x7f => Err(PathFault::EncodedDelimiter),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Err(PathFault::EncodedUnreserved),
        _ => Ok(()),
    }
}

/// Characters beyond ASCII that some systems turn into a delimiter: by compatibility normalisation (Unicode NFKC),
/// by a best-fit code page, or by dropping what they do not know.
const LOOKALIKES: &[char] = &[
    '\u{2024}', '\u{2025}', '\u{2026}', '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{fe52}',
    '\u{fe54}', '\u{fe56}', '\u{fe5f}', '\u{fe68}', '\u{fe6a}', '\u{ff03}', '\u{ff05}', '\u{ff0e}', '\u{ff0f}',
    '\u{ff1b}', '\u{ff1f}', '\u{ff3c}',
];

fn check_meaning(decoded: &str) -> Result<(), PathFault> {
    let ambiguous = |c: char| LOOKALIKES.contains(&c) || (c.is_control() && !c.is_ascii());
    if decoded.contains(ambiguous) { Err(PathFault::EncodedDelimiter) } else { Ok(()) }
}

const fn hexadecimal(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Decodes the escapes of one segment of a [`CanonicalPath`]; `None` where the bytes are not UTF-8.
pub fn decode(segment: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(path: &str) -> PathFault {
        CanonicalPath::parse(path).expect_err(path)
    }

    #[test]
    fn reads_plain_paths() {
        let segments = |path| CanonicalPath::parse(path).expect(path).segments().collect::<Vec<_>>();
        assert_eq!(segments("/api/accounts/100/orders?page=1"), ["api", "accounts", "100", "orders"]);
        assert_eq!(segments("/api/accounts/100/orders/"), ["api", "accounts", "100", "orders"]);
        assert_eq!(segments("/"), Vec::<&str>::new());
        assert_eq!(segments("/api?x=//..;%2f"), ["api"]);
        assert_eq!(segments("/tns/%2B19195550100"), ["tns", "%2B19195550100"]);
    }

    #[test]
    fn rejects_whatever_reads_two_ways() {
        assert_eq!(fault("api"), PathFault::NoLeadingSlash);
        assert_eq!(fault(""), PathFault::NoLeadingSlash);
        assert_eq!(fault("*"), PathFault::NoLeadingSlash);
        assert_eq!(fault("http://host/api"), PathFault::NoLeadingSlash);
        assert_eq!(fault("//api"), PathFault::EmptySegment);
        assert_eq!(fault("/api//x"), PathFault::EmptySegment);
        assert_eq!(fault("/api/x//"), PathFault::EmptySegment);
        assert_eq!(fault("//"), PathFault::EmptySegment);
        assert_eq!(fault("/api/../x"), PathFault::DotSegment);
        assert_eq!(fault("/api/."), PathFault::DotSegment);
        assert_eq!(fault("/api/%2e%2e/x"), PathFault::EncodedUnreserved);
        assert_eq!(fault("/api/%6frders"), PathFault::EncodedUnreserved);
        assert_eq!(fault("/api/a%2fb"), PathFault::EncodedDelimiter);
        assert_eq!(fault("/api/a%5Cb"), PathFault::EncodedDelimiter);
        assert_eq!(fault("/api/a%252fb"), PathFault::EncodedDelimiter);
        assert_eq!(fault("/api/a%00"), PathFault::EncodedDelimiter);
        assert_eq!(fault("/api/a%ef%bc%8fb"), PathFault::EncodedDelimiter);
        assert_eq!(fault("/api/a%e2%88%95b"), PathFault::EncodedDelimiter);
        assert_eq!(fault("/api/a%c2%85b"), PathFault::EncodedDelimiter);
        assert_eq!(fault("/api/a;b"), PathFault::PathParameter);
        assert_eq!(fault("/api/a\\b"), PathFault::Backslash);
        assert_eq!(fault("/api/a#b"), PathFault::Fragment);
        assert_eq!(fault("/api/a b"), PathFault::RawCharacter);
        assert_eq!(fault("/api/\0"), PathFault::RawCharacter);
        assert_eq!(fault("/api/ü"), PathFault::RawCharacter);
        assert_eq!(fault("/api/%"), PathFault::BadEscape);
        assert_eq!(fault("/api/%zz"), PathFault::BadEscape);
        assert_eq!(fault("/api/%c0%ae%c0%ae%c0%afx"), PathFault::NotUtf8);
        assert_eq!(fault(&format!("/{}", "a".repeat(LONGEST_PATH))), PathFault::TooLong);
    }

    proptest! {
        #[test]
        fn what_passes_is_its_own_canonical_form(path in "[/a-c.%2fF;?#\\\\ -]{0,24}") {
            if let Ok(canonical) = CanonicalPath::parse(&path) {
                let joined = format!("/{}", canonical.segments().collect::<Vec<_>>().join("/"));
                let again = CanonicalPath::parse(&joined).expect("a canonical path is canonical");
                prop_assert_eq!(again.segments().collect::<Vec<_>>(), canonical.segments().collect::<Vec<_>>());
                prop_assert!(canonical.segments().all(|s| !s.is_empty() && s != "." && s != ".."));
            }
        }
    }
}
