//! The job: its operations, who refers to whom, and in which order they run. Knows neither the service nor the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::Done;
use super::references::{firm_names, names, resolve, take_out};
use super::rings::rings;
use crate::http::Method;
use crate::scim::error::{ScimError, quote};
use crate::scim::schema::{Tolerance, check_limits, member};

/// The URN of a PATCH.
const PATCH_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// The URN of a bulk request.
const REQUEST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// The longest `bulkId` in bytes.
const LONGEST_BULK_ID: usize = 200;

/// A bulk request.
#[derive(Debug)]
pub(super) struct Job {
    /// As they were sent.
    pub items: Vec<Item>,
    /// After how many errors the job ends.
    pub fail_on_errors: Option<u64>,
    /// Which operation makes what a `bulkId` stands for.
    makers: HashMap<String, usize>,
    /// What they have made so far.
    ids: HashMap<String, String>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// The method, in capitals.
    pub method: Method,
    /// The path below the service's root, as sent.
    pub path: String,
    /// The client's name for the operation.
    pub bulk_id: Option<String>,
    /// The version that the resource must have.
    pub version: Option<String>,
    /// The body.
    pub data: Option<Value>,
}

/// What runs when, and what cannot run.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Each operation once; one that refers to others after them, else as sent.
    pub order: Vec<usize>,
    /// Which operations each one needs to have happened before.
    pub needs: Vec<BTreeSet<usize>>,
    /// The ring that each one is in: references within it that can be added later are left out of `needs`.
    pub rings: Vec<Option<usize>>,
    /// What is wrong with an operation before it runs.
    pub faults: BTreeMap<usize, ScimError>,
}

