//! What a write did to somebody's access: the effective facts before and after, and what was gained and lost. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::image::access_methods;
use super::super::state::{Claims, GroupState, UserState};
use crate::domain::AdministrationLevel;

/// What a person has, or a group gives, by its own document; what comes through groups stands at the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::scim) struct Access {
    /// `None` for groups.
    pub active: Option<bool>,
    locked: Option<bool>,
    level: Option<&'static str>,
    methods: BTreeSet<String>,
    roles: BTreeSet<String>,
    accounts: BTreeSet<String>,
}

impl Access {
    /// A person's.
    pub fn of_user(document: &Map<String, Value>, state: &UserState, deleted: bool) -> Self {
        if deleted {
            return Self { active: Some(false), locked: Some(state.locked), ..Self::default() };
        }
        let level =
            if state.claims.is_admin() { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser };
        Self {
            active: Some(state.active),
            locked: Some(state.locked),
            level: Some(level.name()),
            methods: access_methods(document).names().map(str::to_owned).collect(),
            ..Self::of_claims(&state.claims)
        }
    }

    /// What a group's members gain.
    pub fn of_group(state: &GroupState) -> Self {
        Self::of_claims(&state.claims)
    }

    fn of_claims(claims: &Claims) -> Self {
        Self {
            roles: claims.given_roles().map(str::to_owned).collect(),
            accounts: claims.given_accounts().map(str::to_owned).collect(),
            ..Self::default()
        }
    }

    /// What is different, by name: `{"before", "after"}` for single facts, `{"gained", "lost"}` for sets.
    pub fn changed_to(&self, after: &Self) -> Map<String, Value> {
        let mut effect = Map::new();
        let mut single = |name: &str, before: Value, after: Value| {
            if before != after {
                effect.insert(name.to_owned(), json!({"before": before, "after": after}));
            }
        };
        single("active", json!(self.active), json!(after.active));
        single("locked", json!(self.locked.unwrap_or(false)), json!(after.locked.unwrap_or(false)));
        single("administrationLevel", json!(self.level), json!(after.level));
        let sets = [
            ("accessMethods", &self.methods, &after.methods),
            ("roles", &self.roles, &after.roles),
            ("accounts", &self.accounts, &after.accounts),
        ];
        for (name, before, after) in sets {
            if before != after {
                let gained: Vec<&String> = after.difference(before).collect();
                let lost: Vec<&String> = before.difference(after).collect();
                effect.insert(name.to_owned(), json!({"gained": gained, "lost": lost}));
            }
        }
        effect
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
        let before = Access::of_user(&Map::new(), &state, false);
        assert_eq!(before.changed_to(&before), Map::new());

        state.claims.roles.remove("Ordering");
        state.claims.accounts.insert("100".into(), claim(true));
        state.claims.admin = Some(claim(true));
        state.locked = true;
        let after = Access::of_user(&Map::new(), &state, false);
        assert_eq!(
            Value::Object(before.changed_to(&after)),
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
        assert_eq!(after.changed_to(&deleted)["accessMethods"], json!({"gained": [], "lost": ["dashboard"]}));
    }
}
