//! The entity types of a bundle as questions name them, and the entities that the folder lists in `entities.json`.
//!
//! A request may say only what the schema leaves to requests (`@authority("request")`); there it wins over the file.
//! Types that the directory provides (people, accounts, organizations) are never listed here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, Schema};
use serde_json::value::RawValue;

use super::Diagnostic;
use super::context::{self, At, ContextFault};
use super::entities::DIRECTORY_KINDS;
use super::schema::{Declared, EntityShape};
use super::source::Files;
use crate::domain::EntityName;

/// The file of a folder's own entities.
pub(super) const FILE: &str = "entities.json";

/// Entity types and listed entities.
#[derive(Debug, Default)]
pub(super) struct Nouns {
    kinds: HashMap<Arc<str>, Kind>,
    /// Names by which questions call a type, exactly.
    names: HashMap<String, Arc<str>>,
    /// The same without case; `None` where two types would fit.
    folded: HashMap<String, Option<Arc<str>>>,
    listed: HashMap<EntityUid, Entity>,
}

#[derive(Debug)]
struct Kind {
    name: EntityTypeName,
    shape: EntityShape,
    /// The listed ids, sorted.
    ids: Vec<Arc<str>>,
}

impl Nouns {
    /// Reads `entities.json` against the schema; answers every fault at once. `provided`: whether the directory
    /// provides people and accounts.
    pub(super) fn read(files: &Files, schema: &Schema, declared: Declared, provided: bool) -> (Self, Vec<Diagnostic>) {
        let mut nouns = Self::default();
        let mut faults = Vec::new();
        for (name, shape) in declared.entities {
            let mut owed = shape.attributes.iter().filter(|(_, field)| field.required && !field.from_request);
            if let (true, Some((attribute, _))) = (shape.from_request, owed.next()) {
                let message = format!("`{name}` is left to requests, but they may not say its attribute `{attribute}`");
                let help = "write @authority(\"request\") before the attribute, or make it optional";
                faults.push(Diagnostic::declared(files, attribute, &message).with_help(help));
            }
            nouns.declare(&name, shape);
        }
        if let Some(text) = files.get(FILE) {
            let listed = read_listed(text, schema, provided, &mut faults);
            nouns.list(listed, schema, &mut faults);
        }
        (nouns, faults)
    }

    fn declare(&mut self, name: &str, shape: EntityShape) {
        let Ok(type_name) = name.parse::<EntityTypeName>() else { return };
        let name: Arc<str> = name.into();
        self.names.entry(name.to_string()).or_insert_with(|| Arc::clone(&name));
        let base = name.rsplit_once("::").map_or(&*name, |(_, base)| base);
        let mut calls = vec![name.to_lowercase(), base.to_lowercase()];
        if let Some(other) = &shape.name {
            self.names.insert(other.clone(), Arc::clone(&name));
            calls.push(other.to_lowercase());
        }
        calls.sort();
        calls.dedup();
        for call in calls {
            self.folded.entry(call).and_modify(|known| *known = None).or_insert_with(|| Some(Arc::clone(&name)));
        }
        for id in &shape.ids {
            let uid = EntityUid::from_type_name_and_id(type_name.clone(), EntityId::new(id));
            self.listed.insert(uid.clone(), Entity::with_uid(uid));
        }
        let mut ids: Vec<Arc<str>> = shape.ids.iter().map(|id| Arc::from(id.as_str())).collect();
        ids.sort();
        self.kinds.insert(name, Kind { name: type_name, shape, ids });
    }

    /// With all ancestors of each, so that a slice of one entity is enough to answer `in`.
    fn list(&mut self, listed: Vec<Entity>, schema: &Schema, faults: &mut Vec<Diagnostic>) {
        let whole = match cedar_policy::Entities::from_entities(listed, Some(schema)) {
            Ok(whole) => whole,
            Err(error) => return faults.push(Diagnostic::cedar(FILE, "", &error)),
        };
        for entity in whole.iter() {
            let uid = entity.uid();
            // With a schema Cedar adds the actions.
            let Some(kind) = self.kinds.get_mut(uid.type_name().to_string().as_str()) else { continue };
            let id: Arc<str> = uid.id().unescaped().into();
            if let Err(at) = kind.ids.binary_search(&id) {
                kind.ids.insert(at, id);
            }
            self.listed.insert(uid, entity.clone());
        }
    }

    /// The type that a question means: by its name in the schema, by `@name`, else without case where only one fits.
    pub(super) fn kind(&self, name: &str) -> Option<&Arc<str>> {
        self.names.get(name).or_else(|| self.folded.get(&name.to_lowercase())?.as_ref())
    }

