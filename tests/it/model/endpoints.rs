//! Endpoints of the catalogue that the model knows, written down by hand, and how a path finds one of them.

/// Base paths of the numbers family.
const NUMBERS: &[&str] = &["/api", "/api/v1", "/v1.0", "/api/v2"];
/// Those that were never taken into the second version.
const FIRST: &[&str] = &["/api", "/api/v1", "/v1.0"];
const V1: &[&str] = &["/api/v1"];
const V2: &[&str] = &["/api/v2"];

/// An endpoint. In its path `{account}` is an account, `{user}` a username, `{}` anything.
#[derive(Debug)]
pub struct Endpoint {
    /// The method.
    pub method: &'static str,
    /// Base paths; each is an alias.
    pub bases: &'static [&'static str],
    /// The path below the base.
    pub path: &'static str,
    /// What it is about.
    pub scope: Scope,
    /// Who may.
    pub rule: Rule,
}

/// What an endpoint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The account in its path.
    Account,
    /// The user in its path.
    User,
    /// No account in its path.
    Global,
}

/// Who may.
#[derive(Debug)]
pub enum Rule {
    /// Whoever has one of the roles, on an account with the products that this role wants here.
    Roles {
        /// Roles with products.
        any: &'static [(&'static str, &'static [&'static str])],
        /// One of the five endpoints that API users without any role may read.
        default_get: bool,
    },
    /// Reporting, where the notification's product is active.
    Notification,
    /// Nobody: no role covers it.
    Uncovered,
    /// The platform's operator alone.
    Operator,
    /// Account Admins.
    Admin,
    /// Everybody, as they see only their own.
    OwnAccounts,
    /// Everybody; an admin sees all users, others themselves.
    UserList,
    /// Oneself, or an admin.
    ViewUser,
    /// Oneself for the profile, an admin for everything but the username.
    ChangeUser,
    /// Oneself.
    ChangePassword,
    /// Everybody, whoever they are.
    Public,
}

/// An endpoint that a path leads to.
pub struct Found<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// The account in the path.
    pub account: Option<String>,
    /// The user in the path.
    pub user: Option<String>,
}

const fn at(method: &'static str, bases: &'static [&'static str], path: &'static str, rule: Rule) -> Endpoint {
    Endpoint { method, bases, path, scope: scope_of(path), rule }
}

/// By the shape of the path: the parameter's name says it.
const fn scope_of(path: &str) -> Scope {
    let bytes = path.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        if bytes[at] == b'{' && bytes[at + 1] == b'a' {
            return Scope::Account;
        }
        if bytes[at] == b'{' && bytes[at + 1] == b'u' {
            return Scope::User;
        }
        at += 1;
    }
    Scope::Global
}

const fn roles(any: &'static [(&'static str, &'static [&'static str])]) -> Rule {
    Rule::Roles { any, default_get: false }
}

const fn default_get(any: &'static [(&'static str, &'static [&'static str])]) -> Rule {
    Rule::Roles { any, default_get: true }
}

const ORDERING: Rule = roles(&[("Ordering", &[])]);
const DISCONNECT: Rule = roles(&[("Disconnect", &[])]);
const PORTING: Rule = roles(&[("Porting", &[])]);
const CONFIGURATION: Rule = roles(&[("Configuration", &[])]);
const NUMBER_ROLES: Rule = roles(&[
    ("Ordering", &[]),
    ("Disconnect", &[]),
    ("Porting", &[]),
    ("Line Features", &[]),
    ("Configuration", &[]),
    ("Reporting", &[]),
]);
const INSIGHTS: Rule =
    roles(&[("Reporting", &["Insights"]), ("Billing Reports", &["Insights"]), ("Messaging Insights", &["Insights"])]);

