//! SCIM changes at random beside the questions: people are deactivated and activated, join groups and leave them, and
//! after each answer a question is asked that the change turned. The model is what was said last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Connection;
use crate::process::{Server, pause};
use crate::statistics::Stopwatch;
use crate::workload::{Draws, Failure, ORGANIZATION, World};

const MEDIA_TYPE: &str = "application/scim+json";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";
/// Identity providers that write side by side, and people of each.
const WRITERS: usize = 4;
const PEOPLE_EACH: usize = 10;
/// What the group gives, and an endpoint that it opens.
const ROLE: &str = "Ordering";

/// Who writes, with the people and the group of each.
pub struct Churn {
    writers: Vec<Writer>,
}

struct Writer {
    scim: Connection,
    gate: Connection,
    group: String,
    people: Vec<Person>,
    draws: Draws,
}

struct Person {
    username: String,
    id: String,
    active: bool,
    member: bool,
    account: String,
}

/// What came of it.
#[derive(Clone, Copy, Default)]
pub struct Changes {
    /// Changes that were acknowledged.
    pub writes: usize,
    /// Questions asked right after them.
    pub checks: usize,
    /// Answers among these that contradict the change.
    pub contradictions: usize,
    /// Changes that came later than their time.
    pub late: usize,
}

impl Churn {
    /// Makes a connection and people of its own in the world's organization.
    pub fn new(server: &Server, seed: u64) -> Result<Self, Failure> {
        let operator = std::fs::read_to_string(server.data.join("operator.token"))?;
        let mut manage = Connection::new(server.address("ops")?, operator.trim(), "application/json");
        let body = json!({"name": format!("churn {seed}"), "organization": ORGANIZATION, "profile": "generic",
            "settings": {"may_grant_admin": true, "requests_per_second": 0,
                // People go and come all the time here, which is no alarm.
                "deactivation_alarm": {"window_minutes": 1, "count": 0, "share_percent": 0}}});
        let made = manage.json("POST", "/manage/v1/connections", &body)?;
        let token = made.get("token").and_then(Value::as_str).ok_or("no token")?.to_owned();
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let scim = Connection::new(server.address("front")?, &token, MEDIA_TYPE);
            let gate = Connection::new(server.address("gate")?, "", "application/json");
            writers.push(Writer::new(scim, gate, &format!("churn{seed}-{writer}"), seed + writer as u64)?);
        }
        Ok(Self { writers })
    }

    /// Writes so many changes a second until `stop`, and checks each.
    pub fn run(&mut self, rate: f64, stop: &AtomicBool) -> Result<Changes, Failure> {
        let each = Duration::from_secs_f64(WRITERS as f64 / rate);
        let outcomes: Vec<Result<Changes, Failure>> = std::thread::scope(|scope| {
            let writing: Vec<_> =
                self.writers.iter_mut().map(|writer| scope.spawn(move || writer.run(each, stop))).collect();
            writing.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a writer failed".into()))).collect()
        });
        let mut all = Changes::default();
        for one in outcomes {
            let one = one?;
            all.writes += one.writes;
            all.checks += one.checks;
            all.contradictions += one.contradictions;
            all.late += one.late;
        }
        Ok(all)
    }
}