    /// The listed ids of a type, sorted.
    pub(super) fn ids(&self, kind: &str) -> &[Arc<str>] {
        self.kinds.get(kind).map_or(&[], |kind| &kind.ids)
    }

    /// Whether a question may name this entity: it is listed, or its type is left to requests.
    pub(super) fn admits(&self, kind: &str, id: &str) -> bool {
        self.kinds.get(kind).is_some_and(|known| known.shape.from_request || self.is_listed(known, id))
    }

    fn is_listed(&self, kind: &Kind, id: &str) -> bool {
        kind.ids.binary_search_by(|known| (**known).cmp(id)).is_ok()
    }

    pub(super) fn uid(&self, kind: &str, id: &str) -> Option<EntityUid> {
        Some(EntityUid::from_type_name_and_id(self.kinds.get(kind)?.name.clone(), EntityId::new(id)))
    }

    /// Whether a question may say this attribute of a type.
    pub(super) fn is_said(&self, kind: &str, attribute: &str) -> bool {
        let field = self.kinds.get(kind).and_then(|kind| kind.shape.attributes.get(attribute));
        field.is_some_and(|field| field.from_request)
    }

    /// The listed entity of a uid.
    pub(super) fn listed(&self, uid: &EntityUid) -> Option<&Entity> {
        self.listed.get(uid)
    }

    /// An entity as a question names it; `at` says where, for faults (`subject.properties`). `None` where it is unknown.
    pub(super) fn said(&self, name: &EntityName<'_>, at: &str) -> Result<Option<Entity>, ContextFault> {
        let Some(kind) = self.kinds.get(name.kind) else { return Ok(None) };
        let uid = EntityUid::from_type_name_and_id(kind.name.clone(), EntityId::new(name.id));
        let listed = self.listed.get(&uid);
        if listed.is_none() && !kind.shape.from_request {
            return Ok(None);
        }
        let shapes = &kind.shape.attributes;
        let given = |key: &str| name.properties.iter().any(|(name, _)| name == key);
        let reads = |key: &str| {
            let stored = listed.is_some_and(|entity| entity.attr(key).is_some());
            shapes.get(key).is_some_and(|field| field.from_request) && (given(key) || !stored)
        };
        let said = context::express(shapes, name.properties, At::new(at), reads)?;
        let Some(listed) = listed else {
            let attributes = said.into_iter().collect();
            let entity = Entity::new(uid, attributes, std::collections::HashSet::new());
            return entity.map(Some).map_err(|error| ContextFault::at(at, error.to_string()));
        };
        if said.is_empty() {
            return Ok(Some(listed.clone()));
        }
        let (uid, mut attributes, ancestors) = listed.clone().into_inner();
        attributes.extend(said);
        Entity::new(uid, attributes, ancestors).map(Some).map_err(|error| ContextFault::at(at, error.to_string()))
    }
}

/// Each entity by itself, so that every fault is told, with its line.
fn read_listed(text: &str, schema: &Schema, provided: bool, faults: &mut Vec<Diagnostic>) -> Vec<Entity> {
    let items: Vec<&RawValue> = match serde_json::from_str(text) {
        Ok(items) => items,
        Err(error) => {
            let help = "write a list of {\"uid\": {\"type\", \"id\"}, \"attrs\": {}, \"parents\": []}";
            faults.push(Diagnostic::json(FILE, text, &error).with_help(help));
            return Vec::new();
        }
    };
    let mut listed: Vec<Entity> = Vec::new();
    let mut seen = BTreeMap::new();
    for item in items {
        let fault = |message: &str| Diagnostic::part(FILE, text, item.get(), message);
        let entity = match Entity::from_json_str(item.get(), Some(schema)) {
            Ok(entity) => entity,
            Err(error) => {
                let found = Diagnostic::cedar(FILE, "", &error);
                faults.push(Diagnostic { help: found.help, ..fault(&found.message) });
                continue;
            }
        };
        let uid = entity.uid();
        let kind = uid.type_name().to_string();
        if provided && DIRECTORY_KINDS.contains(&kind.as_str()) {
            let message = format!("`{uid}` is of a type that the directory provides");
            faults.push(
                fault(&message).with_help("people and accounts come over SCIM and the manage API; leave them out"),
            );
        }
        let here = fault("").line;
        if let Some(before) = seen.insert(uid.to_string(), here) {
            faults.push(fault(&format!("`{uid}` stands twice (before in line {before})")));
            continue;
        }
        listed.push(entity);
    }
    listed
}
