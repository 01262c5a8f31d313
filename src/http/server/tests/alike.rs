//! Requests that are alike in all but their bodies: whoever answers, the client reads the same.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::clock::{Random as _, SeededRandom};
use crate::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use crate::http::plain::Plain;
use crate::http::{AlikeHandler, HeadHandler, Request};

/// Echoes, but for bodies that it leaves to the route or fails at. Counts what it answers.
fn echo_alike(answered: &Arc<AtomicUsize>) -> AlikeHandler {
    let answered = Arc::clone(answered);
    Arc::new(move |body: &[u8], plain: &mut Plain<'_>| {
        assert!(!body.starts_with(b"fail"), "told to");
        if body.starts_with(b"wait") {
            return false;
        }
        answered.fetch_add(1, Ordering::Relaxed);
        let headers = [(&CONTENT_TYPE, b"text/plain".as_slice()), (&CACHE_CONTROL, b"no-store")];
        plain.write(StatusCode::OK, headers, &[body]);
        true
    })
}

/// Everything that is ready on this one thread, sockets as well, has so many turns.
async fn turns(number: usize) {
    for _ in 0..number {
        tokio::task::yield_now().await;
    }
}

fn router(answered: Option<&Arc<AtomicUsize>>) -> Router {
    let router = echo().route(
        Method::POST,
        "/asked",
        here(|request| Reply::Now(respond(StatusCode::OK, "text/plain", request.body))),
    );
    let router = router.route(
        Method::POST,
        "/slowly",
        later(|request| async move {
            turns(30).await;
            respond(StatusCode::OK, "text/plain", request.body)
        }),
    );
    let Some(answered) = answered else { return router };
    let answered = Arc::clone(answered);
    let head: HeadHandler =
        Arc::new(move |request: &Request| request.header("x-looked-at").is_none().then(|| echo_alike(&answered)));
    router.alike(Method::POST, "/asked", head)
}

fn start(answered: Option<&Arc<AtomicUsize>>, limits: Limits) -> Running {
    let metrics = Metrics::new(&[]);
    let service = Service {
        table: Arc::new(router(answered).build().unwrap()),
        limits,
        metrics: metrics.listener("test"),
        sources: Sources::system(),
        request_ids: false,
    };
    let address = ListenerAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let bound = Bound::bind(&ListenerConfig { name: "test", address, tls: None }).unwrap();
    let address = bound.address().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(bound.serve(service, async {
        let _ = stopped.await;
    }));
    Running { address, metrics, stop: Some(stop), ended }
}

fn ask(body: &str) -> String {
    format!("POST /asked HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nAccept: */*\r\n\r\n{body}", body.len())
}

/// One answer with a length; less where the connection ends.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&bytes[..end]).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or("0", str::trim);
            let whole = end + 4 + length.parse::<usize>().unwrap();
            assert!(bytes.len() <= whole, "more than one answer: {bytes:?}");
            if bytes.len() == whole {
                return String::from_utf8(bytes).unwrap();
            }
        }
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return String::from_utf8(bytes).unwrap();
        }
        bytes.extend_from_slice(&buffer[..length]);
    }
}

