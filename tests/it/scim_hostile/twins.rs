//! Twin runs: what one organization is answered is the same whether or not another works beside it, and tries to reach
//! over. The revision of the one ledger and the ids that chance makes are set aside; the 409 for a name or an address
//! has a test of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedargate::clock::{HandClock, SeededRandom, Sources};
use cedargate::domain::Timestamp;
use cedargate::scim::connection::{Profile, Settings};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{GROUP, PATCH, USER, send};
use crate::conversation::{Provider, World};

/// An id that nobody has: what a foreign id is in the run without the other organization.
const NOBODY: &str = "01a20000-0000-7000-8000-000000000000";

/// What a client does. Numbers pick among the resources that it has made, names are its own.
#[derive(Clone, Debug)]
enum Act {
    MakeUser(u8),
    MakeGroup(u8, Vec<u8>),
    Read(Target),
    Rename(Target, u8),
    Switch(Target, bool),
    Delete(Target),
    Fill(u8, Target),
    Empty(u8),
    List(u8),
}

/// Whose resource.
#[derive(Clone, Debug)]
enum Target {
    User(u8),
    Group(u8),
    /// One of the other organization's.
    Foreign(u8),
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        any::<u8>().prop_map(Target::User),
        any::<u8>().prop_map(Target::Group),
        any::<u8>().prop_map(Target::Foreign),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..6_u8).prop_map(Act::MakeUser),
        2 => ((0..4_u8), prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(name, who)| Act::MakeGroup(name, who)),
        2 => targets().prop_map(Act::Read),
        2 => (targets(), 0..6_u8).prop_map(|(target, name)| Act::Rename(target, name)),
        2 => (targets(), any::<bool>()).prop_map(|(target, on)| Act::Switch(target, on)),
        1 => targets().prop_map(Act::Delete),
        2 => (any::<u8>(), targets()).prop_map(|(group, target)| Act::Fill(group, target)),
        1 => any::<u8>().prop_map(Act::Empty),
        2 => (0..6_u8).prop_map(Act::List),
    ]
}

/// One organization's client and what it has made.
struct Side {
    idp: Provider,
    prefix: &'static str,
    users: Vec<String>,
    groups: Vec<String>,
    /// What chance made, by the order in which this client saw it.
    seen: BTreeMap<String, usize>,
}

impl Side {
    fn new(idp: Provider, prefix: &'static str) -> Self {
        Self { idp, prefix, users: Vec::new(), groups: Vec::new(), seen: BTreeMap::new() }
    }

    fn pick(list: &[String], number: u8) -> String {
        if list.is_empty() { NOBODY.to_owned() } else { list[usize::from(number) % list.len()].clone() }
    }

    fn path(&self, target: &Target, foreign: &[String]) -> String {
        match target {
            Target::User(number) => format!("/Users/{}", Self::pick(&self.users, *number)),
            Target::Group(number) => format!("/Groups/{}", Self::pick(&self.groups, *number)),
            Target::Foreign(number) => format!("/Users/{}", Self::pick(foreign, *number)),
        }
    }

