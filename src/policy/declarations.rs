//! What the TOML files of a bundle declare: roles and products (`catalogue.toml`), and actions with their
//! groups and routes (`routes/*.toml`). Reads text, answers values or diagnostics with their lines.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use toml::Spanned;

use super::Diagnostic;
use super::routes::{Endpoint, Target};
use super::schema::OwnAction;
use super::source::Files;

/// A name with its one-line meaning.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The exact name.
    pub name: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// Why no policy names it, where none shall.
    #[serde(default)]
    pub unused: Option<String>,
}

/// Where in a file of routes a word about all of them stands.
pub(super) const WHOLE_FILE: usize = usize::MAX;

/// Roles and products, named once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The action by which people are changed: whom the policies let do it to somebody may grant what that person
    /// lacks. Explanations name them.
    #[serde(default)]
    pub changes_people: Option<String>,
    /// Roles that people may hold.
    #[serde(default, rename = "role")]
    pub roles: Vec<Named>,
    /// Products and features that accounts may have.
    #[serde(default, rename = "product")]
    pub products: Vec<Named>,
}

/// An action as declared: its groups and the types that it applies to.
#[derive(Clone, Debug)]
pub struct ActionDeclaration {
    /// The name.
    pub name: String,
    /// Its entity type.
    pub kind: String,
    /// Whether the folder's own schema declares it; else it is generated.
    pub own: bool,
    /// Entity types of its principal.
    pub principals: Vec<String>,
    /// Groups that it belongs to.
    pub groups: Vec<String>,
    /// Entity types of its resource; the first is the one that answers name.
    pub resources: Vec<String>,
    /// Whether callers without an identity may be judged by policy.
    pub anonymous: bool,
}

/// All declarations of a bundle.
#[derive(Debug, Default)]
pub struct Declarations {
    /// Roles and products.
    pub catalogue: Catalogue,
    /// Actions in the order of the files.
    pub actions: Vec<ActionDeclaration>,
    /// Endpoints in the order of the files.
    pub endpoints: Vec<Endpoint>,
    /// Routes that nobody shall reach, by file and place; `WHOLE_FILE` for all of a file.
    pub uncovered: BTreeSet<(String, usize)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    #[serde(rename = "area")]
    _area: String,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    base_paths: Vec<String>,
    uncovered: Option<String>,
    #[serde(default, rename = "route")]
    routes: Vec<Spanned<Route>>,
    #[serde(default, rename = "action")]
    actions: Vec<Spanned<Action>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    method: String,
    path: String,
    action: String,
    #[serde(default)]
    groups: Vec<String>,
    hosts: Option<Vec<String>>,
    base_paths: Option<Vec<String>>,
    resource: Option<String>,
    #[serde(default)]
    anonymous: bool,
    uncovered: Option<String>,
    #[serde(default, rename = "note")]
    _note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    name: String,
    resource: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    anonymous: bool,
}

impl ActionDeclaration {
    fn own(action: &OwnAction) -> Self {
        Self {
            name: action.name.clone(),
            kind: action.kind.clone(),
            own: true,
            principals: action.principals.clone(),
            groups: Vec::new(),
            resources: action.resources.clone(),
            anonymous: false,
        }
    }

    fn generated(name: String, groups: Vec<String>, resources: Vec<String>, anonymous: bool) -> Self {
        let principals: &[&str] = if anonymous { &["User", "Anonymous"] } else { &["User"] };
        let principals = principals.iter().map(ToString::to_string).collect();
        Self { name, kind: "Action".into(), own: false, principals, groups, resources, anonymous }
    }
}

