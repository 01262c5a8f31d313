//! Where an outcome is kept and looked for, and why one that was not found was not there.
//!
//! Judges nothing. What a row or a key must hold, so that nothing stale or foreign is found, stands in
//! [`super::super::rows`] and [`super::super::cache`].

use std::sync::Arc;

use super::Inputs;
use crate::authz::Failure;
use crate::authz::cache::{Key, ResourceKey, Stamped};
use crate::authz::find::Who;
use crate::authz::rows::RowKey;
use crate::domain::{ContextValue, Timestamp};
use crate::policy::{Evaluation, ResourceFacts};
use crate::telemetry::{Miss, Stage};

/// Questions with a longer context are evaluated each time, so that the cache's size is bounded in bytes, too.
const LONGEST_KEY: usize = 1024;

/// Where an outcome is kept.
pub(super) enum KeptUnder {
    /// For everybody who looks the same.
    Row(RowKey),
    /// Under everything that was read.
    Key(Key),
    /// Nowhere yet: nobody has asked this before.
    Unheard,
}

/// Why no cache takes such an outcome, whatever it is about.
pub(super) fn never_kept(evaluation: &Evaluation) -> Option<Miss> {
    if evaluation.errors.is_empty() { evaluation.momentary.then_some(Miss::Momentary) } else { Some(Miss::Error) }
}

/// Until when an outcome holds that was found out now.
pub(super) fn holds_until(evaluation: &Evaluation, now: Timestamp) -> Option<Timestamp> {
    if never_kept(evaluation).is_some() { Some(now) } else { evaluation.until }
}

impl Inputs<'_> {
    /// The outcome, and why it had to be evaluated, where it had.
    pub(super) fn outcome(
        &self,
        resource: ResourceFacts<'_>,
        key: Option<ResourceKey>,
    ) -> Result<(Arc<Evaluation>, Option<Miss>), Failure> {
        let place = self.place(key);
        if let Some(kept) = self.kept(&place) {
            return Ok((kept, None));
        }
        let evaluation = Arc::new(self.ask(resource, key)?);
        let missed = self.keep(place, &evaluation);
        Ok((evaluation, Some(missed)))
    }

    /// Where the outcome is kept, or why nowhere.
    pub(super) fn place(&self, key: Option<ResourceKey>) -> Result<KeptUnder, Miss> {
        match self.row {
            Some(row) => Ok(KeptUnder::Row(row)),
            None => {
                let key = self.key(key.ok_or(Miss::Unkeyed)?)?;
                let worth = self.view.authz.cache.comes_again(&key);
                Ok(if worth { KeptUnder::Key(key) } else { KeptUnder::Unheard })
            }
        }
    }

    /// What the cache holds; a row was looked at before.
    pub(super) fn kept(&self, place: &Result<KeptUnder, Miss>) -> Option<Arc<Evaluation>> {
        let Ok(KeptUnder::Key(key)) = place else { return None };
        let kept = self.view.authz.cache.get(key, self.now);
        self.view.lap(Stage::Cache);
        kept
    }

    /// Keeps an outcome for the next one who asks, and says why it was not kept for this one.
    pub(super) fn keep(&self, place: Result<KeptUnder, Miss>, evaluation: &Arc<Evaluation>) -> Miss {
        let reason = match &place {
            Ok(KeptUnder::Row(_)) => Miss::First,
            Ok(KeptUnder::Unheard) => Miss::Context,
            Ok(KeptUnder::Key(key)) if key.context.is_some() => Miss::Context,
            Ok(KeptUnder::Key(_)) => Miss::NoRow,
            Err(reason) => *reason,
        };
        match place {
            // What was found out while something was found wrong may rest on it.
            _ if !self.view.trusts() => {}
            Ok(KeptUnder::Row(row)) => self.view.authz.rows.put(row, evaluation),
            Ok(KeptUnder::Key(key)) => self.view.authz.cache.put(key, evaluation, self.now),
            Ok(KeptUnder::Unheard) | Err(_) => {}
        }
        self.view.lap(Stage::Cache);
        never_kept(evaluation).unwrap_or(reason)
    }

    /// The key of an outcome, or why it has none.
    fn key(&self, resource: ResourceKey) -> Result<Key, Miss> {
        if matches!(self.who, Who::Entity(_)) {
            return Err(Miss::Unkeyed);
        }
        let account = match self.account {
            None => None,
            Some((_, account)) => account.map(|account| Stamped { number: account.number, stamp: account.revision }),
        };
        if self.view.aside || self.account.is_some() && account.is_none() {
            return Err(Miss::Unkeyed);
        }
        let context = if self.context.is_empty() { None } else { Some(written(&self.context).ok_or(Miss::TooLong)?) };
        Ok(Key {
            generation: self.view.serving.generation,
            action: self.found.index,
            principal: (self.known.as_ref())
                .map(|known| Stamped { number: known.person.number, stamp: known.rights.stamp }),
            resource,
            account,
            dashboard: self.dashboard,
            context,
        })
    }
}

