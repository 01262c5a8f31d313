//! An issuer's public keys: what of a JSON Web Key Set (RFC 7517) may verify signatures, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::json;

/// Bytes of a key set that are read.
pub const LARGEST_KEY_SET: usize = 256 * 1024;
/// Keys in a set.
const MOST_KEYS: usize = 50;
/// Bytes of a key's name.
pub(super) const LONGEST_KEY_ID: usize = 256;
/// Bits of an RSA modulus: below, it can be factored (NIST SP 800-131A); above, verifying is a weapon.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that may verify signatures.
pub(super) struct Key {
    /// For each of the issuer's algorithms that this key may be used with. Parsed here once: to do so for every token would
    /// be a quarter of what its signature costs.
    parsed: Vec<(Algorithm, ParsedPublicKey)>,
    /// Of the public numbers: tells another key under the same name.
    fingerprint: blake3::Hash,
}

impl Key {
    /// Whether the signature of a token's first two parts holds, by this algorithm.
    pub(super) fn verifies(&self, signature: &[u8], message: &str, algorithm: Algorithm) -> bool {
        let parsed = self.parsed.iter().find(|(own, _)| *own == algorithm);
        parsed.is_some_and(|(_, key)| key.verify_sig(message.as_bytes(), signature).is_ok())
    }

    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms().any(|own| own == algorithm)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.algorithms().eq(other.algorithms())
    }

    fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.parsed.iter().map(|(algorithm, _)| *algorithm)
    }
}

/// The keys of one issuer by their names.
#[derive(Default)]
pub(super) struct KeySet(HashMap<String, Arc<Key>>);