fn undated(text: &str) -> String {
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

#[tokio::test]
async fn the_second_request_with_a_head_is_answered_by_its_body_in_the_same_words() {
    let answered = Arc::new(AtomicUsize::new(0));
    let server = start(Some(&answered), Limits::default());
    let mut stream = server.connect().await;
    let mut texts = Vec::new();
    for turn in 0..5 {
        stream.write_all(ask(&format!("same {turn}")).as_bytes()).await.unwrap();
        texts.push(read_answer(&mut stream).await.replace(&format!("same {turn}"), "same"));
        assert_eq!(answered.load(Ordering::Relaxed), turn);
    }
    assert!(texts[0].contains("\r\ndate: "), "{}", texts[0]);
    assert!(texts.iter().all(|text| undated(text) == undated(&texts[0])), "{texts:?}");
    assert!(server.counts("cedargate_http_requests_total{listener=\"test\",status=\"200\"} 5"));
    assert!(server.counts("cedargate_http_requests_in_flight{listener=\"test\"} 0"));
    // What it cannot answer, and what it fails at, is the route's; a head that has to be looked at is never learnt.
    for body in ["wait a little", "fail at once", "and on"] {
        stream.write_all(ask(body).as_bytes()).await.unwrap();
        assert!(read_answer(&mut stream).await.ends_with(body));
    }
    assert_eq!(answered.load(Ordering::Relaxed), 5);
    let looked_at = ask("x").replace("Accept", "X-Looked-At");
    for _ in 0..3 {
        stream.write_all(looked_at.as_bytes()).await.unwrap();
        read_answer(&mut stream).await;
    }
    assert_eq!(answered.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn clients_with_a_new_head_each_time_are_left_alone_after_a_while() {
    let answered = Arc::new(AtomicUsize::new(0));
    let server = start(Some(&answered), Limits::default());
    let mut stream = server.connect().await;
    let with_trace = |trace: usize| ask("abc").replace("*/*", &trace.to_string());
    // A few heads in turn are all remembered.
    for turn in 0..40 {
        stream.write_all(with_trace(turn % 4).as_bytes()).await.unwrap();
        read_answer(&mut stream).await;
    }
    assert_eq!(answered.load(Ordering::Relaxed), 36);
    for turn in 4..80 {
        stream.write_all(with_trace(turn).as_bytes()).await.unwrap();
        read_answer(&mut stream).await;
    }
    for _ in 0..3 {
        stream.write_all(with_trace(1).as_bytes()).await.unwrap();
        read_answer(&mut stream).await;
    }
    assert_eq!(answered.load(Ordering::Relaxed), 36);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_a_slow_one_has_its_answers_whole() {
    let answered = Arc::new(AtomicUsize::new(0));
    let limits = Limits { write_stall: Duration::from_millis(200), ..Limits::default() };
    let server = start(Some(&answered), limits);
    let mut stream = server.connect().await;
    // Larger than one read of the library would be answered by the library, so many small ones fill the buffers.
    let body = "a".repeat(6000);
    stream.write_all(ask(&body).as_bytes()).await.unwrap();
    read_answer(&mut stream).await;
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let mut sent = 0;
        // Ends when the server has had enough; nothing is read meanwhile.
        while writer.write_all(ask(&body).as_bytes()).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let sent = writing.await.unwrap();
    assert!(sent > 0);
    assert!(server.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"slow-reader\"} 1"));
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest).await;
    let text = String::from_utf8(rest).unwrap();
    // Whatever came of it came in order and unmixed.
    let whole = text.matches("HTTP/1.1 200 OK\r\n").count();
    assert!(
        text.split("HTTP/1.1 200 OK\r\n").skip(1).take(whole - 1).all(|answer| answer.ends_with(&"a".repeat(6000)))
    );
}

#[tokio::test]
async fn a_fragment_in_a_body_ends_the_connection_as_ever() {
    let answered = Arc::new(AtomicUsize::new(0));
    let server = start(Some(&answered), Limits::default());
    let mut stream = server.connect().await;
    for body in ["one", "two"] {
        stream.write_all(ask(body).as_bytes()).await.unwrap();
        read_answer(&mut stream).await;
    }
    stream.write_all(ask("\nGET /b#c HTTP/1.1\r\n").as_bytes()).await.unwrap();
    assert!(read_all(&mut stream).await.contains("connection: close\r\n"));
    assert_eq!(answered.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_drain_closes_connections_that_are_between_requests() {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut server = start(Some(&answered), Limits::default());
    let mut stream = server.connect().await;
    for body in ["one", "two"] {
        stream.write_all(ask(body).as_bytes()).await.unwrap();
        read_answer(&mut stream).await;
    }
    server.stop();
    assert_eq!(read_all(&mut stream).await, "");
    assert_eq!(server.ended.await.unwrap(), Ending::Clean);
}

/// A connection on which [`ask`] was learnt.
async fn learnt(server: &Running) -> TcpStream {
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for body in ["one", "two"] {
        stream.write_all(ask(body).as_bytes()).await.unwrap();
        read_answer(&mut stream).await;
    }
    stream
}

#[tokio::test]
async fn a_body_that_looks_like_a_request_is_a_body_and_answers_keep_their_order() {
    let answered = Arc::new(AtomicUsize::new(0));
    let server = start(Some(&answered), Limits::default());
    let outer = ask(&ask("inner"));
    let (head, body) = outer.split_at(outer.len() - ask("inner").len());
    // The begin of the request comes with the one before it, or alone.
    for first in [ask("first"), String::new()] {
        let mut stream = learnt(&server).await;
        stream.write_all((first.clone() + head).as_bytes()).await.unwrap();
        if !first.is_empty() {
            assert!(read_answer(&mut stream).await.ends_with("first"));
        }
        turns(10).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        assert!(read_answer(&mut stream).await.ends_with(&ask("inner")));
    }
    // While one is being answered, the next is none of ours.
    let mut stream = learnt(&server).await;
    let before = answered.load(Ordering::Relaxed);
    stream.write_all(ask("first").replace("/asked", "/slowly").as_bytes()).await.unwrap();
    turns(4).await;
    stream.write_all(ask("second").as_bytes()).await.unwrap();
    let text = read_until(&mut stream, "second").await;
    assert!(text.find("first") < text.find("second"), "{text}");
    assert_eq!(answered.load(Ordering::Relaxed), before);
}

/// Requests of many kinds, those that are answered by their likeness among them, and those that hold others.
fn any_request(random: &SeededRandom, last: bool) -> String {
    let number = pick(random, 1000);
    let inner = ask("inner");
    let rest = ["", "a", "some more text\r\n\r\n", "wait", &inner][pick(random, 5)];
    let body = format!("{}{rest}", if rest == inner { String::new() } else { number.to_string() });
    let request = match pick(random, 20) {
        0 => "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        1 => "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        2..=4 => ask(&body).replace("/asked", "/slowly"),
        5 => format!(
            "POST /asked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
        6 => ask(&body).replacen("Host: x\r\n", "Host: x\n", 1),
        7 => ask(&body).replacen("Accept: */*", "X-Request-Id: 7", 1),
        8 => ask(&body).replacen("Accept: */*", &format!("X-Trace: {number}"), 1),
        9 => ask(&body).replacen("Content-Length: ", "Content-Length: 0", 1),
        10 => format!("\r\n{}", ask(&body)),
        _ => ask(&body),
    };
    if last { request.replacen("Host: x", "Connection: close\r\nHost: x", 1) } else { request }
}

fn pick(random: &SeededRandom, of: usize) -> usize {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    u32::from_le_bytes(bytes) as usize % of
}

/// Places where what is sent at once ends: behind heads, where a body may look like a request, between requests, anywhere.
fn cuts(random: &SeededRandom, text: &str) -> Vec<usize> {
    let behind_heads = text.match_indices("\r\n\r\n").map(|(at, end)| at + end.len());
    let requests = text.match_indices("POST ").map(|(at, _)| at);
    let mut cuts: Vec<usize> = behind_heads.chain(requests).filter(|_| pick(random, 3) > 0).collect();
    cuts.extend((0..pick(random, 3)).map(|_| pick(random, text.len())));
    cuts.push(text.len());
    cuts.sort_unstable();
    cuts
}

/// All that a server says: to the first requests one after the other, then to the others in pieces, unasked for.
async fn conversation(server: &Running, waiting: &[String], others: &str, cuts: &[usize]) -> String {
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    let mut said = String::new();
    for request in waiting {
        if stream.write_all(request.as_bytes()).await.is_err() {
            return said;
        }
        said += &read_answer(&mut stream).await;
    }
    let mut from = 0;
    for cut in cuts {
        let _ = stream.write_all(&others.as_bytes()[from..*cut]).await;
        from = *cut;
        // The server has a turn with what came so far.
        turns(4).await;
    }
    said + &read_all(&mut stream).await
}

#[tokio::test]
async fn whatever_is_sent_in_whatever_pieces_the_answers_are_those_of_the_library() {
    let answered = Arc::new(AtomicUsize::new(0));
    let (server, library) = (start(Some(&answered), Limits::default()), start(None, Limits::default()));
    let random = SeededRandom::new(11);
    for round in 0..1000 {
        let waiting: Vec<String> = (0..pick(&random, 8)).map(|_| any_request(&random, false)).collect();
        let count = 1 + pick(&random, 6);
        let others: String = (1..=count).map(|at| any_request(&random, at == count)).collect();
        let cuts = cuts(&random, &others);
        let heard = conversation(&server, &waiting, &others, &cuts).await;
        let wanted = conversation(&library, &waiting, &others, &cuts).await;
        assert_eq!(undated(&heard), undated(&wanted), "round {round}: {waiting:#?} {others:?} {cuts:?}");
    }
    assert!(answered.load(Ordering::Relaxed) > 500, "{answered:?} were answered by their likeness");
}
