//! The model against the rules' own table of decision cases; each is named by its number there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Account, Ask, ENDPOINTS, Expected, PRODUCTS, Person, World, expect};

fn names(of: &[&str]) -> std::collections::BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

/// Account 100 with every product, 200 likewise, 101 with none; one person, `p`.
fn world(person: Person) -> World {
    let full = Account { products: names(PRODUCTS) };
    let accounts =
        BTreeMap::from([("100".into(), full.clone()), ("101".into(), Account::default()), ("200".into(), full)]);
    let other = Person { accounts: names(&["100"]), ..Person::default() };
    let people = BTreeMap::from([("p".to_owned(), Arc::new(person)), ("other".to_owned(), Arc::new(other))]);
    World { accounts: Arc::new(accounts), groups: BTreeMap::new(), people }
}

/// A person for the API alone on account 100.
fn api(roles: &[&str]) -> Person {
    Person { dashboard: false, api: true, roles: names(roles), accounts: names(&["100"]), ..Person::default() }
}

fn asked(person: Person, method: &str, path: &str) -> Expected {
    expect(&world(person), &Ask::request("p", method, &path.replace('~', "/api/accounts/100")))
}

#[track_caller]
fn holds(got: &Expected, permit: bool, reason: &str) {
    assert!(got.agrees(permit, reason), "wanted {permit} {reason}, got {got:?}");
}

#[test]
fn the_five_default_gets_and_their_near_misses() {
    for path in [
        "~/orders",
        "~/orders/o1",
        "~/sites/7/sippeers",
        "~/products/edgemanagement/settings",
        "~/subscriptions",
        "~/orders/",
        "~/orders?page=1&size=50",
        "/api/v2/accounts/100/orders",
    ] {
        holds(&asked(api(&[]), "GET", path), true, "default-get");
    }
    for (method, path) in [
        ("POST", "~/orders"),
        ("PUT", "~/orders/o1"),
        ("GET", "~/orders/o1/notes"),
        ("GET", "~/orders/totals"),
        ("GET", "~/orders/Totals"),
        ("GET", "~/sites/7/sippeers/55"),
        ("GET", "~/sites/7"),
        ("GET", "~/products/messaging/settings"),
        ("POST", "~/subscriptions"),
    ] {
        holds(&asked(api(&[]), method, path), false, "role-missing");
    }
    holds(&asked(api(&[]), "GET", "/api/accounts/200/orders"), false, "account-not-granted");
    holds(&asked(api(&[]), "HEAD", "~/orders"), false, "no-route");
    holds(&asked(api(&["Disconnect"]), "GET", "~/orders"), false, "role-missing");
    holds(&asked(api(&["A role that nobody knows"]), "GET", "~/orders"), false, "role-missing");
}

#[test]
fn who_may_come_in() {
    let dashboard = |roles: &[&str]| Person { dashboard: true, api: false, ..api(roles) };
    let both = Person { dashboard: true, ..api(&[]) };
    let session = |person: Person, method, path: &str| {
        let ask = Ask::request("p", method, &path.replace('~', "/api/accounts/100"));
        expect(&world(person), &Ask { dashboard: true, ..ask })
    };
    let sign_in = |person: Person| expect(&world(person), &Ask::sign_in("p"));
    holds(&session(dashboard(&[]), "GET", "~/orders"), false, "role-missing"); // 29
    holds(&asked(dashboard(&["Ordering"]), "POST", "~/orders"), false, "wrong-access-method"); // 31
    holds(&session(dashboard(&["Ordering"]), "POST", "~/orders"), true, "role"); // 32
    holds(&sign_in(api(&["Ordering"])), false, "wrong-access-method"); // 33
    holds(&sign_in(both.clone()), true, "sign-in"); // 34
    holds(&asked(Person { active: false, ..api(&["Ordering"]) }, "GET", "~/orders"), false, "deactivated"); // 35
    holds(&sign_in(Person { locked: true, ..dashboard(&[]) }), false, "locked"); // 39
    holds(&sign_in(Person { password_age: Some(91), ..dashboard(&[]) }), false, "password-expired"); // 75
    holds(&sign_in(Person { password_age: Some(90), ..dashboard(&[]) }), true, "sign-in"); // Q7
    holds(&sign_in(Person { password_age: Some(200), ..both }), true, "sign-in"); // 77
    holds(&asked(Person { password_age: Some(400), ..api(&["Ordering"]) }, "POST", "~/orders"), true, "role"); // 79
    holds(&expect(&world(api(&[])), &Ask::request("nobody", "GET", "/api/cities")), false, "unknown-user"); // 102
}

