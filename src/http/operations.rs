//! What operators, Prometheus and the kubelet ask of the ops listener: is it alive, is it ready, how is it doing.

use std::sync::Arc;

use super::{Method, Refusal, Request, Response, Router, StatusCode, json, now, respond};
use crate::telemetry::{Health, Metrics};

/// `/livez`, `/healthz`, `/readyz` (`?verbose`, `?exclude=NAME`), `/metrics`, `/version`. All without a credential:
/// they hold no names and no secrets. `version` is the whole answer of `/version`.
pub fn routes(health: Arc<Health>, metrics: Arc<Metrics>, version: serde_json::Value) -> Router {
    Router::new()
        // Answering at all is the proof: the event loop turns.
        .route(Method::GET, "/livez", now(|_| respond(StatusCode::OK, "text/plain", "alive\n")))
        .route(Method::GET, "/healthz", now(|_| respond(StatusCode::OK, "text/plain", "alive\n")))
        .route(Method::GET, "/readyz", now(move |request| readiness(&health, &request)))
        .route(Method::GET, "/metrics", now(move |_| exposition(&metrics)))
        .route(Method::GET, "/version", now(move |_| json(StatusCode::OK, &version)))
}

fn readiness(health: &Health, request: &Request) -> Response {
    let query = request.query_pairs();
    let exclude: Vec<String> =
        query.iter().filter(|(name, _)| name == "exclude").map(|(_, value)| value.clone()).collect();
    let readiness = health.readiness(&exclude);
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.iter().any(|(name, _)| name == "verbose");
    respond(status, "text/plain", if verbose { readiness.verbose() } else { readiness.brief() })
}

fn exposition(metrics: &Metrics) -> Response {
    match metrics.render() {
        Ok(text) => respond(StatusCode::OK, Metrics::MEDIA_TYPE, text),
        Err(_) => Refusal::internal("the metrics could not be written").to_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Handling, RouteTable};

    fn ask(table: &RouteTable, target: &str) -> (u16, String) {
        let request = Request::new(Method::GET, target);
        let found = table.find(&Method::GET, &request.path).ok().unwrap();
        let Handling::Now(handler) = found.handling else { panic!("operators do not wait") };
        let response = handler(request);
        (response.status().as_u16(), String::from_utf8(response.body().whole().unwrap().to_vec()).unwrap())
    }

    #[test]
    fn operators_see_liveness_readiness_metrics_and_version() {
        let health = Arc::new(Health::new().check("ledger", || Ok(())));
        let metrics = Arc::new(Metrics::new(&[]));
        let version = serde_json::json!({"version": "0.1.0"});
        let table = routes(Arc::clone(&health), metrics, version).build().unwrap();
        assert_eq!(ask(&table, "/readyz"), (200, "ready\n".to_owned()));
        assert_eq!(ask(&table, "/readyz?verbose"), (200, "[+]ledger ok\nready\n".to_owned()));
        health.drain();
        let (status, text) = ask(&table, "/readyz?verbose&exclude=ledger");
        assert_eq!(status, 503);
        assert!(text.starts_with("[-]draining failed: "), "{text}");
        assert_eq!(ask(&table, "/livez"), (200, "alive\n".to_owned()), "draining is not dead");
        assert!(ask(&table, "/metrics").1.contains("cedargate_build_info"));
        assert_eq!(ask(&table, "/version"), (200, "{\"version\":\"0.1.0\"}".to_owned()));
    }
}
