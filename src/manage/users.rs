//! `users`: people as operators see and change them. What may be said of a person is `scim`'s to decide.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::Manage;
use super::respond::{self, Parameters, body, written};
use crate::http::{self, Refusal, Request, Response, StatusCode};
use crate::scim::error::ScimError;
use crate::token::Password;

/// `GET users`, all or those of one `?organization=`, that a SCIM `?filter=` finds.
pub(super) async fn list(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&request, &["cursor", "count", "filter", "organization"])?;
    let listing = parameters.page()?;
    let users = manage
        .scim
        .users(parameters.get("organization"), parameters.get("filter"), listing.after, listing.count)
        .await
        .map_err(refused)?;
    Ok(respond::list(users.items, users.next.map(respond::cursor)))
}

/// `GET users/{id}`, by id, username or login.
pub(super) async fn get(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let user = manage.scim.user_view(request.parameter("id")).await.map_err(refused)?;
    Ok(http::json(StatusCode::OK, &user))
}

/// `PATCH users/{id}`: what is named changes, the rest stays.
pub(super) async fn patch(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let changes: serde_json::Map<String, Value> = body(&request)?;
    let roles = manage.role_names();
    let id = request.parameter("id");
    let (user, revision) = manage.scim.patch_user(id, &Value::Object(changes), &roles).await.map_err(refused)?;
    Ok(written(StatusCode::OK, revision, &user))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    password: String,
}

/// `PUT users/{id}/password`: 204; the answer repeats nothing of it.
pub(super) async fn put_password(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    // The parser's sentence could repeat a password that stands in the wrong place.
    let read: Result<PasswordBody, Refusal> = body(&request);
    let sent = read.map_err(|_| Refusal::bad_request("the body must be {\"password\": \"…\"} and nothing else"))?;
    set_password(&manage, &request, Some(Password::new(sent.password))).await
}

/// `DELETE users/{id}/password`: 204, whether there was one or not.
pub(super) async fn delete_password(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    set_password(&manage, &request, None).await
}

async fn set_password(manage: &Manage, request: &Request, password: Option<Password>) -> Result<Response, Refusal> {
    let revision = manage.scim.set_password(request.parameter("id"), password).await.map_err(refused)?;
    Ok(respond::with_revision(http::respond(StatusCode::NO_CONTENT, "application/json", ""), revision))
}

/// A SCIM failure in this API's shape.
pub(super) fn refused(error: ScimError) -> Refusal {
    let ScimError { status, scim_type, detail, retry_after: _ } = error;
    match (status, scim_type) {
        (_, Some("invalidFilter")) => Refusal { code: "invalid-filter", ..Refusal::bad_request(detail) },
        (StatusCode::BAD_REQUEST, _) => Refusal::bad_request(detail),
        (StatusCode::FORBIDDEN, _) => Refusal::forbidden(detail),
        (StatusCode::NOT_FOUND, _) => Refusal::not_found(detail),
        (StatusCode::CONFLICT, _) => Refusal::conflict(detail),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => Refusal::too_large(detail),
        (StatusCode::SERVICE_UNAVAILABLE, _) => Refusal::unavailable("store-unavailable", detail),
        (status, _) if status.is_client_error() => Refusal { status, ..Refusal::bad_request(detail) },
        _ => Refusal::internal(detail),
    }
}
