//! Passwords and their hashes: argon2id, worked out beside the async runtime, a bounded number at a time.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::clock::Random;

/// Memory in KiB, passes and lanes: what OWASP asks of argon2id at the least (password storage cheat sheet).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// How many hashes are worked out at once; each takes [`COST`]'s memory and a processor.
const AT_ONCE: usize = 2;
/// How many there may be, those that wait included.
const MOST: usize = 64;

/// A password in clear, on its way to being hashed or compared. Its `Debug` form shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The most bytes.
    pub const LONGEST: usize = 1024;

    /// Takes a text; see [`Self::fits`].
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether it has 1 to [`Self::LONGEST`] bytes.
    pub const fn fits(&self) -> bool {
        !self.0.is_empty() && self.0.len() <= Self::LONGEST
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Too many passwords are being worked on, or one could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being worked on; try again soon")]
pub struct Busy;

/// Hashes and compares.
pub struct PasswordHashes {
    random: Arc<dyn Random>,
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl PasswordHashes {
    /// Salts come from this randomness.
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self { random, running: Arc::new(Semaphore::new(AT_ONCE)), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// The hash of a password in PHC form. Where the password is the one that `before` was made of, that one again,
    /// so that a repetition changes nothing.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn hash(&self, password: Password, before: Option<String>) -> Result<String, Busy> {
        let salt = self.salt();
        let work = move || match before {
            Some(before) if matches(&before, &password) => Some(before),
            Some(_) | None => hash(&salt, &password),
        };
        self.run(work).await?.ok_or(Busy)
    }

    /// Whether the hash was made of this password.
    ///
    /// # Errors
    /// [`Busy`].
    pub(super) async fn verify(&self, hash: String, password: Password) -> Result<bool, Busy> {
        self.run(move || matches(&hash, &password)).await
    }

    /// A hash that nobody's password has, to compare with where there is none: it takes as long.
    pub(super) fn of_nobody(&self) -> String {
        let mut unknown = [0; 32];
        self.random.fill(&mut unknown);
        let password = Password::new(unknown.iter().map(|byte| char::from(*byte)).collect());
        hash(&self.salt(), &password).unwrap_or_default()
    }

    fn salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        salt
    }

    /// The places go along with the work, so that whoever stops waiting frees none before its time.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?;
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((place, turn));
            done
        });
        worked.await.map_err(|_| Busy)
    }
}

fn argon2id() -> Option<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(salt: &[u8], password: &Password) -> Option<String> {
    let salt = SaltString::encode_b64(salt).ok()?;
    Some(argon2id()?.hash_password(password.bytes(), &salt).ok()?.to_string())
}

/// By the costs that stand in the hash, so that they may be raised later.
fn matches(hash: &str, password: &Password) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| argon2id().is_some_and(|argon2| argon2.verify_password(password.bytes(), &hash).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_hash_holds_for_its_password_alone() {
        let hashes = PasswordHashes::new(Arc::new(SeededRandom::new(1)));
        let hash = hashes.hash(password("right"), None).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !hash.contains("right"), "{hash}");
        assert_eq!(hashes.verify(hash.clone(), password("right")).await, Ok(true));
        for wrong in ["Right", "right ", "", "righ"] {
            assert_eq!(hashes.verify(hash.clone(), password(wrong)).await, Ok(false), "{wrong:?}");
        }
        assert_eq!(hashes.verify(hashes.of_nobody(), password("right")).await, Ok(false));
        assert_eq!(hashes.verify("no hash".into(), password("right")).await, Ok(false));
        // The same again stays; another one gets a salt of its own.
        assert_eq!(hashes.hash(password("right"), Some(hash.clone())).await, Ok(hash.clone()));
        assert_ne!(hashes.hash(password("right"), None).await, Ok(hash));
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused() {
        let hashes = PasswordHashes::new(Arc::new(SeededRandom::new(1)));
        let _all = Arc::clone(&hashes.places).try_acquire_many_owned(u32::try_from(MOST).unwrap()).unwrap();
        assert_eq!(hashes.verify(String::new(), password("x")).await, Err(Busy));
        assert_eq!(hashes.hash(password("x"), None).await, Err(Busy));
    }

    #[test]
    fn lengths_have_an_end_and_debug_shows_nothing() {
        assert!(password("x").fits() && password(&"x".repeat(1024)).fits());
        assert!(!password("").fits() && !password(&"x".repeat(1025)).fits());
        assert_eq!(format!("{:?}", password("secret")), "Password(…)");
    }
}
