//! Everybody as the changes that would make them, for a copy of the directory elsewhere: what decisions read, and
//! nothing else.

use super::records::{Group, Person, Slot};
use super::{Account, Snapshot};
use crate::domain::{AccountImage, Change, GroupImage, Image, MemberChange, Number, OrganizationImage, UserImage};

impl Snapshot {
    /// The changes of everything after this number, of at most so many resources, and the number of the last one
    /// where there is more.
    pub fn changes(&self, after: Option<Number>, limit: usize) -> (Vec<Change>, Option<Number>) {
        let mut changes = Vec::new();
        let mut seen = 0;
        let mut last = None;
        for (number, slot) in
            (0..).zip(self.slots.iter()).filter(|(number, _)| after.is_none_or(|after| *number > after))
        {
            if matches!(slot, Slot::Empty | Slot::Gone(_)) {
                continue;
            }
            if seen >= limit {
                return (changes, last);
            }
            (seen, last) = (seen + 1, Some(number));
            let groups = match slot {
                Slot::Organization(id) => {
                    let image = Image::Organization(OrganizationImage { id: id.to_string() });
                    changes.push(Change { number, image });
                    continue;
                }
                Slot::Account(account) => {
                    changes.push(Change { number, image: Image::Account(of_account(account)) });
                    continue;
                }
                Slot::Person(person) => {
                    changes.push(Change { number, image: Image::User(self.of_person(person)) });
                    person.groups()
                }
                Slot::Group(group) => {
                    changes.push(Change { number, image: Image::Group(self.of_group(group)) });
                    &group.parents
                }
                Slot::Empty | Slot::Gone(_) => continue,
            };
            for group in groups {
                let joined = MemberChange { added: vec![number], removed: Vec::new() };
                changes.push(Change { number: *group, image: Image::Members(joined) });
            }
        }
        (changes, None)
    }

    fn role_names(&self, roles: &[u32]) -> Vec<String> {
        roles.iter().map(|role| self.role(*role).to_owned()).collect()
    }

    fn of_person(&self, person: &Person) -> UserImage {
        UserImage {
            // Decisions about tokens alone read these; an export is about rights.
            external_ids: std::collections::BTreeMap::new(),
            id: person.id(),
            organization: person.organization,
            username: person.username().to_owned(),
            login: person.login().map(str::to_owned),
            active: person.active(),
            locked: person.locked(),
            level: person.level(),
            methods: person.methods(),
            roles: self.role_names(person.roles()),
            assigned: person.assigned(),
            accounts: person.accounts().to_vec(),
            password_changed_at: person.password_changed_at(),
            linked_again: person.tokens_since().map(|second| crate::domain::Timestamp(second * 1_000)),
        }
    }

    fn of_group(&self, group: &Group) -> GroupImage {
        GroupImage {
            id: group.id.to_string(),
            organization: group.organization,
            name: group.name.to_string(),
            roles: self.role_names(&group.roles),
            assigned: group.assigned,
            accounts: group.accounts.to_vec(),
        }
    }
}

fn of_account(account: &Account) -> AccountImage {
    AccountImage {
        id: account.id.to_string(),
        organization: account.organization,
        products: account.products.iter().map(ToString::to_string).collect(),
    }
}
