#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::scim::schema::{ResourceKind, Schemas};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const CEDARGATE: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";

fn schemas() -> Schemas {
    Schemas::builtin().unwrap()
}

fn body(operations: Value) -> Value {
    json!({"schemas": [PATCH_SCHEMA], "Operations": operations})
}

fn patch(before: Value, operations: Value, tolerance: &Tolerance) -> Result<Patched, ScimError> {
    let schemas = schemas();
    let user = schemas.definition(ResourceKind::User);
    let resource = user.parse(&before, &Tolerance::GENERIC).unwrap();
    apply(user, resource, &parse(&body(operations), tolerance)?, tolerance)
}

/// The document after, without `schemas`.
fn after(before: Value, operations: Value) -> Value {
    let mut map = patch(before, operations, &Tolerance::GENERIC).unwrap().resource.into_map();
    map.remove("schemas");
    Value::Object(map)
}

fn word(before: Value, operations: Value, tolerance: &Tolerance) -> &'static str {
    patch(before, operations, tolerance).unwrap_err().scim_type.unwrap()
}

fn bare() -> Value {
    json!({"userName": "a"})
}

fn with(attribute: &str, value: Value) -> Value {
    json!({"userName": "a", attribute: value})
}

fn op(op: &str, path: &str, value: Value) -> Value {
    json!([{"op": op, "path": path, "value": value}])
}

#[test]
fn the_cases_of_rfc_7644() {
    let home = json!({"value": "h@x", "type": "home"});
    let work = json!({"value": "w@x", "type": "work", "primary": true});
    let two = with("emails", json!([work, home]));
    let more = json!([{"op": "add", "value": {"emails": [home], "nickName": "N"}}]);
    assert_eq!(
        after(with("emails", json!([work])), more),
        json!({"userName": "a", "emails": [work, home], "nickName": "N"})
    );
    let gone = json!([{"op": "remove", "path": "emails[type eq \"work\" and value ew \"@x\"]"}]);
    assert_eq!(after(two.clone(), gone), with("emails", json!([home])));
    let part = json!([{"op": "remove", "path": "emails[type eq \"work\"].primary"}]);
    assert_eq!(after(two.clone(), part)["emails"][0], json!({"value": "w@x", "type": "work"}));
    let all = json!([{"op": "replace", "value": {"emails": [{"value": "n@x"}], "nickName": "B"}}]);
    assert_eq!(after(two, all), json!({"userName": "a", "emails": [{"value": "n@x"}], "nickName": "B"}));
    let address = json!({"type": "work", "streetAddress": "1 A St", "locality": "L"});
    let street = op("replace", "addresses[type eq \"work\"].streetAddress", json!("2 B St"));
    assert_eq!(
        after(with("addresses", json!([address])), street)["addresses"],
        json!([{"streetAddress": "2 B St", "locality": "L", "type": "work"}])
    );
    let whole = op("replace", "addresses[type eq \"work\"]", json!({"streetAddress": "3 C St"}));
    assert_eq!(
        after(with("addresses", json!([address])), whole)["addresses"],
        json!([{"streetAddress": "3 C St", "type": "work"}])
    );
}

#[test]
fn complex_values_merge_and_absent_ones_appear() {
    let name = json!({"givenName": "G", "familyName": "F"});
    let cases = [
        (op("replace", "name", json!({"givenName": "H"})), json!({"givenName": "H", "familyName": "F"})),
        (op("replace", "name.givenName", json!("H")), json!({"givenName": "H", "familyName": "F"})),
        (op("replace", "name", json!({"givenName": null})), json!({"familyName": "F"})),
        (op("add", "NAME.middlename", json!("M")), json!({"givenName": "G", "familyName": "F", "middleName": "M"})),
        (op("remove", "name.givenName", json!(null)), json!({"familyName": "F"})),
        (op("remove", "name", json!(null)), json!(null)),
        (op("replace", "name", json!(null)), json!(null)),
        (op("add", "name", json!(null)), name.clone()),
    ];
    for (operations, expected) in cases {
        let document = after(with("name", name.clone()), operations.clone());
        assert_eq!(document.get("name").unwrap_or(&Value::Null), &expected, "{operations}");
    }
    assert_eq!(after(bare(), op("replace", "title", json!("T"))), with("title", json!("T")));
    assert_eq!(after(bare(), op("replace", "name.givenName", json!("G"))), with("name", json!({"givenName": "G"})));
    assert_eq!(after(with("title", json!("T")), op("replace", "title", json!(""))), bare());
}