impl KeySet {
    /// Reads a set. Keys of other kinds, for other uses or for algorithms that the issuer does not use are left out;
    /// what is wrong with a key that would be used refuses the set, since half a set would deny at random.
    pub(super) fn read(text: &[u8], algorithms: &[Algorithm]) -> Result<Self, String> {
        if text.len() > LARGEST_KEY_SET {
            return Err(format!("is larger than {LARGEST_KEY_SET} bytes"));
        }
        let set = json::object(text).ok_or("is no JSON object with unique names")?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("has no list `keys`")?;
        if keys.len() > MOST_KEYS {
            return Err(format!("has {} keys; at most {MOST_KEYS}", keys.len()));
        }
        let mut named = HashMap::new();
        for (at, jwk) in keys.iter().enumerate() {
            let told = |cause: String| format!("key {at}: {cause}");
            let jwk = jwk.as_object().ok_or_else(|| told("is no object".into()))?;
            let Some(key) = key(jwk, algorithms).map_err(told)? else { continue };
            let id = jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
            if id.is_empty() || id.len() > LONGEST_KEY_ID {
                return Err(told(format!("needs a `kid` of 1 to {LONGEST_KEY_ID} bytes")));
            }
            if named.insert(id.to_owned(), Arc::new(key)).is_some() {
                return Err(told(format!("has the `kid` {id:?} of another one")));
            }
        }
        if named.is_empty() {
            return Err("holds no key that verifies signatures by the issuer's algorithms".into());
        }
        Ok(Self(named))
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Key>> {
        self.0.get(id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A key for signatures by one of the algorithms; `None` for one that is for something else.
fn key(jwk: &Map<String, Value>, algorithms: &[Algorithm]) -> Result<Option<Key>, String> {
    let text = |name: &str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(format!("`{name}` is no text"))
        }
    };
    let number = |name: &str| text(name)?.ok_or_else(|| format!("has no `{name}`"));
    if text("use")?.is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    if let Some(operations) = jwk.get("key_ops") {
        let operations = operations.as_array().ok_or("`key_ops` is no list")?;
        if !operations.iter().any(|operation| operation == "verify") {
            return Ok(None);
        }
    }
    let fitting = |all: &[Algorithm]| -> Vec<Algorithm> {
        all.iter().copied().filter(|algorithm| algorithms.contains(algorithm)).collect()
    };
    let (usable, parts) = match (text("kty")?, text("crv")?) {
        (Some("RSA"), _) => (
            fitting(&[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ]),
            ["n", "e"],
        ),
        (Some("EC"), Some("P-256")) => (fitting(&[Algorithm::ES256]), ["x", "y"]),
        (Some("EC"), Some("P-384")) => (fitting(&[Algorithm::ES384]), ["x", "y"]),
        (Some("OKP"), Some("Ed25519")) => (fitting(&[Algorithm::EdDSA]), ["x", "x"]),
        (_, _) => return Ok(None),
    };
    let usable = match text("alg")? {
        None => usable,
        Some(named) => named.parse().ok().filter(|named| usable.contains(named)).into_iter().collect(),
    };
    if usable.is_empty() {
        return Ok(None);
    }
    if jwk.contains_key("d") {
        return Err("is a private key; publish public ones only, and replace this one".into());
    }
    let [first, second] = parts;
    let (one, two) = (number(first)?, number(second)?);
    let numbers = match first {
        "n" => rsa(one, two)?,
        _ if second == "y" => coordinates(one, two, &usable)?,
        _ => edwards(one)?,
    };
    let parse = |algorithm| numbers.parse(algorithm).map(|key| (algorithm, key));
    let parsed: Option<Vec<_>> = usable.into_iter().map(parse).collect();
    let parsed = parsed.ok_or("holds numbers that are no public key")?;
    let fingerprint = blake3::hash(format!("{one}.{two}").as_bytes());
    Ok(Some(Key { parsed, fingerprint }))
}

/// The numbers of a public key, read and of the right size.
enum Numbers {
    /// Modulus and exponent.
    Rsa(PublicKeyComponents<Vec<u8>>),
    /// A point of a curve as the library takes it.
    Point(Vec<u8>),
}

impl Numbers {
    fn parse(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        match self {
            Self::Rsa(components) => components.to_parsed_public_key(rsa_parameters(algorithm)?).ok(),
            Self::Point(point) => ParsedPublicKey::new(point_parameters(algorithm)?, point).ok(),
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    let all: [(Algorithm, &'static RsaParameters); 6] = [
        (Algorithm::RS256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::RS384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::RS512, &signature::RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::PS256, &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::PS384, &signature::RSA_PSS_2048_8192_SHA384),
        (Algorithm::PS512, &signature::RSA_PSS_2048_8192_SHA512),
    ];
    all.into_iter().find_map(|(own, parameters)| (own == algorithm).then_some(parameters))
}

fn point_parameters(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    let all: [(Algorithm, &'static dyn VerificationAlgorithm); 3] = [
        (Algorithm::ES256, &signature::ECDSA_P256_SHA256_FIXED),
        (Algorithm::ES384, &signature::ECDSA_P384_SHA384_FIXED),
        (Algorithm::EdDSA, &signature::ED25519),
    ];
    all.into_iter().find_map(|(own, parameters)| (own == algorithm).then_some(parameters))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "holds a number that is not base64url".to_owned())
}

fn rsa(modulus: &str, exponent: &str) -> Result<Numbers, String> {
    let number = bytes(modulus)?;
    let significant: Vec<u8> = number.into_iter().skip_while(|byte| *byte == 0).collect();
    let leading = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (significant.len() * 8).saturating_sub(leading);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("is an RSA key of {bits} bits; {} to {} are used", RSA_BITS.start(), RSA_BITS.end()));
    }
    let e = bytes(exponent)?;
    let small = e.len() <= 4 && e.last().is_some_and(|last| last % 2 == 1) && e.as_slice() != [1];
    if !small {
        return Err("has an RSA exponent that is not an odd number of at most 32 bits above 1".into());
    }
    Ok(Numbers::Rsa(PublicKeyComponents { n: significant, e }))
}

fn coordinates(x: &str, y: &str, algorithms: &[Algorithm]) -> Result<Numbers, String> {
    let length = if algorithms.contains(&Algorithm::ES384) { 48 } else { 32 };
    let (x, y) = (bytes(x)?, bytes(y)?);
    if x.len() != length || y.len() != length {
        return Err(format!("has coordinates that are not {length} bytes long"));
    }
    // Uncompressed (SEC 1, section 2.3.3).
    Ok(Numbers::Point([&[4], x.as_slice(), y.as_slice()].concat()))
}

fn edwards(x: &str) -> Result<Numbers, String> {
    let x = bytes(x)?;
    if x.len() != 32 {
        return Err("has a public key that is not 32 bytes long".into());
    }
    Ok(Numbers::Point(x))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(keys: &Value) -> Result<KeySet, String> {
        KeySet::read(json!({"keys": keys}).to_string().as_bytes(), &[Algorithm::RS256, Algorithm::EdDSA])
    }

    fn edwards_key() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "4Y5t90H75SsZ7-d89yTu7iQapCECh3AK-RjM9ca4QlE"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut key = edwards_key();
        key[name] = value;
        key
    }

    #[test]
    fn keys_for_other_things_are_left_out() {
        for other in [
            with("use", json!("enc")),
            with("key_ops", json!(["sign"])),
            with("alg", json!("ES256")),
            with("alg", json!("HS256")),
            with("alg", json!("none")),
            with("crv", json!("X25519")),
            with("kty", json!("oct")),
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "two", "alg": "HS256"}),
            json!({"kty": "EC", "crv": "P-521", "kid": "two"}),
            json!({}),
        ] {
            let set = read(&json!([with("kid", json!("own")), other])).unwrap();
            assert_eq!(set.len(), 1, "{other}");
            assert!(read(&json!([other])).is_err_and(|fault| fault.contains("no key")));
        }
        let all = with("key_ops", json!(["verify"]));
        assert!(read(&json!([all])).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_used_key_refuses_the_set() {
        let rsa = |bytes: usize, exponent: &str| {
            let modulus = URL_SAFE_NO_PAD.encode(vec![0xff_u8; bytes]);
            json!({"kty": "RSA", "kid": "r", "n": modulus, "e": exponent})
        };
        for (wrong, told) in [
            (with("kid", Value::Null), "kid"),
            (with("kid", json!("")), "kid"),
            (with("kid", json!("k".repeat(257))), "kid"),
            (with("x", json!("AAAA")), "32 bytes"),
            (with("x", json!("4Y5t90H75SsZ7-d89yTu7iQapCECh3AK-RjM9ca4Ql=")), "base64url"),
            (with("d", json!("AAAA")), "private"),
            (with("use", json!(7)), "no text"),
            (with("key_ops", json!("verify")), "no list"),
            (rsa(128, "AQAB"), "1024 bits"),
            (rsa(255, "AQAB"), "2040 bits"),
            (rsa(1025, "AQAB"), "8200 bits"),
            (rsa(256, "AQ"), "exponent"),
            (rsa(256, "AQAA"), "exponent"),
            (json!("key"), "no object"),
        ] {
            let fault = read(&json!([with("kid", json!("own")), wrong])).err().unwrap_or_default();
            assert!(fault.starts_with("key 1: ") && fault.contains(told), "{wrong}: {fault:?}");
        }
        assert!(read(&json!([edwards_key(), edwards_key()])).is_err_and(|fault| fault.contains("of another one")));
        assert!(read(&json!([rsa(256, "AQAB")])).is_ok());
    }

    #[test]
    fn a_set_has_limits() {
        let many: Vec<Value> = (0..51).map(|at| with("kid", json!(at.to_string()))).collect();
        assert!(read(&json!(many)).is_err_and(|fault| fault.contains("51 keys")));
        let padded = json!({"keys": [edwards_key()], "x": "y".repeat(LARGEST_KEY_SET)}).to_string();
        assert!(KeySet::read(padded.as_bytes(), &[Algorithm::EdDSA]).is_err_and(|fault| fault.contains("larger")));
        for text in ["", "[]", "{}", r#"{"keys": 7}"#, r#"{"keys": [], "keys": []}"#] {
            assert!(KeySet::read(text.as_bytes(), &[Algorithm::EdDSA]).is_err(), "{text}");
        }
    }
}
