//! The caller's `Authorization` header to an identity: bearer tokens (JWT) of configured issuers.
//!
//! The algorithm is fixed by the issuer's configuration, never by the token; keys come from a file that the
//! operator names, never from a header of the token; time comes from the caller.

use std::collections::HashMap;
use std::path::PathBuf;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::domain::Timestamp;

/// An issuer whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The `iss` claim, compared whole.
    pub issuer: String,
    /// The audiences that are meant for us; the token must name one of them.
    pub audiences: Vec<String>,
    /// Signature algorithms; only asymmetric ones.
    pub algorithms: Vec<String>,
    /// A JSON Web Key Set.
    pub jwks_file: PathBuf,
    /// The claim that names the person.
    pub claim: String,
}

/// Whom a verified credential names: a username, a present login or a SCIM id, never an e-mail address alone.
/// Whether that person exists and may do anything is not said here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(pub String);

/// Why a credential does not hold. Says what the caller can do, never what the token held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// No `Bearer` token.
    #[error("the Authorization header holds no bearer token")]
    NotBearer,
    /// Not a JWT, or larger than 16 KiB.
    #[error("the bearer token is not a readable JWT")]
    Unreadable,
    /// Nobody configured this issuer.
    #[error("the token's issuer is not configured here")]
    UnknownIssuer,
    /// Algorithm or key do not belong to the issuer.
    #[error("the token is signed with an algorithm or a key that its issuer does not use")]
    WrongKey,
    /// The signature is wrong.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// Another audience.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// Too early or too late.
    #[error("the token is expired or not yet valid")]
    OutsideItsTime,
    /// A claim is missing or has the wrong type.
    #[error("the token lacks the claim `{0}` or holds it in a wrong form")]
    Claim(String),
}

/// Why issuers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token issuer `{issuer}`: {cause}")]
pub struct IssuerFault {
    issuer: String,
    cause: String,
}

struct Issuer {
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    keys: HashMap<String, DecodingKey>,
    claim: String,
}

/// Verifies credentials by the configured issuers.
#[derive(Default)]
pub struct Verifier {
    issuers: HashMap<String, Issuer>,
}

/// Clocks of issuers may differ from ours by this much, in seconds.
const LEEWAY: i64 = 30;
const LONGEST_TOKEN: usize = 16 * 1024;

impl Verifier {
    /// Reads every issuer's keys; answers every fault at once.
    pub fn new(configs: &[IssuerConfig]) -> Result<Self, Vec<IssuerFault>> {
        let mut issuers = HashMap::new();
        let mut faults = Vec::new();
        for config in configs {
            match Issuer::read(config) {
                Ok(issuer) => drop(issuers.insert(config.issuer.clone(), issuer)),
                Err(cause) => faults.push(IssuerFault { issuer: config.issuer.clone(), cause }),
            }
        }
        if faults.is_empty() { Ok(Self { issuers }) } else { Err(faults) }
    }

    /// Verifies an `Authorization` header as of a moment.
    pub fn verify(&self, header: &str, now: Timestamp) -> Result<Identity, CredentialFault> {
        let (scheme, token) = header.split_once(' ').ok_or(CredentialFault::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(CredentialFault::NotBearer);
        }
        let token = token.trim();
        if token.len() > LONGEST_TOKEN {
            return Err(CredentialFault::Unreadable);
        }
        let head = jsonwebtoken::decode_header(token).map_err(|_| CredentialFault::Unreadable)?;
        // Only to choose the keys; nothing of it is believed before the signature holds.
        let unverified: Value =
            jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| CredentialFault::Unreadable)?;
        let issuer = unverified.get("iss").and_then(Value::as_str).and_then(|name| self.issuers.get(name));
        let issuer = issuer.ok_or(CredentialFault::UnknownIssuer)?;
        let key = head.kid.as_deref().and_then(|kid| issuer.keys.get(kid)).ok_or(CredentialFault::WrongKey)?;
        if !issuer.algorithms.contains(&head.alg) || head.alg.family() != key.family() {
            return Err(CredentialFault::WrongKey);
        }
        let mut validation = Validation::new(head.alg);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        let claims: Value =
            jsonwebtoken::decode(token, key, &validation).map_err(|_| CredentialFault::BadSignature)?.claims;
        issuer.identify(&claims, now)
    }
}

impl Issuer {
    fn read(config: &IssuerConfig) -> Result<Self, String> {
        let algorithms: Result<Vec<Algorithm>, String> = (config.algorithms.iter())
            .map(|name| match name.parse() {
                Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) | Err(_) => {
                    Err(format!("`{name}` is not an asymmetric signature algorithm such as RS256 or ES256"))
                }
                Ok(algorithm) => Ok(algorithm),
            })
            .collect();
        let algorithms = algorithms?;
        if algorithms.is_empty() {
            return Err("name at least one of its algorithms".into());
        }
        let shown = config.jwks_file.display();
        let text = std::fs::read_to_string(&config.jwks_file).map_err(|error| format!("{shown}: {error}"))?;
        let set: JwkSet = serde_json::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let Some(kid) = jwk.common.key_id.clone() else { return Err(format!("{shown}: a key has no `kid`")) };
            let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("{shown}: key `{kid}`: {error}"))?;
            keys.insert(kid, key);
        }
        if keys.is_empty() {
            return Err(format!("{shown} holds no key"));
        }
        Ok(Self { audiences: config.audiences.clone(), algorithms, keys, claim: config.claim.clone() })
    }

    /// What verified claims say, read strictly: a claim of a wrong type counts as wrong, never as absent.
    fn identify(&self, claims: &Value, now: Timestamp) -> Result<Identity, CredentialFault> {
        let fault = |claim: &str| CredentialFault::Claim(claim.to_owned());
        let audience = match claims.get("aud").ok_or_else(|| fault("aud"))? {
            Value::String(one) => self.audiences.contains(one),
            Value::Array(many) => {
                many.iter().any(|one| one.as_str().is_some_and(|one| self.audiences.iter().any(|ours| ours == one)))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(fault("aud")),
        };
        if !audience {
            return Err(CredentialFault::WrongAudience);
        }
        let now = now.0.div_euclid(1000);
        let seconds = |claim: &str| match claims.get(claim) {
            None => Ok(None),
            Some(value) => value.as_i64().or_else(|| whole(value.as_f64()?)).map(Some).ok_or_else(|| fault(claim)),
        };
        let expires = seconds("exp")?.ok_or_else(|| fault("exp"))?;
        if now >= expires.saturating_add(LEEWAY)
            || seconds("nbf")?.is_some_and(|from| now < from.saturating_sub(LEEWAY))
        {
            return Err(CredentialFault::OutsideItsTime);
        }
        let name = claims.get(&self.claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| fault(&self.claim))?.to_owned();
        Ok(Identity(name))
    }
}

/// RFC 7519 allows seconds with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole(seconds: f64) -> Option<i64> {
    (seconds.is_finite() && seconds.abs() < 1e12).then_some(seconds as i64)
}
