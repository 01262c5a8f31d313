//! Who may bring members into a group that gives rights.
//!
//! The rule: **whoever gives a right to a group gives it to those who are in it then; whoever brings somebody in later
//! gives them what the group gives at that time.** So a connection whose settings do not allow a role or an account
//! cannot hand it out through a group that got it from somebody else: the join is refused, whole, with the name of the
//! right. Joins that change nothing, and every leave, are always free.

use super::Scim;
use super::error::{ScimError, quote};
use super::image::Limits;
use super::state::{Claims, GroupState, read_state};
use crate::domain::Number;

impl Scim {
    /// Whether the writer may let these join a group with these claims (as they are after the write). `group` is
    /// `None` for a group that is being made.
    ///
    /// # Errors
    /// 403 that names one right which the writer may not give.
    pub(super) async fn check_joining(
        &self,
        limits: &Limits,
        group: Option<Number>,
        claims: &Claims,
        joining: &[Number],
    ) -> Result<(), ScimError> {
        let unlimited = limits.operator || (limits.roles.is_none() && limits.accounts.is_none());
        if unlimited || joining.is_empty() {
            return Ok(());
        }
        let mut beyond = excess(limits, claims);
        if let (None, Some(number)) = (&beyond, group) {
            for above in self.groups_above(number).await? {
                let state: GroupState = read_state(&above)?;
                beyond = beyond.or_else(|| excess(limits, &state.claims));
            }
        }
        let Some(right) = beyond else { return Ok(()) };
        let present: Vec<Number> = match group {
            Some(number) => self.members_of(number).await?.into_iter().map(|(number, _)| number).collect(),
            None => Vec::new(),
        };
        if joining.iter().all(|number| present.binary_search(number).is_ok()) {
            return Ok(());
        }
        Err(ScimError::forbidden(format!(
            "members of this group gain {right}, which this connection may not give; \
             let an operator allow it in the connection's settings, or add the members to another group"
        )))
    }
}

/// The first right of a group that the writer may not give.
fn excess(limits: &Limits, claims: &Claims) -> Option<String> {
    let role = claims.given_roles().find(|name| !limits.allow_role(name));
    let account = || claims.given_accounts().find(|id| !limits.allow_account(id));
    let role = role.map(|name| format!("the role {}", quote(name)));
    role.or_else(|| account().map(|id| format!("the account {}", quote(id))))
}
