//! A plain model of the dashboard's rules: what the answer to a question must be, and for which reason.
//!
//! Written from the rules as they are stated for people, by the order of the checks: no shared code and no
//! shared data with the product or its policies, so that the two can only agree by both being right. Knows no
//! HTTP and no SCIM. A few dozen endpoints stand for the catalogue; a question must be about one of those, or
//! about something that the catalogue certainly lacks.

mod cases;
mod endpoints;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use endpoints::{ABSENT, ENDPOINTS, Rule, Scope};

/// Days after which the password of a dashboard-only person must have been set again.
const PASSWORD_DAYS: i64 = 90;

/// Product names that endpoints here want, for worlds made at random.
pub const PRODUCTS: &[&str] = &[
    "UC",
    "AEUI",
    "Hosted Messaging",
    "Hosted Voice",
    "V2 Messaging",
    "HTTP Voice",
    "Messaging",
    "Termination",
    "EdgeManagement",
    "SipAuth",
    "Universal Platform",
    "Insights",
    "CSR",
    "LSR",
    "LIDB",
    "CNAM",
    "DlDa",
    "IMPORT_TNS",
];

/// Every role of the rules.
pub const ROLES: &[&str] = &[
    "Address Management",
    "Billing Reports",
    "Configuration",
    "Disconnect",
    "Line Features",
    "Ordering",
    "Porting",
    "Reporting",
    "Requirements Package Manager",
    "Requirements Package Viewer",
    "Voice Configuration Package Management",
    "E911 Management",
    "External TNs",
    "HTTP Application Management",
    "User Administrator",
    "HTTP Voice",
    "Messaging Insights",
];

/// One organization as its rules see it. Cheap to clone: people and groups are shared.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Accounts of the organization, by id; ids that are not here belong to somebody else or to nobody.
    pub accounts: Arc<BTreeMap<String, Account>>,
    /// Groups by any name the caller likes.
    pub groups: BTreeMap<String, Arc<Group>>,
    /// People by username.
    pub people: BTreeMap<String, Arc<Person>>,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What it has subscribed to.
    pub products: BTreeSet<String>,
}

/// A group: its members gain what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Roles, known or not.
    pub roles: BTreeSet<String>,
    /// Account ids.
    pub accounts: BTreeSet<String>,
    /// Usernames.
    pub members: BTreeSet<String>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Account Admin, or else Basic User.
    pub admin: bool,
    /// May sign in to the dashboard.
    pub dashboard: bool,
    /// May authenticate API calls.
    pub api: bool,
    /// Roles assigned directly, known or not.
    pub roles: BTreeSet<String>,
    /// Accounts assigned directly.
    pub accounts: BTreeSet<String>,
    /// Neither deactivated nor deleted.
    pub active: bool,
    /// Locked after failed sign-ins.
    pub locked: bool,
    /// Days since the password was set, where known.
    pub password_age: Option<i64>,
}

impl Default for Person {
    /// What a person is of whom nothing else is said: active, for the dashboard.
    fn default() -> Self {
        Self {
            admin: false,
            dashboard: true,
            api: false,
            roles: BTreeSet::new(),
            accounts: BTreeSet::new(),
            active: true,
            locked: false,
            password_age: None,
        }
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Username.
    pub who: String,
    /// What they want to do.
    pub what: What,
    /// By the dashboard, or else by the API.
    pub dashboard: bool,
    /// The account that the context names.
    pub account: Option<String>,
    /// The product that the context names.
    pub product: Option<String>,
    /// The attributes that a change of a user touches.
    pub attributes: Option<Vec<String>>,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A request.
    Request {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// Entering the dashboard.
    SignIn,
}

impl Ask {
    /// A request by the API, with nothing said beside it.
    pub fn request(who: &str, method: &str, path: &str) -> Self {
        let what = What::Request { method: method.into(), path: path.into() };
        Self { who: who.into(), what, dashboard: false, account: None, product: None, attributes: None }
    }

    /// Entering the dashboard.
    pub fn sign_in(who: &str) -> Self {
        let (dashboard, what) = (true, What::SignIn);
        Self { who: who.into(), what, dashboard, account: None, product: None, attributes: None }
    }
}

/// The answer that the rules ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Permit or deny.
    pub permit: bool,
    /// Reason codes that are right; more than one only where the rules leave it open.
    pub reasons: Vec<&'static str>,
}

impl Expected {
    /// Whether an answer agrees.
    pub fn agrees(&self, permit: bool, reason: &str) -> bool {
        self.permit == permit && self.reasons.contains(&reason)
    }
}

fn permit(reason: &'static str) -> Expected {
    Expected { permit: true, reasons: vec![reason] }
}

fn deny(reason: &'static str) -> Expected {
    Expected { permit: false, reasons: vec![reason] }
}

/// Denied for either reason: the rules do not say which of the two checks comes to fail.
fn deny_either(one: &'static str, other: &'static str) -> Expected {
    Expected { permit: false, reasons: vec![one, other] }
}

impl World {
    /// Roles of a person, their own and those of their groups; unknown names too, as they count as assigned.
    fn roles_of(&self, who: &str, person: &Person) -> BTreeSet<String> {
        let mut roles = person.roles.clone();
        for group in self.groups.values().filter(|group| group.members.contains(who)) {
            roles.extend(group.roles.iter().cloned());
        }
        roles
    }

