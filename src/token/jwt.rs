//! Bearer tokens (JWT in JWS compact form) of configured issuers to the people whom they name.
//!
//! The algorithm is fixed by the issuer's configuration, never by the token; keys come from where the operator
//! says, never from a header of the token; time comes from the caller. Everything is read strictly: one form of
//! base64url, unique names, claims of the right types (RFC 8725). Group and role claims are not read at all:
//! who may do what is SCIM's to say.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use moka::sync::Cache;
use serde_json::{Map, Value};

use super::issuer::{Believed, Identity, Issuer, IssuerConfig, KeyPlace, TokenConfig};
use super::json;
use super::keys::{Key, KeySet, LONGEST_KEY_ID};
use super::principal::{self, PrincipalRule};
use super::renewal::{KeySource, Pace, Renewal};
use crate::clock::Clock;
use crate::domain::Timestamp;

/// Why a credential does not hold. Says what the caller can do, never what the token held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// No scheme that is understood here.
    #[error("the Authorization header holds no bearer token")]
    NotBearer,
    /// No `username:password` in base64, or too long.
    #[error("the Authorization header holds no readable username and password")]
    UnreadableBasic,
    /// Says the same whatever the cause: else usernames could be guessed one by one.
    #[error("username and password do not hold; after several wrong ones wait a minute and try again")]
    WrongPassword,
    /// Not a JWT in its one form, or larger than 16 KiB.
    #[error("the bearer token is not a readable JWT")]
    Unreadable,
    /// Nobody configured this issuer.
    #[error("the token's issuer is not configured here")]
    UnknownIssuer,
    /// The token is of a kind that the issuer does not use for access.
    #[error("the token's type is not one that its issuer uses for access")]
    WrongType,
    /// Algorithm or key do not belong to the issuer.
    #[error("the token is signed with an algorithm or a key that its issuer does not use")]
    WrongKey,
    /// The issuer's keys have not come yet, or are too old.
    #[error("the keys of the token's issuer are not known at present; try again soon")]
    NoKeys,
    /// The signature is wrong.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// Another audience.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// Too early or too late.
    #[error("the token is expired or not yet valid")]
    OutsideItsTime,
    /// It would hold for longer than the issuer's tokens may.
    #[error("the token lives longer than tokens of its issuer may")]
    TooLongLived,
    /// A claim is missing or has the wrong type.
    #[error("the token lacks the claim `{0}` or holds it in a wrong form")]
    Claim(String),
    /// It was issued before the person's record was linked to again, or does not say when.
    #[error(
        "the token was issued before this person was provisioned anew, or lacks `iat`; sign in again for a new one"
    )]
    Superseded,
    /// A certificate's name that no rule makes a person of.
    #[error("nobody is known by the names in this certificate")]
    UnknownPrincipal,
}

/// Why issuers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token issuer `{issuer}`: {cause}")]
pub struct IssuerFault {
    issuer: String,
    cause: String,
}

/// An issuer with its keys.
struct Known {
    issuer: Issuer,
    keys: Renewal,
}

/// A token that was verified, for as long as it holds.
#[derive(Clone)]
pub struct Proof(Arc<Seen>);

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Proof").field(self.identity()).finish()
    }
}

impl Proof {
    /// Whom the token names.
    pub fn identity(&self) -> &Identity {
        &self.0.believed.identity
    }

    /// Whether the token would be believed at this moment as well: it has not expired, and the key that signed it is
    /// still its issuer's. Says nothing of the person.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.0.still_holds(now)
    }
}

/// A token that was verified before.
struct Seen {
    believed: Believed,
    issuer: Arc<Known>,
    key_id: String,
    key: Arc<Key>,
}

/// Verifies credentials by the configured issuers.
pub struct Verifier {
    issuers: HashMap<String, Arc<Known>>,
    principals: Vec<PrincipalRule>,
    seen: Cache<[u8; 32], Proof>,
}

const LONGEST_TOKEN: usize = 16 * 1024;

/// Verified tokens kept; about 400 bytes each.
const SEEN: u64 = 50_000;

/// Something that ends when newer keys may be there.
pub type NewerKeys = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Default for Verifier {
    fn default() -> Self {
        Self { issuers: HashMap::new(), principals: Vec::new(), seen: Cache::new(SEEN) }
    }
}

