//! Files to [`Bundle`], or every diagnostic at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, Entities, Entity, EntityUid, PolicySet, ResourceConstraint, Schema, SchemaFragment,
    ValidationMode, Validator,
};

use super::analysis::TimeDependence;
use super::context::{Shapes, reserved};
use super::declarations::{ActionDeclaration, Catalogue, Declarations};
use super::entities::{DIRECTORY_KINDS, uid_of};
use super::nouns::Nouns;
use super::policies::{self, Loaded};
use super::reads::Reads;
use super::routes::Routes;
use super::schema::{self, Declared};
use super::source::{Files, Source, identify};
use super::trial::CaseFile;
use super::{Diagnostic, engine::Candidates};

/// A schema, its policies, its routes and its tests, sound as a whole. Immutable; one pointer swaps it.
#[derive(Debug)]
pub struct Bundle {
    id: Arc<str>,
    catalogue: Catalogue,
    routes: Routes,
    actions: Vec<Action>,
    by_name: HashMap<Arc<str>, usize>,
    by_id: HashMap<Arc<str>, usize>,
    pub(super) policies: Vec<Loaded>,
    schema: String,
    cases: Vec<CaseFile>,
    warnings: Vec<Diagnostic>,
    pub(super) nouns: Nouns,
    provides: bool,
}

/// One action, with everything that an evaluation of it needs prepared.
#[derive(Debug)]
pub struct Action {
    /// The name.
    pub name: Arc<str>,
    /// Entity types of its principal.
    pub principals: Vec<Arc<str>>,
    /// Entity types of its resource; the first is the one that answers name.
    pub resources: Vec<Arc<str>>,
    /// Whether callers without an identity may be judged by policy.
    pub anonymous: bool,
    pub(super) entity: Entity,
    pub(super) uid: EntityUid,
    pub(super) shapes: Shapes,
    /// For each resource type, the policies whose scope admits action and type.
    pub(super) candidates: HashMap<Arc<str>, Arc<Candidates>>,
    /// Indices of the permits that could apply to any of its resource types.
    pub(super) permits: Vec<usize>,
    pub(super) time: TimeDependence,
    /// Whether a policy that can apply names an account by its id.
    pub names_accounts: bool,
    /// What its outcomes may depend on.
    pub reads: Reads,
}

impl Bundle {
    /// Reads and checks a bundle. Never answers half of one.
    pub fn load(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        let files = source.read()?;
        let mut faults = Vec::new();
        let fragments = read_fragments(&files, &mut faults);
        let own: Vec<_> = fragments.iter().flat_map(|(_, json)| schema::own_actions(json)).collect();
        let (declarations, declared) = Declarations::read(&files, &own);
        faults.extend(declared);
        let (policies, read) = policies::read(&files);
        faults.extend(read);
        let routes = Routes::build(declarations.endpoints.clone()).unwrap_or_else(|messages| {
            faults.extend(messages.iter().map(|message| Diagnostic::file("routes", message)));
            Routes::default()
        });
        let cases = read_cases(&files, &mut faults);
        let text = schema_text(&files, &declarations);
        let fragments = fragments.into_iter().map(|(fragment, _)| fragment).collect();
        let read = read_schema(fragments, &declarations, &text, &mut faults);
        let Some((schema, json)) = read else { return Err(in_order(faults)) };
        let (errors, warnings) = validate(schema.clone(), &policies, &files);
        faults.extend(errors);
        let mut declared = Declared::read(&json);
        let contexts = std::mem::take(&mut declared.contexts);
        let provides = declarations.directory_provides();
        let (nouns, unsound) = Nouns::read(&files, &schema, declared, provides);
        faults.extend(unsound);
        let actions = match schema.action_entities() {
            Ok(actions) => actions,
            Err(error) => return Err(in_order(vec![Diagnostic::file("schema.cedarschema", &error.to_string())])),
        };
        if !faults.is_empty() {
            return Err(in_order(faults));
        }
        let parts = Parts { policies: &policies, contexts, actions };
        // The schema compiled, so every declared action is in it.
        let actions: Vec<Action> =
            (declarations.actions.iter()).filter_map(|declaration| Action::build(declaration, &parts)).collect();
        let by_name = actions.iter().enumerate().map(|(index, action)| (Arc::clone(&action.name), index)).collect();
        Ok(Self {
            id: identify(&files).into(),
            catalogue: declarations.catalogue,
            routes,
            actions,
            by_name,
            by_id: policies.iter().enumerate().map(|(index, loaded)| (Arc::clone(&loaded.id), index)).collect(),
            policies,
            schema: text,
            cases,
            warnings,
            nouns,
            provides,
        })
    }

    /// What Cedar warns of; a bundle with warnings still serves.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The hash over all files, 32 hexadecimal digits.
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Roles and products.
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The endpoints.
    pub const fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The complete Cedar schema, generated parts included.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The bundle's own tests.
    pub fn cases(&self) -> &[CaseFile] {
        &self.cases
    }