impl Declarations {
    /// Reads `catalogue.toml` and `routes/*.toml`; answers every fault at once. `own`: what the schema declares.
    pub(super) fn read(files: &Files, own: &[OwnAction]) -> (Self, Vec<Diagnostic>) {
        let mut all = Self::default();
        let mut faults = Vec::new();
        for action in own {
            if all.actions.iter().any(|known| known.name == action.name) {
                let message = format!("the action `{}` stands in two namespaces", action.name);
                let help = "questions name actions by their ids; give one of them another id";
                faults.push(Diagnostic::declared(files, &action.name, &message).with_help(help));
            }
            all.actions.push(ActionDeclaration::own(action));
        }
        if let Some(text) = files.get("catalogue.toml") {
            match toml::from_str(text) {
                Ok(catalogue) => all.catalogue = catalogue,
                Err(error) => faults.push(Diagnostic::toml("catalogue.toml", text, &error)),
            }
        }
        let text = files.get("catalogue.toml").map_or("", String::as_str);
        check_names("role", &all.catalogue.roles, text, &mut faults);
        check_names("product", &all.catalogue.products, text, &mut faults);
        let mut seen = HashMap::new();
        for (file, text) in files.iter().filter(|(name, _)| name.starts_with("routes/")) {
            match toml::from_str::<RouteFile>(text) {
                Ok(routes) => all.add(file, text, routes, &mut seen, &mut faults),
                Err(error) => faults.push(Diagnostic::toml(file, text, &error)),
            }
        }
        if let Some(name) = &all.catalogue.changes_people
            && faults.is_empty()
            && !all.actions.iter().any(|action| action.name == *name)
        {
            let message = format!("`changes_people` names `{name}`, which is no action of the routes");
            let help = "name the action that changes a person, or leave the line out";
            faults.push(Diagnostic::near("catalogue.toml", text, name, &message).with_help(help));
        }
        if all.directory_provides() {
            for endpoint in &mut all.endpoints {
                if let Target::Entity(kind) = &endpoint.target {
                    endpoint.target = Target::of(kind);
                }
            }
        }
        (all, faults)
    }

    fn add(
        &mut self,
        file: &str,
        text: &str,
        routes: RouteFile,
        seen: &mut HashMap<String, String>,
        faults: &mut Vec<Diagnostic>,
    ) {
        let mut declare = |name: &str, at: usize, faults: &mut Vec<Diagnostic>| {
            if let Some(before) = seen.insert(name.to_owned(), file.to_owned()) {
                let message = format!("the action `{name}` is declared twice (before in {before})");
                let help = "a route's action has one route; give this one a name of its own";
                faults.push(Diagnostic::at(file, text, at, &message).with_help(help));
                return false;
            }
            true
        };
        self.uncovered.extend(routes.uncovered.map(|_why| (file.to_owned(), WHOLE_FILE)));
        for spanned in routes.routes {
            let at = spanned.span().start;
            let mut route = spanned.into_inner();
            self.uncovered.extend(route.uncovered.take().map(|_why| (file.to_owned(), at)));
            let own = self.actions.iter().position(|action| action.own && action.name == route.action);
            let target = match self.target(&route, own) {
                Ok(target) => target,
                Err(message) => {
                    faults.push(Diagnostic::at(file, text, at, &message));
                    continue;
                }
            };
            let action = own.unwrap_or(self.actions.len());
            if own.is_none() {
                if !declare(&route.action, at, faults) {
                    continue;
                }
                let resources: Vec<String> = match &target {
                    Target::Account => vec!["Account".into()],
                    Target::User => vec!["User".into()],
                    Target::Organization => vec!["Organization".into(), "Account".into()],
                    Target::Entity(kind) => vec![kind.to_string()],
                };
                self.actions.push(ActionDeclaration::generated(route.action, route.groups, resources, route.anonymous));
            }
            let hosts = route.hosts.unwrap_or_else(|| routes.hosts.clone());
            self.endpoints.push(Endpoint {
                action,
                method: route.method,
                template: route.path,
                // Hosts compare without case.
                hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
                base_paths: route.base_paths.unwrap_or_else(|| routes.base_paths.clone()),
                target,
                file: file.to_owned(),
                offset: at,
            });
        }
        for spanned in routes.actions {
            let at = spanned.span().start;
            let action = spanned.into_inner();
            if self.actions.iter().any(|known| known.own && known.name == action.name) {
                let message = format!("the action `{}` is declared in the schema already", action.name);
                faults.push(Diagnostic::at(file, text, at, &message).with_help("keep one of the two declarations"));
                continue;
            }
            if !declare(&action.name, at, faults) {
                continue;
            }
            let resources = vec![action.resource];
            self.actions.push(ActionDeclaration::generated(action.name, action.groups, resources, action.anonymous));
        }
    }

