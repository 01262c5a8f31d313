//! The fold from a document and its state to what decisions read. **The one place where rights come from.**
//!
//! What the writer may not grant, what does not exist and what nobody understands stays in the document, is
//! [marked](Mark), and grants nothing. Ambiguity reduces rights, never adds them. Pure: accounts were looked up before.

mod role;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

pub(super) use role::role_name;

use super::connection::Connection;
use super::state::{Claim, Claims, UserState};
use crate::domain::{AccessMethods, AdministrationLevel, GroupImage, Number, UserImage, fold};

/// The URN of our extension of people.
pub const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
/// The URN of our extension of groups.
pub const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";

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
        }
    }
}

/// Why a value of the document grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkReason {
    /// The connection's settings do not allow it.
    NotAllowed,
    /// The organization has no such account.
    NoSuchAccount,
    /// Not a value that means anything here.
    NotUnderstood,
}

/// A value of the document that grants nothing: for the provisioning log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The attribute that it stands in.
    pub attribute: &'static str,
    /// The value as sent, shortened.
    pub value: String,
    /// Why.
    pub reason: MarkReason,
}

impl Mark {
    fn new(attribute: &'static str, value: &str, reason: MarkReason) -> Self {
        Self { attribute, value: value.chars().take(100).collect(), reason }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            MarkReason::NotAllowed => {
                "it is not among those that may be given here (the connection's settings, or the roles of the catalogue)"
            }
            MarkReason::NoSuchAccount => "the organization has no such account",
            MarkReason::NotUnderstood => "it means nothing here",
        };
        write!(f, "{} `{}` grants nothing: {why}", self.attribute, self.value.escape_debug())
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
    let mut ids: Vec<String> = values(document.get(extension).and_then(|own| own.get("accounts")))
        .filter_map(plain_text)
        .map(str::to_owned)
        .collect();
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
    rights.read_accounts(own.and_then(|own| own.get("accounts")), limits, before, accounts);
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
    rights.read_accounts(own.and_then(|own| own.get("accounts")), limits, before, accounts);
    rights
}

/// What decisions read of a person. A deleted one keeps the names and nothing else.
pub(super) fn user_image(
    id: &str,
    organization: Number,
    document: &Map<String, Value>,
    state: &UserState,
    rights: &Rights,
    deleted: bool,
) -> UserImage {
    let login = text(document.get("userName")).filter(|login| fold(login) != fold(&state.username));
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
        roles: if held { rights.roles.clone() } else { Vec::new() },
        assigned: held && rights.assigned,
        accounts: if held { rights.accounts.clone() } else { Vec::new() },
        password_changed_at: state.password_changed_at,
        external_ids: state.external.clone(),
    }
}

/// What decisions read of a group.
pub(super) fn group_image(
    id: &str,
    organization: Number,
    document: &Map<String, Value>,
    rights: &Rights,
) -> GroupImage {
    GroupImage {
        id: id.to_owned(),
        organization,
        name: text(document.get("displayName")).unwrap_or_default().to_owned(),
        roles: rights.roles.clone(),
        assigned: rights.assigned,
        accounts: rights.accounts.clone(),
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
            let allowed = limits.roles.as_ref().is_none_or(|roles| roles.contains(&name));
            let claim = claim(limits, before.roles.get(&name), allowed);
            if !claim.granted {
                self.assigned = true;
                self.mark("roles", &name, MarkReason::NotAllowed);
            }
            self.claims.roles.insert(name, claim);
        }
        self.roles = granted(&self.claims.roles).map(str::to_owned).collect();
    }

    fn read_accounts(
        &mut self,
        value: Option<&Value>,
        limits: &Limits,
        before: &Claims,
        accounts: &BTreeMap<String, Number>,
    ) {
        for value in values(value) {
            let Some(id) = plain_text(value) else {
                self.mark("accounts", &shown(value), MarkReason::NotUnderstood);
                continue;
            };
            let Some(number) = accounts.get(id) else {
                self.mark("accounts", id, MarkReason::NoSuchAccount);
                continue;
            };
            let allowed = limits.accounts.as_ref().is_none_or(|ids| ids.iter().any(|other| other == id));
            let claim = claim(limits, before.accounts.get(id), allowed);
            if claim.granted {
                self.accounts.push(*number);
            } else {
                self.mark("accounts", id, MarkReason::NotAllowed);
            }
            self.claims.accounts.insert(id.to_owned(), claim);
        }
        self.accounts.sort_unstable();
        self.accounts.dedup();
    }
}

