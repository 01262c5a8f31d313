//! Credentials: from what somebody presents to who that is.
//!
//! Knows secrets that are shown once and kept as hashes, passwords, and bearer tokens of configured issuers. Knows no HTTP,
//! no store and no policies: a caller looks up what a presented credential names, and asks here whether it holds.

mod basic;
mod issuer;
mod json;
pub mod jwt;
mod keys;
mod password;
mod principal;
mod renewal;
pub mod secret;
pub mod shared;
#[cfg(test)]
mod tests;

pub use basic::{Basic, Fetched, Holder, PasswordSource, Passwords};
pub use issuer::{ALGORITHMS, Identity, Issued, IssuerConfig, KeyPlace, LEEWAY, NamedBy, TokenConfig};
pub use jwt::{CredentialFault, IssuerFault, NewerKeys, Proof, Verifier};
pub use keys::LARGEST_KEY_SET;
pub use password::{Busy, Password, PasswordHashes};
pub use principal::PrincipalRule;
pub use renewal::{Fetching, KEYS_WAIT, KeySource, UNKNOWN_KEY_INTERVAL};
pub use secret::{NewSecret, Presented, Secret, SecretFault};
pub use shared::SharedToken;