    /// What a route acts on. For an action of the schema's own that is the type it applies to, named by a parameter.
    fn target(&self, route: &Route, own: Option<usize>) -> Result<Target, String> {
        if let Some(action) = own.and_then(|index| self.actions.get(index)) {
            let kinds = action.resources.join(" or ");
            return match (route.resource.as_deref(), action.resources.as_slice()) {
                (Some(kind), kinds) if kinds.iter().any(|one| one == kind) => Ok(Target::Entity(kind.into())),
                (Some(kind), _) => Err(format!("the schema applies `{}` to {kinds}, not to `{kind}`", action.name)),
                (None, [kind]) => Ok(Target::Entity(kind.as_str().into())),
                (None, _) => {
                    Err(format!("`{}` applies to several types; write resource = one of {kinds}", action.name))
                }
            };
        }
        Ok(match route.resource.as_deref() {
            Some("Dashboard") => return Err("no route acts on the Dashboard: people enter it by `signIn`".into()),
            Some(kind) => Target::of(kind),
            None if route.path.contains("{accountId}") => Target::Account,
            None if route.path.contains("{userId}") => Target::User,
            None => Target::Organization,
        })
    }

    /// Whether the directory provides people and accounts: where the folder's routes declare actions on them.
    pub fn directory_provides(&self) -> bool {
        self.actions.iter().any(|action| !action.own)
    }

    /// The generated part of the schema: role and product names, and every action with its groups.
    pub fn to_schema(&self) -> String {
        use std::fmt::Write as _;
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let list = |names: &[Named]| names.iter().map(|named| quoted(&named.name)).collect::<Vec<_>>().join(", ");
        let mut text = String::from("// Generated from catalogue.toml and routes/*.toml.\n");
        for (kind, names) in [("Role", &self.catalogue.roles), ("Product", &self.catalogue.products)] {
            if !names.is_empty() {
                let _ = writeln!(text, "entity {kind} enum [{}];", list(names));
            }
        }
        let generated = self.actions.iter().filter(|action| !action.own);
        let groups: BTreeSet<&String> = generated.flat_map(|action| &action.groups).collect();
        for group in groups {
            let _ = writeln!(text, "action {};", quoted(group));
        }
        for action in self.actions.iter().filter(|action| !action.own) {
            let parents = action.groups.iter().map(|group| quoted(group)).collect::<Vec<_>>().join(", ");
            let membership = if parents.is_empty() { String::new() } else { format!(" in [{parents}]") };
            let principals = action.principals.join(", ");
            let resources = action.resources.join(", ");
            let _ = writeln!(
                text,
                "action {}{membership} appliesTo {{ principal: [{principals}], resource: [{resources}], context: Request }};",
                quoted(&action.name)
            );
        }
        text
    }
}

fn check_names(kind: &str, names: &[Named], text: &str, faults: &mut Vec<Diagnostic>) {
    let mut seen = std::collections::HashSet::new();
    for named in names {
        if named.name.trim().is_empty() || !seen.insert(&named.name) {
            let message = format!("the {kind} name `{}` is empty or stands twice", named.name);
            // Of two the second one is too many.
            let at = text.rfind(&format!("\"{}\"", named.name)).unwrap_or(0);
            faults.push(Diagnostic::at("catalogue.toml", text, at, &message).with_help("name each one once"));
        }
    }
}
