//! Searches by POST, lists at the root, and walks by cursor.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{Bench, GROUP, Idp, USER};
use crate::scim::schema::Schemas;

const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn list(idp: &Idp, endpoint: &str, pairs: &[(&str, &str)]) -> Value {
    idp.get(&format!("{endpoint}?{}", encoded(pairs))).await.ok(200)
}

fn ids(list: &Value) -> Vec<String> {
    list["Resources"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Walks to the end; what happens between pages is the caller's.
async fn walk(idp: &Idp, endpoint: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = list(idp, endpoint, &[pairs, &[("cursor", &cursor)]].concat()).await;
        assert_eq!(page["itemsPerPage"], page["Resources"].as_array().unwrap().len());
        assert_eq!(page.get("startIndex"), None);
        seen.extend(ids(&page));
        match page.get("nextCursor") {
            Some(next) => next.as_str().unwrap().clone_into(&mut cursor),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn a_search_by_post_answers_what_the_list_answers() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    for name in ["delta", "alpha", "charlie", "bravo"] {
        idp.user(name).await;
    }
    idp.group("staff", &[]).await;
    for (query, body) in [
        (vec![], json!({})),
        (vec![("count", "2"), ("startIndex", "2")], json!({"count": 2, "startIndex": 2})),
        (vec![("filter", "userName sw \"a\"")], json!({"filter": "userName sw \"a\""})),
        (
            vec![("sortBy", "userName"), ("sortOrder", "descending"), ("attributes", "userName")],
            json!({"sortBy": "userName", "sortOrder": "descending", "attributes": ["userName"]}),
        ),
        (vec![("excludedAttributes", "meta,userName")], json!({"excludedAttributes": ["meta", "userName"]})),
    ] {
        for endpoint in ["/Users", "/Groups", ""] {
            if endpoint == "/Groups" && query.iter().any(|(_, value)| value.contains("userName")) {
                continue;
            }
            let mut body = body.clone();
            body["schemas"] = json!([SEARCH]);
            let searched = idp.post(&format!("{endpoint}/.search"), &body).await.ok(200);
            assert_eq!(searched, list(&idp, endpoint, &query).await, "{endpoint} {body}");
        }
    }
    let strict = bench.connect("acme", crate::scim::connection::Profile::Strict, Default::default()).await;
    assert_eq!(strict.post("/.search", &json!({"count": 1})).await.refused(400), "invalidSyntax");
    assert_eq!(idp.post("/.search", &json!({"filter": "password pr"})).await.refused(403), "sensitive");
    assert_eq!(idp.post("/.search", &json!({"filter": "nonsense pr"})).await.refused(400), "invalidFilter");
    assert_eq!(idp.post("/.search", &json!({"sortBy": "nonsense"})).await.refused(400), "invalidPath");
}

#[tokio::test]
async fn the_root_lists_every_type_in_one_order() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    bench.idp("rival").await.user("foreign").await;
    let mut made = Vec::new();
    for name in ["c", "a", "e"] {
        made.push(idp.user(&format!("user-{name}")).await);
        made.push(idp.group(&format!("group-{name}"), &[]).await);
    }
    let all = list(&idp, "", &[]).await;
    assert_eq!((ids(&all), &all["totalResults"]), (made.clone(), &json!(6)));
    let schemas: BTreeSet<&str> =
        all["Resources"].as_array().unwrap().iter().map(|one| one["schemas"][0].as_str().unwrap()).collect();
    assert_eq!(schemas, BTreeSet::from([GROUP, USER]));
    let page = list(&idp, "", &[("startIndex", "3"), ("count", "2")]).await;
    assert_eq!((ids(&page), &page["totalResults"]), (made[2..4].to_vec(), &json!(6)));
    assert_eq!(list(&idp, "", &[("startIndex", "7")]).await["totalResults"], 6);
    assert_eq!(list(&idp, "", &[("count", "0")]).await["totalResults"], 6);
    let sorted = list(&idp, "", &[("sortBy", "displayName")]).await;
    assert_eq!(ids(&sorted), [3, 1, 5, 0, 2, 4].map(|index| made[index].clone()), "who has none comes last");
    let found = list(&idp, "", &[("filter", "meta.resourceType eq \"Group\"")]).await;
    assert_eq!(ids(&found), [1, 3, 5].map(|index| made[index].clone()));
    let found = list(&idp, "", &[("filter", "userName sw \"user-\"")]).await;
    assert_eq!(found["totalResults"], 3, "groups have no userName");
    for count in ["1", "2", "4", "200"] {
        assert_eq!(walk(&idp, "", &[("count", count)]).await, made, "{count}");
        let sort = [("sortBy", "displayName"), ("sortOrder", "descending"), ("count", count)];
        assert_eq!(walk(&idp, "", &sort).await, [0, 2, 4, 5, 1, 3].map(|index| made[index].clone()), "{count}");
    }
    let far = idp.get("?startIndex=1000000").await.refused(400);
    assert_eq!(far, "tooMany");
}

#[tokio::test]
async fn cursors_are_kept_to_their_walk_their_time_and_their_server() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    for name in ["a", "b", "c"] {
        idp.user(name).await;
        idp.group(name, &[]).await;
    }
    let first = list(&idp, "/Users", &[("cursor", ""), ("count", "1"), ("sortBy", "userName")]).await;
    assert_eq!((&first["totalResults"], first["Resources"].as_array().unwrap().len()), (&json!(3), 1));
    let cursor = first["nextCursor"].as_str().unwrap();
    let pairs = [("cursor", cursor), ("count", "2"), ("sortBy", "userName")];
    let next = list(&idp, "/Users", &pairs).await;
    assert_eq!((next["Resources"][0]["userName"].as_str(), &next["totalResults"]), (Some("b"), &json!(3)));
    assert_eq!(next.get("nextCursor"), None);
    let ask = async |idp: &Idp, endpoint: &str, pairs: &[(&str, &str)]| {
        idp.get(&format!("{endpoint}?{}", encoded(pairs))).await.refused(400)
    };
    let other = bench.idp("acme").await;
    assert_eq!(ask(&other, "/Users", &pairs).await, "invalidCursor", "another connection");
    assert_eq!(ask(&idp, "/Groups", &[("cursor", cursor), ("sortBy", "displayName")]).await, "invalidCursor");
    assert_eq!(ask(&idp, "/Users", &[("cursor", cursor)]).await, "invalidCursor", "another order");
    assert_eq!(ask(&idp, "/Users", &[pairs[0], pairs[2], ("filter", "title pr")]).await, "invalidCursor");
    assert_eq!(ask(&idp, "/Users", &[pairs[0], pairs[2], ("sortOrder", "descending")]).await, "invalidCursor");
    assert_eq!(ask(&idp, "/Users", &[("cursor", "nonsense")]).await, "invalidCursor");
    assert_eq!(ask(&idp, "/Users", &[pairs[0], pairs[2], ("count", "0")]).await, "invalidCount");
    assert_eq!(ask(&idp, "/Users", &[pairs[0], pairs[2], ("count", "1000000000000")]).await, "invalidCount");
    assert_eq!(ask(&idp, "/Users", &[pairs[0], pairs[2], ("startIndex", "2")]).await, "invalidValue");
    bench.clock.advance(3_600_001);
    assert_eq!(ask(&idp, "/Users", &pairs).await, "expiredCursor");
    let all: Vec<String> = walk(&idp, "/Users", &[("count", "2")]).await;
    assert_eq!(all.len(), 3);
}

/// A server that holds 60 members in an answer, with 30 people in each of `groups` groups.
async fn crowded(groups: usize) -> (Bench, Idp, Vec<String>, Vec<String>) {
    let bench = Bench::built(Schemas::builtin().unwrap(), |scim| scim.holding(60)).await;
    let idp = bench.idp("acme").await;
    let (mut people, mut made) = (Vec::new(), Vec::new());
    for number in 0..30 {
        people.push(idp.user(&format!("u{number}")).await);
    }
    let everybody: Vec<&str> = people.iter().map(String::as_str).collect();
    for number in 0..groups {
        made.push(idp.group(&format!("g{number}"), &everybody).await);
    }
    (bench, idp, people, made)
}

#[tokio::test]
async fn a_page_is_cut_where_it_holds_too_many_members() {
    let (_bench, idp, people, groups) = crowded(11).await;
    let members = |page: &Value| -> usize {
        let resources = page["Resources"].as_array().unwrap().iter();
        resources.flat_map(|one| ["members", "groups"].map(|name| one[name].as_array().map_or(0, Vec::len))).sum()
    };
    // By index, going on behind what came, and by cursor.
    for (endpoint, all, cut) in [("/Groups", &groups, 2), ("/Users", &people, 2)] {
        let mut seen = Vec::new();
        while seen.len() < all.len() {
            let start = (seen.len() + 1).to_string();
            let page = list(&idp, endpoint, &[("startIndex", &start), ("count", "200")]).await;
            assert!(members(&page) <= 60, "{} members", members(&page));
            assert_eq!((&page["itemsPerPage"], &page["totalResults"]), (&json!(ids(&page).len()), &json!(all.len())));
            assert!(ids(&page).len() >= cut.min(all.len() - seen.len()), "as many as there is room for");
            seen.extend(ids(&page));
        }
        assert_eq!(seen, *all);
        assert_eq!(walk(&idp, endpoint, &[("count", "200")]).await, *all);
    }
    for wanted in [("excludedAttributes", "members"), ("attributes", "displayName")] {
        assert_eq!(ids(&list(&idp, "/Groups", &[("count", "200"), wanted]).await).len(), 11, "nothing to be cut");
    }
    let root = walk(&idp, "", &[("count", "200")]).await;
    assert_eq!(root, people.iter().chain(&groups).cloned().collect::<Vec<_>>());
    let values = list(&idp, "/Groups", &[("attributes", "members.value"), ("count", "1")]).await;
    assert_eq!(values["Resources"][0]["members"][29], json!({"value": people[29]}));
}

#[tokio::test]
async fn a_group_larger_than_an_answer_is_streamed_whole() {
    let (_bench, idp, people, groups) = crowded(2).await;
    // Groups in a group, too: 30 people, and then 40 more and a group.
    let mut more = vec![groups[1].clone()];
    for number in 30..70 {
        more.push(idp.user(&format!("u{number}")).await);
    }
    let path = format!("/Groups/{}", groups[0]);
    let add: Vec<Value> = more.iter().map(|id| json!({ "value": id })).collect();
    let patched = idp.patch(&path, json!([{"op": "add", "path": "members", "value": add}])).await;
    let tag = patched.header("etag").to_owned();
    let patched = patched.ok(200);
    let read = idp.get(&path).await;
    assert_eq!((read.header("etag"), read.header("content-type")), (tag.as_str(), "application/scim+json"));
    let read = read.ok(200);
    assert_eq!(read, patched);
    let members: BTreeSet<&str> =
        read["members"].as_array().unwrap().iter().map(|member| member["value"].as_str().unwrap()).collect();
    assert_eq!(members, people.iter().chain(&more).map(String::as_str).collect::<BTreeSet<_>>());
    let group = read["members"].as_array().unwrap().iter().find(|member| member["type"] == "Group").unwrap();
    assert_eq!(group["$ref"], format!("https://cedargate.example/scim/v2/Groups/{}", groups[1]));

    // A list begins with it and goes on behind it.
    let page = list(&idp, "/Groups", &[("count", "9")]).await;
    assert_eq!((ids(&page), &page["Resources"][0], &page["itemsPerPage"]), (groups[..1].to_vec(), &read, &json!(1)));
    assert_eq!(walk(&idp, "/Groups", &[("count", "9")]).await, groups);
    let part = list(&idp, "/Groups", &[("attributes", "members.type"), ("count", "1")]).await;
    assert_eq!(part["Resources"][0]["members"].as_array().unwrap().len(), 71);
    let name = list(&idp, "/Groups", &[("excludedAttributes", "members")]).await;
    assert_eq!(ids(&name), groups);
}

/// What happens between two pages.
#[derive(Clone, Debug)]
enum Write {
    Create(&'static str),
    Retitle(usize, &'static str),
    Delete(usize),
    Join(usize),
}

fn write() -> impl Strategy<Value = Write> {
    let title = || select(vec!["", "a", "b", "bb", "c"]);
    prop_oneof![
        title().prop_map(Write::Create),
        (0..12_usize, title()).prop_map(|(who, title)| Write::Retitle(who, title)),
        (0..12_usize).prop_map(Write::Delete),
        (0..12_usize).prop_map(Write::Join),
    ]
}

/// People at the start by title, the sort of the walk, the size of its pages, and the writes between them.
type Case = (Vec<&'static str>, Option<(&'static str, bool)>, usize, Vec<Vec<Write>>);

fn case() -> impl Strategy<Value = Case> {
    let titles = proptest::collection::vec(select(vec!["", "a", "b", "bb", "c"]), 1..12);
    let sort = proptest::option::of((select(vec!["title", "userName", "meta.created", "emails"]), any::<bool>()));
    (titles, sort, 1..4_usize, proptest::collection::vec(proptest::collection::vec(write(), 0..4), 0..12))
}

#[test]
fn a_walk_over_a_changing_store_neither_repeats_nor_loses_the_untouched() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&case(), |case| runtime.block_on(walked(case))).unwrap();
}

