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
    let mut world = World::new();
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
