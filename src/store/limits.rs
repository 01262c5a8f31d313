//! What every store refuses before it looks at its data: too much at once, or what the contract excludes.
//!
//! Knows the contract's types only.

use super::{Above, CREATED, Predicate, Query, Step, StoreError, Transaction};
use crate::domain::Image;

/// Most conditions in one predicate.
pub const MAX_TERMS: usize = 64;
/// Deepest nesting of one predicate; a single condition has depth 1.
pub const MAX_DEPTH: usize = 32;
/// Most steps, and most members that join or leave, in one transaction.
pub const MAX_STEPS: usize = 100_000;

/// Most groups, of all members together, that [`Store::groups_above`](super::Store::groups_above) answers.
pub const MAX_ABOVE: usize = 100_000;

/// Refuses a transaction that no store may run.
pub(super) fn transaction(transaction: &Transaction) -> Result<(), StoreError> {
    if transaction.operation.is_empty() {
        return Err(StoreError::Invalid("a transaction without an operation id"));
    }
    let mut created = false;
    for step in &transaction.steps {
        match step {
            Step::Create { .. } => created = true,
            Step::Members { group: CREATED, .. } if !created => {
                return Err(StoreError::Invalid("members of a group that the transaction did not create before"));
            }
            Step::Members { .. }
            | Step::Replace { .. }
            | Step::Remove { .. }
            | Step::Event(_)
            | Step::ForgetEvents(_)
            | Step::Note { .. } => {}
        }
        let (Step::Create { content, .. } | Step::Replace { content, .. }) = step else { continue };
        match content.image {
            Some(Image::Members(_) | Image::Gone) => {
                return Err(StoreError::Invalid("an image of memberships or of absence as content"));
            }
            Some(Image::Organization(_) | Image::Account(_) | Image::User(_) | Image::Group(_)) | None => {}
        }
    }
    let work = work(transaction);
    if work > MAX_STEPS {
        return Err(StoreError::TooComplex(format!(
            "{work} steps and members in one transaction, at most {MAX_STEPS}"
        )));
    }
    Ok(())
}

/// Refuses an answer that would not be whole.
pub(super) fn above(found: Vec<Above>) -> Result<Vec<Above>, StoreError> {
    if found.len() > MAX_ABOVE {
        return Err(StoreError::TooComplex(format!("more than {MAX_ABOVE} groups above those asked for")));
    }
    Ok(found)
}

/// How much a transaction does: its steps, and each member that joins or leaves.
pub(super) fn work(transaction: &Transaction) -> usize {
    let each = transaction.steps.iter().map(|step| match step {
        Step::Members { add, remove, .. } => add.len().saturating_add(remove.len()).max(1),
        Step::Create { .. }
        | Step::Replace { .. }
        | Step::Remove { .. }
        | Step::Event(_)
        | Step::ForgetEvents(_)
        | Step::Note { .. } => 1,
    });
    each.fold(0, usize::saturating_add)
}

/// Most steps and members, and most searchable values, of a light transaction.
const LIGHT: usize = 16;
const LIGHT_VALUES: usize = 128;

/// Whether a transaction is done in a moment, whatever there is: nothing in it ends memberships or events by the thousand.
pub(super) fn is_light(transaction: &Transaction) -> bool {
    let mut values = 0_usize;
    let each = transaction.steps.iter().all(|step| match step {
        Step::Create { content, .. } | Step::Replace { content, .. } => {
            values = values.saturating_add(content.index.len());
            !content.deleted
        }
        Step::Members { .. } | Step::Event(_) | Step::Note { .. } => true,
        Step::Remove { .. } | Step::ForgetEvents(_) => false,
    });
    each && values <= LIGHT_VALUES && work(transaction) <= LIGHT
}

/// Refuses a query that no store may run.
pub(super) fn query(query: &Query) -> Result<(), StoreError> {
    let mut terms = 0;
    query.predicate.as_ref().map_or(Ok(()), |predicate| walk(predicate, 1, false, &mut terms))
}

fn walk(predicate: &Predicate, depth: usize, in_element: bool, terms: &mut usize) -> Result<(), StoreError> {
    if depth > MAX_DEPTH {
        return Err(StoreError::TooComplex(format!("conditions nested deeper than {MAX_DEPTH}")));
    }
    match predicate {
        // Empty ones are constants and count as a condition, so that nothing is unlimited.
        Predicate::All(inner) | Predicate::Any(inner) if !inner.is_empty() => {
            inner.iter().try_for_each(|part| walk(part, depth + 1, in_element, terms))
        }
        Predicate::Not(inner) => walk(inner, depth + 1, in_element, terms),
        Predicate::Element { .. }
        | Predicate::Member(_)
        | Predicate::MemberOf(_)
        | Predicate::HasMembers
        | Predicate::HasGroups
            if in_element =>
        {
            Err(StoreError::Invalid("a condition on memberships or another element within an element"))
        }
        Predicate::Element { inner, .. } => walk(inner, depth + 1, true, terms),
        Predicate::All(_)
        | Predicate::Any(_)
        | Predicate::Compare { .. }
        | Predicate::Present { .. }
        | Predicate::Member(_)
        | Predicate::MemberOf(_)
        | Predicate::HasMembers
        | Predicate::HasGroups => {
            *terms += 1;
            if *terms > MAX_TERMS {
                return Err(StoreError::TooComplex(format!("more than {MAX_TERMS} conditions")));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::store::{Content, Retention};

    #[test]
    fn what_may_take_long_is_not_light() {
        let light = |steps| is_light(&Transaction { operation: "a".to_owned(), at: Timestamp(0), steps });
        let replace = |deleted| {
            let content = Content { deleted, ..Content::default() };
            Step::Replace { number: 1, expected: None, content }
        };
        let join = |many| Step::Members { group: 1, expected: None, add: (0..many).collect(), remove: Vec::new() };
        let retention = Retention { connection: String::new(), keep: 0, before: Timestamp(0) };
        assert!(light(vec![replace(false), join(3)]));
        assert!(!light(vec![replace(true)]), "all memberships end with it");
        assert!(!light(vec![join(1_000)]));
        assert!(!light(vec![Step::Remove { number: 1, expected: None }]));
        assert!(!light(vec![replace(false), Step::ForgetEvents(retention)]));
    }
}
