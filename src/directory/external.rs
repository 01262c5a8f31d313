//! People by `externalId`, for the connections whose token issuers name people so. Nothing is kept of any other
//! connection, so that installations without such issuers pay nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::{Hashed, Index, KeyKind};
use super::pages::Pages;
use crate::domain::Number;

/// The `externalId`s that one person has in the kept connections: the connection's place, and the id.
type Names = Arc<[(usize, Box<str>)]>;

/// Who has which `externalId` in the kept connections.
#[derive(Clone, Debug)]
pub(super) struct ExternalIds {
    connections: Arc<[String]>,
    names: Pages<Option<Names>>,
    index: Index,
}

impl ExternalIds {
    /// Of these connections only.
    pub(super) fn of(connections: &[String]) -> Self {
        Self { connections: connections.into(), names: Pages::default(), index: Index::default() }
    }

    /// Whose it is. An `externalId` is opaque: it is compared as it stands, with its case.
    pub(super) fn find(&self, connection: &str, id: &str) -> Option<Number> {
        let place = self.place(connection)?;
        let is = |number| self.names(number).iter().any(|(at, name)| *at == place && **name == *id);
        self.index.find(self.hash(place, id), is)
    }

    /// Puts what a person has now in the place of what they had.
    pub(super) fn put(&mut self, number: Number, ids: &BTreeMap<String, String>) {
        if self.connections.is_empty() {
            return;
        }
        let kept = ids.iter().filter_map(|(connection, id)| Some((self.place(connection)?, id.as_str().into())));
        let now: Names = kept.collect();
        let before: Names = self.names(number).into();
        if now == before {
            return;
        }
        for (place, id) in before.iter() {
            self.index.remove(self.hash(*place, id), number);
        }
        for (place, id) in now.iter() {
            self.index.insert(self.hash(*place, id), number);
        }
        if let Some(slot) = self.names.at(number) {
            *slot = if now.is_empty() { None } else { Some(now) };
        }
    }

    fn names(&self, number: Number) -> &[(usize, Box<str>)] {
        self.names.get(number).and_then(Option::as_deref).unwrap_or(&[])
    }

    fn place(&self, connection: &str) -> Option<usize> {
        self.connections.iter().position(|kept| kept == connection)
    }

    fn hash(&self, place: usize, id: &str) -> Hashed {
        self.index.hash(KeyKind::Name, format!("{place} {id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(connection, id)| ((*connection).to_owned(), (*id).to_owned())).collect()
    }

    #[test]
    fn ids_belong_to_their_connection_and_move_with_their_people() {
        let mut external = ExternalIds::of(&["one".to_owned(), "two".to_owned()]);
        external.put(7, &ids(&[("one", "x"), ("two", "y"), ("three", "z")]));
        external.put(8, &ids(&[("two", "x")]));
        let find = |external: &ExternalIds| {
            [("one", "x"), ("two", "y"), ("two", "x"), ("three", "z"), ("one", "y"), ("one", "X")]
                .map(|(connection, id)| external.find(connection, id))
        };
        assert_eq!(find(&external), [Some(7), Some(7), Some(8), None, None, None]);
        external.put(7, &ids(&[("two", "y")]));
        external.put(9, &ids(&[("one", "x")]));
        assert_eq!(find(&external), [Some(9), Some(7), Some(8), None, None, None]);
        external.put(8, &ids(&[]));
        assert_eq!(find(&external), [Some(9), Some(7), None, None, None, None]);
    }
}