impl Job {
    /// Reads a request of at most so many operations.
    ///
    /// # Errors
    /// 413 for more; 400 for anything but a bulk request and for a `bulkId` that two creates have.
    pub fn read(body: &Value, tolerance: &Tolerance, most: u64) -> Result<Self, ScimError> {
        let members = body.as_object().ok_or_else(|| ScimError::invalid_syntax("the body must be a JSON object"))?;
        let operations = member(members, "Operations").and_then(Value::as_array);
        let operations = operations
            .ok_or_else(|| ScimError::invalid_syntax("`Operations` must be an array of the requests to be made"))?;
        if operations.len() as u64 > most {
            let detail = format!("a bulk request has at most {most} operations (maxOperations); send it in parts");
            return Err(ScimError::too_large(detail));
        }
        check_limits(body)?;
        let schemas = members.get("schemas").and_then(Value::as_array);
        let named = schemas.is_some_and(|urns| urns.iter().any(|urn| urn.as_str() == Some(REQUEST_SCHEMA)));
        if !named && !tolerance.missing_schemas {
            return Err(ScimError::invalid_syntax(format!("`schemas` must be an array that holds {REQUEST_SCHEMA}")));
        }
        let fail_on_errors = match member(members, "failOnErrors") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_u64().filter(|most| *most > 0).ok_or_else(|| {
                ScimError::invalid_value("failOnErrors must be a whole number, 1 or more; leave it out to go on always")
            })?),
        };
        let items = operations.iter().map(Item::read).collect::<Result<Vec<_>, _>>()?;
        let mut makers = HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let Some(id) = item.bulk_id.as_ref().filter(|_| item.method == Method::POST) else { continue };
            if makers.insert(id.clone(), index).is_some() {
                return Err(ScimError::invalid_value(format!("two operations have the bulkId {}", quote(id))));
            }
        }
        Ok(Self { items, fail_on_errors, makers, ids: HashMap::new() })
    }

    /// Who goes when. Without recursion: a chain may be as long as the job.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        for (index, item) in self.items.iter().enumerate() {
            let mut needs = BTreeSet::new();
            for name in names(item) {
                match self.makers.get(&name) {
                    Some(maker) => {
                        needs.insert(*maker);
                    }
                    None => {
                        let detail = format!("no operation of this request makes the bulkId {}", quote(&name));
                        plan.faults.insert(index, ScimError::invalid_value(detail));
                    }
                }
            }
            plan.needs.push(needs);
        }
        plan.rings = rings(&plan.needs);
        let waits = self.waits(&mut plan);
        let mut seen = vec![false; self.items.len()];
        for first in 0..self.items.len() {
            // The operations that wait for each other, with those of their references that are still to be looked at.
            let mut waiting: Vec<(usize, Vec<usize>)> = Vec::new();
            enter(first, &waits, &mut seen, &mut waiting);
            while let Some((index, open)) = waiting.last_mut() {
                let index = *index;
                match open.pop() {
                    None => {
                        plan.order.push(index);
                        waiting.pop();
                    }
                    Some(need) => match waiting.iter().position(|(other, _)| *other == need) {
                        Some(start) => {
                            let ring = waiting.iter().skip(start).map(|(other, _)| (*other, ring()));
                            plan.faults.extend(ring);
                        }
                        None => enter(need, &waits, &mut seen, &mut waiting),
                    },
                }
            }
        }
        plan
    }

    /// What each operation waits for: what it needs, all of the ring that this is in, and what anybody of its own ring
    /// needs from outside, so that a ring is one whole between the others. Within a ring only firm references count.
    fn waits(&self, plan: &mut Plan) -> Vec<BTreeSet<usize>> {
        let Plan { needs, rings, .. } = plan;
        let mut members: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut outside: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let ring = |index: usize| rings.get(index).copied().flatten();
        for (index, (needs, item)) in needs.iter_mut().zip(&self.items).enumerate() {
            let Some(own) = ring(index) else { continue };
            members.entry(own).or_default().insert(index);
            let firm: BTreeSet<usize> =
                firm_names(item).iter().filter_map(|name| self.makers.get(name).copied()).collect();
            needs.retain(|need| ring(*need) != Some(own) || firm.contains(need));
            outside.entry(own).or_default().extend(needs.iter().filter(|need| ring(**need) != Some(own)));
        }
        let with_rings = |waits: &BTreeSet<usize>, own: Option<usize>| {
            let others = waits.iter().filter_map(|need| ring(*need)).filter(|other| Some(*other) != own);
            let others: BTreeSet<usize> = others.collect();
            let whole = others.iter().filter_map(|ring| members.get(ring)).flatten();
            waits.iter().chain(whole).copied().collect::<BTreeSet<usize>>()
        };
        let wait = |(index, needs): (usize, &BTreeSet<usize>)| {
            let own = ring(index);
            let mut waits = with_rings(needs, own);
            waits.extend(
                own.and_then(|own| outside.get(&own)).map(|outside| with_rings(outside, own)).into_iter().flatten(),
            );
            waits
        };
        needs.iter().enumerate().map(wait).collect()
    }

    /// The refusal of an operation that refers to one that failed or did not run.
    pub fn failed_reference(
        &self,
        index: usize,
        needs: &[BTreeSet<usize>],
        done: &[Option<Done>],
    ) -> Option<ScimError> {
        let made = |need: &&usize| done.get(**need).and_then(Option::as_ref).is_some_and(|done| done.error.is_none());
        let missing = needs.get(index)?.iter().find(|need| !made(need))?;
        let name = self.items.get(*missing)?.bulk_id.as_deref().unwrap_or_default();
        let detail = format!("the operation with the bulkId {}, which this one refers to, failed", quote(name));
        Some(ScimError::conflict(detail))
    }

    /// An operation with ids in the place of its references.
    pub fn resolved(&mut self, index: usize) -> Option<&Item> {
        let item = self.items.get_mut(index)?;
        resolve(item, &self.ids);
        Some(item)
    }

    /// Takes out of an operation what refers to others of its ring, to be added by [`Self::addition`].
    pub fn take_out(&mut self, index: usize, ring: &[usize]) -> Map<String, Value> {
        let names: Vec<String> = ring.iter().filter_map(|other| self.items.get(*other)?.bulk_id.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.items.get_mut(index).map(|item| take_out(item, &names)).unwrap_or_default()
    }

    /// The request that adds to what an operation made what was taken out of it.
    pub fn addition(&self, index: usize, id: &str, taken: Map<String, Value>) -> Option<Item> {
        let operation = json!({"op": "add", "value": taken});
        let mut item = self.change_of(index, Method::PATCH, id)?;
        item.data = Some(json!({"schemas": [PATCH_SCHEMA], "Operations": [operation]}));
        resolve(&mut item, &self.ids);
        Some(item)
    }

    /// The request that takes back what an operation made.
    pub fn removal(&self, index: usize, id: &str) -> Option<Item> {
        self.change_of(index, Method::DELETE, id)
    }

    fn change_of(&self, index: usize, method: Method, id: &str) -> Option<Item> {
        let path = format!("{}/{id}", self.items.get(index)?.path.trim_end_matches('/'));
        Some(Item { method, path, bulk_id: None, version: None, data: None })
    }

    /// Takes note of what an operation made, for those that refer to it.
    pub fn created(&mut self, index: usize, done: &Done) {
        let Some(item) = self.items.get(index).filter(|item| item.method == Method::POST) else { return };
        if let (Some(name), Some(id)) = (&item.bulk_id, done.id()) {
            self.ids.insert(name.clone(), id.to_owned());
        }
    }
}

fn enter(index: usize, needs: &[BTreeSet<usize>], seen: &mut [bool], waiting: &mut Vec<(usize, Vec<usize>)>) {
    match seen.get_mut(index) {
        Some(seen) if !*seen => *seen = true,
        Some(_) | None => return,
    }
    waiting.push((index, needs.get(index).into_iter().flatten().rev().copied().collect()));
}

