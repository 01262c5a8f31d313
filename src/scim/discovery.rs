//! Discovery (RFC 7644 section 4): what is served here, read-only and true.

use serde_json::{Value, json};

use super::Scim;
use super::caller::Caller;
use super::error::ScimError;
use super::list::list_response;
use super::query::value;
use super::respond::body;
use super::roles::Grantable;
use crate::http::{Request, Response, StatusCode};

impl Scim {
    /// GET /ServiceProviderConfig
    pub(super) fn service_provider_config(&self, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let config = self.schemas.service_provider_config();
        Ok(body(StatusCode::OK, &self.with_meta(config, "ServiceProviderConfig", "/ServiceProviderConfig")))
    }

    /// GET /ResourceTypes
    pub(super) fn resource_types(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let announced = announced(caller).map(Grantable::resource_type);
        let types = self.schemas.resource_types().iter().cloned().chain(announced);
        Ok(all(types.map(|one| self.placed(&one, "ResourceType", "/ResourceTypes")).collect()))
    }

    /// GET /ResourceTypes/{id}
    pub(super) fn resource_type(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let name = request.parameter("id");
        let found = self.schemas.resource_type(name).cloned();
        let found = found.or_else(|| announced(caller).map(Grantable::resource_type).find(|one| is(one, name)));
        let found = found.ok_or_else(|| ScimError::not_found("there is no such resource type; see /ResourceTypes"))?;
        Ok(body(StatusCode::OK, &self.placed(&found, "ResourceType", "/ResourceTypes")))
    }

    /// GET /Schemas
    pub(super) fn schema_documents(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let announced = announced(caller).map(Grantable::schema_document);
        let documents = self.schemas.documents().iter().cloned().chain(announced);
        Ok(all(documents.map(|one| self.placed(&one, "Schema", "/Schemas")).collect()))
    }

    /// GET /Schemas/{id}
    pub(super) fn schema_document(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let urn = request.parameter("id");
        let found = self.schemas.document(urn).cloned();
        let found = found.or_else(|| announced(caller).map(Grantable::schema_document).find(|one| is(one, urn)));
        let found = found.ok_or_else(|| ScimError::not_found("there is no such schema; see /Schemas"))?;
        Ok(body(StatusCode::OK, &self.placed(&found, "Schema", "/Schemas")))
    }

    fn placed(&self, document: &Value, resource_type: &str, endpoint: &str) -> Value {
        let id = document.get("id").and_then(Value::as_str).unwrap_or_default();
        self.with_meta(document, resource_type, &format!("{endpoint}/{id}"))
    }

    fn with_meta(&self, document: &Value, resource_type: &str, path: &str) -> Value {
        let mut document = document.clone();
        if let Some(members) = document.as_object_mut() {
            let location = format!("{}/scim/v2{path}", self.base_url);
            members.insert("meta".to_owned(), json!({"resourceType": resource_type, "location": location}));
        }
        document
    }
}

fn all(resources: Vec<Value>) -> Response {
    let total = u64::try_from(resources.len()).unwrap_or(u64::MAX);
    list_response(total, 1, resources)
}

/// The types that only some clients are told of.
fn announced(caller: &Caller) -> impl Iterator<Item = Grantable> {
    Grantable::ALL.into_iter().filter(|_| caller.dialect().announces_roles)
}

fn is(document: &Value, id: &str) -> bool {
    document.get("id").and_then(Value::as_str).is_some_and(|own| own.eq_ignore_ascii_case(id))
}

/// Discovery takes no filter (RFC 7644 section 4).
pub(super) fn refuse_filter(request: &Request) -> Result<(), ScimError> {
    if value(&request.query_pairs(), "filter").is_some() {
        return Err(ScimError::forbidden("discovery endpoints take no filter; read the whole list"));
    }
    Ok(())
}