#[test]
fn what_changes_nothing_says_so() {
    let before = json!({"userName": "a", "active": true, "emails": [{"value": "w@x", "type": "work"}],
        CEDARGATE: {"accounts": ["1"]}});
    let accounts = format!("{CEDARGATE}:accounts");
    for operations in [
        op("add", "emails", json!([{"type": "work", "value": "w@x"}])),
        op("replace", "active", json!("True")),
        op("add", &accounts, json!(["1"])),
        op("add", &accounts, json!({"value": "1"})),
        op("remove", &accounts, json!(["2"])),
        op("remove", &accounts, json!([])),
        op("remove", "emails[value eq \"other\"]", json!(null)),
        op("remove", "title", json!(null)),
        op("add", "schemas", json!([ENTERPRISE])),
        json!([{"op": "replace", "value": {"id": "1", "meta": {"version": "x"}, "groups": [], "schemas": [ENTERPRISE]}}]),
    ] {
        let patched = patch(before.clone(), operations.clone(), &Tolerance::GENERIC).unwrap();
        assert!(!patched.changed, "{operations}");
    }
    assert!(patch(before, op("replace", "active", json!(false)), &Tolerance::GENERIC).unwrap().changed);
}

#[test]
fn okta_shapes() {
    assert_eq!(after(bare(), json!([{"op": "replace", "value": {"active": false}}])), with("active", json!(false)));
    let password = json!([{"op": "replace", "value": {"password": "secret-1"}}]);
    let patched = patch(bare(), password.clone(), &Tolerance::GENERIC).unwrap();
    assert!(patched.resource.password.is_some() && !patched.changed);
    assert!(!format!("{patched:?}").contains("secret-1"));
    assert!(!format!("{:?}", parse(&body(password), &Tolerance::GENERIC).unwrap()).contains("secret-1"));
    let empties = json!([{"op": "replace", "value": {"nickName": "", "profileUrl": "", "title": null, "emails": []}}]);
    assert_eq!(after(json!({"userName": "a", "nickName": "N", "emails": [{"value": "x"}]}), empties), bare());
}

#[test]
fn entra_shapes_of_both_dialects() {
    let old = json!([{"op": "Replace", "path": "active", "value": "False"}, {"op": "Add", "path": "displayName", "value": "D"},
        {"op": "Replace", "path": "title", "value": [{"$ref": null, "value": "T"}]}]);
    assert_eq!(after(bare(), old), json!({"userName": "a", "active": false, "displayName": "D", "title": "T"}));
    let department = format!("{ENTERPRISE}:department");
    let new = json!([{"op": "replace", "value": {"name.givenName": "G", "name.familyName": "F", &department: "D",
        "emails[type eq \"work\"].value": "w@x", "unknown.thing": 1}}]);
    let patched = patch(bare(), new.clone(), &Tolerance::GENERIC).unwrap();
    assert_eq!(patched.resource.ignored, ["unknown.thing"]);
    assert_eq!(
        after(bare(), new),
        json!({"userName": "a", "name": {"givenName": "G", "familyName": "F"}, ENTERPRISE: {"department": "D"},
            "emails": [{"value": "w@x", "type": "work"}]})
    );
}

