//! From AuthZEN's words to a question.
//!
//! An action is one of the bundle. A resource of the type `route` or `http_route` is an HTTP request (REST API gateway
//! profile) whose method is the action's name, unless the bundle has an entity type of this name. Everything else is
//! an entity, and what its type means is the bundle's to say. Pure.

use super::request::{Action, Entity};
use crate::authz::View;
use crate::domain::{Asked, ContextValue, EntityName, Subject};
use crate::http::Refusal;

/// Resource types that stand for an HTTP request.
const ROUTES: [&str; 2] = ["route", "http_route"];

/// Whether a resource type stands for an HTTP request in the bundle of this view.
pub(super) fn is_route(view: &View<'_>, kind: &str) -> bool {
    ROUTES.contains(&kind) && view.entity_type(kind).is_none()
}

/// Whom a subject means.
pub(super) fn subject<'q>(subject: &'q Entity<'_>) -> Subject<'q> {
    Subject::Entity(name(subject))
}

/// An entity as questions name it.
pub(super) fn name<'q>(entity: &'q Entity<'_>) -> EntityName<'q> {
    EntityName { kind: entity.kind, id: entity.id, properties: &entity.properties }
}

/// What action and resource ask.
///
/// # Errors
/// 400 where a request names its path or its host in two ways that differ.
pub(super) fn asked<'q>(
    view: &View<'_>,
    action: &'q Action<'_>,
    resource: &'q Entity<'_>,
) -> Result<Asked<'q>, Refusal> {
    if is_route(view, resource.kind) {
        return request(action.name, resource);
    }
    Ok(Asked::Action { action: action.name, properties: &action.properties, resource: Some(name(resource)) })
}

/// The request that a route stands for. The path is `properties.path`, else that of `properties.uri`, else the id;
/// the host is `properties.hostname`, `properties.host` or that of an absolute `uri`. Gateways send several of them:
/// whatever is said twice must agree, so that what is judged is what is served.
fn request<'q>(method: &'q str, route: &'q Entity<'_>) -> Result<Asked<'q>, Refusal> {
    let uri = property(route, "uri")?.map(split);
    let (uri_host, uri_path) = uri.unwrap_or_default();
    let path = agreed("path", [property(route, "path")?, uri_path], without_query)?;
    let hosts = [property(route, "hostname")?, property(route, "host")?, uri_host];
    let host = agreed("host", hosts, without_port)?;
    Ok(Asked::Request { method, host, path: path.unwrap_or(route.id) })
}

fn property<'q>(of: &'q Entity<'_>, name: &str) -> Result<Option<&'q str>, Refusal> {
    match of.properties.iter().find(|(key, _)| key == name) {
        None => Ok(None),
        Some((_, ContextValue::Text(text))) => Ok(Some(text)),
        Some(_) => Err(Refusal::bad_request(format!("`resource.properties.{name}` must be text"))),
    }
}

/// Host and path of a target in absolute or origin form. No URL parser: the path stays as it was sent.
fn split(uri: &str) -> (Option<&str>, Option<&str>) {
    match uri.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            (Some(authority), Some(if path.is_empty() { "/" } else { path }))
        }
        _ => (None, Some(uri)),
    }
}

/// The first that is given; all that are given must be the same in what counts of them.
fn agreed<'q, const N: usize>(
    what: &str,
    given: [Option<&'q str>; N],
    counts: fn(&str) -> String,
) -> Result<Option<&'q str>, Refusal> {
    let mut given = given.into_iter().flatten();
    let Some(first) = given.next() else { return Ok(None) };
    if given.any(|other| counts(other) != counts(first)) {
        return Err(Refusal::bad_request(format!("`resource.properties` names the {what} twice, and differently")));
    }
    Ok(Some(first))
}

fn without_query(path: &str) -> String {
    path.split_once('?').map_or(path, |(path, _)| path).to_owned()
}

fn without_port(host: &str) -> String {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(id: &str, properties: &[(&str, &str)]) -> Result<(Option<String>, String), String> {
        let properties =
            properties.iter().map(|(key, text)| ((*key).to_owned(), ContextValue::Text((*text).to_owned()))).collect();
        let entity = Entity { kind: "route", id, properties };
        match request("GET", &entity) {
            Ok(Asked::Request { host, path, .. }) => Ok((host.map(str::to_owned), path.to_owned())),
            Ok(Asked::Action { .. }) => Err("an action".into()),
            Err(refusal) => Err(refusal.message),
        }
    }

    #[test]
    fn a_route_is_the_request_that_it_stands_for() {
        let host = |text: &str| Some(text.to_owned());
        assert_eq!(route("/a", &[]), Ok((None, "/a".into())));
        assert_eq!(route("/{id}", &[("path", "/7?x=1")]), Ok((None, "/7?x=1".into())));
        assert_eq!(route("/{id}", &[("uri", "/7?x=1")]), Ok((None, "/7?x=1".into())));
        assert_eq!(route("/", &[("uri", "https://h.example:8443/7")]), Ok((host("h.example:8443"), "/7".into())));
        assert_eq!(route("/", &[("uri", "https://h.example")]), Ok((host("h.example"), "/".into())));
        let all = [("uri", "https://h.example:443/7?x=1"), ("hostname", "H.example"), ("path", "/7")];
        assert_eq!(route("/{id}", &all), Ok((host("H.example"), "/7".into())));
    }

    #[test]
    fn what_is_said_twice_must_agree() {
        for differing in [
            [("path", "/a"), ("uri", "/b")],
            [("path", "/a"), ("uri", "https://h.example/a/../b")],
            [("host", "one.example"), ("hostname", "two.example")],
            [("hostname", "one.example"), ("uri", "https://two.example/")],
        ] {
            let message = route("/", &differing).unwrap_err();
            assert!(message.contains("twice"), "{differing:?}: {message}");
        }
        let seven = Entity { kind: "route", id: "/", properties: vec![("path".into(), ContextValue::Integer(7))] };
        assert!(request("GET", &seven).is_err());
    }
}
