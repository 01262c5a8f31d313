//! An issuer whose tokens are believed: what its tokens must look like, and whom they name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{CredentialFault, PrincipalRule};
use crate::domain::Timestamp;

/// Clocks of issuers may differ from ours by this much, in seconds.
pub const LEEWAY: i64 = 30;

/// Names of algorithms that need no shared secret (RFC 7518 section 3.1, RFC 8037).
pub const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Whose tokens are believed, and whom certificates name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenConfig {
    /// `token.issuers`.
    pub issuers: Vec<IssuerConfig>,
    /// `token.principals`: rules for names in verified client certificates.
    pub principals: Vec<PrincipalRule>,
}

impl TokenConfig {
    /// The connections whose `externalId`s name people in tokens or certificates.
    pub fn external_connections(&self) -> Vec<String> {
        let issuers = self.issuers.iter().map(|issuer| &issuer.person);
        let all = issuers.chain(self.principals.iter().map(|rule| &rule.by));
        let named = all.filter_map(|by| match by {
            NamedBy::ExternalId { connection } => Some(connection.to_string()),
            NamedBy::Username | NamedBy::Id => None,
        });
        let mut connections: Vec<String> = named.collect();
        connections.sort_unstable();
        connections.dedup();
        connections
    }
}

/// An issuer, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The `iss` claim, compared whole.
    pub issuer: String,
    /// The audiences that are meant for us; the token must name one of them.
    pub audiences: Vec<String>,
    /// Signature algorithms, of [`ALGORITHMS`]; at least one.
    pub algorithms: Vec<String>,
    /// Where its keys are.
    pub keys: KeyPlace,
    /// The claim that names the person.
    pub claim: String,
    /// What the claim's value is.
    pub person: NamedBy,
    /// The `typ` that its tokens may carry, without `application/` and without case; a token without `typ` counts as `JWT`.
    pub types: Vec<String>,
    /// The longest life of a token that is believed.
    pub longest_life: Duration,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A JSON Web Key Set in a file, looked at again every 30 seconds.
    File(PathBuf),
    /// A JSON Web Key Set at an address.
    Url {
        /// `https://…`, or `http://…` on this machine.
        url: String,
        /// Authorities to believe instead of the machine's, in PEM.
        authorities: Option<PathBuf>,
        /// How often it is fetched without need.
        refresh: Duration,
        /// How long keys are believed that could not be fetched again.
        longest_stale: Duration,
    },
}

/// What names a person. Never an e-mail address: whoever may set one could become somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// A dashboard username or a present login, without case.
    Username,
    /// A SCIM id.
    Id,
    /// The `externalId` that this connection's identity provider gave.
    ExternalId {
        /// The connection's id.
        connection: Arc<str>,
    },
}

/// Whom a verified credential names. Whether that person exists and may do anything is not said here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// How to look the name up.
    pub by: NamedBy,
    /// The name.
    pub name: String,
    /// Since when the credential is about.
    pub issued: Issued,
}

/// Since when a credential is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A token that says so (`iat`), in seconds.
    At(i64),
    /// A token that does not.
    Unsaid,
    /// No token: a password, which goes with the access that it opened, or a name in a certificate.
    Otherwise,
}

impl Identity {
    /// Whether the credential was issued in this second or later. A token that does not say when was not.
    pub const fn is_since(&self, second: i64) -> bool {
        match self.issued {
            Issued::At(issued) => issued >= second,
            Issued::Unsaid => false,
            Issued::Otherwise => true,
        }
    }
}

/// An issuer, checked.
pub(super) struct Issuer {
    audiences: Vec<String>,
    pub(super) algorithms: Vec<Algorithm>,
    claim: String,
    person: NamedBy,
    types: Vec<String>,
    longest_life: i64,
}

/// What verified claims say.
pub(super) struct Believed {
    pub(super) identity: Identity,
    /// Seconds between which the token holds, leeway included: from the first, before the second.
    pub(super) holds: std::ops::Range<i64>,
}

