//! `accounts` and `products`: what people are granted access to, and what an account has subscribed to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::organizations::{self, raced};
use super::respond::{self, ATTEMPTS, Parameters, body, changed_meanwhile, refused, written};
use super::{Catalogue, Manage};
use crate::domain::{AccountImage, Image, Number};
use crate::http::{self, Refusal, Request, Response, StatusCode};
use crate::store::{Content, Kind, Query, Record, Step};

/// The body of a PUT. `products` must be said, if only as `[]`: leaving it out must not end anybody's access
/// by accident.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    organization: String,
    name: Option<String>,
    products: Vec<String>,
}

/// What is stored; the organization stands on the record.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Document {
    name: String,
    products: Vec<String>,
}

/// `PUT accounts/{id}`: 201 when created, 200 when there already. An account never changes its organization.
pub(super) async fn put(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let id = respond::identifier("account", request.parameter("id"))?;
    let asked: Body = body(&request)?;
    let document = Document {
        name: respond::name("account", asked.name.as_deref().unwrap_or(&id))?,
        products: known_products(&(manage.catalogue)(), asked.products)?,
    };
    for _ in 0..ATTEMPTS {
        let organization = organizations::find(&manage, &asked.organization).await?;
        let content = content(&id, organization.number, &document);
        let answer = show(&id, &organization.id, &document);
        let (status, steps) = match manage.store.get(Kind::Account, &id).await.map_err(refused)? {
            Some(record) => {
                // Operators see every organization, so naming the other one tells them nothing new.
                if record.organization != organization.id {
                    return Err(Refusal::conflict(format!(
                        "account `{id}` belongs to organization `{}` and cannot move to another",
                        record.organization
                    )));
                }
                if respond::stored::<Document>(&record)? == document {
                    return Ok(written(StatusCode::OK, manage.head().await?, &answer));
                }
                let expected = Some(record.version);
                (StatusCode::OK, vec![Step::Replace { number: record.number, expected, content }])
            }
            None => {
                let create = Step::Create {
                    kind: Kind::Account,
                    id: id.clone(),
                    organization: organization.id.clone(),
                    content,
                };
                (StatusCode::CREATED, vec![organizations::touch(&organization)?, create])
            }
        };
        match manage.commit(steps).await {
            Ok(revision) => return Ok(written(status, revision, &answer)),
            Err(error) if raced(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(changed_meanwhile())
}

/// `GET accounts/{id}`.
pub(super) async fn get(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let id = request.parameter("id");
    let record = manage.store.get(Kind::Account, id).await.map_err(refused)?.ok_or_else(|| {
        Refusal::not_found(format!("there is no account {}; GET /manage/v1/accounts lists them", respond::quoted(id)))
    })?;
    Ok(http::json(StatusCode::OK, &view(&record)?))
}

/// `GET accounts`, all or those of one `?organization=`.
pub(super) async fn list(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&request, &["cursor", "count", "organization"])?;
    let listing = parameters.page()?;
    let organization = parameters.get("organization").map(str::to_owned);
    if let Some(id) = &organization {
        organizations::find(&manage, id).await?;
    }
    let query = Query { kind: Kind::Account, organization, predicate: None, sort: None, page: listing.page() };
    listing.answer(manage.store.query(query).await.map_err(refused)?.records, view)
}

/// `GET products`: the one table of names.
pub(super) async fn products(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    Ok(http::json(StatusCode::OK, &json!({"products": named(&(manage.catalogue)().products)})))
}

/// `GET roles`: the names that may be given.
pub(super) async fn roles(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    Ok(http::json(StatusCode::OK, &json!({"roles": named(&(manage.catalogue)().roles)})))
}

fn named(names: &[(String, String)]) -> Vec<Value> {
    names.iter().map(|(name, description)| json!({"name": name, "description": description})).collect()
}

/// The names in order and each once; refuses one that the table does not have.
fn known_products(catalogue: &Catalogue, mut wanted: Vec<String>) -> Result<Vec<String>, Refusal> {
    for name in &wanted {
        if !catalogue.products.iter().any(|(known, _)| known == name) {
            let near = respond::did_you_mean(name, catalogue.products.iter().map(|(known, _)| known.as_str()));
            return Err(Refusal {
                code: "unknown-product",
                ..Refusal::bad_request(format!(
                    "unknown product {}{near} (GET /manage/v1/products lists all names)",
                    respond::quoted(name)
                ))
            });
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

fn content(id: &str, organization: Number, document: &Document) -> Content {
    Content {
        document: json!(document).to_string(),
        image: Some(Image::Account(AccountImage {
            id: id.to_owned(),
            organization,
            products: document.products.clone(),
        })),
        ..Content::default()
    }
}

fn view(record: &Record) -> Result<Value, Refusal> {
    Ok(show(&record.id, &record.organization, &respond::stored(record)?))
}

fn show(id: &str, organization: &str, document: &Document) -> Value {
    json!({"id": id, "organization": organization, "name": document.name, "products": document.products})
}
