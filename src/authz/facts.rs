//! From the directory's records to the facts that policies read.

use std::sync::Arc;

use crate::directory::{Account, Person, Rights, Snapshot};
use crate::policy::{AccountFacts, PrincipalFacts};

/// A person with what they hold at one snapshot, and the texts that facts borrow.
pub(super) struct Known<'a> {
    snapshot: &'a Snapshot,
    pub(super) person: &'a Person,
    pub(super) rights: Arc<Rights>,
    id: String,
}

impl<'a> Known<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, person: &'a Person, rights: Arc<Rights>) -> Self {
        Self { snapshot, person, rights, id: person.id() }
    }

    pub(super) fn facts(&self) -> PrincipalFacts<'_> {
        let groups = self.rights.groups.iter().filter_map(|number| self.snapshot.group(*number));
        PrincipalFacts {
            id: &self.id,
            username: self.person.username(),
            organization: self.snapshot.organization(self.person.organization),
            level: self.person.level(),
            methods: self.person.methods(),
            roles: self.rights.roles.iter().map(|role| self.snapshot.role(*role)).collect(),
            groups: groups.map(|group| &*group.id).collect(),
            accounts: self.snapshot.accounts_of(&self.rights).map(|account| &*account.id).collect(),
            has_assigned_role: self.rights.assigned,
            password_changed_at: self.person.password_changed_at(),
        }
    }

    /// The newest revision of any granted account.
    pub(super) fn accounts_stamp(&self) -> u64 {
        self.snapshot.accounts_of(&self.rights).map(|account| account.revision).max().unwrap_or(0)
    }
}

/// An account's facts, behind the wall: one of another organization has no products.
pub(super) fn account<'a>(snapshot: &'a Snapshot, account: &'a Account, of: Option<&Person>) -> AccountFacts<'a> {
    let inside = of.is_some_and(|person| person.organization == account.organization);
    AccountFacts {
        id: &account.id,
        organization: snapshot.organization(account.organization),
        products: if inside { account.products.iter().map(|product| &**product).collect() } else { Vec::new() },
    }
}

/// An account that nobody knows: nobody is granted it.
pub(super) const fn unknown_account(id: &str) -> AccountFacts<'_> {
    AccountFacts { id, organization: "", products: Vec::new() }
}

/// A person that nobody knows, or of another organization: shares nothing with anybody.
pub(super) fn stranger(id: &str) -> PrincipalFacts<'_> {
    PrincipalFacts {
        id,
        username: "",
        organization: "",
        level: crate::domain::AdministrationLevel::BasicUser,
        methods: crate::domain::AccessMethods { dashboard: false, api: false },
        roles: Vec::new(),
        groups: Vec::new(),
        accounts: Vec::new(),
        has_assigned_role: false,
        password_changed_at: None,
    }
}
