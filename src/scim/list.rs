//! Lists: filter, sort and page, run by the store over its index.

use serde_json::{Value, json};

use super::caller::{Caller, Wall};
use super::content::external_path;
use super::error::{ScimError, quote};
use super::filter::{Filter, to_predicate};
use super::query::Listing;
use super::respond::body;
use super::schema::{Definition, ResourceKind, Tolerance};
use super::{Scim, kind_of, store_failure};
use crate::http::{Request, Response, StatusCode};
use crate::store::{Page, Predicate, Query, StoreError};

/// The URN of a list.
const LIST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
/// How many resources a list holds at most where the configuration does not say.
const MOST_RESULTS: u64 = 200;

impl Scim {
    /// GET /Users and /Groups
    pub(super) async fn list(
        &self,
        caller: &Caller,
        kind: ResourceKind,
        request: &Request,
    ) -> Result<Response, ScimError> {
        let listing = Listing::read(&request.query_pairs(), self.most_results())?;
        let definition = self.schemas.definition(kind);
        let predicate = match &listing.filter {
            Some(text) => Some(
                self.predicate(Some(caller.wall()), caller.connection(), definition, text, &caller.tolerance()).await?,
            ),
            None => None,
        };
        let sort = match &listing.sort {
            Some((path, descending)) => Some((sort_path(definition, caller.connection(), path)?, *descending)),
            None => None,
        };
        let query = Query {
            kind: kind_of(kind),
            organization: Some(caller.wall().id.clone()),
            predicate,
            sort,
            page: Page { offset: listing.start - 1, count: listing.count, after: None },
        };
        let found = self.store.query(query).await.map_err(query_failure)?;
        let mut resources = Vec::with_capacity(found.records.len());
        for record in &found.records {
            resources.push(Value::Object(match kind {
                ResourceKind::User => self.shown_user(caller.connection(), record, &listing.wanted).await?,
                ResourceKind::Group => self.shown_group(caller.connection(), record, &listing.wanted).await?,
            }));
        }
        Ok(list_response(found.total, listing.start, resources))
    }

    /// What a filter's text asks of the store, for a viewer of one organization or, where that is `None`, of all.
    pub(super) async fn predicate(
        &self,
        wall: Option<&Wall>,
        viewer: &str,
        definition: &Definition,
        text: &str,
        tolerance: &Tolerance,
    ) -> Result<Predicate, ScimError> {
        let filter = Filter::parse(text, tolerance)?;
        let mut numbers = Vec::new();
        for id in filter.member_ids(definition) {
            if let Some(record) = self.member(wall, &id).await? {
                numbers.push((id, record.number));
            }
        }
        let number_of = |id: &str| numbers.iter().find(|(other, _)| other == id).map(|(_, number)| *number);
        let mut predicate = to_predicate(&filter, definition, tolerance, &number_of)?;
        scope_external(&mut predicate, viewer);
        Ok(predicate)
    }

    /// `filter.maxResults` of the announced configuration.
    pub(super) fn most_results(&self) -> u64 {
        let announced = self.schemas.service_provider_config().pointer("/filter/maxResults").and_then(Value::as_u64);
        announced.unwrap_or(MOST_RESULTS)
    }
}

/// A list of resources.
pub(super) fn list_response(total: u64, start: u64, resources: Vec<Value>) -> Response {
    let list = json!({
        "schemas": [LIST_SCHEMA],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    body(StatusCode::OK, &list)
}

/// Query failures are the filter's fault where the store says so.
pub(super) fn query_failure(error: StoreError) -> ScimError {
    match error {
        StoreError::TooComplex(reason) => ScimError::invalid_filter(format!("the filter is too large: {reason}")),
        StoreError::Invalid(_)
        | StoreError::Taken(_)
        | StoreError::Exists { .. }
        | StoreError::VersionMismatch { .. }
        | StoreError::NotFound(_)
        | StoreError::Unavailable(_)
        | StoreError::Damaged(_) => store_failure(error),
    }
}

/// `externalId` means the viewer's own.
fn scope_external(predicate: &mut Predicate, viewer: &str) {
    match predicate {
        Predicate::All(inner) | Predicate::Any(inner) => inner.iter_mut().for_each(|one| scope_external(one, viewer)),
        Predicate::Not(inner) => scope_external(inner, viewer),
        Predicate::Compare { path, .. } | Predicate::Present { path } => {
            if path == "externalid" {
                *path = external_path(viewer);
            }
        }
        // Elements are of multi-valued attributes.
        Predicate::Element { .. }
        | Predicate::Member(_)
        | Predicate::MemberOf(_)
        | Predicate::HasMembers
        | Predicate::HasGroups => {}
    }
}

/// The index path that a `sortBy` means; a complex attribute is sorted by its `value`.
fn sort_path(definition: &Definition, viewer: &str, text: &str) -> Result<String, ScimError> {
    let unknown = || ScimError::invalid_path(format!("sortBy is {}, which nothing can be sorted by", quote(text)));
    let path = definition.resolve(text).ok_or_else(unknown)?;
    if path.is_secret() {
        return Err(ScimError::sensitive("nothing is sorted by a secret"));
    }
    if definition.is_membership(&path) {
        return Err(unknown());
    }
    let path = match path.leaf() {
        leaf if leaf.is_complex() => path.with_sub(Some(leaf.sub_attribute("value").ok_or_else(unknown)?)),
        _ => path,
    };
    let key = path.key();
    Ok(if key == "externalid" { external_path(viewer) } else { key })
}
