use super::*;
use crate::http::{Method, StatusCode, empty, header, respond};

fn named(name: &'static str) -> Handling {
    now(move |_| respond(StatusCode::OK, "text/plain", name))
}

fn table(router: Router) -> RouteTable {
    router.build().unwrap()
}

/// The template that answers, or the status of the refusal.
fn ask(table: &RouteTable, method: Method, path: &str) -> Result<&'static str, u16> {
    table.find(&method, path).map(|found| found.template).map_err(|miss| miss.refusal.status.as_u16())
}

fn scim() -> Router {
    Router::new()
        .route(Method::GET, "/scim/v2/Users", named("list"))
        .route(Method::POST, "/scim/v2/Users", named("create"))
        .route(Method::GET, "/scim/v2/Users/{id}", named("get"))
        .route(Method::PATCH, "/scim/v2/Users/{id}", named("patch"))
        .route(Method::POST, "/scim/v2/Users/.search", named("search"))
        .ignore_case("/scim/v2/")
}

#[test]
fn a_literal_beats_a_parameter_whatever_the_order() {
    let table = table(scim());
    assert_eq!(ask(&table, Method::GET, "/scim/v2/Users/42"), Ok("/scim/v2/Users/{id}"));
    assert_eq!(ask(&table, Method::POST, "/scim/v2/Users/.search"), Ok("/scim/v2/Users/.search"));
    // The path decides first: the literal does not answer GET, so the parameter is not tried.
    assert_eq!(ask(&table, Method::GET, "/scim/v2/Users/.search"), Err(405));
}

#[test]
fn an_unknown_path_is_404_and_an_unknown_method_405_with_allow() {
    let table = table(scim());
    for path in ["/", "", "/scim/v2", "/scim/v2/Users/", "/scim/v2/Users/1/2", "//scim/v2/Users", "scim/v2/Users"] {
        assert_eq!(ask(&table, Method::GET, path), Err(404), "{path}");
    }
    let miss = table.find(&Method::DELETE, "/scim/v2/Users").err().unwrap();
    let response = table.render_miss("/scim/v2/Users", &miss);
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "GET, HEAD, POST");
}

#[test]
fn head_is_answered_by_get_unless_it_has_its_own() {
    let table = table(
        Router::new()
            .route(Method::GET, "/a", named("get"))
            .route(Method::GET, "/b", named("get"))
            .route(Method::HEAD, "/b", named("head"))
            .route(Method::POST, "/c", named("post")),
    );
    assert!(ask(&table, Method::HEAD, "/a").is_ok());
    assert_eq!(ask(&table, Method::HEAD, "/c"), Err(405));
    let found = table.find(&Method::HEAD, "/b").ok().unwrap();
    let Handling::Now(handler) = found.handling else { panic!("a handler that answers at once") };
    let response = handler(crate::http::Request::new(Method::HEAD, "/b"));
    assert_eq!(response.body().whole().unwrap(), "head");
}

#[test]
fn literals_match_without_case_only_where_asked() {
    let table = table(scim().route(Method::GET, "/v1/authorize", named("authorize")));
    assert_eq!(ask(&table, Method::GET, "/SCIM/v2/users"), Ok("/scim/v2/Users"));
    assert_eq!(ask(&table, Method::POST, "/scim/V2/USERS/.SEARCH"), Ok("/scim/v2/Users/.search"));
    assert_eq!(ask(&table, Method::GET, "/V1/authorize"), Err(404));
    let found = table.find(&Method::GET, "/scim/v2/users/AbC").ok().unwrap();
    assert_eq!(found.parameters, [("id", "AbC".to_owned())]);
}

#[test]
fn parameters_are_decoded_once_or_refused() {
    let table = table(scim());
    let id = |path: &str| {
        let found = table.find(&Method::GET, path);
        found.map(|found| found.parameters[0].1.clone()).map_err(|miss| miss.refusal.status.as_u16())
    };
    assert_eq!(id("/scim/v2/Users/a%2Fb%20c"), Ok("a/b c".to_owned()));
    assert_eq!(id("/scim/v2/Users/a%252Fb"), Ok("a%2Fb".to_owned()), "once, not twice");
    assert_eq!(id("/scim/v2/Users/%C3%A9"), Ok("é".to_owned()));
    for bad in ["%", "a%2", "%zz", "%+1", "%00", "a%00b", "%ff", "%C3"] {
        assert_eq!(id(&format!("/scim/v2/Users/{bad}")), Err(400), "{bad}");
    }
}

