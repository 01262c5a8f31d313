//! What the decision point offers, and where: AuthZEN's metadata (section 9). Addresses come from the configuration,
//! never from a request.

use std::fmt;

use serde::Serialize;

use super::{AuthZen, EVALUATION, EVALUATIONS, SEARCH_ACTION, SEARCH_RESOURCE, SEARCH_SUBJECT, WELL_KNOWN, answer};
use crate::http::{Method, Refusal, Request, Response};

/// Where clients reach the gate: `https://HOST[:PORT][/PATH]`, without query, fragment and trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    /// The path within it, empty or beginning with `/`.
    path_at: usize,
}

/// The registry of capabilities (section 12.3) is still empty; this name is the one under which another decision
/// point announces pages of search results.
const CAPABILITIES: [&str; 1] = ["urn:ietf:params:authzen:capability:search-pagination"];

#[derive(Serialize)]
struct Configuration<'a> {
    policy_decision_point: &'a str,
    access_evaluation_endpoint: String,
    access_evaluations_endpoint: String,
    search_subject_endpoint: String,
    search_resource_endpoint: String,
    search_action_endpoint: String,
    capabilities: &'static [&'static str],
}

impl PublicUrl {
    /// Reads an address. Metadata must be of `https`; plain `http` passes for loopback hosts, where one tries things
    /// out.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WANTED: &str = "must be an address such as https://authz.example.com, without query, fragment and user";
        let text = text.strip_suffix('/').unwrap_or(text);
        let (scheme, rest) = text.split_once("://").ok_or(WANTED)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let clean = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"<>".contains(&byte));
        if authority.is_empty() || !clean || path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            return Err(WANTED);
        }
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        match scheme {
            "https" => {}
            "http" if matches!(host, "127.0.0.1" | "localhost" | "[::1]") => {}
            _ => return Err("must begin with https:// (AuthZEN allows nothing else)"),
        }
        Ok(Self { text: text.to_owned(), path_at: text.len() - path.len() })
    }

    fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or("")
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `GET /.well-known/authzen-configuration`, with the path of the public URL behind it where it has one. Everybody
/// may read it.
pub(super) fn configuration(dialect: &AuthZen, request: &Request) -> Result<Response, Refusal> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Refusal::method_not_allowed("metadata is read with GET"));
    }
    let Some(public) = &dialect.public_url else {
        return Err(Refusal::not_found("no metadata: `gate.public_url` is not set; the default paths are in service"));
    };
    let below = request.path.strip_prefix(WELL_KNOWN).unwrap_or("");
    if below != public.path() {
        return Err(Refusal::not_found(
            "no decision point of this path; the metadata stands where the public URL says",
        ));
    }
    let at = |path: &str| format!("{}{path}", public.text);
    answer(&Configuration {
        policy_decision_point: &public.text,
        access_evaluation_endpoint: at(EVALUATION),
        access_evaluations_endpoint: at(EVALUATIONS),
        search_subject_endpoint: at(SEARCH_SUBJECT),
        search_resource_endpoint: at(SEARCH_RESOURCE),
        search_action_endpoint: at(SEARCH_ACTION),
        capabilities: &CAPABILITIES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_metadata_may_hold() {
        for good in ["https://a.example", "https://a.example:8443/authz/t1", "http://127.0.0.1:8181", "https://[::1]:1"]
        {
            assert!(PublicUrl::parse(good).is_ok(), "{good}");
        }
        let slash = PublicUrl::parse("https://a.example/").unwrap();
        assert_eq!((slash.text.as_str(), slash.path()), ("https://a.example", ""));
        assert_eq!(PublicUrl::parse("https://a.example/t1").unwrap().path(), "/t1");
        for bad in [
            "",
            "a.example",
            "http://a.example",
            "http://127.0.0.1.a.example",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://a.example?x",
            "https://a.example/#x",
            "https://u@a.example",
            "https://a.example//x",
            "https://a.example/../x",
            "https://a example",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
