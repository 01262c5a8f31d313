//! Cursors (RFC 9865): a place in a walk through a list, in a form that nobody can make or change but this server.
//!
//! A cursor holds the position of the last resource of a page, not an offset: the next page begins behind it, whatever
//! was written meanwhile. It grants nothing, since the token of each request decides what is seen, and it fits only the walk
//! that it was made for. The key is drawn when the server starts: a walk across a restart ends with `expiredCursor`
//! and begins anew, and there is no key to keep. Knows neither the store nor requests.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::ScimError;
use crate::clock::Random;
use crate::domain::{Number, Timestamp};
use crate::store::Position;

/// Bytes of the name of a key.
const NAME: usize = 4;
/// Bytes of the proof.
const PROOF: usize = 16;
/// Bytes before the sort key: the key's name, end of life, total, number, and whether there is a sort key.
const HEAD: usize = NAME + 8 + 8 + 4 + 1;

/// Makes and reads cursors.
pub(super) struct Cursors {
    key: [u8; 32],
}

/// What a walk is over: its cursors fit no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk<'a> {
    /// Organization, connection, endpoint, filter, order: each counts, in this order.
    pub over: Vec<&'a str>,
}

/// A place in a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The last resource that was shown.
    pub position: Position,
    /// How many there were when the walk began.
    pub total: u64,
    /// Until when the cursor is taken.
    pub until: Timestamp,
}

impl Cursors {
    /// With a key of its own.
    pub fn new(random: &dyn Random) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self { key }
    }

    /// The cursor of a place.
    pub fn seal(&self, walk: &Walk<'_>, place: &Place) -> String {
        let mut bytes = Vec::with_capacity(HEAD + PROOF);
        bytes.extend(self.name());
        bytes.extend(place.until.0.to_be_bytes());
        bytes.extend(place.total.to_be_bytes());
        bytes.extend(place.position.number.to_be_bytes());
        bytes.push(u8::from(place.position.key.is_some()));
        bytes.extend(place.position.key.iter().flat_map(|key| key.bytes()));
        let proof = self.proof(walk, &bytes);
        bytes.extend(proof);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place of a cursor.
    ///
    /// # Errors
    /// 400 `expiredCursor` after its time or a restart; 400 `invalidCursor` for anything that this server did not make
    /// for this very walk.
    pub fn open(&self, walk: &Walk<'_>, text: &str, now: Timestamp) -> Result<Place, ScimError> {
        let invalid = || {
            let detail =
                "the cursor is not one of this list; send nextCursor as it came, with the same filter and order";
            ScimError::invalid_cursor(detail)
        };
        let expired = || ScimError::expired_cursor("the cursor has expired; begin again with an empty cursor");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let (body, proof) = bytes.split_last_chunk::<PROOF>().ok_or_else(invalid)?;
        let (name, rest) = body.split_first_chunk::<NAME>().ok_or_else(invalid)?;
        let (until, rest) = rest.split_first_chunk::<8>().ok_or_else(invalid)?;
        let (total, rest) = rest.split_first_chunk::<8>().ok_or_else(invalid)?;
        let (number, rest) = rest.split_first_chunk::<4>().ok_or_else(invalid)?;
        let (has_key, key) = rest.split_first().ok_or_else(invalid)?;
        if *name != self.name() {
            return Err(expired());
        }
        let same: bool = subtle::ConstantTimeEq::ct_eq(&self.proof(walk, body)[..], &proof[..]).into();
        if !same {
            return Err(invalid());
        }
        let until = Timestamp(i64::from_be_bytes(*until));
        if now > until {
            return Err(expired());
        }
        let key = String::from_utf8(key.to_vec()).map_err(|_| invalid())?;
        let key = (*has_key == 1).then_some(key);
        let position = Position { key, number: Number::from_be_bytes(*number) };
        Ok(Place { position, total: u64::from_be_bytes(*total), until })
    }

    /// Tells cursors of another run of the server from broken ones. Says nothing about the key.
    fn name(&self) -> [u8; NAME] {
        let hash = blake3::derive_key("cedargate 2026-11 name of a cursor key", &self.key);
        hash.first_chunk().copied().unwrap_or_default()
    }

    fn proof(&self, walk: &Walk<'_>, body: &[u8]) -> [u8; PROOF] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in walk.over.iter().map(|part| part.as_bytes()).chain([body]) {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;

    fn place(key: Option<&str>) -> Place {
        let position = Position { key: key.map(str::to_owned), number: 7 };
        Place { position, total: 42, until: Timestamp(1_000) }
    }

    fn word(result: Result<Place, ScimError>) -> &'static str {
        result.unwrap_err().scim_type.unwrap()
    }

    #[test]
    fn a_cursor_leads_back_to_its_place_and_only_in_its_walk() {
        let cursors = Cursors::new(&SeededRandom::new(1));
        let walk = Walk { over: vec!["acme", "c1", "Users", "title pr", ""] };
        for place in [place(None), place(Some("")), place(Some("Zoë"))] {
            let text = cursors.seal(&walk, &place);
            assert_eq!(cursors.open(&walk, &text, Timestamp(1_000)).unwrap(), place);
            assert_eq!(word(cursors.open(&walk, &text, Timestamp(1_001))), "expiredCursor");
            let restarted = Cursors::new(&SeededRandom::new(2));
            assert_eq!(word(restarted.open(&walk, &text, Timestamp(0))), "expiredCursor");
            for over in [
                vec!["rival", "c1", "Users", "title pr", ""],
                vec!["acme", "c2", "Users", "title pr", ""],
                vec!["acme", "c1", "Groups", "title pr", ""],
                vec!["acme", "c1", "Users", "title p", "r"],
                vec!["acme", "c1", "Users", "title pr", "", ""],
            ] {
                assert_eq!(word(cursors.open(&Walk { over }, &text, Timestamp(0))), "invalidCursor");
            }
        }
    }

    #[test]
    fn no_changed_byte_is_taken() {
        let cursors = Cursors::new(&SeededRandom::new(1));
        let walk = Walk { over: vec!["acme"] };
        let bytes = URL_SAFE_NO_PAD.decode(cursors.seal(&walk, &place(Some("k")))).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let text = URL_SAFE_NO_PAD.encode(&changed);
            assert!(cursors.open(&walk, &text, Timestamp(0)).is_err(), "{index}");
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..index]);
            assert!(cursors.open(&walk, &cut, Timestamp(0)).is_err(), "{index}");
        }
        for text in ["", "x", "nonsense!", "%00", &"A".repeat(100_000)] {
            assert!(cursors.open(&walk, text, Timestamp(0)).is_err());
        }
    }
}
