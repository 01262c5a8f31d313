//! What the documents of a folder declare is what holds: one table for each characteristic of RFC 7643 section 7, on
//! attributes that only this folder has.

use serde_json::{Map, Value, json};

use super::{Bench, Idp};
use crate::scim::image::USER_EXTENSION as URN;
use crate::scim::schema::Schemas;

/// A server whose folder is a copy of the shipped one with more attributes in our extension of people.
async fn bench(more: &[Value]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scim-schemas")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("CedargateUser.json");
    let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    document["attributes"].as_array_mut().unwrap().extend(more.iter().cloned());
    std::fs::write(&path, document.to_string()).unwrap();
    Bench::with_schemas(Schemas::load(folder.path()).unwrap()).await
}

fn person(name: &str, own: Value) -> Value {
    json!({"userName": name, (URN): own})
}

async fn created(idp: &Idp, name: &str, own: Value) -> Value {
    idp.post("/Users", &person(name, own)).await.ok(201)
}

fn path_of(user: &Value) -> String {
    format!("/Users/{}", user["id"].as_str().unwrap())
}

fn query(pairs: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/Users?{query}")
}

/// Who is found by a filter on our extension, by name.
async fn found(idp: &Idp, filter: &str) -> Vec<String> {
    let list = idp.get(&query(&[("filter", &filter.replace("own:", &format!("{URN}:")))])).await.ok(200);
    let names = list["Resources"].as_array().unwrap().iter();
    names.map(|user| user["userName"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_new_attribute_is_accepted_validated_indexed_filtered_sorted_and_announced() {
    let bench = bench(&[
        json!({"name": "badge", "type": "integer", "description": "A number."}),
        json!({"name": "kit", "type": "complex", "multiValued": true, "subAttributes": [
            {"name": "model", "type": "string", "required": true}, {"name": "since", "type": "dateTime"}]}),
    ])
    .await;
    let idp = bench.idp("acme").await;
    let kit = json!([{"model": "Phone", "since": "2026-01-01T00:00:00Z"}, {"model": "Laptop"}]);
    for (name, own) in [("ten", json!({"badge": 10, "kit": kit})), ("nine", json!({"BADGE": 9})), ("none", json!({}))] {
        created(&idp, name, own).await;
    }
    for (filter, names) in [
        ("own:badge gt 9", vec!["ten"]),
        ("own:badge le 10 and own:kit pr", vec!["ten"]),
        ("not (own:badge pr)", vec!["none"]),
        ("own:kit[model eq \"phone\" and since lt \"2026-02-01T00:00:00Z\"]", vec!["ten"]),
        ("own:kit[model eq \"laptop\" and since pr]", vec![]),
        ("own:kit.model sw \"LAP\"", vec!["ten"]),
    ] {
        assert_eq!(found(&idp, filter).await, names, "{filter}");
    }
    let sorted = idp.get(&query(&[("sortBy", &format!("{URN}:badge")), ("attributes", "userName")])).await.ok(200);
    let names: Vec<_> = sorted["Resources"].as_array().unwrap().iter().map(|user| user["userName"].clone()).collect();
    assert_eq!(names, ["nine", "ten", "none"], "numbers by their value, absent last");
    assert_eq!(idp.post("/Users", &person("x", json!({"badge": "seven"}))).await.refused(400), "invalidValue");
    assert_eq!(
        idp.post("/Users", &person("x", json!({"kit": [{"since": "2026-01-01T00:00:00Z"}]}))).await.refused(400),
        "invalidValue"
    );
    let announced = idp.get(&format!("/Schemas/{URN}")).await.ok(200);
    let attributes = announced["attributes"].as_array().unwrap();
    assert!(attributes.iter().any(|attribute| attribute["name"] == "badge" && attribute["type"] == "integer"));
}

#[tokio::test]
async fn types() {
    let kinds = ["string", "boolean", "decimal", "integer", "dateTime", "binary", "reference"];
    let attributes: Vec<Value> = kinds.map(|kind| json!({"name": format!("x-{kind}"), "type": kind})).to_vec();
    let bench = bench(&attributes).await;
    let strict = bench.connect("acme", crate::scim::connection::Profile::Strict, Default::default()).await;
    let values = [
        ("string", json!("x")),
        ("boolean", json!(true)),
        ("decimal", json!(1.5)),
        ("integer", json!(-7)),
        ("dateTime", json!("2026-01-01T00:00:00Z")),
        ("binary", json!("aGk=")),
        ("reference", json!("https://x.example/a")),
    ];
    // Which values a type takes beside its own: any text is base64 or a reference only where it looks so.
    let also = [
        ("string", "dateTime"),
        ("string", "binary"),
        ("string", "reference"),
        ("reference", "string"),
        ("reference", "dateTime"),
        ("reference", "binary"),
        ("binary", "string"),
        ("decimal", "integer"),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        for (other, value) in &values {
            let name = format!("u{number}{other}");
            let body = json!({"schemas": [super::USER, URN], "userName": name, (URN): {format!("x-{kind}"): value}});
            let reply = strict.post("/Users", &body).await;
            if kind == *other || also.contains(&(kind, *other)) {
                assert_eq!(reply.ok(201)[URN][format!("x-{kind}")], *value, "{kind} takes {value} as it is");
            } else {
                assert_eq!(reply.refused(400), "invalidValue", "{kind} {value}");
            }
        }
    }
}

#[tokio::test]
async fn mutability() {
    let bench = bench(&[
        json!({"name": "derived", "mutability": "readOnly"}),
        json!({"name": "fixed", "mutability": "immutable"}),
        json!({"name": "pin", "mutability": "writeOnly", "returned": "never"}),
        json!({"name": "free"}),
    ])
    .await;
    let idp = bench.idp("acme").await;
    let user = created(&idp, "a", json!({"derived": "x", "fixed": "f", "pin": "1234", "free": "1"})).await;
    assert_eq!(user[URN], json!({"fixed": "f", "free": "1"}), "read-only is ignored, write-only unseen");
    let path = path_of(&user);
    let own = |name: &str| format!("{URN}:{name}");
    // What each write answers, attribute by attribute: the status, and the word of a refusal.
    for (name, operation, status, word) in [
        ("derived", json!({"op": "replace", "value": "y"}), 400, "mutability"),
        ("derived", json!({"op": "remove"}), 400, "mutability"),
        ("fixed", json!({"op": "replace", "value": "g"}), 400, "mutability"),
        ("fixed", json!({"op": "remove"}), 400, "mutability"),
        ("fixed", json!({"op": "replace", "value": "f"}), 200, ""),
        ("pin", json!({"op": "replace", "value": "5678"}), 200, ""),
        ("free", json!({"op": "replace", "value": "2"}), 200, ""),
        ("free", json!({"op": "remove"}), 200, ""),
    ] {
        let mut operation = operation;
        operation["path"] = json!(own(name));
        let reply = idp.patch(&path, json!([operation])).await;
        assert_eq!(reply.status, status, "{operation}: {}", reply.body);
        assert_eq!(reply.body["scimType"].as_str().unwrap_or_default(), word, "{operation}");
        assert!(!reply.body.to_string().contains("5678"));
    }
    idp.put(&path, &person("a", json!({"fixed": "f", "derived": "z"}))).await.ok(200);
    assert_eq!(idp.put(&path, &person("a", json!({"fixed": "g"}))).await.refused(400), "mutability");
    let bare = created(&idp, "b", json!({})).await;
    let add = json!([{"op": "add", "path": own("fixed"), "value": "once"}]);
    assert_eq!(idp.patch(&path_of(&bare), add).await.ok(200)[URN]["fixed"], "once", "an absent one may be set");
    for pairs in
        [("filter", format!("{URN}:pin eq \"1234\"")), ("filter", format!("{URN}:pin pr")), ("sortBy", own("pin"))]
    {
        assert_eq!(idp.get(&query(&[(pairs.0, &pairs.1)])).await.refused(403), "sensitive", "{pairs:?}");
    }
    let asked = idp.get(&format!("{path}?attributes={}", own("pin"))).await.ok(200);
    assert!(!asked.to_string().contains("pin\""), "{asked}");
}

#[tokio::test]
async fn returned() {
    let names = ["always", "default", "request", "never"];
    let attributes = names.map(|name| json!({"name": format!("on-{name}"), "returned": name}));
    let bench = bench(&attributes).await;
    let idp = bench.idp("acme").await;
    let own: Map<String, Value> = names.iter().map(|name| (format!("on-{name}"), json!("x"))).collect();
    let path = path_of(&created(&idp, "a", Value::Object(own)).await);
    let requested = format!("{URN}:on-request");
    let defaults = format!("{URN}:on-default");
    let always = format!("{URN}:on-always");
    let never = format!("{URN}:on-never");
    for (parameter, value, shown) in [
        ("attributes", "", vec!["always", "default"]),
        ("attributes", "userName", vec!["always"]),
        ("attributes", URN, vec!["always", "default", "request"]),
        ("attributes", &requested, vec!["always", "request"]),
        ("attributes", &requested.to_uppercase().replace("URN:", "urn:"), vec!["always", "request"]),
        ("attributes", &never, vec!["always"]),
        ("excludedAttributes", URN, vec!["always"]),
        ("excludedAttributes", &defaults, vec!["always"]),
        ("excludedAttributes", &always, vec!["always", "default"]),
        ("excludedAttributes", "userName", vec!["always", "default"]),
    ] {
        let pairs = form_urlencoded::Serializer::new(String::new()).append_pair(parameter, value).finish();
        let user = idp.get(&format!("{path}?{pairs}")).await.ok(200);
        let found: Vec<&str> = names.into_iter().filter(|name| user[URN].get(format!("on-{name}")).is_some()).collect();
        assert_eq!(found, shown, "{parameter}={value}");
        assert!(user.get("id").is_some() && user.get("schemas").is_some());
    }
}

#[tokio::test]
async fn case_exact() {
    let bench =
        bench(&[json!({"name": "exact", "caseExact": true}), json!({"name": "folded", "caseExact": false})]).await;
    let idp = bench.idp("acme").await;
    for (name, value) in [("upper", "B"), ("lower", "a"), ("other", "C"), ("strasse", "straße")] {
        created(&idp, name, json!({"exact": value, "folded": value})).await;
    }
    for (filter, names) in [
        ("own:exact eq \"b\"", vec![]),
        ("own:exact eq \"B\"", vec!["upper"]),
        ("own:folded eq \"b\"", vec!["upper"]),
        ("own:exact co \"STRASSE\"", vec![]),
        ("own:folded co \"STRASSE\"", vec!["strasse"]),
        ("own:exact gt \"a\"", vec!["strasse"]),
        ("own:folded gt \"A\"", vec!["upper", "other", "strasse"]),
        ("OWN:EXACT sw \"B\"", vec!["upper"]),
    ] {
        let filter = filter.replace("OWN:EXACT", "own:EXACT");
        assert_eq!(found(&idp, &filter).await, names, "{filter}");
    }
    for (name, order) in [("exact", ["B", "C", "a", "straße"]), ("folded", ["a", "B", "C", "straße"])] {
        let list = idp.get(&query(&[("sortBy", &format!("{URN}:{name}"))])).await.ok(200);
        let values: Vec<_> = list["Resources"].as_array().unwrap().iter().map(|user| user[URN][name].clone()).collect();
        assert_eq!(values, order, "{name}");
    }
}

#[tokio::test]
async fn uniqueness() {
    let bench = bench(&[
        json!({"name": "badge", "type": "integer", "uniqueness": "server"}),
        json!({"name": "alias", "multiValued": true, "uniqueness": "global"}),
        json!({"name": "desk", "type": "complex", "subAttributes": [{"name": "code", "caseExact": true, "uniqueness": "server"}]}),
        json!({"name": "shared"}),
    ])
    .await;
    let idp = bench.idp("acme").await;
    let rival = bench.idp("rival").await;
    let whole = json!({"badge": 7, "alias": ["one", "two"], "desk": {"code": "A"}, "shared": "s"});
    let first = created(&idp, "first", whole.clone()).await;
    created(&rival, "theirs", whole).await;
    for (own, attribute) in [
        (json!({"badge": 7}), Some("badge")),
        (json!({"alias": ["three", "TWO"]}), Some("alias")),
        (json!({"desk": {"code": "A"}}), Some("desk.code")),
        (json!({"desk": {"code": "a"}}), None),
        (json!({"badge": 8, "shared": "s"}), None),
    ] {
        let reply = idp.post("/Users", &person(&own.to_string().replace(' ', ""), own.clone())).await;
        match attribute {
            Some(attribute) => {
                let detail = reply.body["detail"].as_str().unwrap_or_default().to_owned();
                assert!(detail.starts_with(&format!("{URN}:{attribute} ")), "{detail}");
                assert_eq!(reply.refused(409), "uniqueness", "{own}");
            }
            None => {
                reply.ok(201);
            }
        }
    }
    let second = created(&idp, "second", json!({})).await;
    let take = json!([{"op": "add", "path": format!("{URN}:badge"), "value": 7}]);
    assert_eq!(idp.patch(&path_of(&second), take.clone()).await.refused(409), "uniqueness");
    assert_eq!(idp.delete(&path_of(&first)).await.status, 204);
    assert_eq!(idp.patch(&path_of(&second), take).await.ok(200)[URN]["badge"], 7, "who is deleted gives it back");
    idp.put(&path_of(&second), &person("second", json!({"badge": 9}))).await.ok(200);
    created(&idp, "third", json!({"badge": 7})).await;
}

#[tokio::test]
async fn required() {
    let bench = bench(&[json!({"name": "site", "required": true})]).await;
    let idp = bench.idp("acme").await;
    let user = created(&idp, "a", json!({"site": "x", "accounts": ["100"]})).await;
    let path = path_of(&user);
    let accounts = json!(["100"]);
    for own in [
        json!({"site": null, "accounts": accounts}),
        json!({"site": "", "accounts": accounts}),
        json!({"accounts": accounts}),
    ] {
        assert_eq!(idp.post("/Users", &person("b", own.clone())).await.refused(400), "invalidValue", "{own}");
        assert_eq!(idp.put(&path, &person("a", own.clone())).await.refused(400), "invalidValue", "{own}");
    }
    let site = format!("{URN}:site");
    for operation in [json!({"op": "remove", "path": site}), json!({"op": "remove", "path": "userName"})] {
        let reply = idp.patch(&path, json!([operation])).await;
        assert!(matches!(reply.refused(400).as_str(), "mutability" | "invalidValue"), "{operation}");
    }
    idp.post("/Users", &json!({"userName": "plain"})).await.ok(201);
    assert_eq!(idp.get(&path).await.ok(200), user);
}

#[tokio::test]
async fn null_and_an_empty_array_are_absent() {
    let bench = bench(&[json!({"name": "tags", "multiValued": true}), json!({"name": "note"})]).await;
    let idp = bench.idp("acme").await;
    for (name, own) in
        [("nulls", json!({"tags": null, "note": null})), ("empty", json!({"tags": []})), ("absent", json!({}))]
    {
        let user = created(&idp, name, own).await;
        assert_eq!(user.get(URN), None, "{name}");
    }
    let full = created(&idp, "full", json!({"tags": ["a"], "note": "n"})).await;
    for (filter, names) in [
        ("own:tags pr", vec!["full"]),
        ("own:tags eq null", vec!["nulls", "empty", "absent"]),
        ("own:note ne null", vec!["full"]),
        ("not (own:note pr)", vec!["nulls", "empty", "absent"]),
    ] {
        assert_eq!(found(&idp, filter).await, names, "{filter}");
    }
    for (name, value) in [("tags", json!([])), ("note", Value::Null)] {
        let clear = json!([{"op": "replace", "path": format!("{URN}:{name}"), "value": value}]);
        let user = idp.patch(&path_of(&full), clear).await.ok(200);
        assert_eq!(user[URN].get(name), None, "{name}");
    }
}
