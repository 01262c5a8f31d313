//! What is sound and still worth a look: policies that can never matter, names that nothing uses, endpoints that nobody
//! or everybody reaches. Reads a loaded bundle; impossible conditions are among Cedar's own warnings.

use std::collections::{BTreeMap, HashSet};

use cedar_policy::{ActionConstraint, Effect, PrincipalConstraint, ResourceConstraint};

use super::Diagnostic;
use super::action::Action;
use super::load::Bundle;
use super::policies::Loaded;

/// The most names in one finding.
const MOST_NAMED: usize = 6;

impl Bundle {
    /// Findings that stop nothing.
    pub fn lints(&self) -> Vec<Diagnostic> {
        let mut found = self.unused_names();
        found.extend(self.shadowed());
        found.extend(self.unreachable());
        found.extend(self.open_to_everybody());
        found.sort();
        found
    }

    /// Roles and products of the catalogue that no policy names.
    fn unused_names(&self) -> Vec<Diagnostic> {
        let named: HashSet<(String, String)> = (self.policies.iter())
            .flat_map(|loaded| loaded.policy.entity_literals())
            .map(|uid| (uid.type_name().to_string(), uid.id().unescaped().to_owned()))
            .collect();
        let unused = |kind: &str, names: &[super::Named]| -> Vec<Diagnostic> {
            let of_kind = names.iter().filter(|one| !named.contains(&(kind.to_owned(), one.name.clone())));
            of_kind
                .map(|one| {
                    let message = format!("no policy names the {} `{}`", kind.to_lowercase(), one.name);
                    self.near("catalogue.toml", &format!("name = \"{}\"", one.name), &message)
                        .with_help("write a policy that asks for it, or delete it here")
                })
                .collect()
        };
        let mut found = unused("Role", &self.catalogue().roles);
        found.extend(unused("Product", &self.catalogue().products));
        found
    }

    /// Permits that only repeat what another one grants without any condition.
    fn shadowed(&self) -> Vec<Diagnostic> {
        let permits = || self.policies.iter().filter(|loaded| loaded.effect == Effect::Permit);
        let open: Vec<&Loaded> = permits().filter(|loaded| !loaded.policy.has_non_scope_constraint()).collect();
        let mut found = Vec::new();
        for permit in permits() {
            let wider = open.iter().find(|other| other.id != permit.id && covers(other, permit));
            // Of two that cover each other the first one stays.
            if let Some(other) = wider.filter(|other| !covers(permit, other) || other.id < permit.id) {
                let message =
                    format!("the permit `{}` grants nothing that `{}` does not grant already", permit.id, other.id);
                let place = self.near(&permit.file, &format!("@id(\"{}\")", permit.id), &message);
                found.push(place.with_help("delete it, or narrow the other one"));
            }
        }
        found
    }

    /// Endpoints whose action no permit names: denied to everybody, which may be meant.
    fn unreachable(&self) -> Vec<Diagnostic> {
        let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for endpoint in self.routes().endpoints() {
            if self.action(endpoint.action).is_some_and(|action| !self.permits_of(action).any(|_| true)) {
                let names = by_file.entry(&endpoint.file).or_default();
                names.push(format!("{} {}", endpoint.method, endpoint.template));
            }
        }
        let finding = |(file, names): (&str, Vec<String>)| {
            let shown: Vec<&str> = names.iter().map(String::as_str).take(MOST_NAMED).collect();
            let more = names.len() - shown.len();
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("no permit covers {} of its endpoints: {}{rest}", names.len(), shown.join(", "));
            Diagnostic::file(file, &message)
                .with_help("give the routes a group that a permit names, if somebody should reach them")
        };
        by_file.into_iter().map(finding).collect()
    }

    /// Actions that a permit without any condition grants to whoever asks.
    fn open_to_everybody(&self) -> Vec<Diagnostic> {
        let mut by_permit: BTreeMap<&str, (&Loaded, Vec<&str>)> = BTreeMap::new();
        for action in self.actions() {
            for permit in self.permits_of(action) {
                let everybody = matches!(
                    permit.policy.principal_constraint(),
                    PrincipalConstraint::Any | PrincipalConstraint::Is(_)
                );
                if everybody && !permit.policy.has_non_scope_constraint() {
                    by_permit.entry(&permit.id).or_insert((permit, Vec::new())).1.push(&action.name);
                }
            }
        }
        let finding = |(permit, mut names): (&Loaded, Vec<&str>)| {
            names.sort_unstable();
            let more = names.len().saturating_sub(MOST_NAMED);
            names.truncate(MOST_NAMED);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("the permit `{}` opens {}{rest} to everybody", permit.id, names.join(", "));
            self.near(&permit.file, &format!("@id(\"{}\")", permit.id), &message)
        };
        by_permit.into_values().map(finding).collect()
    }

