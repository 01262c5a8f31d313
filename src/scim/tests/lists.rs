//! Lists: filter, order, pages, attributes.

use serde_json::{Value, json};

use super::{Bench, Idp};
use crate::scim::image::USER_EXTENSION;

fn names(list: &Value) -> Vec<&str> {
    list["Resources"].as_array().unwrap().iter().map(|user| user["userName"].as_str().unwrap()).collect()
}

async fn query(idp: &Idp, query: &str) -> Value {
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))))
        .finish();
    idp.get(&format!("/Users?{query}")).await.ok(200)
}

#[tokio::test]
async fn pages_are_stable_clamped_and_counted() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    for name in ["delta", "alpha", "Charlie", "bravo"] {
        idp.user(name).await;
    }
    let all = query(&idp, "").await;
    assert_eq!(names(&all), ["delta", "alpha", "Charlie", "bravo"], "by creation");
    assert_eq!((&all["totalResults"], &all["startIndex"], &all["itemsPerPage"]), (&json!(4), &json!(1), &json!(4)));
    let page = query(&idp, "startIndex=2&count=2").await;
    assert_eq!(names(&page), ["alpha", "Charlie"]);
    assert_eq!((&page["totalResults"], &page["startIndex"], &page["itemsPerPage"]), (&json!(4), &json!(2), &json!(2)));
    for (text, found) in
        [("count=0", 0), ("count=-1", 0), ("startIndex=99", 0), ("startIndex=-5&count=1000000000000", 4)]
    {
        let list = query(&idp, text).await;
        assert_eq!(
            (list["Resources"].as_array().unwrap().len(), list["totalResults"].as_u64()),
            (found, Some(4)),
            "{text}"
        );
    }
    assert_eq!(idp.get("/Users?count=abc").await.refused(400), "invalidValue");
    assert_eq!(names(&query(&idp, "sortBy=userName").await), ["alpha", "bravo", "Charlie", "delta"]);
    assert_eq!(names(&query(&idp, "sortBy=USERNAME&sortOrder=descending&count=2").await), ["delta", "Charlie"]);
    assert_eq!(names(&query(&idp, "sortBy=meta.created&startIndex=4").await), ["bravo"]);
    assert_eq!(idp.get("/Users?sortBy=nonsense").await.refused(400), "invalidPath");
    assert_eq!(idp.get("/Users?sortBy=password").await.refused(403), "sensitive");
}

#[tokio::test]
async fn filters_find_what_identity_providers_look_up() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let jane = json!({
        "userName": "Jane@x.example", "externalId": "00u1", "active": false,
        "name": {"familyName": "Doe"},
        "emails": [{"value": "jane@x.example", "type": "work"}, {"value": "j@home.example", "type": "home"}],
        (USER_EXTENSION): {"accounts": ["100"]},
    });
    let id = idp.post("/Users", &jane).await.ok(201)["id"].as_str().unwrap().to_owned();
    idp.user("other").await;
    let hits = [
        "userName eq \"JANE@X.EXAMPLE\"".to_owned(),
        "username Eq \"jane@x.example\" and active eq false".to_owned(),
        "externalId eq \"00u1\"".to_owned(),
        "emails eq \"jane@x.example\"".to_owned(),
        "emails[type eq \"work\"].value eq \"jane@x.example\"".to_owned(),
        "emails[type eq \"work\" and value co \"@x\"]".to_owned(),
        format!("id eq \"{id}\""),
        "name.familyName sw \"do\" and not (userName eq \"other\")".to_owned(),
        format!("{USER_EXTENSION}:accounts eq \"100\""),
        format!("{USER_EXTENSION}:username eq \"jane@x.example\""),
        "meta.created gt \"2020-01-01T00:00:00Z\" and emails pr".to_owned(),
    ];
    for filter in hits {
        assert_eq!(names(&query(&idp, &format!("filter={filter}")).await), ["Jane@x.example"], "{filter}");
    }
    for miss in [
        "userName eq \"9f0e3c1c-0000-4000-8000-000000000000\"",
        "emails[type eq \"home\" and value co \"@x\"]",
        "externalId eq \"00U1\"",
    ] {
        let list = query(&idp, &format!("filter={miss}")).await;
        assert_eq!(
            (list["totalResults"].as_u64(), list["Resources"].as_array().map(Vec::len)),
            (Some(0), Some(0)),
            "{miss}"
        );
    }
    for (bad, word) in [("userName eq", "invalidFilter"), ("nonsense eq \"x\"", "invalidFilter")] {
        let path = format!("/Users?filter={}", bad.replace(' ', "+").replace('"', "%22"));
        assert_eq!(idp.get(&path).await.refused(400), word, "{bad}");
    }
    assert_eq!(idp.get("/Users?filter=password+sw+%22a%22").await.refused(403), "sensitive");
}

#[tokio::test]
async fn answers_hold_what_was_asked_for() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = idp.user("jane").await;
    idp.group("g", &[&id]).await;
    let list = idp.get("/Users?attributes=userName").await.ok(200);
    let mut keys: Vec<&String> = list["Resources"][0].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["id", "schemas", "userName"]);
    let one = idp.get(&format!("/Users/{id}?excludedAttributes=groups,meta")).await.ok(200);
    assert!(one.get("groups").is_none() && one.get("meta").is_none() && one["userName"] == "jane");
    let both = idp.get(&format!("/Users/{id}?attributes=id&excludedAttributes=meta")).await;
    assert_eq!(both.refused(400), "invalidValue");
    let made = idp.send("POST", "/Users?attributes=userName", &[], "{\"userName\":\"b\"}").await.ok(201);
    assert!(made.get("meta").is_none() && made["userName"] == "b");
}
