//! Secrets that are shown once: made from the system's randomness, recognised by shape, kept as a hash.
//!
//! The shown form is `cg_`, an id (80 bits), the secret proper (256 bits) and a checksum (30 bits), all in one
//! alphabet without look-alikes, always [`LENGTH`] characters. The id finds the stored hash without a
//! search; the checksum tells a half-pasted or mistyped secret from a wrong one before anything is looked up.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::clock::Random;

/// What every shown secret begins with.
const PREFIX: &str = "cg_";
/// Digits and lower-case letters without `i`, `l`, `o`, `u`: five bits each, safe in URLs and headers.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID_BYTES: usize = 10;
const SECRET_BYTES: usize = 32;
const ID_LENGTH: usize = 16;
const CHECKSUM_LENGTH: usize = 6;
/// Characters of the shown form.
pub const LENGTH: usize = PREFIX.len() + ID_LENGTH + 52 + CHECKSUM_LENGTH;
/// Keeps these hashes apart from every other use of BLAKE3 in the house.
const HASH_CONTEXT: &str = "cedargate 2026 secret shown once";
const CHECKSUM_CONTEXT: &str = "cedargate 2026 secret checksum";

/// Makes secrets.
#[derive(Clone, Copy, Debug)]
pub struct Secret;

/// A secret just made. Its `Debug` form shows the id only.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// The whole secret, to be shown to its owner once and kept nowhere.
    pub shown: String,
    /// Its public part: names it in lists and finds it again.
    pub id: String,
    /// What is stored: BLAKE3 of the shown form, in hexadecimal.
    pub hash: String,
}

/// A secret that somebody presented, well formed but not yet verified. Its `Debug` form shows the id only.
#[derive(Clone)]
pub struct Presented {
    /// The public part, to look up the stored hash by.
    pub id: String,
    hash: [u8; 32],
}

/// Why a presented text is not one of our secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// Begins like ours and ends early.
    #[error("the token has {have} characters and should have {want}: it was cut off when it was copied")]
    Truncated {
        /// Characters presented.
        have: usize,
        /// Characters of a whole one.
        want: usize,
    },
    /// Begins like ours and goes on too long.
    #[error("the token has {have} characters and should have {want}: something was pasted behind it")]
    Overlong {
        /// Characters presented.
        have: usize,
        /// Characters of a whole one.
        want: usize,
    },
    /// As long as ours, but some character is wrong.
    #[error("the token has the right length and a wrong character: it was mistyped")]
    Checksum,
    /// Nothing of ours.
    #[error("the token does not begin with `{PREFIX}`: it is not one of this server")]
    NotOurs,
}

impl Secret {
    /// A new secret from 336 random bits.
    pub fn generate(random: &dyn Random) -> NewSecret {
        let mut bytes = [0_u8; ID_BYTES + SECRET_BYTES];
        random.fill(&mut bytes);
        let (id_bytes, secret_bytes) = bytes.split_at(ID_BYTES);
        let id = encode(id_bytes);
        let body = format!("{PREFIX}{id}{}", encode(secret_bytes));
        let shown = format!("{body}{}", checksum(&body));
        let hash = blake3::Hash::from_bytes(hash(&shown)).to_hex().to_string();
        NewSecret { shown, id, hash }
    }

    /// Reads a presented text; blanks around it are ignored, as pasting adds them.
    ///
    /// # Errors
    /// [`SecretFault`] says what is wrong with the shape, without repeating the text.
    pub fn parse(text: &str) -> Result<Presented, SecretFault> {
        let text = text.trim();
        if !text.starts_with(PREFIX) {
            return Err(SecretFault::NotOurs);
        }
        let have = text.chars().count();
        if have < LENGTH {
            return Err(SecretFault::Truncated { have, want: LENGTH });
        }
        if have > LENGTH {
            return Err(SecretFault::Overlong { have, want: LENGTH });
        }
        // A character of several bytes puts the cut elsewhere or nowhere: a wrong character, too.
        let (body, sum) = text.split_at_checked(LENGTH - CHECKSUM_LENGTH).ok_or(SecretFault::Checksum)?;
        if checksum(body) != sum {
            return Err(SecretFault::Checksum);
        }
        let id = body.get(PREFIX.len()..PREFIX.len() + ID_LENGTH).ok_or(SecretFault::Checksum)?;
        Ok(Presented { id: id.to_owned(), hash: hash(text) })
    }

