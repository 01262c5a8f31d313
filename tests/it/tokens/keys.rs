//! Keys made by the test, and tokens signed with them: whole ones, and any text that a forger would write.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, RsaKeySize};
use serde_json::{Value, json};

/// A key with its name and its algorithm.
pub struct Key {
    pub id: String,
    pub algorithm: Algorithm,
    private: EncodingKey,
}

impl Key {
    pub fn rsa(id: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        // PKCS#8 puts 26 bytes in front of an RSA key of this size; the signer wants what they hold.
        Self {
            id: id.into(),
            algorithm: Algorithm::RS256,
            private: EncodingKey::from_rsa_der(&pair.serialized_der()[26..]),
        }
    }

    pub fn elliptic(id: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { id: id.into(), algorithm: Algorithm::ES256, private: EncodingKey::from_ec_der(pair.serialized_der()) }
    }

    pub fn elliptic_384(id: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        Self { id: id.into(), algorithm: Algorithm::ES384, private: EncodingKey::from_ec_der(pair.serialized_der()) }
    }

    /// The same key, used with another algorithm of its kind.
    pub fn with(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    pub fn edwards(id: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        // Version 1 of PKCS#8, without the public half that newer writers put behind it.
        let der = pair.serialized_der();
        let mut short = der[..der.len().min(48)].to_vec();
        short[1] = 0x2e;
        short[4] = 0x00;
        Self { id: id.into(), algorithm: Algorithm::EdDSA, private: EncodingKey::from_ed_der(&short) }
    }

    /// The public half, as it stands in a key set.
    pub fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.private, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The header of an honest token.
    pub fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "typ": "at+jwt", "kid": self.id})
    }

    /// The signature over any text.
    pub fn sign(&self, text: &str) -> String {
        jsonwebtoken::crypto::sign(text.as_bytes(), &self.private, self.algorithm).unwrap()
    }

    /// An honest token.
    pub fn token(&self, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(self.header().to_string()), encode(claims.to_string()));
        let signature = self.sign(&signed);
        format!("{signed}.{signature}")
    }
}

/// A keyed hash with a secret of the forger's choice.
pub fn sign_with_secret(text: &str, secret: &[u8]) -> String {
    jsonwebtoken::crypto::sign(text.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap()
}

pub fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

pub fn key_set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

/// The keys of an issuer that everybody believes, made once: RSA keys take a while.
pub static HONEST: LazyLock<[Key; 3]> =
    LazyLock::new(|| [Key::rsa("rsa"), Key::elliptic("elliptic"), Key::edwards("edwards")]);

/// Somebody else's keys, of the same names.
pub static STRANGER: LazyLock<[Key; 3]> =
    LazyLock::new(|| [Key::rsa("rsa"), Key::elliptic("elliptic"), Key::edwards("edwards")]);
