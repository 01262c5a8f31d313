//! Answers in the words of HTTP/1.1 (RFC 9112), for requests that are answered without the library.

use std::io::Write as _;

use hyper::header::HeaderName;

use super::{Response, StatusCode};

/// Where one answer is written to.
#[derive(Debug)]
pub struct Plain<'a> {
    text: &'a mut Vec<u8>,
    date: &'a [u8],
}

impl<'a> Plain<'a> {
    /// Appends to a text; `date` is the value of `Date`.
    pub const fn new(text: &'a mut Vec<u8>, date: &'a [u8]) -> Self {
        Self { text, date }
    }

    /// Writes an answer whose body is the pieces one after the other. Values hold no line breaks: they are our own words.
    pub fn write<'h>(
        &mut self,
        status: StatusCode,
        headers: impl IntoIterator<Item = (&'h HeaderName, &'h [u8])>,
        body: &[&[u8]],
    ) {
        let length = body.iter().map(|piece| piece.len()).sum::<usize>();
        self.text.reserve(HEAD + length);
        self.put(b"HTTP/1.1 ");
        self.put(status.as_str().as_bytes());
        self.put(b" ");
        self.put(status.canonical_reason().unwrap_or_default().as_bytes());
        self.put(b"\r\n");
        for (name, value) in headers {
            self.header(name.as_str().as_bytes(), value);
        }
        // Writing to a vector cannot fail.
        let _ = write!(self.text, "content-length: {length}\r\n");
        let date = self.date;
        self.header(b"date", date);
        self.put(b"\r\n");
        body.iter().for_each(|piece| self.put(piece));
    }

    /// Writes a response whose body is whole; says whether it is.
    pub fn write_response(&mut self, response: &Response) -> bool {
        let Some(body) = response.body().whole() else { return false };
        let headers = response.headers().iter().map(|(name, value)| (name, value.as_bytes()));
        self.write(response.status(), headers, &[body]);
        true
    }

    fn header(&mut self, name: &[u8], value: &[u8]) {
        self.put(name);
        self.put(b": ");
        self.put(value);
        self.put(b"\r\n");
    }

    fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }
}

/// Room for a head of usual length, in bytes.
const HEAD: usize = 384;