impl Writer {
    fn new(mut scim: Connection, gate: Connection, name: &str, seed: u64) -> Result<Self, Failure> {
        let group = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", GROUP_EXTENSION],
            "displayName": name, GROUP_EXTENSION: {"roles": [ROLE]}});
        let group = id(&scim.json("POST", "/scim/v2/Groups", &group)?)?;
        let mut people = Vec::new();
        for number in 0..PEOPLE_EACH {
            let (username, account) = (format!("{name}-{number}"), World::account_id(number as u64));
            let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", USER_EXTENSION],
                "userName": username, "emails": [{"value": format!("{username}@example.com"), "primary": true}],
                "name": {"givenName": "Jo", "familyName": "Doe"}, "active": true,
                USER_EXTENSION: {"accessMethods": ["dashboard", "api"], "accounts": [account]}});
            let id = id(&scim.json("POST", "/scim/v2/Users", &body)?)?;
            people.push(Person { username, id, active: true, member: false, account });
        }
        let mut writer = Self { scim, gate, group, people, draws: Draws::new(seed) };
        // Whoever is in the group may create orders, nobody else may: else the checks would check nothing.
        for at in 0..writer.people.len() {
            writer.join_or_leave(at)?;
            if !writer.agrees(at)? {
                return Err("a new member's question is not answered as the workload expects".into());
            }
        }
        Ok(writer)
    }

    fn run(&mut self, each: Duration, stop: &AtomicBool) -> Result<Changes, Failure> {
        let mut changes = Changes::default();
        let started = Stopwatch::start();
        while !stop.load(Ordering::Relaxed) {
            let due = each.mul_f64(changes.writes as f64);
            let now = started.elapsed();
            match due.checked_sub(now) {
                Some(rest) => pause(rest),
                None => changes.late += usize::from(now - due > each),
            }
            let at = usize::try_from(self.draws.below(self.people.len() as u64))?;
            if self.draws.below(2) == 0 {
                self.toggle(at)?
            } else {
                self.join_or_leave(at)?
            }
            changes.writes += 1;
            changes.checks += 1;
            changes.contradictions += usize::from(!self.agrees(at)?);
        }
        Ok(changes)
    }

    fn person(&mut self, at: usize) -> Result<&mut Person, Failure> {
        self.people.get_mut(at).ok_or_else(|| "nobody".into())
    }

    fn toggle(&mut self, at: usize) -> Result<(), Failure> {
        let person = self.person(at)?;
        let (active, target) = (!person.active, format!("/scim/v2/Users/{}", person.id));
        let body = patch(&json!([{"op": "replace", "path": "active", "value": active}]));
        self.scim.send("PATCH", &target, &body)?.expect(200..300)?;
        self.person(at)?.active = active;
        Ok(())
    }

    fn join_or_leave(&mut self, at: usize) -> Result<(), Failure> {
        let person = self.person(at)?;
        let (member, id) = (!person.member, person.id.clone());
        let operation = if member {
            json!({"op": "add", "path": "members", "value": [{"value": id}]})
        } else {
            json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")})
        };
        let target = format!("/scim/v2/Groups/{}?excludedAttributes=members", self.group);
        self.scim.send("PATCH", &target, &patch(&json!([operation])))?.expect(200..300)?;
        self.person(at)?.member = member;
        Ok(())
    }

    /// Whether the answer about a person is what was said of them last.
    fn agrees(&mut self, at: usize) -> Result<bool, Failure> {
        let person = self.people.get(at).ok_or("nobody")?;
        let path = format!("/api/accounts/{}/orders", person.account);
        let question = json!({"subject": {"user": person.username}, "request": {"method": "POST", "path": path}});
        let answer = self.gate.json("POST", "/v1/authorize", &question)?;
        let reason = answer.pointer("/reason/code").and_then(Value::as_str).unwrap_or("");
        let permit = answer.get("decision").and_then(Value::as_str) == Some("permit");
        Ok(match (person.active, person.member) {
            (false, _) => !permit && reason == "deactivated",
            (true, false) => !permit && reason == "role-missing",
            (true, true) => permit && reason == "role",
        })
    }
}

fn id(resource: &Value) -> Result<String, Failure> {
    Ok(resource.get("id").and_then(Value::as_str).ok_or("no id")?.to_owned())
}

fn patch(operations: &Value) -> String {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}).to_string()
}

/// Reloads the policies once.
pub fn reload(server: &Server) -> Result<(), Failure> {
    let operator = std::fs::read_to_string(server.data.join("operator.token"))?;
    let mut manage = Connection::new(server.address("ops")?, operator.trim(), "application/json");
    manage.json("POST", "/manage/v1/policies/reload", &json!({})).map(drop)
}
