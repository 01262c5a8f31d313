//! Files to [`Bundle`], or every diagnostic at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use cedar_policy::{PolicySet, Schema, SchemaFragment, ValidationMode, ValidationWarning, Validator};

use super::Diagnostic;
use super::action::{Action, Parts, Profiles};
use super::declarations::{Catalogue, Declarations};
use super::entities::DIRECTORY_KINDS;
use super::index::Index;
use super::nouns::{FILE as ENTITIES, Nouns};
use super::policies::{self, Loaded, Policies};
use super::prepare::Moment;
use super::routes::Routes;
use super::schema::{self, Declared};
use super::source::{Files, Source, identify};
use super::trial::{self, CaseFile};

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
    pub(super) index: Index,
    /// All policies as Cedar takes them, for whoever mistrusts the index.
    pub(super) plain: PolicySet,
    schema: String,
    cases: Vec<CaseFile>,
    /// The files themselves, for findings.
    pub(super) texts: Files,
    warnings: Vec<Diagnostic>,
    /// Policies that no request can make speak, by id.
    pub(super) impossible: Vec<(String, Diagnostic)>,
    /// Routes that nobody shall reach.
    pub(super) uncovered: BTreeSet<(String, usize)>,
    pub(super) nouns: Nouns,
    /// The last moment that a question was put together with.
    pub(super) moment: ArcSwapOption<Moment>,
    provides: bool,
}

impl Bundle {
    /// Reads and checks a bundle. Never answers half of one.
    pub fn load(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        let files = source.read()?;
        let mut faults = Vec::new();
        let fragments = read_fragments(&files, &mut faults);
        let own: Vec<_> = fragments.iter().flat_map(|(_, json)| schema::own_actions(json)).collect();
        let (declarations, declared) = Declarations::read(&files, &own);
        // What could not be declared is then missing from the schema, too: that is no second fault.
        let whole = declared.is_empty();
        faults.extend(declared);
        let (policies, read) = policies::read(&files);
        faults.extend(read);
        let routes = Routes::build(declarations.endpoints.clone()).unwrap_or_else(|messages| {
            for (index, message) in messages {
                let Some(endpoint) = declarations.endpoints.get(index) else { continue };
                let text = files.get(&endpoint.file).map_or("", String::as_str);
                faults.push(Diagnostic::at(&endpoint.file, text, endpoint.offset, &message));
            }
            Routes::default()
        });
        let cases = read_cases(&files, &mut faults);
        let text = schema_text(&files, &declarations);
        let fragments = fragments.into_iter().map(|(fragment, _)| fragment).collect();
        let read = read_schema(fragments, &declarations, &text, &files, &mut faults);
        let Some((schema, json)) = read else {
            faults.retain(|fault| whole || fault.line > 0);
            return Err(in_order(faults));
        };
        let Validated { errors, warnings, impossible } = validate(schema.clone(), &policies, &files);
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
        let id = identify(&files).into();
        let Policies { all: policies, .. } = policies;
        let index = Index::new(policies.iter().map(|loaded| &loaded.policy));
        let parts = Parts { profiles: Profiles::of(&policies), index: &index, contexts, actions };
        // The schema compiled, so every declared action is in it.
        let actions: Vec<Action> =
            (declarations.actions.iter()).filter_map(|declaration| Action::build(declaration, &parts)).collect();
        let by_name = actions.iter().enumerate().map(|(index, action)| (Arc::clone(&action.name), index)).collect();
        Ok(Self {
            id,
            catalogue: declarations.catalogue,
            routes,
            actions,
            by_name,
            by_id: policies.iter().enumerate().map(|(index, loaded)| (Arc::clone(&loaded.id), index)).collect(),
            plain: PolicySet::from_policies(policies.iter().map(|loaded| loaded.policy.clone())).unwrap_or_default(),
            index,
            policies,
            schema: text,
            cases,
            texts: files,
            warnings,
            impossible,
            uncovered: declarations.uncovered,
            nouns,
            moment: ArcSwapOption::empty(),
            provides,
        })
    }

    /// What Cedar warns of beside policies that are impossible ([`Self::lints`]); a bundle with warnings still serves.
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

    /// Breaks the index on purpose, for tests of whoever watches it.
    #[cfg(test)]
    pub(crate) const fn seed_index_fault(&mut self) {
        self.index.seeded = Some(super::index::SEEDED);
    }

    /// Builds the index once more, and answers how many policies it holds: what a benchmark measures.
    pub fn index_anew(&self) -> usize {
        let _index = Index::new(self.policies.iter().map(|loaded| &loaded.policy));
        self.policies.len()
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
        self.policies.get(self.place_of(id)?)
    }

    /// Where a policy stands in the order of the files, which is that of the index.
    pub(super) fn place_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
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

    /// Whether both list the same entities under the same schema.
    pub fn lists_the_same(&self, other: &Self) -> bool {
        self.texts.get(ENTITIES) == other.texts.get(ENTITIES) && self.schema == other.schema
    }

    /// Whether a question may name this entity of the bundle's own: it is listed, or its type is left to requests.
    pub fn admits(&self, kind: &str, id: &str) -> bool {
        !self.from_directory(kind) && self.nouns.admits(kind, id)
    }
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
    files: &Files,
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
            let found = Diagnostic::cedar("schema.cedarschema", "", &error);
            faults.push(Diagnostic::quoted(files, &found.message, found.help));
            None
        }
    }
}

/// What the strict validation finds, each said once.
struct Validated {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// With the policy's id.
    impossible: Vec<(String, Diagnostic)>,
}

/// The strict validation, at level 1: a slice of principal, resource and action provably suffices.
fn validate(schema: Schema, policies: &Policies, files: &Files) -> Validated {
    let places = policies.files.iter().chain(&policies.templates);
    let file_of: HashMap<&str, &str> = places.map(|(id, file)| (id.as_str(), file.as_str())).collect();
    let outcome = Validator::new(schema).validate_with_level(&policies.set, ValidationMode::Strict, 1);
    let diagnose = |id: &cedar_policy::PolicyId, problem: &dyn miette::Diagnostic| {
        let file = file_of.get(AsRef::<str>::as_ref(id)).copied().unwrap_or("policies");
        Diagnostic::cedar(file, files.get(file).map_or("", String::as_str), problem)
    };
    let (mut warnings, mut impossible) = (Vec::new(), Vec::new());
    for warning in outcome.validation_warnings() {
        let finding = diagnose(warning.policy_id(), warning);
        if let ValidationWarning::ImpossiblePolicy(_) = warning {
            impossible.push((warning.policy_id().to_string(), finding));
        } else {
            warnings.push(finding);
        }
    }
    // Each policy is validated for every action that it may meet.
    impossible.sort();
    impossible.dedup();
    let errors = outcome.validation_errors().map(|error| diagnose(error.policy_id(), error)).collect();
    Validated { errors: in_order(errors), warnings: in_order(warnings), impossible }
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
    faults.extend(trial::include(&mut all));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::analysis::TimeDependence;

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