    /// Accounts that a person reaches; those outside the organization grant nothing.
    fn accounts_of(&self, who: &str, person: &Person) -> BTreeSet<String> {
        let mut accounts = person.accounts.clone();
        for group in self.groups.values().filter(|group| group.members.contains(who)) {
            accounts.extend(group.accounts.iter().cloned());
        }
        accounts.retain(|id| self.accounts.contains_key(id));
        accounts
    }

    fn has_products(&self, account: &str, products: &[&str]) -> bool {
        let held = self.accounts.get(account).map(|account| &account.products);
        products.iter().all(|wanted| held.is_some_and(|held| held.contains(*wanted)))
    }
}

/// The answer that the rules ask for: the checks in their order, the first that fails gives the reason.
pub fn expect(world: &World, ask: &Ask) -> Expected {
    let found = match &ask.what {
        What::SignIn => None,
        What::Request { method, path } => match endpoints::find(method, path) {
            Some(found) => Some(found),
            None => return deny("no-route"),
        },
    };
    let Some(person) = world.people.get(&ask.who) else { return deny("unknown-user") };
    if !person.active {
        return deny("deactivated");
    }
    if person.locked {
        return deny("locked");
    }
    if found.as_ref().is_some_and(|found| matches!(found.endpoint.rule, Rule::Public)) {
        // Open to everybody, but an account that is named must be granted as everywhere.
        let accounts = world.accounts_of(&ask.who, person);
        let granted = ask.account.as_ref().is_none_or(|named| accounts.contains(named));
        return if granted { permit("public") } else { deny("account-not-granted") };
    }
    let by_dashboard = ask.dashboard || found.is_none();
    if (by_dashboard && !person.dashboard) || (!by_dashboard && !person.api) {
        return deny("wrong-access-method");
    }
    let dashboard_only = person.dashboard && !person.api;
    if dashboard_only && person.password_age.is_some_and(|days| days > PASSWORD_DAYS) {
        return deny("password-expired");
    }
    let Some(found) = found else { return permit("sign-in") };
    Judge { world, ask, person, accounts: world.accounts_of(&ask.who, person), found: &found }.judge()
}

/// A question whose asker may come in at all.
struct Judge<'a> {
    world: &'a World,
    ask: &'a Ask,
    person: &'a Person,
    accounts: BTreeSet<String>,
    found: &'a endpoints::Found<'a>,
}