    /// Does it; answers what came back, without what chance made and without the place in the one ledger.
    async fn act(&mut self, act: &Act, foreign: &[String]) -> String {
        let patch = |operation: Value| Some(json!({"schemas": [PATCH], "Operations": [operation]}));
        let members = |ids: Vec<String>| ids.into_iter().map(|id| json!({ "value": id })).collect::<Value>();
        let (method, path, body) = match act {
            Act::MakeUser(name) => {
                let body = json!({"schemas": [USER], "userName": format!("{}-{name}", self.prefix), "externalId": name.to_string()});
                ("POST", "/Users".to_owned(), Some(body))
            }
            Act::MakeGroup(name, who) => {
                let who = who.iter().map(|number| Self::pick(&self.users, *number)).collect();
                let body = json!({"schemas": [GROUP], "displayName": format!("group {name}"), "members": members(who)});
                ("POST", "/Groups".to_owned(), Some(body))
            }
            Act::Read(target) => ("GET", self.path(target, foreign), None),
            Act::Rename(target, name) => {
                let attribute = if matches!(target, Target::Group(_)) { "displayName" } else { "userName" };
                let value = format!("{}-{name}", self.prefix);
                let body = patch(json!({"op": "replace", "path": attribute, "value": value}));
                ("PATCH", self.path(target, foreign), body)
            }
            Act::Switch(target, on) => {
                ("PATCH", self.path(target, foreign), patch(json!({"op": "replace", "value": {"active": on}})))
            }
            Act::Delete(target) => ("DELETE", self.path(target, foreign), None),
            Act::Fill(group, target) => {
                let whole = self.path(target, foreign);
                let id = whole.rsplit('/').next().unwrap().to_owned();
                let body = patch(json!({"op": "add", "path": "members", "value": members(vec![id])}));
                ("PATCH", format!("/Groups/{}", Self::pick(&self.groups, *group)), body)
            }
            Act::Empty(group) => {
                let body = patch(json!({"op": "remove", "path": "members"}));
                ("PATCH", format!("/Groups/{}", Self::pick(&self.groups, *group)), body)
            }
            Act::List(which) => {
                let lists = [
                    "/Users",
                    "/Groups",
                    "/Users?sortBy=userName&count=3",
                    "/Users?filter=active%20eq%20true",
                    "/Groups?filter=displayName%20sw%20%22group%22",
                    "/Users?filter=externalId%20pr",
                ];
                ("GET", lists[usize::from(*which)].to_owned(), None)
            }
        };
        let asked = format!("{path} {}", body.clone().unwrap_or_default());
        let came = send(&self.idp, method, &path, body).await;
        let body: Value = serde_json::from_str(&came.body).unwrap_or(Value::Null);
        if let (201, Some(id)) = (came.status, body["id"].as_str()) {
            let list = if path == "/Users" { &mut self.users } else { &mut self.groups };
            if !list.iter().any(|known| known == id) {
                list.push(id.to_owned());
            }
        }
        let etag = came.headers.get("etag").cloned().unwrap_or_default();
        // An id that the request itself named may come back; whether anybody has it must not show.
        let named = foreign.iter().map(String::as_str).chain([NOBODY]).filter(|id| asked.contains(id));
        let answer = format!("{method} {} {etag} {}", came.status, came.body);
        let answer = named.fold(answer, |text, id| text.replace(id, "the id that was named"));
        self.without_chance(&answer)
    }

    /// Ids become the order in which they were first seen; those of events become nothing.
    fn without_chance(&mut self, text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("01") {
            let (before, after) = rest.split_at(at);
            plain.push_str(before);
            let id = after.get(..36).filter(|id| is_uuid(id));
            let Some(id) = id else {
                plain.push_str("01");
                rest = &after[2..];
                continue;
            };
            if before.ends_with("(event ") {
                plain.push('#');
            } else {
                let next = self.seen.len();
                let number = *self.seen.entry(id.to_owned()).or_insert(next);
                plain.push_str(&format!("#{number}"));
            }
            rest = &after[36..];
        }
        plain + rest
    }
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(
        |(at, byte)| {
            if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() }
        },
    )
}

/// Acme's answers; with the other organization's acts in between, where there are any.
async fn run(acme: &[Act], rival: &[Act]) -> Vec<String> {
    let clock = Arc::new(HandClock::new(Timestamp(1_800_000_000_000)));
    let world = World::new(Sources { clock, random: Arc::new(SeededRandom::new(3)) }).await;
    let mut own = Side::new(world.connect("acme", Profile::Generic, Settings::default()).await, "acme");
    let mut other = Side::new(world.connect("rival", Profile::Entra, Settings::default()).await, "rival");
    let mut answers = Vec::new();
    for (at, act) in acme.iter().enumerate() {
        for act in rival.iter().skip(at * 2).take(2) {
            other.act(act, &own.users).await;
        }
        let foreign = other.users.clone();
        answers.push(own.act(act, &foreign).await);
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_organization_never_observes_another(
        acme in prop::collection::vec(acts(), 1..30),
        rival in prop::collection::vec(acts(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (alone, beside) = runtime.block_on(async { (run(&acme, &[]).await, run(&acme, &rival).await) });
        prop_assert_eq!(alone, beside);
    }
}
