//! From documents to definitions, from the built-in copies or from a folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::attribute::{Attribute, duplicate};
use super::{Definition, ResourceKind, Schema};

/// A document of the folder is at most this long.
const LONGEST_DOCUMENT: u64 = 1 << 20;

/// At most this many documents are read from a folder.
const MOST_DOCUMENTS: usize = 100;

const RESOURCE_TYPES: &str = "ResourceTypes.json";
const SERVICE_PROVIDER_CONFIG: &str = "ServiceProviderConfig.json";

/// The built-in copies, by file name.
const BUILTIN: [(&str, &str); 7] = [
    ("User.json", include_str!("../../../scim-schemas/User.json")),
    ("Group.json", include_str!("../../../scim-schemas/Group.json")),
    ("EnterpriseUser.json", include_str!("../../../scim-schemas/EnterpriseUser.json")),
    ("CedargateUser.json", include_str!("../../../scim-schemas/CedargateUser.json")),
    ("CedargateGroup.json", include_str!("../../../scim-schemas/CedargateGroup.json")),
    (RESOURCE_TYPES, include_str!("../../../scim-schemas/ResourceTypes.json")),
    (SERVICE_PROVIDER_CONFIG, include_str!("../../../scim-schemas/ServiceProviderConfig.json")),
];

/// The attributes that every resource has (RFC 7643 section 3.1); no schema document lists them. Clients never
/// write `schemas`: it follows from what a resource holds.
const COMMON: &str = r#"[
  {"name": "schemas", "type": "reference", "multiValued": true, "caseExact": true, "mutability": "readOnly", "returned": "always"},
  {"name": "id", "caseExact": true, "mutability": "readOnly", "returned": "always", "uniqueness": "server"},
  {"name": "externalId", "caseExact": true},
  {"name": "meta", "type": "complex", "mutability": "readOnly", "subAttributes": [
    {"name": "resourceType", "caseExact": true, "mutability": "readOnly"},
    {"name": "created", "type": "dateTime", "mutability": "readOnly"},
    {"name": "lastModified", "type": "dateTime", "mutability": "readOnly"},
    {"name": "location", "type": "reference", "caseExact": true, "mutability": "readOnly"},
    {"name": "version", "caseExact": true, "mutability": "readOnly"}
  ]}
]"#;

/// Why documents cannot be used. Names the file and what to change.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {file}: {source}; check that it exists and may be read")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not JSON or not of the shape.
    #[error("{file} is not a SCIM document: {source}")]
    Malformed {
        /// Which.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A document is missing.
    #[error("the document {0} is missing; copy the built-in one into the folder")]
    Missing(String),
    /// A document contradicts itself or another.
    #[error("{file}: {fault}")]
    Faulty {
        /// Which.
        file: String,
        /// What is wrong.
        fault: String,
    },
}