/// A context in bytes, each part with its length in front, so that no two contexts look alike; `None` where it is too
/// long for a key.
fn written(context: &[(String, ContextValue)]) -> Option<Box<[u8]>> {
    let mut bytes = Vec::with_capacity(64);
    write_record(context, &mut bytes);
    (bytes.len() <= LONGEST_KEY).then(|| bytes.into())
}

fn write_record(fields: &[(String, ContextValue)], into: &mut Vec<u8>) {
    write_length(fields.len(), into);
    for (name, value) in fields {
        write_text(name, into);
        write_value(value, into);
    }
}

fn write_value(value: &ContextValue, into: &mut Vec<u8>) {
    match value {
        ContextValue::Text(text) => {
            into.push(b't');
            write_text(text, into);
        }
        ContextValue::Integer(number) => {
            into.push(b'i');
            into.extend_from_slice(&number.to_be_bytes());
        }
        ContextValue::Boolean(truth) => into.extend_from_slice(&[b'b', u8::from(*truth)]),
        ContextValue::Set(members) => {
            into.push(b's');
            write_length(members.len(), into);
            members.iter().for_each(|member| write_value(member, into));
        }
        ContextValue::Record(fields) => {
            into.push(b'r');
            write_record(fields, into);
        }
        ContextValue::OtherNumber(digits) => {
            into.push(b'n');
            write_text(digits, into);
        }
    }
}

fn write_text(text: &str, into: &mut Vec<u8>) {
    write_length(text.len(), into);
    into.extend_from_slice(text.as_bytes());
}

fn write_length(length: usize, into: &mut Vec<u8>) {
    into.extend_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = ContextValue> {
        let leaf = prop_oneof![
            "[a,:\"]{0,3}".prop_map(ContextValue::Text),
            "[0-9.]{0,3}".prop_map(ContextValue::OtherNumber),
            any::<bool>().prop_map(ContextValue::Boolean),
            (0_i64..3).prop_map(ContextValue::Integer),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(ContextValue::Set),
                prop::collection::vec(("[a,:]{0,2}", inner), 0..3).prop_map(ContextValue::Record),
            ]
        })
    }

    proptest! {
        #[test]
        fn contexts_have_the_same_key_exactly_where_they_are_the_same(
            one in prop::collection::vec(("[a,:]{0,2}", value()), 0..3),
            other in prop::collection::vec(("[a,:]{0,2}", value()), 0..3),
        ) {
            prop_assert_eq!(written(&one) == written(&other), one == other);
            prop_assert_eq!(written(&one), written(&one.clone()));
        }
    }

    #[test]
    fn a_long_context_has_no_key() {
        let context = |length| [("a".to_owned(), ContextValue::Text("b".repeat(length)))];
        assert!(written(&context(LONGEST_KEY / 2)).is_some() && written(&context(LONGEST_KEY)).is_none());
    }
}
