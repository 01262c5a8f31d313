//! Credentials: from what somebody presents to who that is.
//!
//! Knows secrets that are shown once and kept as hashes, and bearer tokens of configured issuers. Knows no HTTP,
//! no store and no policies: a caller looks up what a presented credential names, and asks here whether it holds.

mod issuer;
mod json;
pub mod jwt;
mod keys;
mod principal;
mod renewal;
pub mod secret;
pub mod shared;
#[cfg(test)]
mod tests;

pub use issuer::{ALGORITHMS, Identity, IssuerConfig, KeyPlace, NamedBy, TokenConfig};
pub use jwt::{CredentialFault, IssuerFault, NewerKeys, Verifier};
pub use keys::LARGEST_KEY_SET;
pub use principal::PrincipalRule;
pub use renewal::{Fetching, KEYS_WAIT, KeySource, UNKNOWN_KEY_INTERVAL};
pub use secret::{NewSecret, Presented, Secret, SecretFault};
pub use shared::SharedToken;
