//! Tricks in frames of HTTP/2 (RFC 9113), written by hand: a client library would refuse to send them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde::Deserialize;

use super::{HOST, PERMITTED, SHORT, unescape};
use crate::gateways::program::Gateway;
use crate::gateways::world::{World, bearer};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "class")]
    _class: String,
    #[serde(rename = "trick")]
    tricks: Vec<Trick>,
}

/// A header block; escapes and places as in the other tricks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trick {
    name: String,
    fields: Vec<(String, String)>,
}

fn corpus() -> Vec<Trick> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/tricks/http2/frames.toml");
    toml::from_str::<File>(&std::fs::read_to_string(path).unwrap()).unwrap().tricks
}

/// The names, in the order of the ids `frames-N`.
pub fn names() -> Vec<String> {
    corpus().into_iter().map(|trick| format!("HTTP/2: {}", trick.name)).collect()
}

/// Sends every trick and after it its control, a plain request; answers with the ids of the controls.
pub fn run(world: &World, gateway: &Gateway) -> Vec<String> {
    let (own, other) = (world.authorization(), bearer("root"));
    let mut controls = Vec::new();
    for (index, trick) in corpus().iter().enumerate() {
        send(&gateway.http2, &trick.fields, &format!("frames-{index}"), own, &other);
        let plain = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", HOST),
            (":path", PERMITTED),
            ("authorization", "{authorization}"),
        ];
        let plain = plain.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let id = format!("control-frames-{index}");
        send(&gateway.http2, &plain, &id, own, &other);
        controls.push(id);
    }
    controls
}

/// One request on a connection of its own, until the gateway is done with it.
fn send(address: &str, fields: &[(String, String)], id: &str, own: &str, other: &str) {
    let mut block = Vec::new();
    let marks = [("x-trick".to_owned(), id.to_owned()), ("x-request-id".to_owned(), id.to_owned())];
    for (name, value) in fields.iter().chain(&marks) {
        let value = value.replace("{authorization}", own).replace("{other}", other);
        // Literal, never indexed, not Huffman-coded (RFC 7541 section 6.2.3).
        block.push(0x10);
        text(&mut block, &unescape(name));
        text(&mut block, &unescape(&value));
    }
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SHORT)).unwrap();
    if stream.write_all(&bytes).is_ok() {
        while let Some((kind, flags, of)) = next(&mut stream) {
            let ended = of == 1 && (matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 || kind == RST_STREAM);
            if ended || kind == GOAWAY {
                break;
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Kind, flags and stream of the next frame; `None` at the end or where none comes.
fn next(stream: &mut TcpStream) -> Option<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    stream.read_exact(&mut vec![0; length as usize]).ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
}

/// A string of HPACK: a length with a prefix of seven bits, then the bytes (RFC 7541 sections 5.1 and 5.2).
fn text(block: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap() | 0x80);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
    }
    block.extend_from_slice(bytes);
}
