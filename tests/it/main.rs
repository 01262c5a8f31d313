//! Everything that is tested from outside, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod authzen;
mod bad_input;
mod bundles;
mod conversation;
mod coverage;
mod crash;
mod decisions;
mod dialects;
mod forged;
mod fuzz_corpus;
mod gateways;
mod house;
mod model;
mod operator_edits;
mod policy_faults;
mod readme;
mod reload;
mod revocation;
mod scim_conformance;
mod scim_operations;
mod store_contract;
mod support;
mod tls;
mod tokens;
mod tricks;
