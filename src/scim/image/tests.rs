//! What documents grant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use serde_json::json;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn limits() -> Limits {
    Limits { writer: "c1".into(), may_grant_admin: false, roles: None, accounts: None, strict: false, operator: false }
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
    assert_eq!(fold_user(document, &limits(), &withheld).roles, ["Porting"], "a widened limit counts when it writes");
}

#[test]
fn what_is_not_there_yet_keeps_the_limits_of_whoever_named_it() {
    let narrow = Limits { accounts: Some(vec!["100".into()]), ..limits() };
    let wide = Limits { writer: "c2".into(), ..limits() };
    let later = |document: &Value, writer: &Limits, before: &Claims| {
        let accounts = BTreeMap::from([("100".to_owned(), 7), ("300".to_owned(), 9)]);
        user_rights(&map(document.clone()), writer, before, &accounts)
    };
    let document = json!({(USER_EXTENSION): {"accounts": ["300"]}});
    let named = fold_user(document.clone(), &narrow, &Claims::default());
    assert!(named.accounts.is_empty() && named.claims.given_accounts().next().is_none());
    let touched = later(&document, &wide, &named.claims);
    assert!(touched.accounts.is_empty(), "made meanwhile, and still not the narrow one's to give");
    assert_eq!(touched.marked, [Mark::new("accounts", "300", MarkReason::NotAllowed)]);
    let anew = later(&document, &wide, &later(&json!({}), &wide, &touched.claims).claims);
    assert_eq!(anew.accounts, [9], "named anew by one who may");

    let named = fold_user(document.clone(), &wide, &Claims::default());
    assert_eq!(later(&document, &narrow, &named.claims).accounts, [9], "one who may had named it");
    let group = map(json!({(GROUP_EXTENSION): {"accounts": ["300"]}}));
    let named = group_rights(&group, &narrow, &Claims::default(), &BTreeMap::new()).claims;
    let accounts = BTreeMap::from([("300".to_owned(), 9)]);
    assert!(group_rights(&group, &wide, &named, &accounts).accounts.is_empty());
}

#[test]
fn an_overridden_entitlement_keeps_the_limits_of_whoever_named_it() {
    let narrow = Limits { accounts: Some(vec!["100".into()]), ..limits() };
    let wide = Limits { writer: "c2".into(), ..limits() };
    let entitled = json!([{"value": "200", "type": "account"}]);
    let both = json!({"entitlements": entitled, (USER_EXTENSION): {"accounts": ["100"]}});
    let named = fold_user(both.clone(), &narrow, &Claims::default());
    assert_eq!((named.accounts.as_slice(), named.claims.given_accounts().count()), (&[7][..], 1));
    let uncovered = fold_user(json!({"entitlements": entitled}), &wide, &named.claims);
    assert!(uncovered.accounts.is_empty(), "what stood behind the accounts was not allowed");
    // Somebody who may names the same account beside it, and takes it back.
    let beside = json!({"entitlements": entitled, (USER_EXTENSION): {"accounts": ["200"]}});
    let given = fold_user(beside, &wide, &named.claims);
    assert_eq!(given.accounts, [8]);
    assert!(fold_user(json!({"entitlements": entitled}), &wide, &given.claims).accounts.is_empty());

    let allowed = fold_user(both, &wide, &Claims::default()).claims;
    assert_eq!(fold_user(json!({"entitlements": entitled}), &narrow, &allowed).accounts, [8]);
}

#[test]
fn a_deleted_person_keeps_names_only() {
    let document = map(json!({"userName": "New", "roles": ["Ordering"]}));
    let state = UserState { username: "old".into(), active: true, locked: true, ..UserState::default() };
    let rights = user_rights(&document, &limits(), &Claims::default(), &BTreeMap::new());
    let living = user_image("u", 1, &document, &state, rights.clone(), false);
    assert!(living.active && living.locked && living.login.as_deref() == Some("New"));
    let deleted = user_image("u", 1, &document, &state, rights, true);
    assert!(!deleted.active && deleted.roles.is_empty() && deleted.login.is_some() && deleted.locked);
}

#[test]
fn accounts_come_from_entitlements_only_where_the_extension_is_silent() {
    let entitled = json!([
        {"value": "100", "display": "Main", "type": "account"},
        {"value": "200", "type": "Account"},
        {"value": "100", "type": "license"},
        {"value": "100"},
    ]);
    let rights = fold_user(json!({"entitlements": entitled}), &limits(), &Claims::default());
    assert_eq!(rights.accounts, [7, 8]);
    let marks: Vec<_> = rights.marked.iter().map(|mark| (mark.attribute.as_str(), mark.reason)).collect();
    assert_eq!(marks, [("entitlements", MarkReason::NotUnderstood); 2]);
    let narrow = Limits { accounts: Some(vec!["200".into()]), ..limits() };
    assert_eq!(fold_user(json!({"entitlements": entitled}), &narrow, &Claims::default()).accounts, [8]);

    let both = json!({"entitlements": entitled, (USER_EXTENSION): {"accounts": ["200"]}});
    let rights = fold_user(both, &limits(), &Claims::default());
    assert_eq!(rights.accounts, [8], "the shorter list is not lengthened");
    assert_eq!(rights.marked.iter().filter(|mark| mark.reason == MarkReason::Overridden).count(), 2);
    let group = map(json!({"entitlements": entitled}));
    assert!(group_rights(&group, &limits(), &Claims::default(), &BTreeMap::new()).accounts.is_empty());
}