    fn permits_of<'a>(&'a self, action: &'a Action) -> impl Iterator<Item = &'a Loaded> {
        self.policies.iter().filter(move |loaded| loaded.effect == Effect::Permit && admits(loaded, action))
    }

    fn near(&self, file: &str, words: &str, message: &str) -> Diagnostic {
        Diagnostic::near(file, self.texts.get(file).map_or("", String::as_str), words, message)
    }
}

/// Whether the policy's scope lets the action through, on one of its resource types.
fn admits(loaded: &Loaded, action: &Action) -> bool {
    let of_action = match loaded.policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => uid == action.uid,
        ActionConstraint::In(uids) => uids.iter().any(|uid| *uid == action.uid || action.groups.contains(uid)),
    };
    of_action
        && match loaded.policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::In(_) => true,
            ResourceConstraint::Eq(uid) => action.applies_to(&uid.type_name().to_string()),
            ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => action.applies_to(&kind.to_string()),
        }
}

/// Whether the one scope lets through whatever the other does; only shapes where that is plain to see.
fn covers(wide: &Loaded, narrow: &Loaded) -> bool {
    let (one, other) = (&wide.policy, &narrow.policy);
    let principal = match (one.principal_constraint(), other.principal_constraint()) {
        (PrincipalConstraint::Any, _) => true,
        (PrincipalConstraint::Is(a), PrincipalConstraint::Is(b) | PrincipalConstraint::IsIn(b, _)) => a == b,
        (PrincipalConstraint::Is(a), PrincipalConstraint::Eq(b)) => a == *b.type_name(),
        (a, b) => a == b,
    };
    let action = match (one.action_constraint(), other.action_constraint()) {
        (ActionConstraint::Any, _) => true,
        (ActionConstraint::In(a), ActionConstraint::Eq(b)) => a.contains(&b),
        (a, b) => a == b,
    };
    let resource = match (one.resource_constraint(), other.resource_constraint()) {
        (ResourceConstraint::Any, _) => true,
        (ResourceConstraint::Is(a), ResourceConstraint::Is(b) | ResourceConstraint::IsIn(b, _)) => a == b,
        (ResourceConstraint::Is(a), ResourceConstraint::Eq(b)) => a == *b.type_name(),
        (a, b) => a == b,
    };
    principal && action && resource
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    #[test]
    fn each_lint_speaks_and_the_shipped_folder_has_only_meant_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        std::fs::create_dir(folder.path().join("routes")).expect("a folder");
        write(
            "schema.cedarschema",
            "entity Group; entity User in [Role, Group]; entity Organization; entity Account { products: Set<Product> }; type Request = { channel: String };",
        );
        write("catalogue.toml", "[[role]]\nname = \"Used\"\n[[role]]\nname = \"Idle\"\n[[product]]\nname = \"UC\"\n");
        write(
            "routes/all.toml",
            "area = \"x\"\nhosts = [\"a\"]\nbase_paths = [\"/\"]\n[[route]]\nmethod = \"GET\"\npath = \"/a/{accountId}\"\naction = \"open\"\n[[route]]\nmethod = \"GET\"\npath = \"/b/{accountId}\"\naction = \"lonely\"\n",
        );
        write(
            "rules.cedar",
            r#"@id("everybody") permit (principal is User, action == Action::"open", resource);
               @id("again") permit (principal in Role::"Used", action == Action::"open", resource is Account)
                   when { context.channel == "api" };
               @id("twin") permit (principal is User, action == Action::"open", resource is Account);"#,
        );
        let bundle = Bundle::load(&Source::Folder(folder.path().into())).expect("sound");
        let said: Vec<String> = bundle.lints().iter().map(|found| found.message.clone()).collect();
        assert_eq!(
            said,
            [
                "no policy names the role `Idle`",
                "no policy names the product `UC`",
                "no permit covers 1 of its endpoints: GET /b/{accountId}",
                "the permit `everybody` opens open to everybody",
                "the permit `twin` grants nothing that `everybody` does not grant already",
                "the permit `twin` opens open to everybody",
            ]
        );
        let shipped = Bundle::load(&Source::Shipped).expect("sound");
        let shadowed = shipped.lints().into_iter().find(|found| found.message.contains("grants nothing"));
        assert_eq!(shadowed, None);
    }
}
