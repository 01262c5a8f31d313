//! How the most lenient of services could read a request: decoded again and again, slashes merged, dots resolved,
//! parameters cut, cut at a NUL, another method or path taken from a header.

use std::collections::BTreeSet;

use crate::gateways::upstream::Seen;

/// How often a path is decoded and repaired; nothing decodes more than twice.
const ROUNDS: usize = 4;

/// The protected route that a request could be read as.
pub fn protected(seen: &Seen) -> Option<String> {
    let mut methods = vec![seen.method.to_ascii_uppercase()];
    let mut targets = vec![seen.target.clone()];
    for (name, value) in &seen.headers {
        match folded(name).as_str() {
            "x-http-method-override" | "x-http-method" | "x-method-override" => {
                methods.push(value.trim().to_ascii_uppercase());
            }
            "x-original-url" | "x-rewrite-url" => targets.push(value.clone()),
            _ => {}
        }
    }
    let readings = targets.iter().flat_map(|target| readings(target));
    readings.into_iter().find_map(|path| {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let other_account = segments.windows(2).any(|pair| pair == ["accounts", "200"]);
        let disconnect = segments.last() == Some(&"disconnects") && methods.iter().any(|method| method == "POST");
        (other_account || disconnect).then_some(path)
    })
}

/// A header's name as CGI and its heirs see it.
pub fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Everything that a path could mean to somebody.
fn readings(target: &str) -> BTreeSet<String> {
    // A query is a query; what somebody makes of an encoded question mark comes below.
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut all = BTreeSet::from([path]);
    for _ in 0..ROUNDS {
        let found: Vec<String> = all.iter().flat_map(|path| repairs(path)).collect();
        all.extend(found);
    }
    all
}

fn repairs(path: &str) -> Vec<String> {
    let cut = |at: &[char]| path.split(at).next().unwrap_or_default().to_owned();
    let without_parameters: Vec<&str> =
        path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    vec![
        decoded(path),
        path.replace('\\', "/"),
        path.to_ascii_lowercase(),
        without_parameters.join("/"),
        cut(&['#']),
        cut(&['\0']),
        cut(&['?']),
        cut(&[';']),
        path.chars().filter(|c| !c.is_ascii_control()).collect(),
        path.split('/').map(|segment| segment.trim_matches([' ', '\t', '.'])).collect::<Vec<_>>().join("/"),
        resolved(path),
        path.split_once("://").map_or(path, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..])).to_owned(),
        path.trim_start_matches('/')
            .split_once('/')
            .map(|(_, rest)| format!("/{rest}"))
            .filter(|_| path.starts_with("//"))
            .unwrap_or_default(),
    ]
}

/// Percent escapes once, overlong UTF-8, `%u002f` and full-width forms included.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let all = path.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect::<Vec<u8>>();
    let hex = |from: usize, to: usize| {
        std::str::from_utf8(all.get(from..to)?).ok().and_then(|text| u8::from_str_radix(text, 16).ok())
    };
    let mut at = 0;
    while at < all.len() {
        if all[at] == b'%' && matches!(all.get(at + 1), Some(b'u' | b'U')) {
            if let (Some(_), Some(low)) = (hex(at + 2, at + 4), hex(at + 4, at + 6)) {
                bytes.push(low);
                at += 6;
                continue;
            }
        } else if all[at] == b'%'
            && let Some(byte) = hex(at + 1, at + 3)
        {
            bytes.push(byte);
            at += 3;
            continue;
        }
        bytes.push(all[at]);
        at += 1;
    }
    let mut text: String = bytes.into_iter().map(char::from).collect();
    for (long, short) in [
        ("\u{c0}\u{af}", "/"),
        ("\u{c0}\u{ae}", "."),
        ("\u{c1}\u{9c}", "\\"),
        ("\u{e0}\u{80}\u{af}", "/"),
        ("\u{e0}\u{80}\u{ae}", "."),
        ("\u{f0}\u{80}\u{80}\u{af}", "/"),
        ("\u{ef}\u{bc}\u{8f}", "/"),
        ("\u{ef}\u{bc}\u{8e}", "."),
        ("\u{e2}\u{88}\u{95}", "/"),
        ("\u{e2}\u{81}\u{84}", "/"),
    ] {
        text = text.replace(long, short);
    }
    text
}

/// Dot segments and empty segments away.
fn resolved(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn lenient_readings_find_what_hides_and_leave_the_plain_alone() {
    let seen = |method: &str, target: &str, headers: &[(&str, &str)]| Seen {
        method: method.into(),
        target: target.into(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    for target in [
        "/api/accounts/200/orders",
        "/api/accounts/100/../200/orders",
        "/api/accounts/100/%2e%2e/200/orders",
        "/api/accounts/100%252f..%252f200/orders",
        "/api//accounts/200/orders",
        "/api/accounts/100/..%c0%af200/orders",
        "/api/accounts/100/..;x/200/orders",
        "/api/accounts\\200\\orders",
        "/API/Accounts/200/orders",
        "/api/accounts/200%00/orders",
        "/api/accounts/100/orders/%u002e%u002e/%u002e%u002e/200/orders",
        "http://x/api/accounts/200/orders",
    ] {
        assert!(protected(&seen("GET", target, &[])).is_some(), "{target}");
    }
    let disconnects = "/api/accounts/100/disconnects";
    assert!(protected(&seen("GET", disconnects, &[("x_http_method_override", "post")])).is_some());
    assert!(protected(&seen("GET", "/api", &[("x-original-url", "/api/accounts/200/orders")])).is_some());
    for target in ["/api/accounts/100/orders?x=/accounts/200/orders", "/api/accounts/100/orders", disconnects] {
        assert_eq!(protected(&seen("GET", target, &[])), None, "{target}");
    }
}