#[test]
fn the_level_decides_the_management_of_users() {
    let admin = || Person { admin: true, ..api(&[]) };
    holds(&asked(admin(), "POST", "/api/v1/users"), true, "administration-level"); // 40
    holds(&asked(admin(), "POST", "~/orders"), false, "role-missing"); // 41
    holds(&asked(api(&[]), "GET", "/api/users/p"), true, "own-profile"); // 44
    let change = |person: Person, user: &str, attributes: &[&str]| {
        let attributes = Some(attributes.iter().map(|name| (*name).to_owned()).collect());
        let ask = Ask::request("p", "PATCH", &format!("/api/v1/users/{user}"));
        expect(&world(person), &Ask { attributes, ..ask })
    };
    holds(&change(api(&[]), "p", &["name", "emails", "phoneNumbers"]), true, "own-profile"); // 45
    holds(&change(api(&[]), "p", &["roles"]), false, "admin-required"); // 46
    holds(&change(admin(), "p", &["userName"]), false, "forbidden"); // 47
    holds(&change(api(&[]), "other", &["name"]), false, "not-own-profile"); // 49
    holds(&asked(api(&["User Administrator"]), "POST", "/api/v1/users"), false, "admin-required"); // 51
    holds(&asked(admin(), "DELETE", "/api/v1/users/other"), false, "no-route"); // 53
    holds(&change(admin(), "other", &["active"]), true, "administration-level"); // 54
    let ask = Ask { account: Some("200".into()), ..Ask::request("p", "PATCH", "/api/v1/users/other") };
    holds(&expect(&world(admin()), &ask), false, "account-not-granted"); // 57
}

#[test]
fn roles_and_products() {
    let poor = |role: &str| Person { accounts: names(&["101"]), ..api(&[role]) };
    let there = |path: &str| path.replace('~', "/api/accounts/101");
    for (role, path) in [
        ("Ordering", "~/orders"),
        ("Disconnect", "~/disconnects"),
        ("E911 Management", "~/e911s"),
        ("External TNs", "~/importTnOrders"),
        ("HTTP Application Management", "~/applications"),
        ("Billing Reports", "~/billingreports"),
        ("E911 Management", "~/sites/7/sippeers"),
        ("Porting", "~/portouts"),
        ("Porting", "~/lnpchecker"),
        ("Line Features", "~/tnOptions"),
    ] {
        holds(&asked(api(&[role]), "POST", path), true, "role");
        holds(&asked(api(&["User Administrator"]), "POST", path), false, "role-missing");
    }
    for (role, path) in [
        ("E911 Management", "~/e911s"),
        ("External TNs", "~/importTnOrders"),
        ("HTTP Application Management", "~/applications"),
        ("E911 Management", "~/sites/7/sippeers"),
    ] {
        holds(&asked(poor(role), "POST", &there(path)), false, "product-inactive"); // 67, 69, 71
    }
    holds(&asked(api(&["Reporting"]), "POST", "~/billingreports"), false, "role-missing"); // 81
    holds(&asked(api(&["Ordering"]), "GET", "~/orders/o1/adminparameters"), false, "operator-only");
    holds(&asked(api(&["Messaging Insights"]), "POST", "/api/v2/users/100/messages"), false, "not-covered");
    holds(&asked(api(super::ROLES), "GET", "~/notInCatalogue"), false, "no-route"); // 100
}

#[test]
fn every_role_opens_something_and_every_endpoint_can_be_found() {
    for role in super::ROLES.iter().filter(|role| **role != "User Administrator") {
        let opens = ENDPOINTS.iter().any(|endpoint| {
            matches!(&endpoint.rule, super::Rule::Roles { any, .. } if any.iter().any(|(name, _)| name == role))
        });
        assert!(opens, "{role}");
    }
    for endpoint in ENDPOINTS {
        for base in endpoint.bases {
            let path = format!("{base}{}", endpoint.path).replace("{account}", "100").replace("{user}", "p");
            let found = super::endpoints::find(endpoint.method, &path.replace("{}", "x1")).expect("itself");
            assert!(
                std::ptr::eq(found.endpoint, endpoint),
                "{} {path} leads to {}",
                endpoint.method,
                found.endpoint.path
            );
        }
    }
}
