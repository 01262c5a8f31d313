//! Credentials: from what somebody presents to who that is.
//!
//! Knows secrets that are shown once and kept as hashes. Knows no HTTP, no store and no policies: a caller
//! looks up what a presented credential names, and asks here whether it holds.

pub mod jwt;
pub mod secret;
pub mod shared;

pub use jwt::{CredentialFault, Identity, IssuerConfig, IssuerFault, Verifier};
pub use secret::{NewSecret, Presented, Secret, SecretFault};
pub use shared::SharedToken;