impl Verifier {
    /// Checks every issuer and reads the keys that are in files; answers every fault at once. Keys at addresses come
    /// with [`Self::keep_keys`].
    pub fn new(config: &TokenConfig, now: Timestamp) -> Result<Self, Vec<IssuerFault>> {
        let mut issuers = HashMap::new();
        let mut faults = Vec::new();
        for config in &config.issuers {
            let known = known(config, now).and_then(|known| match issuers.insert(config.issuer.clone(), known) {
                None => Ok(()),
                Some(_) => Err("stands twice".to_owned()),
            });
            if let Err(cause) = known {
                faults.push(IssuerFault { issuer: config.issuer.clone(), cause });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { issuers, principals: config.principals.clone(), ..Self::default() })
    }

    /// Whether any issuer's tokens are believed.
    pub fn has_issuers(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// Verifies an `Authorization` header as of a moment.
    pub fn verify(&self, header: &str, now: Timestamp) -> Result<Proof, CredentialFault> {
        let token = bearer(header)?;
        let digest = *blake3::hash(token.as_bytes()).as_bytes();
        if let Some(seen) = self.seen.get(&digest) {
            if seen.holds(now) {
                return Ok(seen);
            }
            self.seen.invalidate(&digest);
        }
        let proof = Proof(Arc::new(self.examine(token, now)?));
        self.seen.insert(digest, proof.clone());
        Ok(proof)
    }

    /// Whom claims name, a JSON object as text, that a trusted proxy has verified already, such as Envoy's `jwt_authn`.
    /// The issuer must be configured, and audience, time and type of every claim are checked as with a token.
    pub fn identify(&self, claims: &str, now: Timestamp) -> Result<Identity, CredentialFault> {
        let claims = json::object(claims.as_bytes()).ok_or(CredentialFault::Unreadable)?;
        let known = self.issuer_of(&claims)?;
        known.issuer.believe(&claims, now).map(|believed| believed.identity)
    }

    /// Whom a name in a verified client certificate stands for, by the rules of `token.principals`.
    pub fn identify_principal(&self, name: &str) -> Result<Identity, CredentialFault> {
        principal::identify(&self.principals, name).ok_or(CredentialFault::UnknownPrincipal)
    }

    /// Something that ends when the key of a token that was just refused may have come; `None` where waiting would
    /// not help. A flood of unknown keys leads to one fetch in [`super::UNKNOWN_KEY_INTERVAL`].
    pub fn newer_keys(&self, header: &str, now: Timestamp) -> Option<NewerKeys> {
        self.without_its_key(header, now)?.keys.newer(now).map(|newer| -> NewerKeys { Box::pin(newer) })
    }

    /// Whether the key of a token is not here, and might come: then [`Self::newer_keys`] is worth asking.
    pub fn lacks_key(&self, header: &str, now: Timestamp) -> bool {
        self.without_its_key(header, now).is_some()
    }

    fn without_its_key(&self, header: &str, now: Timestamp) -> Option<&Arc<Known>> {
        let parts = Parts::read(bearer(header).ok()?).ok()?;
        let known = self.issuer_of(&parts.claims).ok()?;
        let has_key = || known.keys.keys(now).is_some_and(|keys| keys.get(&parts.key_id).is_some());
        (known.issuer.algorithms.contains(&parts.algorithm) && !has_key()).then_some(known)
    }

    /// Fetches the keys of all issuers, for ever.
    pub async fn keep_keys(self: Arc<Self>, source: Arc<dyn KeySource>, clock: Arc<dyn Clock>) {
        let mut all = tokio::task::JoinSet::new();
        for (name, known) in &self.issuers {
            let (name, known) = (name.clone(), Arc::clone(known));
            let (source, clock) = (Arc::clone(&source), Arc::clone(&clock));
            all.spawn(async move {
                let read = |text: &[u8]| KeySet::read(text, &known.issuer.algorithms);
                known.keys.keep(&name, &*source, &*clock, read).await;
            });
        }
        while all.join_next().await.is_some() {}
    }

    /// The issuers whose keys could not be renewed at the last try, and why.
    pub fn key_faults(&self) -> Vec<String> {
        let fault = |(name, known): (&String, &Arc<Known>)| Some(format!("{name}: {}", known.keys.fault()?));
        let mut faults: Vec<String> = self.issuers.iter().filter_map(fault).collect();
        faults.sort();
        faults
    }

    fn issuer_of(&self, claims: &Map<String, Value>) -> Result<&Arc<Known>, CredentialFault> {
        let name = claims.get("iss").and_then(Value::as_str);
        name.and_then(|name| self.issuers.get(name)).ok_or(CredentialFault::UnknownIssuer)
    }

    fn examine(&self, token: &str, now: Timestamp) -> Result<Seen, CredentialFault> {
        let parts = Parts::read(token)?;
        // Only to choose the keys; nothing of it is believed before the signature holds.
        let known = self.issuer_of(&parts.claims)?;
        if !known.issuer.allows_type(parts.kind.as_deref()) {
            return Err(CredentialFault::WrongType);
        }
        if !known.issuer.algorithms.contains(&parts.algorithm) {
            return Err(CredentialFault::WrongKey);
        }
        let keys = known.keys.keys(now).ok_or(CredentialFault::NoKeys)?;
        let key = keys.get(&parts.key_id).ok_or(CredentialFault::WrongKey)?;
        if !key.allows(parts.algorithm) {
            return Err(CredentialFault::WrongKey);
        }
        if !key.verifies(&parts.signature, parts.signed, parts.algorithm) {
            return Err(CredentialFault::BadSignature);
        }
        let believed = known.issuer.believe(&parts.claims, now)?;
        Ok(Seen { believed, issuer: Arc::clone(known), key_id: parts.key_id, key: Arc::clone(key) })
    }
}

impl Seen {
    /// Whether time and keys still allow it.
    fn still_holds(&self, now: Timestamp) -> bool {
        let is_of_the_issuer = |keys: &Arc<KeySet>| keys.get(&self.key_id).is_some_and(|key| key.is(&self.key));
        self.believed.holds.contains(&now.0.div_euclid(1000))
            && self.issuer.keys.with_keys(now, is_of_the_issuer) == Some(true)
    }
}

fn known(config: &IssuerConfig, now: Timestamp) -> Result<Arc<Known>, String> {
    let issuer = Issuer::new(config)?;
    let keys = match &config.keys {
        KeyPlace::File(path) => {
            let told = |cause: String| format!("{} {cause}", path.display());
            let text = std::fs::read(path).map_err(|error| told(format!("cannot be read: {error}")))?;
            let set = KeySet::read(&text, &issuer.algorithms).map_err(told)?;
            let keys = Renewal::new(Pace { refresh: FILE_REFRESH, longest_stale: None });
            keys.put(set, now);
            keys
        }
        KeyPlace::Url { refresh, longest_stale, .. } => {
            Renewal::new(Pace { refresh: *refresh, longest_stale: Some(*longest_stale) })
        }
    };
    Ok(Arc::new(Known { issuer, keys }))
}

const FILE_REFRESH: std::time::Duration = std::time::Duration::from_secs(30);

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1).
fn bearer(header: &str) -> Result<&str, CredentialFault> {
    let (scheme, token) = header.split_once(' ').ok_or(CredentialFault::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialFault::NotBearer);
    }
    let token = token.trim_start_matches(' ');
    if token.len() > LONGEST_TOKEN { Err(CredentialFault::Unreadable) } else { Ok(token) }
}