impl Issuer {
    pub(super) fn new(config: &IssuerConfig) -> Result<Self, String> {
        let algorithm = |name: &String| match name.parse() {
            Ok(algorithm) if ALGORITHMS.contains(&name.as_str()) => Ok(algorithm),
            Ok(_) | Err(_) => Err(format!(
                "`{name}` is not an asymmetric signature algorithm; write some of {}",
                ALGORITHMS.join(", ")
            )),
        };
        let algorithms: Vec<Algorithm> = config.algorithms.iter().map(algorithm).collect::<Result<_, _>>()?;
        if algorithms.is_empty() {
            return Err("name at least one of its algorithms".into());
        }
        Ok(Self {
            audiences: config.audiences.clone(),
            algorithms,
            claim: config.claim.clone(),
            person: config.person.clone(),
            types: config.types.iter().map(|kind| plain_type(kind)).collect(),
            longest_life: i64::try_from(config.longest_life.as_secs()).unwrap_or(i64::MAX),
        })
    }

    /// Whether tokens of this issuer carry this `typ` (RFC 8725 section 3.11): an ID token or a logout token is no
    /// access token where the issuer says `at+jwt`.
    pub(super) fn allows_type(&self, kind: Option<&str>) -> bool {
        let kind = plain_type(kind.unwrap_or("JWT"));
        self.types.contains(&kind)
    }

    /// What verified claims say, read strictly: a claim of a wrong type counts as wrong, never as absent (CVE-2026-25537).
    pub(super) fn believe(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Believed, CredentialFault> {
        let fault = |claim: &str| CredentialFault::Claim(claim.to_owned());
        let audience = match claims.get("aud").ok_or_else(|| fault("aud"))? {
            Value::String(one) => self.audiences.contains(one),
            Value::Array(many) => {
                let named: Option<Vec<&str>> = many.iter().map(Value::as_str).collect();
                named.ok_or_else(|| fault("aud"))?.iter().any(|one| self.audiences.iter().any(|ours| ours == one))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(fault("aud")),
        };
        if !audience {
            return Err(CredentialFault::WrongAudience);
        }
        let seconds = |claim: &str| match claims.get(claim) {
            None => Ok(None),
            Some(value) => value.as_i64().or_else(|| whole(value.as_f64()?)).map(Some).ok_or_else(|| fault(claim)),
        };
        let now = now.0.div_euclid(1000);
        let expires = seconds("exp")?.ok_or_else(|| fault("exp"))?;
        let (issued, from) = (seconds("iat")?, seconds("nbf")?);
        let begins = issued.into_iter().chain(from).max().unwrap_or(i64::MIN).saturating_sub(LEEWAY);
        let holds = begins..expires.saturating_add(LEEWAY);
        if !holds.contains(&now) {
            return Err(CredentialFault::OutsideItsTime);
        }
        // From now on where it does not say since when: else leaving `iat` out would be the way around.
        let life = expires.saturating_sub(issued.unwrap_or(now).min(now));
        if life > self.longest_life.saturating_add(LEEWAY) {
            return Err(CredentialFault::TooLongLived);
        }
        let name = claims.get(&self.claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| fault(&self.claim))?.to_owned();
        let issued = issued.map_or(Issued::Unsaid, Issued::At);
        Ok(Believed { identity: Identity { by: self.person.clone(), name, issued }, holds })
    }
}

/// Media types are compared without case, and `application/` may be left out (RFC 7515 section 4.1.9).
fn plain_type(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    kind.strip_prefix("application/").map_or_else(|| kind.clone(), str::to_owned)
}

/// RFC 7519 section 2 allows seconds with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole(seconds: f64) -> Option<i64> {
    (seconds.is_finite() && seconds.abs() < 1e12).then_some(seconds as i64)
}
