//! The fold from a document and its state to what decisions read. **The one place where rights come from.**
//!
//! What the writer may not grant, what does not exist and what nobody understands stays in the document, is
//! [marked](Mark), and grants nothing. Ambiguity reduces rights, never adds them. Pure: accounts were looked up before.

mod mark;
mod role;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use mark::{Mark, MarkReason};
pub(super) use role::role_name;

use super::connection::Connection;
use super::state::{Claim, Claims, UserState};
use crate::domain::{AccessMethods, AdministrationLevel, GroupImage, Number, UserImage, folded};

/// The URN of our extension of people.
pub const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
/// The URN of our extension of groups.
pub const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";
/// The `type` of entitlements that are accounts.
pub(super) const ACCOUNT_ENTITLEMENT: &str = "account";

/// What a writer may grant, and the name that is remembered with what it granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The id of a connection, or an operator's name.
    pub writer: String,
    /// May give the level Account Admin.
    pub may_grant_admin: bool,
    /// The roles that it may give; `None` allows every role.
    pub roles: Option<Vec<String>>,
    /// The accounts that it may give; `None` allows every account of the organization.
    pub accounts: Option<Vec<String>>,
    /// Refuses a document with marks instead of storing it.
    pub strict: bool,
    /// An operator, who may bring members into any group.
    pub operator: bool,
}

impl Limits {
    /// Those of a connection's settings.
    pub fn of(connection: &Connection) -> Self {
        Self {
            writer: connection.id.clone(),
            may_grant_admin: connection.settings.may_grant_admin,
            roles: connection.settings.roles.clone(),
            accounts: connection.settings.accounts.clone(),
            strict: false,
            operator: false,
        }
    }

    /// An operator's: everything inside the organization, of the roles that there are. The name cannot be a
    /// connection's id, which is a UUID.
    pub fn operator(organization: &str, roles: &[String]) -> Self {
        Self {
            writer: format!("operator@{organization}"),
            may_grant_admin: true,
            roles: Some(roles.to_vec()),
            accounts: None,
            strict: false,
            operator: true,
        }
    }

    /// Whether it may give this role.
    pub fn allow_role(&self, name: &str) -> bool {
        self.roles.as_ref().is_none_or(|roles| roles.iter().any(|role| role == name))
    }

    /// Whether it may give this account.
    pub fn allow_account(&self, id: &str) -> bool {
        self.accounts.as_ref().is_none_or(|ids| ids.iter().any(|other| other == id))
    }
}

/// What a document grants under a writer's limits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rights {
    pub level: AdministrationLevel,
    pub methods: AccessMethods,
    pub roles: Vec<String>,
    pub assigned: bool,
    pub accounts: Vec<Number>,
    /// To be remembered in the state.
    pub claims: Claims,
    /// What grants nothing.
    pub marked: Vec<Mark>,
}