    /// Whether the presented secret is the one with this stored hash; in constant time.
    /// A stored hash that is none verifies nothing.
    pub fn verify(presented: &Presented, stored_hash: &str) -> bool {
        blake3::Hash::from_hex(stored_hash).is_ok_and(|stored| stored.as_bytes().ct_eq(&presented.hash).into())
    }
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("id", &self.id).finish_non_exhaustive()
    }
}

fn hash(shown: &str) -> [u8; 32] {
    blake3::derive_key(HASH_CONTEXT, shown.as_bytes())
}

fn checksum(body: &str) -> String {
    let digest = blake3::derive_key(CHECKSUM_CONTEXT, body.as_bytes());
    encode(&digest).chars().take(CHECKSUM_LENGTH).collect()
}

/// Five bits to a character, from the highest bit; the last character is filled up with zeros.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((bytes.len() * 8).div_ceil(5));
    let mut held = 0_u32;
    let mut bits = 0_u32;
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(held >> bits));
            held &= (1 << bits) - 1;
        }
    }
    if bits > 0 {
        text.push(digit(held << (5 - bits)));
    }
    text
}

fn digit(value: u32) -> char {
    ALPHABET.get((value & 31) as usize).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SeededRandom, SystemRandom};

    #[test]
    fn what_was_shown_verifies_and_nothing_else_does() {
        let random = SeededRandom::new(7);
        let one = Secret::generate(&random);
        let other = Secret::generate(&random);
        let presented = Secret::parse(&one.shown).unwrap();
        assert_eq!(presented.id, one.id);
        assert!(Secret::verify(&presented, &one.hash));
        assert!(!Secret::verify(&presented, &other.hash));
        assert!(!Secret::verify(&presented, ""));
        assert!(!Secret::verify(&presented, &one.shown));
        assert!(Secret::verify(&Secret::parse(&format!(" {}\n", one.shown)).unwrap(), &one.hash));
    }

    #[test]
    fn the_length_is_fixed_and_the_alphabet_is_one() {
        for seed in 0..64 {
            let new = Secret::generate(&SeededRandom::new(seed));
            assert_eq!(new.shown.len(), LENGTH);
            assert!(new.shown.bytes().skip(3).all(|byte| ALPHABET.contains(&byte)), "{}", new.shown);
        }
        assert_ne!(Secret::generate(&SystemRandom), Secret::generate(&SystemRandom));
    }

    #[test]
    fn every_cut_and_every_wrong_character_is_recognised() {
        let shown = Secret::generate(&SeededRandom::new(1)).shown;
        for have in PREFIX.len()..LENGTH {
            let fault = Secret::parse(&shown[..have]).unwrap_err();
            assert_eq!(fault, SecretFault::Truncated { have, want: LENGTH });
        }
        assert_eq!(Secret::parse(&format!("{shown}x")).unwrap_err(), SecretFault::Overlong { have: 78, want: LENGTH });
        for place in PREFIX.len()..LENGTH {
            for wrong in ['0', 'z', '-', 'é', 'A'] {
                let mut text: Vec<char> = shown.chars().collect();
                if text[place] == wrong {
                    continue;
                }
                text[place] = wrong;
                let text: String = text.into_iter().collect();
                assert_eq!(Secret::parse(&text).unwrap_err(), SecretFault::Checksum, "{place} {wrong}");
            }
        }
        for foreign in ["", "cg", "eyJhbGciOiJSUzI1NiJ9.e30.x", "CG_00"] {
            assert_eq!(Secret::parse(foreign).unwrap_err(), SecretFault::NotOurs);
        }
    }

    #[test]
    fn debug_forms_and_faults_show_no_secret() {
        let new = Secret::generate(&SeededRandom::new(3));
        let presented = Secret::parse(&new.shown).unwrap();
        for text in [format!("{new:?}"), format!("{presented:?}")] {
            assert!(text.contains(&new.id));
            assert!(!text.contains(&new.shown[20..40]) && !text.contains(&new.hash));
        }
        let fault = Secret::parse(&new.shown[..40]).unwrap_err();
        assert!(!fault.to_string().contains(&new.shown[3..10]));
    }
}