impl Judge<'_> {
    fn judge(&self) -> Expected {
        let endpoint = self.found.endpoint;
        for named in [self.found.account.as_deref(), self.ask.account.as_deref()].into_iter().flatten() {
            if !self.accounts.contains(named) {
                return deny("account-not-granted");
            }
        }
        let homeless = endpoint.scope == Scope::Global && self.accounts.is_empty();
        match &endpoint.rule {
            Rule::Roles { .. } | Rule::Notification if homeless => deny("account-required"),
            // Whether what nobody may do needs an account is not said.
            Rule::Operator if homeless => deny_either("account-required", "operator-only"),
            Rule::Uncovered if homeless => deny_either("account-required", "not-covered"),
            Rule::Operator => deny("operator-only"),
            Rule::Uncovered => deny("not-covered"),
            // The level alone decides here, whatever accounts there are.
            Rule::Admin if self.person.admin => permit("administration-level"),
            Rule::Admin => deny("admin-required"),
            Rule::OwnAccounts => permit("own-profile"),
            Rule::UserList if self.person.admin => permit("administration-level"),
            Rule::UserList => permit("own-profile"),
            Rule::ViewUser => self.view_user(),
            Rule::ChangeUser => self.change_user(),
            Rule::ChangePassword => self.change_password(),
            Rule::Notification => self.notification(),
            Rule::Roles { any, default_get } => self.roles(any, *default_get),
            Rule::Public => permit("public"),
        }
    }

    /// The accounts on which the question may succeed: the one it names, or any that the person has.
    fn candidates(&self) -> Vec<&str> {
        match self.found.account.as_deref().or(self.ask.account.as_deref()) {
            Some(account) => vec![account],
            None => self.accounts.iter().map(String::as_str).collect(),
        }
    }

    fn roles(&self, any: &[(&'static str, &'static [&'static str])], default_get: bool) -> Expected {
        let assigned = self.world.roles_of(&self.ask.who, self.person);
        let held = || any.iter().filter(|(role, _)| assigned.contains(*role));
        let covered = |products: &[&str]| self.candidates().iter().any(|id| self.world.has_products(id, products));
        if held().any(|(_, products)| covered(products)) {
            return permit("role");
        }
        if default_get && self.person.api && assigned.is_empty() {
            return permit("default-get");
        }
        if held().next().is_some() { deny("product-inactive") } else { deny("role-missing") }
    }

    fn notification(&self) -> Expected {
        let product: Vec<&str> = self.ask.product.iter().map(String::as_str).collect();
        if !self.world.roles_of(&self.ask.who, self.person).contains("Reporting") {
            return deny("role-missing");
        }
        let active = self.candidates().iter().any(|id| self.world.has_products(id, &product));
        if active { permit("role") } else { deny("product-inactive") }
    }

    fn is_own(&self) -> bool {
        self.found.user.as_deref() == Some(self.ask.who.as_str())
    }

    /// Whether the person acted on is within the accounts of the one who acts.
    fn shares_account(&self) -> bool {
        let target = self.found.user.as_deref().unwrap_or_default();
        let theirs = self.world.people.get(target).map(|person| self.world.accounts_of(target, person));
        theirs.is_some_and(|theirs| theirs.iter().any(|id| self.accounts.contains(id)))
    }

    fn view_user(&self) -> Expected {
        match (self.is_own(), self.person.admin) {
            (true, true) => permit("administration-level"),
            (true, false) => permit("own-profile"),
            (false, _) if !self.shares_account() => deny("account-not-granted"),
            (false, true) => permit("administration-level"),
            (false, false) => deny("not-own-profile"),
        }
    }

    fn change_user(&self) -> Expected {
        let touched = self.ask.attributes.as_deref().unwrap_or_default();
        let is_username = |name: &String| name.eq_ignore_ascii_case("username");
        let is_profile = |name: &String| ["name", "emails", "phoneNumbers"].contains(&name.as_str());
        let own = !touched.is_empty() && touched.iter().all(|name| is_profile(name) || is_username(name));
        let username = touched.iter().any(is_username);
        match (self.is_own(), self.person.admin) {
            (false, _) if !self.shares_account() => deny("account-not-granted"),
            // Two rules forbid it, and which of them speaks is not said.
            (false, false) if username => deny_either("not-own-profile", "forbidden"),
            (false, false) => deny("not-own-profile"),
            (true, false) if !own => deny("admin-required"),
            _ if username => deny("forbidden"),
            (_, true) => permit("administration-level"),
            (true, false) => permit("own-profile"),
        }
    }

    fn change_password(&self) -> Expected {
        match (self.is_own(), self.shares_account()) {
            (true, _) => permit("own-profile"),
            (false, true) => deny("not-own-profile"),
            (false, false) => deny("account-not-granted"),
        }
    }
}