    /// How many policies there are.
    pub const fn policy_count(&self) -> usize {
        self.policies.len()
    }

    /// The ids of all policies, in the order of the files.
    pub fn policy_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.policies.iter().map(|policy| &policy.id)
    }

    pub(super) fn loaded(&self, id: &str) -> Option<&Loaded> {
        self.policies.get(*self.by_id.get(id)?)
    }

    /// An action by the index that a route names.
    pub fn action(&self, index: usize) -> Option<&Action> {
        self.actions.get(index)
    }

    /// The index of an action by its name.
    pub fn action_named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All actions; a route's index is the place here.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Whether entities of this type come from the directory (people, accounts, organizations) and not from the
    /// folder: so in every bundle whose `routes/` declare actions.
    pub fn from_directory(&self, kind: &str) -> bool {
        self.provides && DIRECTORY_KINDS.contains(&kind)
    }

    /// The entity type that a question means by a name: as the schema declares it, as its `@name` says, else without
    /// case where only one type fits.
    pub fn entity_type(&self, name: &str) -> Option<&Arc<str>> {
        self.nouns.kind(name)
    }

    /// The ids that `entities.json` (or an enumeration of the schema) lists of an entity type, sorted.
    pub fn listed_ids(&self, kind: &str) -> &[Arc<str>] {
        self.nouns.ids(kind)
    }

    /// Whether a question may name this entity of the bundle's own: it is listed, or its type is left to requests.
    pub fn admits(&self, kind: &str, id: &str) -> bool {
        !self.from_directory(kind) && self.nouns.admits(kind, id)
    }
}

impl Action {
    /// Whether an outcome may change at any moment, because policies read the time in a way that is not known.
    pub fn at_any_moment(&self) -> bool {
        self.time == TimeDependence::Always
    }

    /// Whether the action reads this key of a question's context; what the server itself knows is not among them.
    pub fn reads(&self, key: &str) -> bool {
        self.shapes.get(key).is_some_and(|field| !reserved(key, &field.shape))
    }

    /// Whether the action can act on this entity type.
    pub fn applies_to(&self, kind: &str) -> bool {
        self.resources.iter().any(|one| &**one == kind)
    }

    fn build(declaration: &ActionDeclaration, parts: &Parts<'_>) -> Option<Self> {
        let policies = parts.policies;
        let uid = uid_of(&declaration.kind, &declaration.name)?;
        let entity = parts.actions.get(&uid)?.clone();
        let groups: HashSet<EntityUid> = parts.actions.ancestors(&uid)?.cloned().collect();
        let in_scope = |loaded: &Loaded, kind: &str| {
            let of_action = match loaded.policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(wanted) => wanted == uid,
                ActionConstraint::In(wanted) => wanted.iter().any(|one| *one == uid || groups.contains(one)),
            };
            let of_resource = match loaded.policy.resource_constraint() {
                ResourceConstraint::Any => true,
                // Every resource type of ours may stand below others, so `in` excludes nothing.
                ResourceConstraint::In(_) => true,
                ResourceConstraint::Eq(wanted) => wanted.type_name().to_string() == kind,
                ResourceConstraint::Is(wanted) | ResourceConstraint::IsIn(wanted, _) => wanted.to_string() == kind,
            };
            of_action && of_resource
        };
        let resources: Vec<Arc<str>> = declaration.resources.iter().map(|kind| Arc::from(kind.as_str())).collect();
        let mut candidates = HashMap::new();
        let mut permits = Vec::new();
        let mut time = TimeDependence::Never;
        let mut names_accounts = false;
        let mut reads = Reads::default();
        for kind in &resources {
            let chosen: Vec<usize> = (policies.iter().enumerate())
                .filter(|(_, loaded)| in_scope(loaded, kind))
                .map(|(index, _)| index)
                .collect();
            for index in &chosen {
                let Some(loaded) = policies.get(*index) else { continue };
                time = time.and(&loaded.analysis.time);
                names_accounts |= loaded.analysis.names_accounts;
                reads.join(&loaded.analysis.reads);
                if loaded.effect == Effect::Permit && !permits.contains(index) {
                    permits.push(*index);
                }
            }
            candidates.insert(Arc::clone(kind), Arc::new(Candidates::new(policies, &chosen)));
        }
        Some(Self {
            name: declaration.name.as_str().into(),
            principals: declaration.principals.iter().map(|kind| Arc::from(kind.as_str())).collect(),
            resources,
            anonymous: declaration.anonymous,
            entity,
            shapes: parts.contexts.get(&uid).cloned().unwrap_or_default(),
            uid,
            candidates,
            permits,
            time,
            names_accounts,
            reads,
        })
    }
}

