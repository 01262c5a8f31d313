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
        // RFC 7515 4.1.11: whoever does not understand what `crit` names must refuse; nothing is understood here.
        if head.crit.is_some() {
            return Err(CredentialFault::Unreadable);
        }
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

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    /// An Ed25519 key made for these tests alone: PKCS#8, and the public half as a JWK has it.
    const PRIVATE: [u8; 48] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, 0xb6, 0x4b,
        0x83, 0x98, 0x41, 0x5c, 0xc2, 0x83, 0x7a, 0x36, 0xda, 0x38, 0x7a, 0xf2, 0x67, 0xc6, 0x8c, 0x88, 0xe1, 0x31,
        0x40, 0xa3, 0x34, 0xfa, 0x33, 0x19, 0x05, 0x00, 0x65, 0x7f, 0x1b, 0x47,
    ];
    const PUBLIC: &str = "4Y5t90H75SsZ7-d89yTu7iQapCECh3AK-RjM9ca4QlE";
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn verifier() -> Verifier {
        let folder = tempfile::tempdir().expect("a folder");
        let jwks_file = folder.path().join("keys.json");
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": "one", "use": "sig"}]});
        std::fs::write(&jwks_file, keys.to_string()).expect("written");
        Verifier::new(&[IssuerConfig {
            issuer: "https://login.example.com".into(),
            audiences: vec!["cedargate".into()],
            algorithms: vec!["EdDSA".into()],
            jwks_file,
            claim: "sub".into(),
        }])
        .expect("a sound issuer")
    }

    fn claims() -> Value {
        let second = NOW.0 / 1000;
        json!({"iss": "https://login.example.com", "aud": ["x", "cedargate"], "sub": "jdoe", "exp": second + 60})
    }

    fn header() -> Header {
        Header { kid: Some("one".into()), ..Header::new(Algorithm::EdDSA) }
    }

    fn token(header: &Header, claims: &Value) -> String {
        format!("Bearer {}", encode(header, claims, &EncodingKey::from_ed_der(&PRIVATE)).expect("signed"))
    }

    fn with(key: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[key] = value;
        claims
    }

    #[test]
    fn a_good_token_names_its_person() {
        assert_eq!(verifier().verify(&token(&header(), &claims()), NOW), Ok(Identity("jdoe".into())));
        let single = with("aud", json!("cedargate"));
        assert_eq!(verifier().verify(&token(&header(), &single), NOW), Ok(Identity("jdoe".into())));
    }

    #[test]
    fn time_is_the_callers_with_thirty_seconds_of_leeway() {
        let verifier = verifier();
        let at = |seconds: i64| verifier.verify(&token(&header(), &claims()), Timestamp(NOW.0 + seconds * 1000));
        assert!(at(89).is_ok());
        assert_eq!(at(90), Err(CredentialFault::OutsideItsTime));
        let early = with("nbf", json!(NOW.0 / 1000 + 31));
        assert_eq!(verifier.verify(&token(&header(), &early), NOW), Err(CredentialFault::OutsideItsTime));
    }

    #[test]
    fn nothing_else_is_believed() {
        let verifier = verifier();
        let verify = |header: &Header, claims: &Value| verifier.verify(&token(header, claims), NOW);
        let claim = |name: &str| Err(CredentialFault::Claim(name.into()));
        assert_eq!(verify(&header(), &with("iss", json!("https://evil.example"))), Err(CredentialFault::UnknownIssuer));
        assert_eq!(verify(&header(), &with("aud", json!("other"))), Err(CredentialFault::WrongAudience));
        assert_eq!(verify(&header(), &with("aud", json!(7))), claim("aud"));
        assert_eq!(verify(&header(), &with("exp", json!("1900000000"))), claim("exp"));
        assert_eq!(verify(&header(), &with("exp", Value::Null)), claim("exp"));
        assert_eq!(verify(&header(), &with("nbf", json!("soon"))), claim("nbf"));
        assert_eq!(verify(&header(), &with("sub", json!(""))), claim("sub"));
        assert_eq!(verify(&header(), &with("sub", json!(7))), claim("sub"));
        let stranger = Header { kid: Some("two".into()), ..header() };
        assert_eq!(verify(&stranger, &claims()), Err(CredentialFault::WrongKey));
        assert_eq!(verify(&Header { kid: None, ..header() }, &claims()), Err(CredentialFault::WrongKey));
    }

    #[test]
    fn forged_and_broken_tokens_are_refused() {
        let verifier = verifier();
        let good = token(&header(), &claims());
        assert_eq!(verifier.verify("Basic amRvZTp4", NOW), Err(CredentialFault::NotBearer));
        assert_eq!(verifier.verify("Bearer nonsense", NOW), Err(CredentialFault::Unreadable));
        assert_eq!(verifier.verify(&format!("Bearer {}", "a".repeat(20_000)), NOW), Err(CredentialFault::Unreadable));
        // The public key as the secret of a symmetric signature: the oldest trick.
        let symmetric = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
        let forged = encode(&symmetric, &claims(), &EncodingKey::from_secret(PUBLIC.as_bytes())).expect("signed");
        assert_eq!(verifier.verify(&format!("Bearer {forged}"), NOW), Err(CredentialFault::WrongKey));
        // Another body under the same signature.
        let other = token(&header(), &with("sub", json!("root")));
        let parts: Vec<&str> = good.split('.').collect();
        let swapped = format!("{}.{}.{}", parts[0], other.split('.').nth(1).expect("a body"), parts[2]);
        assert_eq!(verifier.verify(&swapped, NOW), Err(CredentialFault::BadSignature));
    }
}
