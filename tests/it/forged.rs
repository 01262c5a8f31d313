//! The forged-token battery: every case of `tests/cases/tokens` is put together here, asked through the real gate and
//! refused; and the honest token that differs from it in nothing else is permitted.
//!
//! A case replaces members of the header and the claims (`"@-31"` is that many seconds from now), leaves some out,
//! writes either part as raw text, chooses who signs, and may bend the finished token. The default is an honest
//! token of jdoe, signed with the issuer's RSA key. `control` is a second set of changes for the honest token, where
//! the default differs in more than one thing.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::report;
use crate::tokens::keys::{HONEST, Key, STRANGER, encode, key_set, sign_with_secret};
use crate::tokens::{ISSUER, Keys, Scene, claims, now};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    forged: Draft,
    /// The honest token beside it.
    #[serde(default)]
    control: Draft,
    #[serde(default = "unauthenticated")]
    reason: String,
}

#[derive(Default, Deserialize)]
struct Draft {
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    without_header: Vec<String>,
    #[serde(default)]
    without_claims: Vec<String>,
    /// Raw text of a part; `{…}` of the honest one stands for `@`.
    header_text: Option<String>,
    claims_text: Option<String>,
    /// The key: `rsa`, `elliptic`, `edwards`; the same of a stranger; or a way of not signing.
    sign: Option<String>,
    /// What happens to the finished token.
    bend: Option<String>,
}

fn unauthenticated() -> String {
    "unauthenticated".to_owned()
}

fn key(name: &str) -> &'static Key {
    let (from, name) = match name.strip_prefix("stranger-") {
        Some(name) => (&*STRANGER, name),
        None => (&*HONEST, name),
    };
    from.iter().find(|key| key.id == name).unwrap_or_else(|| panic!("no key {name}"))
}

impl Draft {
    fn token(&self) -> String {
        let sign = self.sign.as_deref().unwrap_or("rsa");
        let named = sign.trim_start_matches("stranger-");
        let of = if ["rsa", "elliptic", "edwards"].contains(&named) { key(sign) } else { key("rsa") };
        let header = part(of.header(), &self.header, &self.without_header, self.header_text.as_deref());
        let claims = part(claims("jdoe"), &self.claims, &self.without_claims, self.claims_text.as_deref());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = match sign {
            "nothing" => String::new(),
            "public-key-as-secret" => sign_with_secret(&signed, of.public()["n"].as_str().unwrap().as_bytes()),
            "jwk-as-secret" => sign_with_secret(&signed, of.public().to_string().as_bytes()),
            "published-secret" => sign_with_secret(&signed, b"secret"),
            "empty-secret" => sign_with_secret(&signed, b""),
            "zeros-32" => encode([0; 32]),
            "zeros-64" => encode([0; 64]),
            "zeros-256" => encode([0; 256]),
            "other-text" => of.sign("x.y"),
            _ => of.sign(&signed),
        };
        bend(self.bend.as_deref(), &signed, &signature, of)
    }
}

fn part(honest: Value, replaced: &Map<String, Value>, without: &[String], raw: Option<&str>) -> String {
    let mut members = honest.as_object().unwrap().clone();
    for (name, value) in replaced {
        let value = match value.as_str().and_then(|text| text.strip_prefix('@')) {
            Some("stranger-key") => key("stranger-rsa").public(),
            Some("long") => json!("k".repeat(20_000)),
            Some("257") => json!("k".repeat(257)),
            Some(seconds) => json!(now() + seconds.parse::<i64>().unwrap()),
            None => value.clone(),
        };
        members.insert(name.clone(), value);
    }
    without.iter().for_each(|name| assert!(members.shift_remove(name).is_some(), "{name}"));
    let text = Value::Object(members).to_string();
    raw.map_or_else(
        || text.clone(),
        |raw| {
            raw.replace('@', text.strip_prefix('{').unwrap().strip_suffix('}').unwrap())
                .replace('~', &(now() + 600).to_string())
        },
    )
}