#[test]
fn a_prefix_answers_any_method_below_it_and_loses_to_templates_and_longer_prefixes() {
    let table = table(
        Router::new()
            .prefix("/envoy/", named("envoy"))
            .prefix("/envoy/special/", named("special"))
            .any("/envoy/health", named("health")),
    );
    assert_eq!(ask(&table, Method::DELETE, "/envoy/api/accounts/1"), Ok("/envoy/"));
    assert_eq!(ask(&table, Method::GET, "/envoy/special/x"), Ok("/envoy/special/"));
    assert_eq!(ask(&table, Method::PUT, "/envoy/health"), Ok("/envoy/health"));
    assert_eq!(ask(&table, Method::GET, "/envoy//x/../y;z"), Ok("/envoy/"), "the path is not repaired");
    assert_eq!(ask(&table, Method::GET, "/envoy"), Err(404));
    assert_eq!(ask(&table, Method::GET, "/Envoy/x"), Err(404));
}

#[test]
fn what_two_routes_could_answer_is_refused() {
    let ambiguous = |router: Router| matches!(router.build(), Err(RouterError::Ambiguous { .. }));
    let route = |template| Router::new().route(Method::GET, template, named("x"));
    assert!(ambiguous(route("/a").merge(route("/a"))));
    assert!(ambiguous(route("/a/{id}").merge(route("/a/{id}"))));
    assert!(ambiguous(route("/a/{id}").merge(route("/a/{name}"))), "one shape, two names");
    assert!(ambiguous(route("/a/{x}/b").merge(route("/a/c/{y}"))), "neither is more particular on /a/c/b");
    assert!(ambiguous(route("/s/Users").merge(route("/s/users")).ignore_case("/s/")));
    assert!(ambiguous(Router::new().any("/a", named("x")).any("/a", named("y"))));
    assert!(ambiguous(Router::new().prefix("/a/", named("x")).prefix("/a/", named("y"))));

    assert!(!ambiguous(route("/s/Users").merge(route("/s/users"))));
    assert!(!ambiguous(route("/a/{id}").merge(route("/a/b"))));
    assert!(!ambiguous(route("/a").any("/a", named("rest"))));
    assert!(!ambiguous(route("/a/{x}/b").merge(route("/a/c/b"))));
    assert!(!ambiguous(route("/a").route(Method::POST, "/a", named("y"))));
}

#[test]
fn templates_that_cannot_be_read_are_refused() {
    let refused = |router: Router| matches!(router.build(), Err(RouterError::Template { .. }));
    for template in ["", "a", "/a/{}", "/a/{x", "/a/x{y}", "/{x}/{x}"] {
        assert!(refused(Router::new().any(template, named("x"))), "{template}");
    }
    assert!(refused(Router::new().prefix("/a", named("x"))));
    assert!(refused(Router::new().prefix("/{a}/", named("x"))));
}

#[test]
fn refusals_are_rendered_by_the_longest_prefix() {
    let table = table(
        scim()
            .refusals("/scim/", Arc::new(|_| empty(StatusCode::IM_A_TEAPOT)))
            .refusals("/scim/v2/", Arc::new(|refusal| respond(refusal.status, "application/scim+json", "{}"))),
    );
    let rendered = |path: &str| table.render(path, &Refusal::not_found("gone"));
    assert_eq!(rendered("/SCIM/v2/nothing").headers()[header::CONTENT_TYPE], "application/scim+json");
    assert_eq!(rendered("/scim/v3").status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(rendered("/other").headers()[header::CONTENT_TYPE], "application/json");
}

#[test]
fn every_endpoint_can_be_listed() {
    let endpoints = scim().prefix("/envoy/", named("envoy")).endpoints();
    assert_eq!(endpoints.len(), 6);
    assert_eq!(endpoints[0], Endpoint { method: None, template: "/envoy/*".to_owned() });
    let create = Endpoint { method: Some("POST".to_owned()), template: "/scim/v2/Users".to_owned() };
    assert!(endpoints.contains(&create));
}
