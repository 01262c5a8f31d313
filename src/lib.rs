//! Cedargate: identity providers push people in over SCIM, Cedar policies say who may do what, gateways ask.
//!
//! The doors, in reading order. Imports point one way; `tests/it/house.rs` holds the table of
//! ARCHITECTURE.md against the code.

pub mod clock;
pub mod domain;
pub mod http;
pub mod scim;
pub mod store;
