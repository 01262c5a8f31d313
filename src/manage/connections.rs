//! `connections`: one identity provider of one organization, what it may grant, and its tokens. A token is
//! shown once, in the answer that makes it; nothing here can show it again.

mod activity;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::organizations::{self, raced};
pub(super) use activity::{event, events, settle, undo};

use super::respond::{self, ATTEMPTS, Parameters, body, changed_meanwhile, refused, with_revision, written};
use super::users::refused as scim_refused;
use super::{Catalogue, Manage};
use crate::domain::Timestamp;
use crate::http::{self, Refusal, Request, Response, StatusCode};
use crate::scim::Standing;
use crate::scim::connection::{Connection, ConnectionFault, Profile, Settings, TokenRecord};
use crate::store::{Kind, Query, Record, Step};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConnection {
    name: String,
    organization: String,
    profile: Option<String>,
    #[serde(default)]
    settings: Settings,
}

/// What `PATCH connections/{id}` changes; what is `None` stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    name: Option<String>,
    profile: Option<String>,
    /// Setting by setting; null is the default.
    settings: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    expires: Option<String>,
}

/// `POST connections`: 201 with the first token.
pub(super) async fn create(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let asked: NewConnection = body(&request)?;
    let name = respond::name("connection", &asked.name)?;
    let profile = match asked.profile.as_deref() {
        None => Profile::default(),
        Some(text) => text.parse().map_err(faulty)?,
    };
    known_roles(&(manage.catalogue)(), &asked.settings)?;
    asked.settings.check().map_err(faulty)?;
    let id = manage.sources.identifier();
    let mut connection = Connection::new(id.clone(), asked.organization, name, profile, asked.settings);
    let token = connection.add_token(&manage.sources, None).map_err(faulty)?;
    for _ in 0..ATTEMPTS {
        let organization = organizations::find(&manage, &connection.organization).await?;
        own_accounts(&manage, &connection).await?;
        let content = connection.to_content().map_err(faulty)?;
        let create =
            Step::Create { kind: Kind::Connection, id: id.clone(), organization: organization.id.clone(), content };
        match manage.commit(vec![organizations::touch(&organization)?, create]).await {
            Ok(revision) => {
                let mut answer = show(&manage, &connection).await?;
                if let Some(members) = answer.as_object_mut() {
                    members.insert("token".to_owned(), Value::String(token.shown));
                }
                return Ok(written(StatusCode::CREATED, revision, &answer));
            }
            Err(error) if raced(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(changed_meanwhile())
}

/// `GET connections`, all or those of one `?organization=`.
pub(super) async fn list(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&request, &["cursor", "count", "organization"])?;
    let listing = parameters.page()?;
    let organization = parameters.get("organization").map(str::to_owned);
    if let Some(id) = &organization {
        organizations::find(&manage, id).await?;
    }
    let query = Query { kind: Kind::Connection, organization, predicate: None, sort: None, page: listing.page() };
    let found = manage.store.query(query).await.map_err(refused)?;
    let mut standings = std::collections::BTreeMap::new();
    for record in &found.records {
        standings.insert(record.id.clone(), manage.scim.standing(&record.id).await.map_err(scim_refused)?);
    }
    let now = manage.sources.clock.now();
    listing.answer(found.records, |record| {
        let connection = Connection::from_record(record).map_err(faulty)?;
        Ok(shown(&connection, standings.get(&record.id), now))
    })
}

/// `GET connections/{id}`.
pub(super) async fn get(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let (_, connection) = find(&manage, request.parameter("id")).await?;
    Ok(http::json(StatusCode::OK, &show(&manage, &connection).await?))
}

/// `PATCH connections/{id}`: name, profile and settings, one by one; what is not named stays.
pub(super) async fn patch(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let asked: Changes = body(&request)?;
    for _ in 0..ATTEMPTS {
        let (record, mut connection) = find(&manage, request.parameter("id")).await?;
        if let Some(name) = &asked.name {
            connection.name = respond::name("connection", name)?;
        }
        if let Some(profile) = &asked.profile {
            connection.profile = profile.parse().map_err(faulty)?;
        }
        if let Some(changes) = &asked.settings {
            connection.settings = merged(&connection.settings, changes)?;
        }
        known_roles(&(manage.catalogue)(), &connection.settings)?;
        connection.settings.check().map_err(faulty)?;
        own_accounts(&manage, &connection).await?;
        match manage.commit(vec![replace(&record, &connection)?]).await {
            Ok(revision) => return Ok(written(StatusCode::OK, revision, &show(&manage, &connection).await?)),
            Err(error) if raced(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(changed_meanwhile())
}

/// Settings with changes: members of objects one by one, null for the default.
fn merged(settings: &Settings, changes: &Map<String, Value>) -> Result<Settings, Refusal> {
    let fault = |error: serde_json::Error| Refusal::bad_request(format!("the settings cannot be read: {error}"));
    let mut all = match serde_json::to_value(settings).map_err(fault)? {
        Value::Object(all) => all,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    for (name, value) in changes {
        match (all.get_mut(name).and_then(Value::as_object_mut), value) {
            (_, Value::Null) => {
                all.shift_remove(name);
            }
            (Some(parts), Value::Object(changes)) => parts.extend(changes.clone()),
            _ => {
                all.insert(name.clone(), value.clone());
            }
        }
    }
    serde_json::from_value(Value::Object(all)).map_err(fault)
}

/// `DELETE connections/{id}`: its tokens end with it, at once. The people it brought stay, and so does its log until it
/// is too old.
pub(super) async fn delete(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let (record, _) = find(&manage, request.parameter("id")).await?;
    let mut steps = vec![Step::Remove { number: record.number, expected: None }];
    steps.extend(manage.scim.forget_connection(&record.id).await.map_err(scim_refused)?);
    let revision = manage.commit(steps).await.map_err(refused)?;
    Ok(with_revision(http::empty(StatusCode::NO_CONTENT), revision))
}

/// `POST connections/{id}/tokens`: 201 with another token, to rotate to; at most two live at a time.
pub(super) async fn create_token(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let asked: NewToken = if request.body.is_empty() { NewToken::default() } else { body(&request)? };
    let now = manage.sources.clock.now();
    let expires = asked.expires.as_deref().map(|text| moment(text, now)).transpose()?;
    for _ in 0..ATTEMPTS {
        let (record, mut connection) = find(&manage, request.parameter("id")).await?;
        let token = connection.add_token(&manage.sources, expires).map_err(faulty)?;
        let mut steps = vec![replace(&record, &connection)?];
        steps.extend(manage.scim.forget_ended_tokens(&connection).await.map_err(scim_refused)?);
        match manage.commit(steps).await {
            Ok(revision) => {
                let created = respond::rfc3339(now);
                let expires = expires.map(respond::rfc3339);
                let answer = json!({"id": token.id, "token": token.shown, "created": created, "expires": expires});
                return Ok(written(StatusCode::CREATED, revision, &answer));
            }
            Err(error) if raced(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(changed_meanwhile())
}

/// `DELETE connections/{id}/tokens/{token}`: refused from the next request on. Revoking twice changes nothing.
pub(super) async fn revoke_token(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let token = request.parameter("token");
    for _ in 0..ATTEMPTS {
        let (record, mut connection) = find(&manage, request.parameter("id")).await?;
        let before = connection.clone();
        if !connection.revoke_token(token, manage.sources.clock.now()) {
            return Err(Refusal::not_found(format!(
                "connection `{}` has no token {}",
                connection.id,
                respond::quoted(token)
            )));
        }
        if connection == before {
            return Ok(with_revision(http::empty(StatusCode::NO_CONTENT), manage.head().await?));
        }
        match manage.commit(vec![replace(&record, &connection)?]).await {
            Ok(revision) => return Ok(with_revision(http::empty(StatusCode::NO_CONTENT), revision)),
            Err(error) if raced(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(changed_meanwhile())
}

async fn find(manage: &Manage, id: &str) -> Result<(Record, Connection), Refusal> {
    let record = manage.store.get(Kind::Connection, id).await.map_err(refused)?.ok_or_else(|| {
        Refusal::not_found(format!(
            "there is no connection {}; GET /manage/v1/connections lists them",
            respond::quoted(id)
        ))
    })?;
    let connection = Connection::from_record(&record).map_err(faulty)?;
    Ok((record, connection))
}

fn replace(record: &Record, connection: &Connection) -> Result<Step, Refusal> {
    let content = connection.to_content().map_err(faulty)?;
    Ok(Step::Replace { number: record.number, expected: Some(record.version), content })
}

async fn show(manage: &Manage, connection: &Connection) -> Result<Value, Refusal> {
    let standing = manage.scim.standing(&connection.id).await.map_err(scim_refused)?;
    Ok(shown(connection, Some(&standing), manage.sources.clock.now()))
}

fn shown(connection: &Connection, standing: Option<&Standing>, now: Timestamp) -> Value {
    let used = |id: &str| standing.and_then(|standing| standing.tokens.get(id).copied());
    let tokens: Vec<Value> = connection.tokens.iter().map(|token| show_token(token, used(&token.id), now)).collect();
    json!({
        "id": connection.id,
        "name": connection.name,
        "organization": connection.organization,
        "profile": connection.profile.name(),
        "settings": connection.settings,
        "tokens": tokens,
        "standing": standing.map(activity::standing),
    })
}

fn show_token(token: &TokenRecord, used: Option<Timestamp>, now: Timestamp) -> Value {
    json!({
        "id": token.id,
        "live": token.is_live(now),
        "created": respond::rfc3339(token.created),
        "expires": token.expires.map(respond::rfc3339),
        "revoked": token.revoked.map(respond::rfc3339),
        "lastUsed": used.map(respond::rfc3339),
    })
}

/// A moment in the future, RFC 3339.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    let moment: jiff::Timestamp = text.parse().map_err(|_| {
        Refusal::bad_request(format!("{} is no RFC 3339 time such as `2030-01-31T00:00:00Z`", respond::quoted(text)))
    })?;
    let moment = Timestamp(moment.as_millisecond());
    if moment <= now {
        return Err(Refusal::bad_request("`expires` must lie in the future"));
    }
    Ok(moment)
}

/// A limit that names a role nobody knows would allow less than its author thinks.
fn known_roles(catalogue: &Catalogue, settings: &Settings) -> Result<(), Refusal> {
    for role in settings.roles.iter().flatten() {
        if !catalogue.roles.iter().any(|(known, _)| known == role) {
            let near = respond::did_you_mean(role, catalogue.roles.iter().map(|(known, _)| known.as_str()));
            return Err(Refusal {
                code: "unknown-role",
                ..Refusal::bad_request(format!("unknown role {} in `settings.roles`{near}", respond::quoted(role)))
            });
        }
    }
    Ok(())
}

async fn own_accounts(manage: &Manage, connection: &Connection) -> Result<(), Refusal> {
    for id in connection.settings.accounts.iter().flatten() {
        let account = manage.store.get(Kind::Account, id).await.map_err(refused)?;
        if account.is_none_or(|account| account.organization != connection.organization) {
            return Err(Refusal {
                code: "unknown-account",
                ..Refusal::bad_request(format!(
                    "organization `{}` has no account {}, which `settings.accounts` names",
                    connection.organization,
                    respond::quoted(id)
                ))
            });
        }
    }
    Ok(())
}

fn faulty(fault: ConnectionFault) -> Refusal {
    match fault {
        ConnectionFault::TooManyTokens(_) => {
            Refusal { code: "too-many-tokens", ..Refusal::conflict(fault.to_string()) }
        }
        ConnectionFault::UnknownProfile(_) | ConnectionFault::Setting(_) => Refusal::bad_request(fault.to_string()),
        ConnectionFault::Damaged { .. } => {
            tracing::error!(%fault, "a stored connection cannot be read");
            Refusal::internal("a stored connection cannot be read; the log says which")
        }
    }
}