fn ring() -> ScimError {
    let detail = "this group and others would contain each other in a ring, which no group may; leave one of the \
                  members out";
    ScimError::conflict(detail)
}

impl Item {
    fn read(operation: &Value) -> Result<Self, ScimError> {
        let members = operation.as_object();
        let members = members.ok_or_else(|| ScimError::invalid_syntax("each of `Operations` must be an object"))?;
        let method = text(members, "method")?.unwrap_or_default().to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes());
        let method = method.map_err(|_| ScimError::invalid_syntax("each of `Operations` needs a method"))?;
        let bulk_id = text(members, "bulkId")?.filter(|id| !id.is_empty());
        if bulk_id.as_ref().is_some_and(|id| id.len() > LONGEST_BULK_ID || id.contains('"')) {
            let detail = format!("a bulkId has at most {LONGEST_BULK_ID} bytes and no quotation mark");
            return Err(ScimError::invalid_value(detail));
        }
        Ok(Self {
            method,
            path: text(members, "path")?.unwrap_or_default(),
            bulk_id,
            version: text(members, "version")?.filter(|version| !version.is_empty()),
            data: member(members, "data").filter(|data| !data.is_null()).cloned(),
        })
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, ScimError> {
    match member(members, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(ScimError::invalid_syntax(format!("`{name}` of an operation must be text")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(operations: Value) -> Job {
        Job::read(&json!({"schemas": [REQUEST_SCHEMA], "Operations": operations}), &Tolerance::STRICT, 1_000).unwrap()
    }

    fn group(name: &str, members: &[&str]) -> Value {
        let members: Vec<Value> = members.iter().map(|name| json!({"value": format!("bulkId:{name}")})).collect();
        json!({"method": "POST", "path": "/Groups", "bulkId": name, "data": {"displayName": name, "members": members}})
    }

    #[test]
    fn references_come_first_and_the_rest_stays_in_order() {
        let plan = job(json!([group("a", &["c", "b"]), group("b", &["d"]), group("c", &[]), group("d", &[])])).plan();
        assert_eq!(plan.order, [3, 1, 2, 0]);
        assert!(plan.faults.is_empty());
        assert_eq!(job(json!([group("a", &[]), group("b", &["a"]), group("c", &["a"])])).plan().order, [0, 1, 2]);
    }

    #[test]
    fn rings_are_found_whole_and_long_chains_need_no_stack() {
        let plan = job(json!([group("a", &["b"]), group("b", &["a"]), group("c", &["c"]), group("d", &[])])).plan();
        assert_eq!(plan.faults.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(plan.order.len(), 4);
        let chain: Vec<Value> = (0..1_000).map(|n| group(&format!("g{n}"), &[&format!("g{}", n + 1)])).collect();
        let plan = job(Value::Array(chain)).plan();
        assert_eq!(plan.order, (0..1_000).rev().collect::<Vec<_>>());
        assert_eq!(plan.faults.len(), 1, "the last one's reference leads nowhere");
    }

    #[test]
    fn rings_that_can_be_opened_stand_as_one_between_the_others() {
        let user = |name: &str, boss: &str| {
            json!({"method": "POST", "path": "/Users", "bulkId": name, "data": {"userName": name,
                "urn:x:User": {"manager": {"value": format!("bulkId:{boss}")}}}})
        };
        // The group waits for both, though it refers to one of them; the ring waits for whom one of it needs.
        let plan =
            job(json!([group("g", &["a"]), user("a", "b"), user("b", "a"), user("c", "d"), user("d", "d")])).plan();
        assert!(plan.faults.is_empty(), "{:?}", plan.faults);
        assert_eq!(plan.order, [1, 2, 0, 4, 3]);
        assert_eq!(plan.rings, [None, Some(1), Some(1), None, Some(4)]);
        assert_eq!(
            plan.needs,
            [BTreeSet::from([1]), BTreeSet::new(), BTreeSet::new(), BTreeSet::from([4]), BTreeSet::new()]
        );
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let read = |body: Value| Job::read(&body, &Tolerance::STRICT, 2).unwrap_err();
        let with = |operations: Value| json!({"schemas": [REQUEST_SCHEMA], "Operations": operations});
        assert_eq!(read(with(json!([{}, {}, {}]))).status.as_u16(), 413);
        for body in [
            json!([]),
            json!({"Operations": []}),
            with(json!({})),
            with(json!([1])),
            with(json!([{"method": 1}])),
            with(json!([{}])),
            with(json!([group("a", &[]), group("a", &[])])),
            with(json!([{"method": "POST", "path": "/Users", "bulkId": "\""}])),
            json!({"schemas": [REQUEST_SCHEMA], "Operations": [], "failOnErrors": 0}),
            json!({"schemas": [REQUEST_SCHEMA], "Operations": [], "failOnErrors": "1"}),
        ] {
            assert_eq!(read(body.clone()).status.as_u16(), 400, "{body}");
        }
    }
}
