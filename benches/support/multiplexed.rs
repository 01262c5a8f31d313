//! HTTP/2 with prior knowledge, as much of it as a load needs: requests of one head, so many streams at once.
//!
//! A whole client costs more than the servers that are measured, so frames are written as they are (RFC 9113) and
//! header blocks are ready bytes: the first request fills the table (RFC 7541, 6.2.1), the others name its entries.
//! Of an answer the status, the length and the first bytes of the body are looked at.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Answer, Load, Plan, Shared, Wire};
use crate::workload::Failure;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest answer to a stream that fits, and of a connection in one run: windows are opened once.
const STREAM_WINDOW: u32 = 1 << 24;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1 - 65_535;
/// The first place of the dynamic table (RFC 7541, 2.3.3).
const DYNAMIC: usize = 62;
/// `:status 200`, indexed.
const STATUS_200: u8 = 0x88;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACKNOWLEDGES: u8 = 1;
const END_HEADERS: u8 = 4;

/// The header block of all requests of a run: as the first on a connection sends it, and as the others do.
#[derive(Clone)]
pub struct Head {
    first: Arc<[u8]>,
    later: Arc<[u8]>,
}

impl Head {
    /// From requests of HTTP/1.1, whose heads must not differ but in their length.
    pub fn of(plan: &Plan) -> Result<Self, Failure> {
        let heads = || plan.requests.iter().map(|request| fields(request));
        let fields = heads().next().ok_or("no request")??;
        if heads().any(|other| !other.is_ok_and(|other| other == fields)) {
            return Err("the requests have different heads".into());
        }
        if plan.rate.is_some() {
            return Err("HTTP/2 has the closed loop only".into());
        }
        let mut first = Vec::new();
        let mut later = Vec::new();
        for (at, (name, value)) in fields.iter().enumerate() {
            first.push(0x40);
            for text in [name, value] {
                first.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).ok_or("too long a header")?);
                first.extend_from_slice(text.as_bytes());
            }
            later.push(0x80 | u8::try_from(DYNAMIC + fields.len() - 1 - at)?);
        }
        Ok(Self { first: first.into(), later: later.into() })
    }
}

/// The fields of a request's head, without its length.
fn fields(request: &[u8]) -> Result<Vec<(&str, &str)>, Failure> {
    let (head, _) = split(request)?;
    let mut lines = std::str::from_utf8(head)?.lines();
    let mut start = lines.next().unwrap_or("").split(' ');
    let (method, path) = (start.next().unwrap_or(""), start.next().unwrap_or(""));
    let mut fields = vec![(":method", method), (":scheme", "http"), (":path", path)];
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name {
            "host" => fields.push((":authority", value)),
            "content-length" => {}
            _ => fields.push((name, value)),
        }
    }
    // Pseudo-fields come first (RFC 9113, 8.3).
    fields.sort_by_key(|(name, _)| !name.starts_with(':'));
    Ok(fields)
}

fn split(request: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").ok_or("a request without a head")?;
    Ok((request.get(..end).unwrap_or(&[]), request.get(end + 4..).unwrap_or(&[])))
}

/// A stream that waits for its answer.
struct Waiting {
    at: usize,
    due: Duration,
    bytes: usize,
    permit: bool,
    known: bool,
}

/// One connection.
pub async fn ask(mut wire: Box<dyn Wire>, head: &Head, streams: usize, shared: &Shared) -> Result<Load, Failure> {
    let mut load = Load::default();
    let mut waiting: HashMap<u32, Waiting> = HashMap::new();
    let mut out = PREFACE.to_vec();
    let window = [&[0, 4][..], &STREAM_WINDOW.to_be_bytes()].concat();
    frame(&mut out, SETTINGS, 0, 0, &window);
    frame(&mut out, WINDOW_UPDATE, 0, 0, &CONNECTION_WINDOW.to_be_bytes());
    let mut input = Vec::with_capacity(64 * 1024);
    let mut next = 1_u32;
    let mut over = false;
    loop {
        while !over && waiting.len() < streams {
            let Some((at, request, due)) = shared.turn() else {
                over = true;
                break;
            };
            let block = if next == 1 { &head.first } else { &head.later };
            frame(&mut out, HEADERS, END_HEADERS, next, block);
            frame(&mut out, DATA, END_STREAM, next, split(request)?.1);
            waiting.insert(next, Waiting { at, due, bytes: 0, permit: false, known: false });
            next += 2;
        }
        if waiting.is_empty() {
            return Ok(load);
        }
        if !out.is_empty() {
            wire.write_all(&out).await?;
            out.clear();
        }
        if wire.read_buf(&mut input).await? == 0 {
            return Err("the server closed a connection".into());
        }
        let mut read = 0;
        while let Some((kind, flags, stream, payload)) = next_frame(input.get(read..).unwrap_or(&[])) {
            read += 9 + payload.len();
            match kind {
                HEADERS | DATA => {
                    let Some(one) = waiting.get_mut(&stream) else { continue };
                    one.take(kind, payload)?;
                    if flags & END_STREAM != 0
                        && let Some(one) = waiting.remove(&stream)
                    {
                        if one.bytes == 0 {
                            return Err("an answer without a body".into());
                        }
                        let answer = Answer { permit: one.permit, shed: false, bytes: one.bytes };
                        load.count(shared, one.at, one.due, &answer);
                    }
                }
                SETTINGS | PING if flags & ACKNOWLEDGES == 0 => {
                    let back = if kind == PING { payload } else { &[] };
                    frame(&mut out, kind, ACKNOWLEDGES, 0, back);
                }
                RESET => return Err("the server reset a stream".into()),
                GO_AWAY => return Err("the server ends a connection".into()),
                _ => {}
            }
        }
        input.drain(..read);
    }
}

impl Waiting {
    fn take(&mut self, kind: u8, payload: &[u8]) -> Result<(), Failure> {
        if kind == DATA {
            if self.bytes == 0 {
                // Ours begins with its verdict, a CheckResponse with a status that is zero and so empty.
                self.permit = payload.starts_with(b"{\"decision\":\"permit\"") || payload.get(5..7) == Some(&[0x0a, 0]);
            }
            self.bytes += payload.len();
            return Ok(());
        }
        // A change of the table's size may stand in front (RFC 7541, 6.3); the head of trailers has no status.
        let status = payload.iter().find(|byte| !(0x20..0x40).contains(*byte));
        if !std::mem::replace(&mut self.known, true) && status != Some(&STATUS_200) {
            return Err(format!("an answer other than 200: {:02x?}", payload.get(..16.min(payload.len()))).into());
        }
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Kind, flags, stream and payload of the first frame, if it is there whole.
fn next_frame(input: &[u8]) -> Option<(u8, u8, u32, &[u8])> {
    let [a, b, c, kind, flags, stream @ ..] = input.first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, *a, *b, *c]);
    let payload = input.get(9..9 + usize::try_from(length).ok()?)?;
    Some((*kind, *flags, u32::from_be_bytes(*stream) & 0x7fff_ffff, payload))
}
