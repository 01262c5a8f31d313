//! What a write did to somebody's access: the effective facts before and after, and what was gained and lost. Pure.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::image::access_methods;
use super::super::state::{Claims, GroupState, UserState};
use crate::domain::AdministrationLevel;

/// What a person has, or a group gives, by its own document; what comes through groups stands at the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::scim) struct Access<'a> {
    /// `None` for groups.
    pub active: Option<bool>,
    locked: Option<bool>,
    level: Option<&'static str>,
    methods: BTreeSet<&'a str>,
    roles: BTreeSet<&'a str>,
    accounts: BTreeSet<&'a str>,
}

/// What is different, by name: `{"before", "after"}` for single facts, `{"gained", "lost"}` for sets.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scim) struct Effect<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<Single<Option<bool>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<Single<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    administration_level: Option<Single<Option<&'static str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_methods: Option<Exchange<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Exchange<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Exchange<'a>>,
    /// The groups that a person leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Value>,
    /// Who joins and leaves a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Value>,
    /// What these gain or lose by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gives: Option<Value>,
}

/// A single fact.
#[derive(Debug, Serialize)]
struct Single<T> {
    before: T,
    after: T,
}

impl<T: PartialEq> Single<T> {
    fn of(before: T, after: T) -> Option<Self> {
        (before != after).then_some(Self { before, after })
    }
}

/// A set.
#[derive(Debug, Serialize)]
struct Exchange<'a> {
    gained: Vec<&'a str>,
    lost: Vec<&'a str>,
}

impl<'a> Exchange<'a> {
    fn of(before: &BTreeSet<&'a str>, after: &BTreeSet<&'a str>) -> Option<Self> {
        (before != after).then(|| Self {
            gained: after.difference(before).copied().collect(),
            lost: before.difference(after).copied().collect(),
        })
    }
}

impl<'a> Access<'a> {
    /// A person's.
    pub fn of_user(document: &Map<String, Value>, state: &'a UserState, deleted: bool) -> Self {
        if deleted {
            return Self { active: Some(false), locked: Some(state.locked), ..Self::default() };
        }
        let level =
            if state.claims.is_admin() { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser };
        Self {
            active: Some(state.active),
            locked: Some(state.locked),
            level: Some(level.name()),
            methods: access_methods(document).names().collect(),
            ..Self::of_claims(&state.claims)
        }
    }

    /// What a group's members gain.
    pub fn of_group(state: &'a GroupState) -> Self {
        Self::of_claims(&state.claims)
    }

    fn of_claims(claims: &'a Claims) -> Self {
        Self { roles: claims.given_roles().collect(), accounts: claims.given_accounts().collect(), ..Self::default() }
    }

    /// What is different.
    pub fn changed_to(&self, after: &Self) -> Effect<'a> {
        Effect {
            active: Single::of(self.active, after.active),
            locked: Single::of(self.locked.unwrap_or(false), after.locked.unwrap_or(false)),
            administration_level: Single::of(self.level, after.level),
            access_methods: Exchange::of(&self.methods, &after.methods),
            roles: Exchange::of(&self.roles, &after.roles),
            accounts: Exchange::of(&self.accounts, &after.accounts),
            ..Effect::default()
        }
    }

    /// What a group gives, where it gives anything.
    pub fn given(&self) -> Option<Value> {
        let gives = !self.roles.is_empty() || !self.accounts.is_empty();
        gives.then(|| json!({"roles": self.roles, "accounts": self.accounts}))
    }

    /// Whether this change ends somebody's access.
    pub fn ends_with(&self, after: &Self) -> bool {
        self.active == Some(true) && after.active == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::state::Claim;
    use super::*;

    #[test]
    fn gains_and_losses_have_names() {
        let claim = |granted| Claim { by: "c".into(), granted, dormant: false };
        let mut state = UserState { active: true, ..UserState::default() };
        state.claims.roles.insert("Ordering".into(), claim(true));
        state.claims.roles.insert("Unknown".into(), claim(false));
        let earlier = state.clone();
        let before = Access::of_user(&Map::new(), &earlier, false);
        assert_eq!(json!(before.changed_to(&before)), json!({}));

        state.claims.roles.remove("Ordering");
        state.claims.accounts.insert("100".into(), claim(true));
        state.claims.admin = Some(claim(true));
        state.locked = true;
        let after = Access::of_user(&Map::new(), &state, false);
        assert_eq!(
            json!(before.changed_to(&after)),
            json!({
                "locked": {"before": false, "after": true},
                "administrationLevel": {"before": "Basic User", "after": "Account Admin"},
                "roles": {"gained": [], "lost": ["Ordering"]},
                "accounts": {"gained": ["100"], "lost": []},
            })
        );
        assert!(!before.ends_with(&after), "a lock is not a deactivation");
        let deleted = Access::of_user(&Map::new(), &state, true);
        assert!(after.ends_with(&deleted));
        assert_eq!(json!(after.changed_to(&deleted))["accessMethods"], json!({"gained": [], "lost": ["dashboard"]}));
    }
}