/// The claim of a value: as somebody else left it where this writer only repeats it, else the writer's own, judged by
/// the limits of today. What somebody else may not give does not become granted by being repeated, and what
/// somebody else gave does not end by it.
fn claim(limits: &Limits, before: Option<&Claim>, allowed: bool) -> Claim {
    match before {
        Some(claim) if claim.by != limits.writer => claim.clone(),
        Some(_) | None => Claim { by: limits.writer.clone(), granted: allowed },
    }
}

/// The names that are granted.
pub(super) fn granted(claims: &BTreeMap<String, Claim>) -> impl Iterator<Item = &str> {
    claims.iter().filter(|(_, claim)| claim.granted).map(|(name, _)| name.as_str())
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
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn limits() -> Limits {
        Limits { writer: "c1".into(), may_grant_admin: false, roles: None, accounts: None, strict: false }
    }

    fn fold_user(document: Value, limits: &Limits, before: &Claims) -> Rights {
        let accounts = BTreeMap::from([("100".to_owned(), 7), ("200".to_owned(), 8)]);
        user_rights(&map(document), limits, before, &accounts)
    }

    #[test]
    fn nothing_said_is_a_basic_user_of_the_dashboard() {
        let rights = fold_user(json!({"userName": "a"}), &limits(), &Claims::default());
        assert_eq!(rights, Rights::none());
        let empty = json!({"roles": [], (USER_EXTENSION): {"accounts": [], "accessMethods": []}});
        assert_eq!(fold_user(empty, &limits(), &Claims::default()), Rights::none());
    }

    #[test]
    fn roles_are_read_in_every_spelling() {
        let spellings = [
            (json!("Ordering"), Some("Ordering")),
            (json!({"value": "Ordering", "display": "Something else"}), Some("Ordering")),
            (json!({"value": "{\"id\":\"1\",\"value\":\"Ordering\",\"displayName\":\"Else\"}"}), Some("Ordering")),
            (json!("{\"value\":\"Ordering\"}"), Some("Ordering")),
            (json!({"value": "{\"id\":\"1\",\"displayName\":\"Ordering\"}"}), Some("Ordering")),
            (json!({"display": "Ordering"}), Some("Ordering")),
            (json!({"displayName": "Ordering"}), Some("Ordering")),
            (json!({"value": "", "display": "Ordering"}), None),
            (json!({"value": null, "display": "Ordering"}), None),
            (json!({"value": "{\"value\":\"\",\"displayName\":\"Ordering\"}"}), None),
            (json!({"primary": true}), None),
            (json!(""), None),
            (json!("{not json"), Some("{not json")),
            (json!(" Ordering"), Some(" Ordering")),
        ];
        for (value, name) in spellings {
            assert_eq!(role_name(&value).as_deref(), name, "{value}");
            let rights = fold_user(json!({"roles": [value]}), &limits(), &Claims::default());
            assert_eq!(rights.roles, name.map(str::to_owned).into_iter().collect::<Vec<_>>());
            assert_eq!(rights.assigned, name.is_none());
            assert_eq!(rights.marked.len(), usize::from(name.is_none()));
        }
    }

    #[test]
    fn a_filtered_role_grants_nothing_and_counts_as_assigned() {
        let limits = Limits { roles: Some(vec!["Ordering".into()]), ..limits() };
        let rights = fold_user(json!({"roles": ["Ordering", "Porting"]}), &limits, &Claims::default());
        assert_eq!((rights.roles.as_slice(), rights.assigned), (&["Ordering".to_owned()][..], true));
        assert_eq!(rights.marked, [Mark::new("roles", "Porting", MarkReason::NotAllowed)]);
    }

    #[test]
    fn the_admin_level_needs_a_setting_and_an_exact_name() {
        let admin = json!({(USER_EXTENSION): {"administrationLevel": "Account Admin"}});
        let refused = fold_user(admin.clone(), &limits(), &Claims::default());
        assert_eq!((refused.level, refused.marked.len()), (AdministrationLevel::BasicUser, 1));
        let allowed = Limits { may_grant_admin: true, ..limits() };
        assert_eq!(fold_user(admin, &allowed, &Claims::default()).level, AdministrationLevel::AccountAdmin);
        for spelling in ["account admin", "Account Admin ", "System", ""] {
            let rights =
                fold_user(json!({(USER_EXTENSION): {"administrationLevel": spelling}}), &allowed, &Claims::default());
            assert_eq!((rights.level, rights.marked.len()), (AdministrationLevel::BasicUser, 1), "{spelling}");
        }
    }

    #[test]
    fn accounts_must_exist_and_be_allowed() {
        let document = json!({(USER_EXTENSION): {"accounts": ["200", {"value": "100"}, "300", 7, "200"]}});
        assert_eq!(account_ids(&map(document.clone()), USER_EXTENSION), ["100", "200", "300"]);
        let rights = fold_user(document.clone(), &limits(), &Claims::default());
        assert_eq!(rights.accounts, [7, 8]);
        assert_eq!(
            rights.marked,
            [
                Mark::new("accounts", "300", MarkReason::NoSuchAccount),
                Mark::new("accounts", "7", MarkReason::NotUnderstood)
            ]
        );
        let narrow = Limits { accounts: Some(vec!["100".into(), "300".into()]), ..limits() };
        assert_eq!(fold_user(document, &narrow, &Claims::default()).accounts, [7]);
    }

    #[test]
    fn unknown_access_methods_grant_nothing_and_do_not_bring_back_the_default() {
        let methods = |value: Value| {
            fold_user(json!({(USER_EXTENSION): {"accessMethods": value}}), &limits(), &Claims::default()).methods
        };
        assert_eq!(methods(json!(["api"])), AccessMethods { dashboard: false, api: true });
        assert_eq!(methods(json!(["api", "dashboard"])), AccessMethods { dashboard: true, api: true });
        assert_eq!(methods(json!(["telephone"])), AccessMethods { dashboard: false, api: false });
        assert_eq!(methods(json!("api")), AccessMethods { dashboard: false, api: true });
        assert_eq!(methods(Value::Null), AccessMethods::DASHBOARD_ONLY);
    }

    #[test]
    fn what_another_gave_survives_a_repetition_and_ones_own_does_not_outlive_its_limit() {
        let document = json!({"roles": ["Porting"], (USER_EXTENSION): {"administrationLevel": "Account Admin"}});
        let operator = Limits::operator("acme", &["Porting".to_owned()]);
        let given = fold_user(document.clone(), &operator, &Claims::default()).claims;
        let narrow = Limits { roles: Some(Vec::new()), ..limits() };
        let repeated = fold_user(document.clone(), &narrow, &given);
        assert_eq!((repeated.roles.len(), repeated.level), (1, AdministrationLevel::AccountAdmin));
        assert_eq!(repeated.claims, given, "and it stays the operator's");
        let removed = fold_user(json!({"roles": []}), &narrow, &given);
        assert_eq!(removed.claims, Claims::default());
        assert!(fold_user(document.clone(), &narrow, &removed.claims).roles.is_empty(), "once gone, it is gone");
        let own = fold_user(document.clone(), &limits(), &Claims::default()).claims;
        assert!(fold_user(document, &narrow, &own).roles.is_empty());
    }

    #[test]
    fn what_one_may_not_give_is_not_granted_by_anothers_repetition() {
        let document = json!({"roles": ["Porting"], (USER_EXTENSION): {"accounts": ["100"]}});
        let narrow = Limits { roles: Some(Vec::new()), accounts: Some(Vec::new()), ..limits() };
        let withheld = fold_user(document.clone(), &narrow, &Claims::default()).claims;
        let wide = Limits { writer: "c2".into(), ..limits() };
        let repeated = fold_user(document.clone(), &wide, &withheld);
        assert!(repeated.roles.is_empty() && repeated.accounts.is_empty() && repeated.assigned);
        let removed = fold_user(json!({}), &wide, &repeated.claims).claims;
        assert_eq!(fold_user(document.clone(), &wide, &removed).roles, ["Porting"], "written anew, it is its own");
        assert_eq!(
            fold_user(document, &limits(), &withheld).roles,
            ["Porting"],
            "a widened limit counts when it writes"
        );
    }

    #[test]
    fn a_deleted_person_keeps_names_only() {
        let document = map(json!({"userName": "New", "roles": ["Ordering"]}));
        let state = UserState { username: "old".into(), active: true, locked: true, ..UserState::default() };
        let rights = user_rights(&document, &limits(), &Claims::default(), &BTreeMap::new());
        let living = user_image("u", 1, &document, &state, &rights, false);
        assert!(living.active && living.locked && living.login.as_deref() == Some("New"));
        let deleted = user_image("u", 1, &document, &state, &rights, true);
        assert!(!deleted.active && deleted.roles.is_empty() && deleted.login.is_some() && deleted.locked);
    }
}