/// The account ids that a document names, each once.
pub(super) fn account_ids(document: &Map<String, Value>, extension: &str) -> Vec<String> {
    let mut ids: Vec<String> = account_values(document, extension).filter_map(plain_text).map(str::to_owned).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// The rights of a person's document. `accounts` holds those of [`account_ids`] that exist in the organization.
pub(super) fn user_rights(
    document: &Map<String, Value>,
    limits: &Limits,
    before: &Claims,
    accounts: &BTreeMap<String, Number>,
) -> Rights {
    let own = document.get(USER_EXTENSION);
    let mut rights = Rights::none();
    rights.read_level(own.and_then(|own| own.get("administrationLevel")), limits, before);
    rights.read_methods(own.and_then(|own| own.get("accessMethods")));
    rights.read_roles(document.get("roles"), limits, before);
    rights.claims.accounts =
        rights.read_accounts(own_accounts(document, USER_EXTENSION), limits, &before.accounts, accounts);
    // Records of before entitlements had claims of their own hold theirs among the accounts.
    let entitled = if before.entitlements.is_empty() { &before.accounts } else { &before.entitlements };
    rights.read_entitlements(document, limits, entitled, accounts);
    rights
}

/// The rights that a group's document gives to members.
pub(super) fn group_rights(
    document: &Map<String, Value>,
    limits: &Limits,
    before: &Claims,
    accounts: &BTreeMap<String, Number>,
) -> Rights {
    let own = document.get(GROUP_EXTENSION);
    let mut rights = Rights::none();
    rights.read_roles(own.and_then(|own| own.get("roles")), limits, before);
    rights.claims.accounts =
        rights.read_accounts(own_accounts(document, GROUP_EXTENSION), limits, &before.accounts, accounts);
    rights
}

/// What decisions read of a person. A deleted one keeps the names and nothing else.
pub(super) fn user_image(
    id: &str,
    organization: Number,
    document: &Map<String, Value>,
    state: &UserState,
    rights: Rights,
    deleted: bool,
) -> UserImage {
    let login = text(document.get("userName")).filter(|login| folded(login) != folded(&state.username));
    let held = !deleted;
    UserImage {
        id: id.to_owned(),
        organization,
        username: state.username.clone(),
        login: login.map(str::to_owned),
        active: held && state.active,
        locked: state.locked,
        level: if held { rights.level } else { AdministrationLevel::BasicUser },
        methods: if held { rights.methods } else { AccessMethods { dashboard: false, api: false } },
        roles: if held { rights.roles } else { Vec::new() },
        assigned: held && rights.assigned,
        accounts: if held { rights.accounts } else { Vec::new() },
        password_changed_at: state.password_changed_at,
        linked_again: state.linked_again,
        external_ids: state.external.clone(),
    }
}

/// What decisions read of a group.
pub(super) fn group_image(id: &str, organization: Number, document: &Map<String, Value>, rights: Rights) -> GroupImage {
    GroupImage {
        id: id.to_owned(),
        organization,
        name: text(document.get("displayName")).unwrap_or_default().to_owned(),
        roles: rights.roles,
        assigned: rights.assigned,
        accounts: rights.accounts,
    }
}

impl Rights {
    fn none() -> Self {
        Self {
            level: AdministrationLevel::BasicUser,
            methods: AccessMethods::DASHBOARD_ONLY,
            roles: Vec::new(),
            assigned: false,
            accounts: Vec::new(),
            claims: Claims::default(),
            marked: Vec::new(),
        }
    }

    fn mark(&mut self, attribute: &'static str, value: &str, reason: MarkReason) {
        self.marked.push(Mark::new(attribute, value, reason));
    }

    fn read_level(&mut self, value: Option<&Value>, limits: &Limits, before: &Claims) {
        let Some(value) = value else { return };
        match text(Some(value)).and_then(AdministrationLevel::parse) {
            Some(AdministrationLevel::BasicUser) => {}
            Some(AdministrationLevel::AccountAdmin) => {
                let claim = claim(limits, before.admin.as_ref(), limits.may_grant_admin);
                if claim.granted {
                    self.level = AdministrationLevel::AccountAdmin;
                } else {
                    self.mark("administrationLevel", &shown(value), MarkReason::NotAllowed);
                }
                self.claims.admin = Some(claim);
            }
            None => self.mark("administrationLevel", &shown(value), MarkReason::NotUnderstood),
        }
    }

    /// Nothing said is the dashboard; something said is that, and no more than what is understood of it.
    fn read_methods(&mut self, value: Option<&Value>) {
        if values(value).next().is_none() {
            return;
        }
        let mut methods = AccessMethods { dashboard: false, api: false };
        for value in values(value) {
            match plain_text(value) {
                Some("dashboard") => methods.dashboard = true,
                Some("api") => methods.api = true,
                Some(_) | None => self.mark("accessMethods", &shown(value), MarkReason::NotUnderstood),
            }
        }
        self.methods = methods;
    }

    /// Whatever stands here counts as assigned, also what grants nothing (`domain.md` Q10).
    fn read_roles(&mut self, value: Option<&Value>, limits: &Limits, before: &Claims) {
        for value in values(value) {
            let Some(name) = role_name(value) else {
                self.assigned = true;
                self.mark("roles", &shown(value), MarkReason::NotUnderstood);
                continue;
            };
            let claim = claim(limits, before.roles.get(&name), limits.allow_role(&name));
            if !claim.granted {
                self.assigned = true;
                self.mark("roles", &name, MarkReason::NotAllowed);
            }
            self.claims.roles.insert(name, claim);
        }
        self.roles = self.claims.given_roles().map(str::to_owned).collect();
    }

    /// Gives the accounts that are there and that their writers may give; answers whose each named one is.
    fn read_accounts<'v>(
        &mut self,
        found: impl Iterator<Item = &'v Value>,
        limits: &Limits,
        before: &BTreeMap<String, Claim>,
        accounts: &BTreeMap<String, Number>,
    ) -> BTreeMap<String, Claim> {
        let mut claims = BTreeMap::new();
        for value in found {
            let Some(id) = plain_text(value) else {
                self.mark("accounts", &shown(value), MarkReason::NotUnderstood);
                continue;
            };
            let number = accounts.get(id);
            let claim = Claim { dormant: number.is_none(), ..claim(limits, before.get(id), limits.allow_account(id)) };
            match number {
                Some(number) if claim.granted => self.accounts.push(*number),
                Some(_) => self.mark("accounts", id, MarkReason::NotAllowed),
                None => self.mark("accounts", id, MarkReason::NoSuchAccount),
            }
            claims.insert(id.to_owned(), claim);
        }
        self.accounts.sort_unstable();
        self.accounts.dedup();
        claims
    }

    /// Entitlements of another type mean nothing here, and those that are accounts nothing beside `accounts`.
    fn read_entitlements(
        &mut self,
        document: &Map<String, Value>,
        limits: &Limits,
        before: &BTreeMap<String, Claim>,
        accounts: &BTreeMap<String, Number>,
    ) {
        let overridden = own_accounts(document, USER_EXTENSION).next().is_some();
        for value in values(document.get("entitlements")) {
            match (is_account(value), overridden) {
                (true, false) => {}
                (true, true) => self.mark("entitlements", &shown(value), MarkReason::Overridden),
                (false, _) => self.mark("entitlements", &shown(value), MarkReason::NotUnderstood),
            }
        }
        if !overridden {
            self.claims.entitlements = self.read_accounts(entitled_accounts(document), limits, before, accounts);
            return;
        }
        for id in entitled_accounts(document).filter_map(plain_text) {
            let claim = Claim { dormant: true, ..claim(limits, before.get(id), limits.allow_account(id)) };
            self.claims.entitlements.insert(id.to_owned(), claim);
        }
    }
}