/// What the actions of a bundle are made of.
struct Parts<'a> {
    policies: &'a [Loaded],
    contexts: HashMap<EntityUid, Shapes>,
    /// Every action and group with its ancestors.
    actions: Entities,
}

/// The folder's own schema files, each parsed, with its JSON form.
fn read_fragments(files: &Files, faults: &mut Vec<Diagnostic>) -> Vec<(SchemaFragment, serde_json::Value)> {
    let mut fragments = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".cedarschema")) {
        let parsed = SchemaFragment::from_cedarschema_str(text)
            .map_err(|error| Diagnostic::cedar(name, text, &error))
            .and_then(|(fragment, _)| match fragment.clone().to_json_value() {
                Ok(json) => Ok((fragment, json)),
                Err(error) => Err(Diagnostic::file(name, &error.to_string())),
            });
        match parsed {
            Ok(parsed) => fragments.push(parsed),
            Err(fault) => faults.push(fault),
        }
    }
    fragments
}

/// The whole schema: the folder's own files and the generated part.
fn schema_text(files: &Files, declarations: &Declarations) -> String {
    let own: Vec<&str> =
        files.iter().filter(|(name, _)| name.ends_with(".cedarschema")).map(|(_, text)| text.as_str()).collect();
    format!("{}\n{}", own.join("\n"), declarations.to_schema())
}

fn read_schema(
    own: Vec<SchemaFragment>,
    declarations: &Declarations,
    whole: &str,
    faults: &mut Vec<Diagnostic>,
) -> Option<(Schema, serde_json::Value)> {
    let generated = declarations.to_schema();
    let generated = match SchemaFragment::from_cedarschema_str(&generated) {
        Ok((fragment, _)) => fragment,
        Err(error) => {
            faults.push(Diagnostic::cedar("routes (generated actions)", &generated, &error));
            return None;
        }
    };
    let json = SchemaFragment::from_cedarschema_str(whole).ok().and_then(|(whole, _)| whole.to_json_value().ok());
    match (Schema::from_schema_fragments(own.into_iter().chain([generated])), json) {
        (Ok(schema), Some(json)) => Some((schema, json)),
        (Ok(_), None) => {
            faults.push(Diagnostic::file("schema.cedarschema", "cannot be joined with the generated actions"));
            None
        }
        (Err(error), _) => {
            faults.push(Diagnostic::cedar("schema.cedarschema", "", &error));
            None
        }
    }
}

/// Errors and warnings of the strict validation, at level 1: a slice of principal, resource and action provably suffices.
fn validate(schema: Schema, policies: &[Loaded], files: &Files) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let set = match PolicySet::from_policies(policies.iter().map(|loaded| loaded.policy.clone())) {
        Ok(set) => set,
        // Ids that stand twice are reported where the policies are read.
        Err(_) => return (Vec::new(), Vec::new()),
    };
    let file_of: HashMap<&str, &str> = policies.iter().map(|loaded| (&*loaded.id, loaded.file.as_str())).collect();
    let outcome = Validator::new(schema).validate_with_level(&set, ValidationMode::Strict, 1);
    let diagnose = |id: &cedar_policy::PolicyId, problem: &dyn miette::Diagnostic| {
        let file = file_of.get(AsRef::<str>::as_ref(id)).copied().unwrap_or("policies");
        Diagnostic::cedar(file, files.get(file).map_or("", String::as_str), problem)
    };
    // Each policy is validated for every action that it may meet; one finding is said once.
    let once = |mut all: Vec<Diagnostic>| {
        all.sort();
        all.dedup();
        all
    };
    let errors = outcome.validation_errors().map(|error| diagnose(error.policy_id(), error)).collect();
    let warnings = outcome.validation_warnings().map(|warning| diagnose(warning.policy_id(), warning)).collect();
    (once(errors), once(warnings))
}

fn in_order(mut faults: Vec<Diagnostic>) -> Vec<Diagnostic> {
    faults.sort();
    faults.dedup();
    faults
}

fn read_cases(files: &Files, faults: &mut Vec<Diagnostic>) -> Vec<CaseFile> {
    let mut all = Vec::new();
    for (file, text) in files.iter().filter(|(name, _)| name.starts_with("tests/")) {
        match CaseFile::parse(file, text) {
            Ok(cases) => all.push(cases),
            Err(fault) => faults.push(fault),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_bundle_is_sound() {
        let bundle = Bundle::load(&Source::Shipped).unwrap_or_else(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        });
        assert_eq!(bundle.routes().endpoints().len(), 562);
        assert!(bundle.actions.iter().all(|action| action.time != TimeDependence::Always));
        let overlaps = bundle.routes().overlaps();
        let trap = "GET /accounts/{accountId}/orders/totals wins over /accounts/{accountId}/orders/{orderId}";
        assert!(overlaps.iter().any(|line| line == trap), "{overlaps:?}");
    }
}
