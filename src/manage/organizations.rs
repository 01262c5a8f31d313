//! `organizations`: the walls of the installation. Each owns its accounts, connections, people and groups.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Manage;
use super::respond::{self, ATTEMPTS, Parameters, body, changed_meanwhile, refused, with_revision, written};
use crate::domain::{Image, OrganizationImage};
use crate::http::{self, Refusal, Request, Response, StatusCode};
use crate::store::{Content, Kind, Page, Query, Record, Step, StoreError};

/// The body of a PUT and the stored document.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
}

/// `PUT organizations/{id}`: 201 when created, 200 when there already.
pub(super) async fn put(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let id = respond::identifier("organization", request.parameter("id"))?;
    let wanted: Document = body(&request)?;
    let wanted = Document { name: respond::name("organization", &wanted.name)? };
    let answer = json!({"id": id, "name": wanted.name});
    for _ in 0..ATTEMPTS {
        let (status, step) = match manage.store.get(Kind::Organization, &id).await.map_err(refused)? {
            Some(record) if respond::stored::<Document>(&record)? == wanted => {
                return Ok(written(StatusCode::OK, manage.head().await?, &answer));
            }
            Some(record) => {
                let expected = Some(record.version);
                (StatusCode::OK, Step::Replace { number: record.number, expected, content: content(&id, &wanted)? })
            }
            None => {
                let (kind, organization) = (Kind::Organization, String::new());
                (
                    StatusCode::CREATED,
                    Step::Create { kind, id: id.clone(), organization, content: content(&id, &wanted)? },
                )
            }
        };
        match manage.commit(vec![step]).await {
            Ok(revision) => return Ok(written(status, revision, &answer)),
            Err(error) if raced(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(changed_meanwhile())
}

/// `GET organizations/{id}`.
pub(super) async fn get(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let record = find(&manage, request.parameter("id")).await?;
    Ok(http::json(StatusCode::OK, &view(&record)?))
}

/// `GET organizations`.
pub(super) async fn list(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    let listing = Parameters::read(&request, &["cursor", "count"])?.page()?;
    let query =
        Query { kind: Kind::Organization, organization: None, predicate: None, sort: None, page: listing.page() };
    listing.answer(manage.store.query(query).await.map_err(refused)?.records, view)
}

/// `DELETE organizations/{id}`: only when it owns nothing any more. People deleted over SCIM stay on record
/// and do not count.
pub(super) async fn delete(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    for _ in 0..ATTEMPTS {
        // The version is read before the look around: whatever this room creates in the organization raises
        // it in the same transaction (`touch`), so nothing can come in between the look and the removal.
        let record = find(&manage, request.parameter("id")).await?;
        empty(&manage, &record.id).await?;
        let step = Step::Remove { number: record.number, expected: Some(record.version) };
        match manage.commit(vec![step]).await {
            Ok(revision) => return Ok(with_revision(http::empty(StatusCode::NO_CONTENT), revision)),
            Err(error) if raced(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(changed_meanwhile())
}

/// An organization that exists, for the endpoints of what it owns.
///
/// # Errors
/// 404 naming it.
pub(super) async fn find(manage: &Manage, id: &str) -> Result<Record, Refusal> {
    manage.store.get(Kind::Organization, id).await.map_err(refused)?.ok_or_else(|| {
        Refusal::not_found(format!(
            "there is no organization {}; create it with PUT /manage/v1/organizations/{{id}}",
            respond::quoted(id)
        ))
    })
}

/// A step that raises the organization's version and changes nothing else: goes into each transaction that
/// creates something in it, so that the creation and a removal of the organization exclude each other.
pub(super) fn touch(organization: &Record) -> Result<Step, Refusal> {
    let content = content(&organization.id, &respond::stored(organization)?)?;
    Ok(Step::Replace { number: organization.number, expected: Some(organization.version), content })
}

/// Whether a commit lost against another writer and may be tried again from the read on.
pub(super) fn raced(error: &StoreError) -> bool {
    match error {
        StoreError::VersionMismatch { .. } | StoreError::Exists { .. } | StoreError::NotFound(_) => true,
        StoreError::Taken(_)
        | StoreError::Unavailable(_)
        | StoreError::Damaged(_)
        | StoreError::TooComplex(_)
        | StoreError::Invalid(_) => false,
    }
}

fn content(id: &str, document: &Document) -> Result<Content, Refusal> {
    Ok(Content {
        document: json!(document).to_string(),
        image: Some(Image::Organization(OrganizationImage { id: id.to_owned() })),
        ..Content::default()
    })
}

fn view(record: &Record) -> Result<Value, Refusal> {
    let document: Document = respond::stored(record)?;
    Ok(json!({"id": record.id, "name": document.name}))
}

/// 409 naming what the organization still owns.
async fn empty(manage: &Manage, id: &str) -> Result<(), Refusal> {
    let mut owned = Vec::new();
    for kind in [Kind::Account, Kind::Connection, Kind::User, Kind::Group] {
        let page = Page { offset: 0, count: 1, after: None };
        let query = Query { kind, organization: Some(id.to_owned()), predicate: None, sort: None, page };
        let found = manage.store.query(query).await.map_err(refused)?;
        let total = found.total.unwrap_or(found.records.len() as u64);
        if total > 0 {
            owned.push(format!("{total} {}{}", kind.name(), if total == 1 { "" } else { "s" }));
        }
    }
    if owned.is_empty() {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "organization `{id}` is not empty: it owns {}; only an empty organization can be deleted",
        owned.join(", ")
    )))
}
