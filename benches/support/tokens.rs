//! An issuer: an RSA key, its key set as a file, and tokens of people (RS256, as most identity providers sign).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, RsaKeySize};
use serde_json::{Value, json};

use crate::workload::Failure;

pub const ISSUER: &str = "https://issuer.example.com";
pub const AUDIENCE: &str = "cedargate-bench";
const KEY: &str = "bench";
/// What PKCS#8 puts in front of an RSA key of 2048 bits; the signer wants what it holds.
const ENVELOPE: usize = 26;

/// Signs.
pub struct Issuer(EncodingKey);

impl Issuer {
    /// With a new key, whose public half goes to the file.
    pub fn new(key_set: &Path) -> Result<Self, Failure> {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let key = EncodingKey::from_rsa_der(pair.serialized_der().get(ENVELOPE..).ok_or("a short key")?);
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::RS256)?)?;
        if let Some(members) = public.as_object_mut() {
            members.insert("kid".to_owned(), json!(KEY));
            members.insert("use".to_owned(), json!("sig"));
        }
        std::fs::write(key_set, json!({"keys": [public]}).to_string())?;
        Ok(Self(key))
    }

    /// A token of a person, valid for some hours around now; `number` makes it one of its own.
    pub fn token(&self, username: &str, number: usize, now: i64) -> Result<String, Failure> {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = encode(json!({"alg": "RS256", "typ": "at+jwt", "kid": KEY}));
        let claims = encode(json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": username, "iat": now - 60, "nbf": now - 60, "exp": now + 4 * 3600,
            "jti": format!("token-{number}"), "scope": "openid profile accounts",
        }));
        let signed = format!("{header}.{claims}");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.0, Algorithm::RS256)?;
        Ok(format!("{signed}.{signature}"))
    }

    /// The server's settings that believe it.
    pub fn settings(key_set: &Path) -> String {
        format!(
            "[[token.issuers]]\nissuer = \"{ISSUER}\"\naudiences = [\"{AUDIENCE}\"]\nalgorithms = [\"RS256\"]\n\
             person = \"username\"\njwks_file = {:?}\n",
            key_set.display().to_string()
        )
    }
}
