//! Every gateway, with the real programs and the very files of `docs/gateways`: one contract for all, then every trick
//! of `tests/cases/tricks`.
//!
//! The service behind the gateways is a recorder: what reached it, byte by byte. The gate's log says what was judged.
//! Nothing here trusts what a gateway answers.

mod contract;
pub mod program;
pub mod upstream;
pub mod wire;
pub mod world;

use program::Kind;
use world::World;

/// Contract and tricks through one gateway.
fn through(kind: Kind) {
    let mut world = World::new(kind);
    let gateway = kind.start(&world);
    contract::run(&world, &gateway);
    crate::tricks::run(&world, &gateway);
    contract::without_us(&mut world, &gateway);
}

#[test]
fn envoy_over_grpc() {
    through(Kind::EnvoyGrpc);
}

#[test]
fn envoy_over_grpc_with_tls_on_both_sides_and_tokens_that_envoy_verified() {
    through(Kind::EnvoyJwt);
}

#[test]
fn envoy_with_a_certificate_that_is_not_its_own_passes_nothing() {
    let world = World::new(Kind::EnvoyJwt);
    for (name, status) in [(Some("spiffe://example.com/another"), 403), (None, 503)] {
        world.envoy_becomes(name);
        contract::nothing_passes(&world, &Kind::EnvoyJwt.start(&world), status);
    }
}

#[test]
fn envoy_over_http() {
    through(Kind::EnvoyHttp);
}

#[test]
fn traefik() {
    through(Kind::Traefik);
}

#[test]
fn caddy() {
    through(Kind::Caddy);
}

#[test]
fn nginx() {
    through(Kind::Nginx);
}

#[test]
fn haproxy() {
    through(Kind::Haproxy);
}