fn bend(how: Option<&str>, signed: &str, signature: &str, of: &Key) -> String {
    let (header, claims) = signed.split_once('.').unwrap();
    let whole = format!("{signed}.{signature}");
    match how {
        None => whole,
        Some("no-signature-part") => signed.to_owned(),
        Some("empty-signature") => format!("{signed}."),
        Some("only-dots") => "..".to_owned(),
        Some("empty-header") => format!(".{claims}.{signature}"),
        Some("empty-claims") => format!("{header}..{signature}"),
        Some("fourth-part") => format!("{whole}.{signature}"),
        Some("two-signatures") => format!("{signed}.{signature}{signature}"),
        Some("jwe-shape") => format!("{header}.{claims}.{signature}.{claims}.{signature}"),
        Some("json-form") => {
            json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]}).to_string()
        }
        Some("flattened-form") => json!({"payload": claims, "protected": header, "signature": signature}).to_string(),
        Some("padding") => format!("{header}=.{claims}.{signature}"),
        Some("padded-signature") => format!("{whole}=="),
        Some("trailing-bits") => {
            // The last character of 256 bytes holds two bits of the signature and four that must be zero.
            let (rest, last) = whole.split_at(whole.len() - 1);
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let at = alphabet.find(last).unwrap();
            format!("{rest}{}", &alphabet[at + 1..at + 2])
        }
        Some("standard-alphabet") => {
            let swapped = whole.replace('-', "+").replace('_', "/");
            assert_ne!(swapped, whole, "the token has none of the two characters");
            swapped
        }
        Some("space-inside") => whole.replacen('.', " .", 1),
        Some("line-break-inside") => whole.replacen('.', ".\r\n", 1),
        Some("null-at-end") => format!("{whole}\0"),
        Some("percent-encoded") => whole.replace('.', "%2E"),
        Some("truncated") => whole[..whole.len() - 1].to_owned(),
        Some("truncated-half") => whole[..whole.len() / 2].to_owned(),
        Some("bit-flipped") => {
            let at = signed.len() + 10;
            let other = if whole.as_bytes()[at] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &whole[..at], &whole[at + 1..])
        }
        Some("other-claims") => format!("{header}.{}.{signature}", encode(crate::tokens::claims("root").to_string())),
        Some("other-header") => {
            format!("{}.{claims}.{signature}", encode(json!({"alg": "RS256", "kid": "rsa"}).to_string()))
        }
        Some("nested") => {
            let outer = encode(json!({"alg": "RS256", "kid": "rsa", "typ": "JWT", "cty": "JWT"}).to_string());
            let signed = format!("{outer}.{}", encode(&whole));
            let signature = of.sign(&signed);
            format!("{signed}.{signature}")
        }
        Some("raw-r-and-s-swapped") => {
            let half = signature.len() / 2;
            format!("{signed}.{}{}", &signature[half..], &signature[..half])
        }
        Some("signature-in-der") => format!("{signed}.{}", encode([&[0x30, 0x44, 0x02, 0x20][..], &[1; 66]].concat())),
        Some("utf-8-mark") => format!("\u{feff}{whole}"),
        Some(other) => panic!("no bend {other}"),
    }
}

#[test]
fn no_forged_token_passes_and_each_honest_twin_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/tokens");
    let text = std::fs::read_to_string(folder.join("forged.toml")).unwrap();
    let file: File = toml::from_str(&text).unwrap();
    let mut published: Vec<Value> = HONEST.iter().map(Key::public).collect();
    // A set may hold what must verify nothing: a secret that is none any more, and a key to encrypt with.
    published.push(json!({"kty": "oct", "kid": "published", "alg": "HS256", "k": encode("secret")}));
    let mut encryption = HONEST[0].public();
    (encryption["kid"], encryption["use"]) = (json!("encryption"), json!("enc"));
    published.push(encryption);
    // A second issuer, whose good tokens must not pass as the first one's.
    let other = tempfile::tempdir().unwrap();
    let other_keys = other.path().join("other.json");
    std::fs::write(&other_keys, key_set(&STRANGER.each_ref().map(Key::public))).unwrap();
    let place = other_keys.display().to_string();
    let settings = [
        ("CEDARGATE_TOKEN__ISSUERS__1__ISSUER", "https://other.example.com"),
        ("CEDARGATE_TOKEN__ISSUERS__1__AUDIENCES", "cedargate"),
        ("CEDARGATE_TOKEN__ISSUERS__1__ALGORITHMS", "RS256"),
        ("CEDARGATE_TOKEN__ISSUERS__1__JWKS_FILE", place.as_str()),
        ("CEDARGATE_TOKEN__ISSUERS__0__LONGEST_LIFE", "1h"),
    ];
    let mut scene = Scene::new(&Keys::File(key_set(&published)), &settings);
    let mut faults = Vec::new();
    for case in &file.case {
        let control = case.control.token();
        let answer = scene.ask(&control);
        if !answer.permit {
            faults.push(format!("{}: the honest token is refused: {}: {}", case.name, answer.reason, answer.message));
        }
        let forged = case.forged.token();
        assert_ne!(forged, control, "{}: nothing is forged", case.name);
        let answer = scene.ask(&forged);
        if answer.permit || answer.reason != case.reason {
            faults.push(format!("{}: permit {}, {}: {}", case.name, answer.permit, answer.reason, answer.message));
        }
        // What a refusal says must not hand the token on.
        assert!(!answer.message.contains("eyJ"), "{}: {}", case.name, answer.message);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(file.case.len() >= 60, "{} cases", file.case.len());
    assert!(ISSUER.starts_with("https://"));
    report(&format!("{} forged tokens refused, each with an honest twin permitted", file.case.len()));
}