/// Where a document names accounts: in our extension, or, only where a person's says nothing there, in entitlements
/// of the type account. Two sources are never added up: whoever shortens the one must not be undone by the other.
fn account_values<'d>(document: &'d Map<String, Value>, extension: &str) -> impl Iterator<Item = &'d Value> {
    let own: Vec<&Value> = own_accounts(document, extension).collect();
    let entitled = (own.is_empty() && extension == USER_EXTENSION).then(|| entitled_accounts(document));
    own.into_iter().chain(entitled.into_iter().flatten())
}

fn entitled_accounts(document: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    values(document.get("entitlements")).filter(|value| is_account(value))
}

fn own_accounts<'d>(document: &'d Map<String, Value>, extension: &str) -> impl Iterator<Item = &'d Value> {
    values(document.get(extension).and_then(|own| own.get("accounts")))
}

fn is_account(entitlement: &Value) -> bool {
    text(entitlement.get("type")).is_some_and(|label| label.eq_ignore_ascii_case(ACCOUNT_ENTITLEMENT))
}

/// The claim of a value: as somebody else left it where this writer only repeats it, else the writer's own, judged by
/// the limits of today. What somebody else may not give does not become granted by being repeated, and what
/// somebody else gave does not end by it.
fn claim(limits: &Limits, before: Option<&Claim>, allowed: bool) -> Claim {
    match before {
        Some(claim) if claim.by != limits.writer => claim.clone(),
        Some(_) | None => Claim { by: limits.writer.clone(), granted: allowed, dormant: false },
    }
}

/// Effective access methods of a person's document.
pub(super) fn access_methods(document: &Map<String, Value>) -> AccessMethods {
    let mut rights = Rights::none();
    rights.read_methods(document.get(USER_EXTENSION).and_then(|own| own.get("accessMethods")));
    rights.methods
}

/// The values of a multi-valued attribute; a single one counts as a list of one.
fn values(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let (list, single) = match value {
        Some(Value::Array(elements)) => (elements.as_slice(), None),
        Some(Value::Null) | None => (&[][..], None),
        Some(single) => (&[][..], Some(single)),
    };
    list.iter().chain(single)
}

/// Text, or the text in `{"value": …}`.
fn plain_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("value").and_then(Value::as_str)).filter(|text| !text.is_empty())
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
