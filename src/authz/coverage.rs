//! What the cases of a folder saw of its policies: which ones spoke and stayed silent, and which conditions decided.
//!
//! A condition counts where it was reached, so where all conditions before it held: only there does it decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::{Bundle, Clause, Considered, Outcome, Piece, State};

/// What was seen of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionSeen {
    /// In Cedar's words.
    pub text: String,
    /// Where it stands.
    pub clause: Clause,
    /// It was reached and held.
    pub held: bool,
    /// It was reached and did not hold.
    pub failed: bool,
    /// It asks only for a type, which the schema settles.
    by_type: bool,
}

/// What was seen of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySeen {
    /// Some case met it.
    pub met: bool,
    /// It spoke in some case.
    pub spoke: bool,
    /// It was met and stayed silent in some case.
    pub silent: bool,
    /// Its conditions; none where it was never met.
    pub conditions: Vec<ConditionSeen>,
}

/// What was seen of every policy of a bundle.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// By `@id`.
    pub policies: BTreeMap<Arc<str>, PolicySeen>,
}

impl Coverage {
    pub(super) fn of(bundle: &Bundle) -> Self {
        Self { policies: bundle.policy_ids().map(|id| (Arc::clone(id), PolicySeen::default())).collect() }
    }

    pub(super) fn see(&mut self, considered: &[Considered]) {
        for policy in considered {
            let seen = self.policies.entry(Arc::clone(&policy.id)).or_default();
            seen.met = true;
            seen.spoke |= policy.outcome == Outcome::Speaks;
            seen.silent |= policy.outcome == Outcome::Silent;
            if seen.conditions.is_empty() {
                let fresh = |one: &crate::policy::Seen| ConditionSeen {
                    text: one.text.clone(),
                    clause: one.clause,
                    held: false,
                    failed: false,
                    by_type: one.clause == Clause::Scope && one.piece == Piece::Unchangeable,
                };
                seen.conditions = policy.conditions.iter().map(fresh).collect();
            }
            for (condition, now) in seen.conditions.iter_mut().zip(&policy.conditions) {
                condition.held |= now.state == State::True;
                condition.failed |= now.state == State::False;
                if now.state != State::True {
                    break;
                }
            }
        }
    }

    /// Conditions that count, and how many of them were seen both ways.
    pub fn conditions(&self) -> (usize, usize) {
        let all = self.policies.values().flat_map(|policy| &policy.conditions).filter(|one| !one.by_type);
        all.fold((0, 0), |(count, covered), one| (count + 1, covered + usize::from(one.held && one.failed)))
    }

    /// What no case shows, one sentence for each gap; of one policy, or of all.
    pub fn gaps(&self, of: Option<&str>) -> Vec<String> {
        let mut gaps = Vec::new();
        for (id, policy) in self.policies.iter().filter(|(id, _)| of.is_none_or(|of| *of == ***id)) {
            let mut counting = policy.conditions.iter().filter(|one| !one.by_type).peekable();
            let conditional = counting.peek().is_some();
            if !policy.met {
                gaps.push(format!("{id}: no case asks for an action that it is about"));
                continue;
            }
            if !policy.spoke {
                gaps.push(format!("{id}: no case in which it speaks"));
            }
            if !policy.silent && conditional {
                gaps.push(format!("{id}: no case in which it is asked and stays silent"));
            }
            for condition in counting {
                let clause = match condition.clause {
                    Clause::Scope => "",
                    Clause::When => "when ",
                    Clause::Unless => "unless ",
                };
                if !condition.held {
                    gaps.push(format!("{id}: no case in which this holds: {clause}{}", condition.text));
                }
                if !condition.failed {
                    gaps.push(format!("{id}: no case in which this alone fails: {clause}{}", condition.text));
                }
            }
        }
        gaps
    }
}
