//! Cedargate: identity providers push people in over SCIM, Cedar policies say who may do what, gateways ask.
//!
//! The doors, in reading order. Imports point one way; `tests/it/house.rs` holds the table of
//! ARCHITECTURE.md against the code.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;

pub mod clock;
pub mod telemetry;

pub mod http;
pub mod store;

pub mod directory;
pub mod policy;
pub mod token;

pub mod authz;

pub mod gate;
pub mod manage;
pub mod scim;
