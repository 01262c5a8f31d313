//! Bulk (RFC 7644 section 3.7): many requests in one.
//!
//! Each operation goes through the very function that the single request goes through, as a request of its own: there
//! is one place for what a write means. This file only reads the job, puts ids in the place of `bulkId` references,
//! and says what became of each operation. An operation waits for those that it refers to, wherever they stand.
//! Resources that refer to each other in a ring (RFC 7644 section 3.7.1) are made without these references, which are
//! added when all are there: the ring happens whole, or what was made of it is taken back. A ring of groups by their
//! members alone answers 409: no group contains itself.

mod job;
mod references;
mod rings;

use serde_json::{Value, json};

use self::job::{Item, Job, Plan};
use super::caller::Caller;
use super::error::ScimError;
use super::respond::{body, failure};
use super::schema::ResourceKind;
use super::{Operation, Scim, json_body};
use crate::http::header::{CONTENT_LOCATION, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION};
use crate::http::{Method, Request, Response, StatusCode};

/// The URN of the answer.
const RESPONSE_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
/// Limits where the configuration does not say.
const MOST_OPERATIONS: u64 = 1_000;
const LARGEST_PAYLOAD: u64 = 1024 * 1024;

/// What became of an operation.
struct Done {
    /// The HTTP status of the single request.
    status: StatusCode,
    /// The entity tag, after a success with a resource.
    version: Option<String>,
    /// Where the resource is; unknown for a create that failed.
    location: Option<String>,
    /// The error body.
    error: Option<Value>,
}

/// The entity tag of a record that was just made.
const FIRST_VERSION: &str = "W/\"1\"";

impl Scim {
    /// POST /Bulk
    pub(super) async fn bulk(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let largest = self.announced("/bulk/maxPayloadSize").unwrap_or(LARGEST_PAYLOAD);
        if request.body.len() as u64 > largest {
            let detail = format!("a bulk request has at most {largest} bytes (maxPayloadSize); send it in parts");
            return Err(ScimError::too_large(detail));
        }
        let most = self.announced("/bulk/maxOperations").unwrap_or(MOST_OPERATIONS);
        let mut job = Job::read(&json_body(request)?, &caller.tolerance(), most)?;
        let plan = job.plan();
        let mut done: Vec<Option<Done>> = Vec::new();
        done.resize_with(job.items.len(), || None);
        for &index in &plan.order {
            if done.get(index).is_none_or(Option::is_some) {
                continue;
            }
            match plan.rings.get(index).copied().flatten() {
                Some(ring) => self.run_ring(caller, request, &mut job, &plan, ring, &mut done).await,
                None => {
                    let outcome = self.run_one(caller, request, &mut job, &plan, index, &done).await;
                    put(&mut done, index, outcome);
                }
            }
            let errors = done.iter().flatten().filter(|done| done.error.is_some()).count() as u64;
            if job.fail_on_errors.is_some_and(|most| errors >= most) {
                break;
            }
        }
        let results = job.items.iter().zip(&done).filter_map(|(item, done)| Some(done.as_ref()?.to_json(item)));
        let results: Vec<Value> = results.collect();
        Ok(body(StatusCode::OK, &json!({"schemas": [RESPONSE_SCHEMA], "Operations": results})))
    }

    /// One operation in its turn.
    async fn run_one(
        &self,
        caller: &Caller,
        request: &Request,
        job: &mut Job,
        plan: &Plan,
        index: usize,
        done: &[Option<Done>],
    ) -> Done {
        let fault = plan.faults.get(&index).cloned().or_else(|| job.failed_reference(index, &plan.needs, done));
        let outcome = match (fault, job.resolved(index)) {
            (Some(error), _) => Done::failed(&error, None),
            (None, Some(item)) => self.run(caller, request, item).await,
            (None, None) => Done::failed(&ScimError::internal("the operation is lost"), None),
        };
        job.created(index, &outcome);
        outcome
    }

    /// The operations of a ring: each makes its resource without what refers to others of the ring, then that is added.
    /// Where one fails, what the others made is taken back, and all fail.
    async fn run_ring(
        &self,
        caller: &Caller,
        request: &Request,
        job: &mut Job,
        plan: &Plan,
        ring: usize,
        done: &mut [Option<Done>],
    ) {
        let in_ring = |index: &&usize| plan.rings.get(**index).copied().flatten() == Some(ring);
        let members: Vec<usize> = plan.order.iter().filter(in_ring).copied().collect();
        let mut rest = Vec::new();
        let mut failed = false;
        for &index in &members {
            let taken = job.take_out(index, &members);
            // An operation that has a fault of its own says it, also when another one failed before.
            let outcome = match plan.faults.get(&index) {
                Some(fault) => Done::failed(fault, None),
                None if failed => continue,
                None => self.run_one(caller, request, job, plan, index, done).await,
            };
            failed |= outcome.error.is_some();
            rest.extend(outcome.id().map(|id| (index, id.to_owned(), taken)));
            put(done, index, outcome);
        }
        // A create may have linked to somebody who was there before: what was not made here is not taken away.
        let is_new = |index: usize| {
            let version = done.get(index).and_then(Option::as_ref).and_then(|done| done.version.as_deref());
            version == Some(FIRST_VERSION)
        };
        let (made, linked): (Vec<_>, Vec<_>) =
            rest.iter().map(|(index, id, _)| (*index, id.clone())).partition(|(index, _)| is_new(*index));
        for (index, id, taken) in rest {
            if failed || taken.is_empty() {
                continue;
            }
            let Some(item) = job.addition(index, &id, taken) else { continue };
            let added = self.run(caller, request, &item).await;
            failed = added.error.is_some();
            if let Some(Some(before)) = done.get_mut(index) {
                if failed {
                    *before = added;
                } else {
                    before.version = added.version;
                }
            }
        }
        if !failed {
            return;
        }
        let unwatched = caller.unwatched();
        for (index, id) in made {
            if let Some(item) = job.removal(index, &id) {
                let removed = self.run(&unwatched, request, &item).await;
                if removed.error.is_some() {
                    tracing::error!(request = %request.id, "what a failed ring of a bulk request made could not be taken back");
                }
            }
        }
        for index in members {
            if done.get(index).and_then(Option::as_ref).is_none_or(|done| done.error.is_none()) {
                let detail = if linked.iter().any(|(one, _)| *one == index) {
                    "another operation of the ring of references that this one is in failed; this one linked to a record \
                     that was there before, which stands as it is now, without these references: correct the other, and \
                     send all of them again"
                } else {
                    "another operation of the ring of references that this one is in failed, so that none of them \
                     happened; correct that one, and send all of them again"
                };
                put(done, index, Done::failed(&ScimError::conflict(detail), None));
            }
        }
    }

