//! Forward-auth, auth-request and Envoy's HTTP service: the request stands in headers or in our own path.

use super::{Outcome, Posed, Seen, Session, Told, USER, told_by_headers};

/// A gateway's request, but for its credential: method, path and headers.
struct Asking<'a> {
    method: &'a str,
    path: String,
    host: &'a str,
    headers: Vec<(&'static str, &'a str)>,
}

/// What HTTP can carry in a header, or in the path of a request line.
fn carries(seen: &Seen<'_>, in_the_path: bool) -> bool {
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut shown = [seen.user, seen.authorization].into_iter().flatten();
    let fits_the_line = !in_the_path || seen.path.starts_with('/');
    visible(seen.path) && fits_the_line && shown.all(visible_text)
}

fn visible_text(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text
}

fn ask(
    session: &mut Session,
    questions: &[Posed],
    in_the_path: bool,
    say: for<'a> fn(&Seen<'a>) -> Asking<'a>,
) -> Vec<Outcome> {
    let mut one = |posed: &Posed| {
        let seen = posed.seen()?;
        if !carries(&seen, in_the_path) {
            return Err("HTTP does not carry such a request");
        }
        let Asking { method, path, host, mut headers } = say(&seen);
        headers.extend(seen.user.map(|user| (USER, user)));
        headers.extend(seen.authorization.map(|shown| ("Authorization", shown)));
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let token = super::TOKENS[usize::from(posed.dashboard)];
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nCedargate-Gate-Token: {token}\r\n{headers}\r\n");
        let reply = session.gate(posed.dashboard).exchange(method, request.as_bytes()).unwrap();
        let (permit, reason) = told_by_headers(&reply);
        assert_eq!(reply.status == 200, permit, "status and headers: {} {reason}", reply.status);
        assert!(permit || matches!(reply.status, 400 | 401 | 403), "{}", reply.status);
        Ok(Told { permit, reason, grounds: None })
    };
    questions.iter().map(&mut one).collect()
}

pub(super) fn forward_auth(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    ask(session, questions, false, |seen| Asking {
        method: "GET",
        path: "/forward-auth".into(),
        host: "cedargate",
        headers: vec![
            ("X-Forwarded-Method", seen.method),
            ("X-Forwarded-Uri", seen.path),
            ("X-Forwarded-Host", seen.host.unwrap_or("localhost")),
        ],
    })
}

pub(super) fn auth_request(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    ask(session, questions, false, |seen| Asking {
        method: "GET",
        path: "/auth-request".into(),
        host: "cedargate",
        headers: vec![
            ("X-Original-Method", seen.method),
            ("X-Original-URI", seen.path),
            ("X-Original-Host", seen.host.unwrap_or("localhost")),
        ],
    })
}

pub(super) fn envoy(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    ask(session, questions, true, |seen| Asking {
        method: seen.method,
        path: format!("/envoy{}", seen.path),
        host: seen.host.unwrap_or("localhost"),
        headers: Vec::new(),
    })
}