async fn walked((titles, sort, count, writes): Case) -> Result<(), TestCaseError> {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let mut people = Vec::new();
    for (number, title) in titles.iter().enumerate() {
        bench.clock.advance(i64::try_from(number % 2).unwrap());
        let body =
            json!({"userName": format!("u{number}"), "title": title, "emails": [{"value": format!("{number}@x")}]});
        people.push(idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned());
    }
    let group = idp.group("g", &[]).await;
    let (mut touched, mut made) = (BTreeSet::new(), 0);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut cursor, count, mut writes) = (String::new(), count.to_string(), writes.into_iter());
    loop {
        let mut pairs = vec![("count", count.as_str()), ("cursor", cursor.as_str())];
        if let Some((path, descending)) = sort {
            pairs.extend([("sortBy", path), ("sortOrder", if descending { "descending" } else { "ascending" })]);
        }
        let page = list(&idp, "/Users", &pairs).await;
        for id in ids(&page) {
            *seen.entry(id).or_default() += 1;
        }
        let Some(next) = page.get("nextCursor") else { break };
        next.as_str().unwrap().clone_into(&mut cursor);
        for write in writes.next().unwrap_or_default() {
            perform(&idp, &group, &people, &mut touched, &mut made, write).await;
        }
    }
    for id in people.iter().filter(|id| !touched.contains(*id)) {
        prop_assert_eq!(seen.get(id), Some(&1));
    }
    Ok(())
}

async fn perform(
    idp: &Idp,
    group: &str,
    people: &[String],
    touched: &mut BTreeSet<String>,
    made: &mut usize,
    write: Write,
) {
    let whose = |who: usize| people[who % people.len()].clone();
    match write {
        Write::Create(title) => {
            *made += 1;
            idp.post("/Users", &json!({"userName": format!("n{made}"), "title": title})).await.ok(201);
        }
        Write::Retitle(who, title) => {
            idp.patch(&format!("/Users/{}", whose(who)), json!([{"op": "replace", "path": "title", "value": title}]))
                .await;
            touched.insert(whose(who));
        }
        Write::Delete(who) => {
            idp.delete(&format!("/Users/{}", whose(who))).await;
            touched.insert(whose(who));
        }
        // A change of the group touches nobody in the list of people.
        Write::Join(who) => {
            let add = json!([{"op": "add", "path": "members", "value": [{"value": whose(who)}]}]);
            idp.patch(&format!("/Groups/{group}"), add).await;
        }
    }
}
