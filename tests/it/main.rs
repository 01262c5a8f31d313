//! Everything that is tested from outside, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panic"
)]

mod alike;
mod allocations;
mod author;
mod authzen;
mod bad_input;
mod basic;
mod batch;
mod bundles;
mod conversation;
mod cookbook;
mod coverage;
mod crash;
mod decisions;
mod dialects;
mod explain;
mod export;
mod floods;
mod forged;
mod fuzz_corpus;
mod gateways;
mod guides;
mod house;
mod kept;
mod model;
mod opa;
mod operator_edits;
mod policy_faults;
mod policy_verbs;
mod readme;
mod reload;
mod revocation;
mod scim_bulk;
mod scim_conformance;
mod scim_hostile;
mod scim_operations;
mod stages;
mod store_contract;
mod support;
mod tls;
mod tokens;
mod tricks;
mod truth;