/// Every endpoint that the model knows. Among several that fit a path the leftmost literal wins.
pub static ENDPOINTS: &[Endpoint] = &[
    at("GET", NUMBERS, "/accounts/{account}/orders", default_get(&[("Ordering", &[])])),
    at("POST", NUMBERS, "/accounts/{account}/orders", ORDERING),
    at("GET", NUMBERS, "/accounts/{account}/orders/totals", ORDERING),
    at("GET", NUMBERS, "/accounts/{account}/orders/{}", default_get(&[("Ordering", &[])])),
    at("PUT", NUMBERS, "/accounts/{account}/orders/{}", ORDERING),
    at("GET", NUMBERS, "/accounts/{account}/orders/{}/notes", ORDERING),
    at("GET", NUMBERS, "/accounts/{account}/orders/{}/history", ORDERING),
    at("GET", NUMBERS, "/accounts/{account}/availableNumbers", ORDERING),
    at("GET", NUMBERS, "/cities", ORDERING),
    at("GET", NUMBERS, "/accounts/{account}/disconnects", DISCONNECT),
    at("POST", NUMBERS, "/accounts/{account}/disconnects", DISCONNECT),
    at("GET", NUMBERS, "/accounts/{account}/discnumbers", roles(&[("Disconnect", &[]), ("Reporting", &[])])),
    at("POST", NUMBERS, "/accounts/{account}/portins", PORTING),
    at("POST", NUMBERS, "/accounts/{account}/portouts", PORTING),
    at("POST", NUMBERS, "/accounts/{account}/lnpchecker", PORTING),
    at("POST", NUMBERS, "/accounts/{account}/csrs", roles(&[("Porting", &["CSR"])])),
    at("GET", NUMBERS, "/accounts/{account}/lsrorders", roles(&[("Porting", &["LSR"])])),
    at("POST", NUMBERS, "/accounts/{account}/tnoptions", roles(&[("Line Features", &[])])),
    at("POST", NUMBERS, "/accounts/{account}/lidbs", roles(&[("Line Features", &["LIDB", "CNAM"])])),
    at("POST", NUMBERS, "/accounts/{account}/dldas", roles(&[("Line Features", &["DlDa"])])),
    at("GET", NUMBERS, "/accounts/{account}/inserviceNumbers", NUMBER_ROLES),
    at("GET", NUMBERS, "/tns", NUMBER_ROLES),
    at("GET", NUMBERS, "/accounts/{account}", CONFIGURATION),
    at("GET", NUMBERS, "/accounts/{account}/sites", CONFIGURATION),
    at("POST", NUMBERS, "/accounts/{account}/sites", CONFIGURATION),
    at("GET", NUMBERS, "/accounts/{account}/sites/{}", CONFIGURATION),
    at("PUT", NUMBERS, "/accounts/{account}/sites/{}", CONFIGURATION),
    at("GET", NUMBERS, "/accounts/{account}/sites/{}/sippeers", default_get(&[("Configuration", &[])])),
    at(
        "POST",
        NUMBERS,
        "/accounts/{account}/sites/{}/sippeers",
        roles(&[("Configuration", &[]), ("E911 Management", &["UC"])]),
    ),
    at("GET", NUMBERS, "/accounts/{account}/sites/{}/sippeers/{}", CONFIGURATION),
    at("PUT", NUMBERS, "/accounts/{account}/sites/{}/sippeers/{}", CONFIGURATION),
    at(
        "GET",
        NUMBERS,
        "/accounts/{account}/products/edgemanagement/settings",
        default_get(&[("Configuration", &["EdgeManagement"])]),
    ),
    at(
        "GET",
        NUMBERS,
        "/accounts/{account}/products/edgemanagement/settings/sipauthentication",
        roles(&[("Configuration", &["EdgeManagement"])]),
    ),
    at("GET", NUMBERS, "/accounts/{account}/products/messaging/settings", roles(&[("Configuration", &["Messaging"])])),
    at(
        "GET",
        NUMBERS,
        "/accounts/{account}/products/termination/settings",
        roles(&[("Configuration", &["Termination"])]),
    ),
    at("POST", NUMBERS, "/accounts/{account}/realms", roles(&[("Configuration", &["EdgeManagement", "SipAuth"])])),
    at(
        "GET",
        NUMBERS,
        "/accounts/{account}/applications",
        roles(&[("HTTP Application Management", &["V2 Messaging"])]),
    ),
    at(
        "POST",
        NUMBERS,
        "/accounts/{account}/applications",
        roles(&[("HTTP Application Management", &["V2 Messaging"])]),
    ),
    at(
        "POST",
        &["/v2"],
        "/accounts/{account}/voiceConfigurationPackages",
        roles(&[("Voice Configuration Package Management", &["Universal Platform"])]),
    ),
    at(
        "POST",
        V2,
        "/accounts/{account}/serviceActivation",
        roles(&[
            ("Voice Configuration Package Management", &["Universal Platform"]),
            ("Ordering", &["Universal Platform"]),
        ]),
    ),
    at("POST", V2, "/accounts/{account}/addresses", roles(&[("Address Management", &[])])),
    at(
        "POST",
        NUMBERS,
        "/accounts/{account}/geocodeRequest",
        roles(&[("Address Management", &[]), ("E911 Management", &[]), ("Configuration", &[])]),
    ),
    at("GET", V2, "/addresses/fields", roles(&[("Address Management", &[])])),
    at(
        "GET",
        V2,
        "/accounts/{account}/compliance/requirementsPackages",
        roles(&[
            ("Requirements Package Viewer", &["Universal Platform"]),
            ("Requirements Package Manager", &["Universal Platform"]),
        ]),
    ),
    at(
        "POST",
        V2,
        "/accounts/{account}/compliance/requirementsPackages",
        roles(&[("Requirements Package Manager", &["Universal Platform"])]),
    ),
    at(
        "GET",
        V2,
        "/compliance/documentTypes",
        roles(&[("Requirements Package Viewer", &[]), ("Requirements Package Manager", &[])]),
    ),
    at("POST", NUMBERS, "/accounts/{account}/e911s", roles(&[("E911 Management", &["UC"])])),
    at("GET", NUMBERS, "/accounts/{account}/aeuis", roles(&[("E911 Management", &["UC", "AEUI"])])),
    at("GET", V2, "/accounts/{account}/emergency/orders", roles(&[("E911 Management", &["UC"])])),
    at("GET", &["/dash-api/xml/emergencyprovisioning/v1"], "/uris", roles(&[("E911 Management", &["UC"])])),
    at("GET", NUMBERS, "/accounts/{account}/billingreports", roles(&[("Billing Reports", &[])])),
    at("POST", NUMBERS, "/accounts/{account}/billingreports", roles(&[("Billing Reports", &[])])),
    at("GET", NUMBERS, "/accounts/{account}/reports", roles(&[("Reporting", &[])])),
    at("GET", &["/api"], "/v1/reports", INSIGHTS),
    at("GET", V1, "/voice/calls", Rule::Uncovered),
    at("GET", NUMBERS, "/accounts/{account}/subscriptions", default_get(&[("Reporting", &[])])),
    at("POST", NUMBERS, "/accounts/{account}/subscriptions", Rule::Notification),
    at("GET", NUMBERS, "/accounts/{account}/subscriptions/{}", roles(&[("Reporting", &[])])),
    at("POST", FIRST, "/accounts/{account}/importTnOrders", roles(&[("External TNs", &["Hosted Messaging"])])),
    at("POST", NUMBERS, "/accounts/{account}/importTnOrders/voice", roles(&[("External TNs", &["Hosted Voice"])])),
    at("GET", NUMBERS, "/accounts/{account}/importToAccount", roles(&[("External TNs", &["IMPORT_TNS"])])),
    at("GET", V2, "/users/{account}/messages", roles(&[("Messaging Insights", &["V2 Messaging"])])),
    at("POST", V2, "/users/{account}/messages", Rule::Uncovered),
    at("POST", V2, "/accounts/{account}/calls", roles(&[("HTTP Voice", &["HTTP Voice"])])),
    at("GET", NUMBERS, "/accounts/{account}/shortcodes", Rule::Uncovered),
    at("POST", V1, "/accounts/{account}/tnlookup", Rule::Uncovered),
    at("GET", FIRST, "/accounts/{account}/{}/{}/adminparameters", Rule::Operator),
    at("GET", NUMBERS, "/admin/data/vendors", Rule::Operator),
    at("GET", V2, "/accounts", Rule::OwnAccounts),
    at("GET", FIRST, "/accounts/{account}/users", Rule::UserList),
    at("GET", FIRST, "/users", Rule::UserList),
    at("POST", V1, "/users", Rule::Admin),
    at("GET", V1, "/roles", Rule::Admin),
    at("POST", V1, "/credentials", Rule::Admin),
    at("POST", &[""], "/idps", Rule::Admin),
    at("GET", FIRST, "/users/{user}", Rule::ViewUser),
    at("PATCH", V1, "/users/{user}", Rule::ChangeUser),
    at("PUT", FIRST, "/users/{user}/password", Rule::ChangePassword),
    at("POST", V1, "/oauth2/token", Rule::Public),
];