#[derive(Deserialize)]
struct SchemaFile {
    id: String,
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceTypeFile {
    name: String,
    endpoint: String,
    schema: String,
    #[serde(default)]
    schema_extensions: Vec<ExtensionFile>,
}

#[derive(Deserialize)]
struct ExtensionFile {
    schema: String,
    #[serde(default)]
    required: bool,
}

/// All documents, checked, and the definitions that follow from them.
#[derive(Clone, Debug)]
pub struct Schemas {
    user: Definition,
    group: Definition,
    documents: Vec<Value>,
    resource_types: Vec<Value>,
    service_provider_config: Value,
}

impl Schemas {
    /// From the copies inside the binary.
    pub fn builtin() -> Result<Self, SchemaError> {
        Self::from_texts(BUILTIN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    /// From the `.json` files of a folder, which must be complete: `ResourceTypes.json`,
    /// `ServiceProviderConfig.json`, and a document for each schema that the resource types name. Blocking.
    pub fn load(folder: &Path) -> Result<Self, SchemaError> {
        let unreadable = |path: &Path, source| SchemaError::Unreadable { file: path.display().to_string(), source };
        let mut texts = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
            let path = entry.map_err(|source| unreadable(folder, source))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let length = path.metadata().map_err(|source| unreadable(&path, source))?.len();
            if length > LONGEST_DOCUMENT || texts.len() == MOST_DOCUMENTS {
                let fault =
                    format!("too much: at most {MOST_DOCUMENTS} documents of {LONGEST_DOCUMENT} bytes are read");
                return Err(SchemaError::Faulty { file: path.display().to_string(), fault });
            }
            let text = std::fs::read_to_string(&path).map_err(|source| unreadable(&path, source))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            texts.insert(name, text);
        }
        Self::from_texts(texts.into_iter().collect())
    }

    fn from_texts(texts: Vec<(String, String)>) -> Result<Self, SchemaError> {
        let mut documents = Vec::new();
        let mut schemas = BTreeMap::new();
        let (mut resource_types, mut service_provider_config) = (None, None);
        for (file, text) in texts {
            match file.as_str() {
                RESOURCE_TYPES => resource_types = Some(text),
                SERVICE_PROVIDER_CONFIG => service_provider_config = Some(text),
                _ => {
                    let schema: SchemaFile = read(&file, &text)?;
                    check(&file, &schema)?;
                    documents.push(read::<Value>(&file, &text)?);
                    if schemas.insert(schema.id.clone(), schema.attributes).is_some() {
                        return Err(SchemaError::Faulty { file, fault: format!("`{}` is declared twice", schema.id) });
                    }
                }
            }
        }
        let resource_types = resource_types.ok_or_else(|| SchemaError::Missing(RESOURCE_TYPES.to_owned()))?;
        let config = service_provider_config.ok_or_else(|| SchemaError::Missing(SERVICE_PROVIDER_CONFIG.to_owned()))?;
        let common: Vec<Attribute> = read("the common attributes", COMMON)?;
        let types: Vec<ResourceTypeFile> = read(RESOURCE_TYPES, &resource_types)?;
        Ok(Self {
            user: definition(ResourceKind::User, &types, &schemas, &common)?,
            group: definition(ResourceKind::Group, &types, &schemas, &common)?,
            documents,
            resource_types: read(RESOURCE_TYPES, &resource_types)?,
            service_provider_config: read(SERVICE_PROVIDER_CONFIG, &config)?,
        })
    }

    /// What holds for a resource type.
    pub fn definition(&self, kind: ResourceKind) -> &Definition {
        match kind {
            ResourceKind::User => &self.user,
            ResourceKind::Group => &self.group,
        }
    }

    /// The schema documents as announced at `/Schemas`, without `meta.location`, which needs the base URL.
    pub fn documents(&self) -> &[Value] {
        &self.documents
    }

    /// One schema document by its URN, without case.
    pub fn document(&self, urn: &str) -> Option<&Value> {
        self.documents.iter().find(|document| named(document, "id", urn))
    }

    /// The resource types as announced at `/ResourceTypes`.
    pub fn resource_types(&self) -> &[Value] {
        &self.resource_types
    }

    /// One resource type by its name, without case.
    pub fn resource_type(&self, name: &str) -> Option<&Value> {
        self.resource_types.iter().find(|document| named(document, "name", name))
    }

    /// What is announced at `/ServiceProviderConfig`.
    pub fn service_provider_config(&self) -> &Value {
        &self.service_provider_config
    }
}

fn named(document: &Value, member: &str, name: &str) -> bool {
    document.get(member).and_then(Value::as_str).is_some_and(|value| value.eq_ignore_ascii_case(name))
}

fn read<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, SchemaError> {
    serde_json::from_str(text).map_err(|source| SchemaError::Malformed { file: file.to_owned(), source })
}

fn check(file: &str, schema: &SchemaFile) -> Result<(), SchemaError> {
    let fault = if !schema.id.is_ascii() || !super::starts_with(&schema.id, "urn:") {
        Some(format!("`{}` is not a URN; extensions are keyed by it", schema.id))
    } else if let Some(name) = duplicate(&schema.attributes) {
        Some(format!("`{name}` is declared twice"))
    } else {
        schema.attributes.iter().find_map(|attribute| attribute.fault(false))
    };
    fault.map_or(Ok(()), |fault| Err(SchemaError::Faulty { file: file.to_owned(), fault }))
}

fn definition(
    kind: ResourceKind,
    types: &[ResourceTypeFile],
    schemas: &BTreeMap<String, Vec<Attribute>>,
    common: &[Attribute],
) -> Result<Definition, SchemaError> {
    let faulty = |fault| SchemaError::Faulty { file: RESOURCE_TYPES.to_owned(), fault };
    let found = types.iter().find(|declared| declared.name == kind.name());
    let declared = found.ok_or_else(|| faulty(format!("there is no resource type named {}", kind.name())))?;
    let schema = |urn: &str, required: bool| {
        let attributes = schemas.get(urn).cloned();
        let attributes = attributes.ok_or_else(|| SchemaError::Missing(format!("with the id `{urn}`")))?;
        Ok(Schema { urn: urn.to_owned(), required, attributes })
    };
    let core = schema(&declared.schema, true)?;
    if let Some(clash) = core.attributes.iter().find(|attribute| super::find(common, &attribute.name).is_some()) {
        return Err(faulty(format!("`{}` of {} is a common attribute already", clash.name, core.urn)));
    }
    let extensions = declared.schema_extensions.iter().map(|extension| schema(&extension.schema, extension.required));
    let extensions = extensions.collect::<Result<Vec<_>, _>>()?;
    Ok(Definition { kind, endpoint: declared.endpoint.clone(), core, extensions, common: common.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::schema::Tolerance;
    use serde_json::json;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in BUILTIN {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn an_attribute_in_a_file_is_accepted_validated_indexed_and_announced() {
        let folder = folder();
        let path = folder.path().join("CedargateUser.json");
        let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let badge = json!({"name": "badge", "type": "integer", "multiValued": false});
        document["attributes"].as_array_mut().unwrap().push(badge);
        std::fs::write(&path, document.to_string()).unwrap();

        let schemas = Schemas::load(folder.path()).unwrap();
        let user = schemas.definition(ResourceKind::User);
        let urn = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
        let resource = user.parse(&json!({"userName": "a", urn: {"BADGE": 7}}), &Tolerance::GENERIC).unwrap();
        assert_eq!(resource.get(&format!("{urn}:badge")), Some(&json!(7)));
        let wrong = user.parse(&json!({"userName": "a", urn: {"badge": "seven"}}), &Tolerance::GENERIC);
        assert_eq!(wrong.unwrap_err().scim_type, Some("invalidValue"));
        assert!(user.index(resource.as_map()).iter().any(|entry| entry.path.ends_with(":user:badge")));
        assert!(schemas.document(urn).unwrap()["attributes"].to_string().contains("badge"));
    }

    #[test]
    fn a_folder_with_a_fault_is_refused_with_the_file_named() {
        let cases = [
            ("Group.json", r#"{"id": "urn:x", "attributes": [{"name": "a b"}]}"#, "Group.json: `a b` is not"),
            ("Group.json", r#"{"id": "urn:x", "attributes": [{"name": "a"}, {"name": "A"}]}"#, "`A` is declared twice"),
            ("Group.json", r#"{"id": "urn:x", "attributes": [{"name": "a", "type": "complex"}]}"#, "`subAttributes`"),
            ("Group.json", r#"{"id": "urn:x", "attributes": []}"#, "core:2.0:Group` is missing"),
            ("Group.json", r#"{"id": "urn:x", "attributes": [{"name": "a", "typ": "string"}]}"#, "unknown field `typ`"),
            ("ResourceTypes.json", "[]", "no resource type named User"),
            ("User.json", "{", "User.json is not a SCIM document"),
        ];
        for (file, text, message) in cases {
            let folder = folder();
            std::fs::write(folder.path().join(file), text).unwrap();
            let error = Schemas::load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let folder = folder();
        std::fs::remove_file(folder.path().join(SERVICE_PROVIDER_CONFIG)).unwrap();
        assert!(matches!(Schemas::load(folder.path()), Err(SchemaError::Missing(_))));
    }
}