    /// One operation, as the single request that it stands for.
    async fn run(&self, caller: &Caller, bulk: &Request, item: &Item) -> Done {
        let (operation, kind, id) = match self.operation_of(item) {
            Ok(found) => found,
            Err(error) => return Done::failed(&error, None),
        };
        let location = id.as_ref().map(|id| self.location(kind, id));
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("content-type"), HeaderValue::from_static(super::MEDIA_TYPE));
        if let Some(version) = item.version.as_deref().filter(|_| id.is_some()) {
            match HeaderValue::from_str(version) {
                Ok(version) => headers.insert(HeaderName::from_static("if-match"), version),
                Err(_) => return Done::failed(&ScimError::invalid_value("version must be printable text"), location),
            };
        }
        let single = Request {
            method: item.method.clone(),
            path: format!("/scim/v2{}", item.path),
            // Nobody sees the answer: a large group is not read for it.
            query: Some("attributes=id".to_owned()),
            headers,
            body: item.data.as_ref().map(Value::to_string).unwrap_or_default().into(),
            peer: bulk.peer.clone(),
            parameters: id.map(|id| ("id", id)).into_iter().collect(),
            id: bulk.id.clone(),
        };
        let response = self.recorded_in_bulk(operation, caller, &single).await.unwrap_or_else(|error| failure(&error));
        Done::of(&response, location)
    }

    /// What an operation does, and to what. Nothing but writes of resources can be reached from here.
    fn operation_of(&self, item: &Item) -> Result<(Operation, ResourceKind, Option<String>), ScimError> {
        let nowhere = || ScimError::invalid_path("a bulk operation goes to /Users, /Groups or one resource below them");
        let path = item.path.strip_prefix('/').ok_or_else(nowhere)?;
        let (endpoint, id) = path.split_once('/').map_or((path, None), |(endpoint, id)| (endpoint, Some(id)));
        let kinds = [ResourceKind::User, ResourceKind::Group];
        let named = |kind: &ResourceKind| {
            let own = self.schemas.definition(*kind).endpoint();
            own.strip_prefix('/').is_some_and(|own| own.eq_ignore_ascii_case(endpoint))
        };
        let kind = kinds.into_iter().find(named).ok_or_else(nowhere)?;
        if id.is_some_and(|id| id.is_empty() || id.contains(['/', '?', '#', '%', '\\'])) {
            return Err(nowhere());
        }
        let operation = match (item.method.as_str(), id) {
            ("POST", None) => Operation::Create(kind),
            ("PUT", Some(_)) => Operation::Replace(kind),
            ("PATCH", Some(_)) => Operation::Patch(kind),
            ("DELETE", Some(_)) => Operation::Delete(kind),
            _ => {
                let detail = "a bulk operation is a POST to a type, or a PUT, PATCH or DELETE of one resource";
                return Err(ScimError::method_not_allowed(detail));
            }
        };
        if operation == Operation::Create(kind) && item.bulk_id.is_none() {
            return Err(ScimError::invalid_value("a POST in a bulk request needs a bulkId (RFC 7644 section 3.7)"));
        }
        if item.method != Method::DELETE && item.data.is_none() {
            return Err(ScimError::invalid_syntax("the operation needs `data`: the body of the request"));
        }
        Ok((operation, kind, id.map(str::to_owned)))
    }
}

fn put(done: &mut [Option<Done>], index: usize, outcome: Done) {
    if let Some(slot) = done.get_mut(index) {
        *slot = Some(outcome);
    }
}

impl Done {
    fn failed(error: &ScimError, location: Option<String>) -> Self {
        Self { status: error.status, version: None, location, error: Some(error.to_json()) }
    }

    fn of(response: &Response, location: Option<String>) -> Self {
        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let status = response.status();
        let whole = response.body().whole().filter(|_| !status.is_success());
        let error = whole.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let location = header(LOCATION).or_else(|| header(CONTENT_LOCATION)).or(location);
        Self { status, version: header(ETAG), location, error }
    }

    /// The id of what was made.
    fn id(&self) -> Option<&str> {
        self.location.as_deref().filter(|_| self.status.is_success())?.rsplit('/').next()
    }

    fn to_json(&self, item: &Item) -> Value {
        let mut result = json!({"method": item.method.as_str()});
        let members = [
            ("bulkId", item.bulk_id.as_deref().map(Value::from)),
            ("version", self.version.as_deref().map(Value::from)),
            ("location", self.location.as_deref().map(Value::from)),
            ("status", Some(Value::from(self.status.as_str()))),
            ("response", self.error.clone()),
        ];
        if let Some(result) = result.as_object_mut() {
            result.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        result
    }
}