/// A token taken apart; nothing of it is believed yet.
struct Parts<'a> {
    algorithm: Algorithm,
    key_id: String,
    kind: Option<String>,
    claims: Map<String, Value>,
    /// Header and claims as they were signed.
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn read(token: &'a str) -> Result<Self, CredentialFault> {
        const UNREADABLE: CredentialFault = CredentialFault::Unreadable;
        let (signed, signature) = token.rsplit_once('.').ok_or(UNREADABLE)?;
        let (header, claims) = signed.split_once('.').ok_or(UNREADABLE)?;
        // One token, one text: no padding, no stray bits, no fourth part; else what is refused could come again.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| UNREADABLE);
        let (header, claims) = (decode(header)?, decode(claims)?);
        let signature = decode(signature)?;
        if signature.is_empty() {
            return Err(UNREADABLE);
        }
        let header = json::object(&header).ok_or(UNREADABLE)?;
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(UNREADABLE)
            }
        };
        // RFC 7515 section 4.1.11: whoever does not understand what `crit` names must refuse; nothing is understood
        // here. `b64` changes what is signed, `enc` and `zip` are of encrypted tokens. Keys and addresses of keys
        // (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
        if ["crit", "b64", "enc", "zip"].iter().any(|name| header.contains_key(*name)) {
            return Err(UNREADABLE);
        }
        let algorithm = text("alg")?.ok_or(UNREADABLE)?.parse().map_err(|_| CredentialFault::WrongKey)?;
        let key_id = text("kid")?.filter(|id| id.len() <= LONGEST_KEY_ID).ok_or(CredentialFault::WrongKey)?;
        let kind = text("typ")?;
        let claims = json::object(&claims).ok_or(UNREADABLE)?;
        Ok(Self { algorithm, key_id, kind, claims, signed, signature })
    }
}
