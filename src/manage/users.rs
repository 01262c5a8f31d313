//! `users`: people as operators see and change them. What may be said of a person is `scim`'s to decide.

use std::sync::Arc;

use serde_json::Value;

use super::Manage;
use super::respond::{self, Parameters, body, written};
use crate::http::{self, Refusal, Request, Response, StatusCode};
use crate::scim::error::ScimError;

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