/// Requests that the catalogue certainly lacks; `{account}` as above.
pub const ABSENT: &[(&str, &str)] = &[
    ("GET", "/api/accounts/{account}/notInCatalogue"),
    ("HEAD", "/api/accounts/{account}/orders"),
    ("OPTIONS", "/api/accounts/{account}/orders"),
    ("DELETE", "/api/accounts/{account}/orders"),
    ("GET", "/accounts/{account}/orders"),
    ("GET", "/api/v3/accounts/{account}/orders"),
    ("DELETE", "/api/v1/users/somebody"),
];

/// The endpoint that a request is for. One trailing slash and the query are no part of it.
pub fn find(method: &str, path: &str) -> Option<Found<'static>> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<&str> = path.split('/').collect();
    let mut best: Option<(Vec<bool>, Found<'static>)> = None;
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.method == method) {
        for base in endpoint.bases {
            let Some((literals, found)) = fits(endpoint, base, &segments) else { continue };
            if best.as_ref().is_none_or(|(best, _)| literals > *best) {
                best = Some((literals, found));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// Where the path fits: which segments did so literally, leftmost first.
fn fits(endpoint: &'static Endpoint, base: &str, segments: &[&str]) -> Option<(Vec<bool>, Found<'static>)> {
    let wanted = || base.split('/').chain(endpoint.path.split('/').skip(1));
    let same = |(wanted, segment): (&str, &&str)| wanted.starts_with('{') || wanted.eq_ignore_ascii_case(segment);
    if wanted().count() != segments.len() || !wanted().zip(segments).all(same) {
        return None;
    }
    let parameter = |name| wanted().zip(segments).find(|(wanted, _)| *wanted == name).map(|(_, id)| (*id).to_owned());
    let found = Found { endpoint, account: parameter("{account}"), user: parameter("{user}") };
    Some((wanted().map(|wanted| !wanted.starts_with('{')).collect(), found))
}
