//! Discovery (RFC 7644 section 4): what is served here, read-only and true.

use serde_json::{Value, json};

use super::Scim;
use super::error::ScimError;
use super::list::list_response;
use super::query::value;
use super::respond::body;
use crate::http::{Request, Response, StatusCode};

impl Scim {
    /// GET /ServiceProviderConfig
    pub(super) fn service_provider_config(&self, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let config = self.schemas.service_provider_config();
        Ok(body(StatusCode::OK, &self.with_meta(config, "ServiceProviderConfig", "/ServiceProviderConfig")))
    }

    /// GET /ResourceTypes
    pub(super) fn resource_types(&self, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        Ok(all(self
            .schemas
            .resource_types()
            .iter()
            .map(|one| self.placed(one, "ResourceType", "/ResourceTypes"))
            .collect()))
    }

    /// GET /ResourceTypes/{id}
    pub(super) fn resource_type(&self, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let found = self.schemas.resource_type(request.parameter("id"));
        let found = found.ok_or_else(|| ScimError::not_found("there is no such resource type; see /ResourceTypes"))?;
        Ok(body(StatusCode::OK, &self.placed(found, "ResourceType", "/ResourceTypes")))
    }

    /// GET /Schemas
    pub(super) fn schema_documents(&self, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        Ok(all(self.schemas.documents().iter().map(|one| self.placed(one, "Schema", "/Schemas")).collect()))
    }

    /// GET /Schemas/{id}
    pub(super) fn schema_document(&self, request: &Request) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let found = self.schemas.document(request.parameter("id"));
        let found = found.ok_or_else(|| ScimError::not_found("there is no such schema; see /Schemas"))?;
        Ok(body(StatusCode::OK, &self.placed(found, "Schema", "/Schemas")))
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

/// Discovery takes no filter (RFC 7644 section 4).
fn refuse_filter(request: &Request) -> Result<(), ScimError> {
    if value(&request.query_pairs(), "filter").is_some() {
        return Err(ScimError::forbidden("discovery endpoints take no filter; read the whole list"));
    }
    Ok(())
}
