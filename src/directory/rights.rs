//! What a person holds in effect: their own grants and those of their groups, behind the organization's wall.

use std::sync::Arc;

use super::records::{Person, Slot};
use super::{Account, Snapshot};
use crate::domain::Number;

/// A person's effective grants at one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Role names as numbers, sorted, each once.
    pub roles: Vec<u32>,
    /// Groups, indirect ones too, sorted.
    pub groups: Vec<Number>,
    /// Accounts of the person's own organization, sorted.
    pub accounts: Vec<Number>,
    /// Whether any role is assigned, known or not (`domain.md` Q10).
    pub assigned: bool,
    /// The newest revision that touched the person, any of the groups or any of the accounts: rights of one stamp are
    /// the same rights.
    pub stamp: u64,
}

/// What decisions on one account see of a person, small enough to be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Effective roles as a set of the snapshot's role numbers.
    pub roles: u128,
    /// As [`Rights::assigned`].
    pub assigned: bool,
    /// Whether the account is among the person's.
    pub granted: bool,
}

/// The set with this number; `None` where it has no room for it (above 127).
pub fn with_number(set: u128, number: u32) -> Option<u128> {
    Some(set | 1_u128.checked_shl(number)?)
}

/// More groups than this above one person are not followed; they grant nothing.
const MOST_GROUPS: usize = 10_000;

impl Snapshot {
    /// Joins a person's own grants with those of every group above them.
    pub fn rights(&self, person: &Person) -> Rights {
        let mut rights = Rights {
            roles: person.roles().to_vec(),
            groups: Vec::new(),
            accounts: person.accounts().to_vec(),
            assigned: person.assigned(),
            stamp: person.revision,
        };
        let mut waiting = person.groups().to_vec();
        while let Some(number) = waiting.pop() {
            match self.slots.get(number) {
                Some(Slot::Group(group)) => {
                    // A group of another organization would be a fault elsewhere; it grants nothing here.
                    if group.organization != person.organization {
                        continue;
                    }
                    let Err(at) = rights.groups.binary_search(&number) else { continue };
                    if rights.groups.len() >= MOST_GROUPS {
                        break;
                    }
                    rights.groups.insert(at, number);
                    rights.roles.extend_from_slice(&group.roles);
                    rights.accounts.extend_from_slice(&group.accounts);
                    rights.assigned |= group.assigned;
                    rights.stamp = rights.stamp.max(group.revision);
                    waiting.extend_from_slice(&group.parents);
                }
                Some(Slot::Gone(revision)) => rights.stamp = rights.stamp.max(*revision),
                Some(Slot::Empty | Slot::Organization(_) | Slot::Account(_) | Slot::Person(_)) | None => {}
            }
        }
        rights.roles.sort_unstable();
        rights.roles.dedup();
        rights.accounts.sort_unstable();
        rights.accounts.dedup();
        // An account may come to exist after it was granted; it never goes again.
        rights.accounts.retain(|number| {
            let own = self.account_by_number(*number).filter(|account| account.organization == person.organization);
            rights.stamp = rights.stamp.max(own.map_or(0, |account| account.revision));
            own.is_some()
        });
        rights.assigned |= !rights.roles.is_empty();
        rights
    }

    /// What [`Self::rights`] says, as far as decisions on one account see it; `None` where a role's number is above
    /// 127. Nothing is allocated unless groups are nested.
    pub fn sight(&self, person: &Person, account: Option<&Account>) -> Option<Sight> {
        let of_account = account.filter(|account| account.organization == person.organization);
        let holds = |accounts: &[Number]| of_account.is_some_and(|account| accounts.contains(&account.number));
        let mut roles = person.roles().iter().copied().try_fold(0, with_number)?;
        let mut assigned = person.assigned();
        let mut granted = of_account.is_some_and(|account| person.accounts().binary_search(&account.number).is_ok());
        // Beyond this many groups, which ones count is for the long way to say.
        if person.groups().len() > MOST_GROUPS {
            return None;
        }
        for number in person.groups() {
            let Some(Slot::Group(group)) = self.slots.get(*number) else { continue };
            if group.organization != person.organization {
                continue;
            }
            if !group.parents.is_empty() {
                let rights = self.rights(person);
                let roles = rights.roles.iter().copied().try_fold(0, with_number)?;
                return Some(Sight { roles, assigned: rights.assigned, granted: holds(&rights.accounts) });
            }
            roles |= group.role_set?;
            assigned |= group.assigned;
            granted |= holds(&group.accounts);
        }
        Some(Sight { roles, assigned: assigned || roles != 0, granted })
    }

    /// Calls for every account that [`Self::rights`] grants, in any order and perhaps more than once; `None` as soon
    /// as a call says so. Nothing is allocated unless groups are nested.
    pub fn each_account(&self, person: &Person, mut see: impl FnMut(&Account) -> Option<()>) -> Option<()> {
        if person.groups().len() > MOST_GROUPS {
            return None;
        }
        let mut each = |numbers: &[Number]| {
            let accounts = numbers.iter().filter_map(|number| self.account_by_number(*number));
            let mut own = accounts.filter(|account| account.organization == person.organization);
            own.try_for_each(|account| see(account))
        };
        let own_groups = person.groups().iter().filter_map(|number| self.group(*number));
        let mut own_groups = own_groups.filter(|group| group.organization == person.organization);
        if own_groups.clone().any(|group| !group.parents.is_empty()) {
            return each(&self.rights(person).accounts);
        }
        each(person.accounts())?;
        own_groups.try_for_each(|group| each(&group.accounts))
    }

    /// The granted accounts of a person, by id.
    pub fn accounts_of<'a>(&'a self, rights: &'a Rights) -> impl Iterator<Item = &'a Arc<Account>> {
        rights.accounts.iter().filter_map(|number| self.account_by_number(*number))
    }
}