#[test]
fn value_paths_without_a_match_create_the_element() {
    let operations = json!([
        {"op": "Add", "path": "emails[type eq \"work\"].value", "value": "w@x"},
        {"op": "Add", "path": "emails[type eq \"work\"].primary", "value": "True"},
        {"op": "Replace", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+1 555 01"},
        {"op": "Add", "path": "addresses[type eq \"work\"].country", "value": "US"},
        {"op": "Add", "path": "addresses[type eq \"work\"].locality", "value": "L"},
        {"op": "Add", "path": "roles[primary eq \"True\"].display", "value": "Ordering"},
        {"op": "Add", "path": "roles[primary eq \"True\"].value", "value": "Ordering"},
    ]);
    assert_eq!(
        after(bare(), operations.clone()),
        json!({"userName": "a",
            "emails": [{"value": "w@x", "type": "work", "primary": true}],
            "phoneNumbers": [{"value": "+1 555 01", "type": "mobile"}],
            "addresses": [{"locality": "L", "country": "US", "type": "work"}],
            "roles": [{"value": "Ordering", "display": "Ordering", "primary": true}]})
    );
    let mut strict = Tolerance::GENERIC;
    strict.create_from_value_path = false;
    assert_eq!(word(bare(), operations, &strict), "noTarget");
    for filter in
        ["value sw \"x\"", "not (type eq \"a\")", "type eq \"a\" or type eq \"b\"", "type eq \"a\" and type eq \"b\""]
    {
        let path = format!("emails[{filter}].value");
        assert_eq!(word(bare(), op("add", &path, json!("x")), &Tolerance::GENERIC), "noTarget", "{filter}");
    }
    let cleared = op("replace", "emails[type eq \"work\"].value", json!(""));
    assert_eq!(after(bare(), cleared.clone()), bare());
    assert_eq!(after(with("emails", json!([{"value": "w@x", "type": "work"}])), cleared), bare());
    let country = op("replace", "addresses[type eq \"work\"].country", json!(null));
    assert_eq!(after(with("addresses", json!([{"country": "US", "type": "work"}])), country), bare());
}

#[test]
fn manager_in_every_spelling() {
    let manager = |value: Value| json!({"userName": "a", ENTERPRISE: {"manager": value}});
    let path = format!("{ENTERPRISE}:manager");
    for value in [
        json!("m"),
        json!({"value": "m"}),
        json!([{"value": "m"}]),
        json!([{"$ref": null, "value": "m"}]),
        json!(["m"]),
    ] {
        for before in [bare(), manager(json!({"value": "old", "$ref": "../Users/old"}))] {
            assert_eq!(after(before, op("Replace", &path, value.clone())), manager(json!({"value": "m"})), "{value}");
        }
    }
    assert_eq!(after(bare(), op("add", &format!("{path}.value"), json!("m"))), manager(json!({"value": "m"})));
    for value in
        [json!(""), json!({"value": ""}), json!({"value": null}), json!(null), json!([]), json!([{"value": ""}])]
    {
        assert_eq!(after(manager(json!({"value": "m"})), op("replace", &path, value.clone())), bare(), "{value}");
    }
    assert_eq!(after(manager(json!({"value": "m"})), op("remove", &path, json!("m"))), bare());
    assert_eq!(after(manager(json!({"value": "m"})), op("remove", ENTERPRISE, json!(null))), bare());
}

#[test]
fn extensions_come_and_go_and_schemas_follow() {
    let added =
        op("add", CEDARGATE, json!({"accounts": [{"value": "1"}, "2"], "ADMINISTRATIONLEVEL": "Account Admin"}));
    let patched = patch(bare(), added, &Tolerance::GENERIC).unwrap().resource;
    assert_eq!(patched.get(&format!("{CEDARGATE}:accounts")), Some(&json!(["1", "2"])));
    assert_eq!(patched.get(&format!("{CEDARGATE}:administrationLevel")), Some(&json!("Account Admin")));
    assert_eq!(patched.as_map()["schemas"][1], CEDARGATE);
    assert!(patched.mentions(&format!("{CEDARGATE}:accounts")) && !patched.mentions("active"));
    let path = format!("{CEDARGATE}:accounts[value eq \"1\"]");
    let one = after(with(CEDARGATE, json!({"accounts": ["1", "2"]})), op("remove", &path, json!(null)));
    assert_eq!(one[CEDARGATE], json!({"accounts": ["2"]}));
    let same = after(with(CEDARGATE, json!({"accounts": ["1", "2"]})), op("replace", &path, json!("2")));
    assert_eq!(same[CEDARGATE], json!({"accounts": ["2"]}));
}

#[test]
fn one_primary_at_most() {
    let two = with("emails", json!([{"value": "a@x", "primary": true}, {"value": "b@x", "type": "home"}]));
    for operations in [
        op("replace", "emails[type eq \"home\"].primary", json!(true)),
        op("add", "emails", json!([{"value": "c@x", "primary": true}])),
        op("add", "emails[type eq \"work\"]", json!({"value": "c@x", "primary": "true"})),
    ] {
        let document = after(two.clone(), operations);
        assert_eq!(document["emails"][0], json!({"value": "a@x", "primary": false}));
    }
    assert_eq!(word(two.clone(), op("replace", "emails.primary", json!(true)), &Tolerance::GENERIC), "invalidValue");
    let both = json!([{"value": "c@x", "primary": true}, {"value": "d@x", "primary": true}]);
    assert_eq!(word(two, op("add", "emails", both), &Tolerance::GENERIC), "invalidValue");
}

#[test]
fn remove_with_a_value_takes_just_those() {
    let roles = with("roles", json!([{"value": "A"}, {"value": "B", "type": "t"}, {"value": "C"}]));
    let listed = json!([{"$ref": null, "value": "a"}, {"value": "B"}]);
    assert_eq!(after(roles.clone(), op("Remove", "roles", listed.clone()))["roles"], json!([{"value": "C"}]));
    assert_eq!(after(roles.clone(), op("remove", "roles", json!([{}, "", null]))), roles);
    assert_eq!(after(roles.clone(), op("remove", "roles", json!(null))), bare());
    let mut strict = Tolerance::GENERIC;
    strict.remove_with_value = false;
    assert_eq!(word(roles, op("remove", "roles", listed), &strict), "invalidValue");
}

#[test]
fn what_is_refused_and_how() {
    let cases = [
        (op("replace", "groups", json!([])), "mutability"),
        (op("replace", "id", json!("x")), "mutability"),
        (op("remove", "meta", json!(null)), "mutability"),
        (op("add", &format!("{CEDARGATE}:locked"), json!(false)), "mutability"),
        (op("add", &format!("{ENTERPRISE}:manager.displayName"), json!("x")), "mutability"),
        (op("remove", "userName", json!(null)), "mutability"),
        (op("replace", "userName", json!("")), "invalidValue"),
        (op("replace", "active", json!("maybe")), "invalidValue"),
        (op("replace", "title", json!({"x": 1})), "invalidValue"),
        (op("replace", "emails", json!([[]])), "ok"),
        (op("replace", "emails", json!([["a", "b"]])), "invalidValue"),
        (op("replace", "nothing", json!("x")), "invalidPath"),
        (op("replace", "name.nothing", json!("x")), "invalidPath"),
        (op("replace", "__proto__.x", json!("x")), "invalidPath"),
        (op("replace", "name[givenName eq \"x\"]", json!("x")), "invalidPath"),
        (op("replace", "emails[type eq]", json!("x")), "invalidPath"),
        (op("replace", "emails[nothing eq \"x\"]", json!("x")), "invalidFilter"),
        (op("replace", "emails[type gt true]", json!("x")), "noTarget"),
        (json!([{"op": "remove"}]), "noTarget"),
        (json!([{"op": "replace", "path": "title"}]), "invalidValue"),
        (json!([{"op": "move", "path": "title"}]), "invalidSyntax"),
        (json!([{"op": "add", "value": "x"}]), "invalidValue"),
        (json!([{"op": "add", "value": {"title": "a", "TITLE": "b"}}]), "invalidSyntax"),
        (json!([{"path": "title", "value": "x"}]), "invalidSyntax"),
        (json!([{"op": "add", "path": 7, "value": "x"}]), "invalidPath"),
        (json!([]), "invalidSyntax"),
        (json!({}), "invalidSyntax"),
        (json!(["x"]), "invalidSyntax"),
    ];
    for (operations, expected) in cases {
        let outcome = patch(bare(), operations.clone(), &Tolerance::GENERIC);
        let word = outcome.map_or_else(|error| error.scim_type.unwrap(), |_| "ok");
        assert_eq!(word, expected, "{operations}");
    }
    let strict = |operations: Value| parse(&operations, &Tolerance::STRICT).unwrap_err().scim_type.unwrap();
    assert_eq!(strict(json!({"Operations": op("add", "title", json!("x"))})), "invalidSyntax");
    assert_eq!(strict(body(op("Add", "title", json!("x")))), "invalidSyntax");
    let many = json!(vec![json!({"op": "remove", "path": "title"}); MOST_OPERATIONS + 1]);
    assert_eq!(parse(&body(many), &Tolerance::GENERIC).unwrap_err().status.as_u16(), 413);
}

#[test]
fn hostile_keys_are_only_unknown_names() {
    let hostile = json!([{"op": "replace", "value": {"__proto__": {"active": false}, "__proto__.active": false,
        "constructor.prototype.active": false, "urn:": {}, "": 1, ".": 1, "emails[": 1, "emails[type eq \"x\"].nothing": 1,
        ENTERPRISE: {"": {"department": "x"}, "__proto__": {}, "urn:x": 1}}}]);
    assert_eq!(after(bare(), hostile), bare());
}

#[test]
fn many_operations_on_a_long_list_end_in_time() {
    let accounts: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let path = format!("{CEDARGATE}:accounts[value co \"x\" or value co \"y\"]");
    let operations = json!(vec![json!({"op": "remove", "path": path}); 1000]);
    let error = patch(with(CEDARGATE, json!({"accounts": accounts})), operations, &Tolerance::GENERIC).unwrap_err();
    assert_eq!(error.status.as_u16(), 413);
}

fn split(operations: Value) -> Result<(Vec<Operation>, Vec<MemberOperation>), ScimError> {
    let schemas = schemas();
    let operations = parse(&body(operations), &Tolerance::GENERIC)?;
    split_members(&operations, schemas.definition(ResourceKind::Group))
}

#[test]
fn members_in_every_spelling() {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let cases = [
        (
            op("Add", "members", json!([{"value": "1", "display": "x"}, {"value": "2"}])),
            MemberOperation::Add(ids(&["1", "2"])),
        ),
        (op("add", "members", json!("1")), MemberOperation::Add(ids(&["1"]))),
        (
            op("add", "urn:ietf:params:scim:schemas:core:2.0:Group:Members", json!({"value": "1"})),
            MemberOperation::Add(ids(&["1"])),
        ),
        (op("Remove", "members", json!([{"$ref": null, "value": "1"}])), MemberOperation::Remove(ids(&["1"]))),
        (op("remove", "members", json!([])), MemberOperation::Remove(vec![])),
        (op("remove", "members", json!(null)), MemberOperation::RemoveAll),
        (json!([{"op": "remove", "path": "members[value eq \"1\"]"}]), MemberOperation::Remove(ids(&["1"]))),
        (
            json!([{"op": "remove", "path": "members[value eq \"1\" or value eq \"2\"]"}]),
            MemberOperation::Remove(ids(&["1", "2"])),
        ),
        (op("replace", "members", json!([])), MemberOperation::Replace(vec![])),
        (op("replace", "members", json!(["1"])), MemberOperation::Replace(ids(&["1"]))),
        (json!([{"op": "replace", "value": {"members": [{"value": "1"}]}}]), MemberOperation::Replace(ids(&["1"]))),
        (json!([{"op": "add", "value": {"members": ["1"]}}]), MemberOperation::Add(ids(&["1"]))),
    ];
    for (operations, expected) in cases {
        let (rest, members) = split(operations.clone()).unwrap();
        assert_eq!((rest.len(), members), (0, vec![expected]), "{operations}");
    }
    let (_, members) = split(json!([{"op": "remove", "path": "members[type eq \"User\"]"}])).unwrap();
    let [MemberOperation::RemoveWhere(filter)] = members.as_slice() else { panic!("{members:?}") };
    let schemas = schemas();
    let group = schemas.definition(ResourceKind::Group);
    let fits = |element| crate::scim::filter::matches_element(filter, group, "members", &element);
    assert!(fits(json!({"value": "1", "type": "User"})) && !fits(json!({"value": "1", "type": "Group"})));
}

#[test]
fn an_okta_group_push_is_divided() {
    let (rest, members) = split(json!([
        {"op": "replace", "value": {"id": "g", "displayName": "D", "members": []}},
        {"op": "remove", "path": "members[value eq \"1\"]"},
        {"op": "add", "path": "members", "value": [{"value": "2"}]},
    ]))
    .unwrap();
    assert_eq!(members.len(), 3);
    let schemas = schemas();
    let group = schemas.definition(ResourceKind::Group);
    let before = group.parse(&json!({"displayName": "C"}), &Tolerance::GENERIC).unwrap();
    let patched = apply(group, before, &rest, &Tolerance::GENERIC).unwrap();
    assert_eq!(patched.resource.get("displayName"), Some(&json!("D")));
    assert!(split(json!([{"op": "add", "path": "members", "value": [{"display": "x"}]}])).is_err());
    assert!(split(json!([{"op": "replace", "path": "members[value eq \"1\"].value", "value": "2"}])).is_err());
    let untouched = split(json!([{"op": "replace", "value": {"displayName": "D"}}])).unwrap();
    assert_eq!((untouched.0.len(), untouched.1.len()), (1, 0));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        prop::sample::select(vec!["a", "work", "home", "True", "false", "2026-01-01T00:00:00Z", "x@y"])
            .prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let keys =
            ["value", "type", "primary", "givenName", "emails", "accounts", "manager", "country", "zzz", "Value"];
        let key = prop::sample::select(keys.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec((key, inner), 0..4).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

fn any_operation() -> impl Strategy<Value = Value> {
    let paths = [
        "userName",
        "active",
        "title",
        "name",
        "name.givenName",
        "emails",
        "emails.value",
        "emails[type eq \"work\"]",
        "emails[type eq \"work\"].value",
        "emails[type eq \"home\"].primary",
        "emails[value pr]",
        "roles",
        "roles[primary eq \"True\"].value",
        "addresses[type eq \"work\"].country",
        "addresses",
        "groups",
        "password",
        ENTERPRISE,
        CEDARGATE,
        "x509Certificates",
    ];
    let urns = [
        format!("{ENTERPRISE}:manager"),
        format!("{ENTERPRISE}:manager.value"),
        format!("{CEDARGATE}:accounts"),
        format!("{CEDARGATE}:accounts[value eq \"a\"]"),
        format!("{CEDARGATE}:locked"),
    ];
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).chain(urns).collect();
    let path = prop::option::of(prop::sample::select(paths));
    let kind = prop::sample::select(vec!["add", "replace", "remove", "Add"]);
    (kind, path, any_value()).prop_map(|(op, path, value)| json!({"op": op, "path": path, "value": value}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn patch_never_leaves_the_schema(operations in prop::collection::vec(any_operation(), 1..6)) {
        let schemas = schemas();
        let user = schemas.definition(ResourceKind::User);
        let mut resource = user.parse(&json!({"userName": "a", "emails": [{"value": "w@x", "type": "work"}]}), &Tolerance::GENERIC).unwrap();
        // One after another, so that a refused one does not hide the next.
        for operation in operations {
            let Ok(operations) = parse(&body(json!([operation])), &Tolerance::GENERIC) else { continue };
            let Ok(patched) = apply(user, resource.clone(), &operations, &Tolerance::GENERIC) else { continue };
            let document = Value::Object(patched.resource.as_map().clone());
            let again = user.parse(&document, &Tolerance::STRICT).unwrap();
            prop_assert!(again.ignored.is_empty() && again.password.is_none());
            prop_assert_eq!(Value::Object(again.as_map().clone()).to_string(), document.to_string());
            prop_assert!(user.check_required(&again).is_ok());
            prop_assert_eq!(patched.changed, patched.resource.as_map() != resource.as_map());
            resource = Resource::from_stored(patched.resource.into_map());
        }
    }
}
