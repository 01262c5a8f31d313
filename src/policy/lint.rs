//! What is sound and still worth a look: policies that can never matter, names that nothing uses, endpoints that nobody
//! or everybody reaches. Reads a loaded bundle; which policies are impossible is Cedar's own finding.

//!
//! What is meant is accepted where it stands, with the reason: `unused = "…"` in the catalogue, `uncovered = "…"` in a
//! route or a file of routes, `@accept("open: …")` on a policy. What is accepted without need is a finding.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{ActionConstraint, Effect, PrincipalConstraint, RequestEnv, ResourceConstraint, Schema};

use super::Diagnostic;
use super::action::Action;
use super::conditions::{Clause, Condition};
use super::declarations::WHOLE_FILE;
use super::load::Bundle;
use super::policies::Loaded;

/// The most names in one finding.
const MOST_NAMED: usize = 6;

/// What `@accept("…: why")` on a policy accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lint {
    /// The permit opens something to whoever asks.
    Open,
    /// The permit grants nothing that another one does not grant already.
    Shadowed,
    /// No request can make the policy speak.
    Impossible,
}

impl Lint {
    const ALL: [Self; 3] = [Self::Open, Self::Shadowed, Self::Impossible];

    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Shadowed => "shadowed",
            Self::Impossible => "impossible",
        }
    }

    /// Reads `open: why`.
    pub(super) fn accepted(text: &str) -> Result<Self, String> {
        let (name, why) = text.split_once(':').unwrap_or((text, ""));
        let lint = Self::ALL.into_iter().find(|lint| lint.name() == name.trim());
        lint.filter(|_| !why.trim().is_empty()).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("`@accept(\"{text}\")` names no finding and reason; write `open: why`, with one of {known}")
        })
    }
}

impl Bundle {
    /// Findings that stop nothing, without those that the folder accepts; and what it accepts without need.
    pub fn lints(&self) -> Vec<Diagnostic> {
        let mut found = self.unused_names();
        found.extend(self.unreachable());
        let (shadowed, open) = (self.shadowed(), self.open_to_everybody());
        let impossible = self.impossible.iter().map(|(id, finding)| (id.as_str(), finding.clone()));
        let of_policies: [(Lint, BTreeMap<&str, Diagnostic>); 3] =
            [(Lint::Shadowed, shadowed), (Lint::Open, open), (Lint::Impossible, impossible.collect())];
        for (lint, findings) in of_policies {
            let accepting = |id: &str| self.loaded(id).is_some_and(|loaded| loaded.accepts == Some(lint));
            let idle = self.policies.iter().filter(|loaded| loaded.accepts == Some(lint));
            let idle: Vec<&Loaded> = idle.filter(|loaded| !findings.contains_key(&*loaded.id)).collect();
            found.extend(findings.into_iter().filter(|(id, _)| !accepting(id)).map(|(_, finding)| finding));
            for loaded in idle {
                let message = format!("the policy `{}` accepts `{}` without need", loaded.id, lint.name());
                found.push(self.of_policy(loaded, &message).with_help("delete its `@accept`"));
            }
        }
        found.sort();
        found
    }

    /// Roles and products of the catalogue that no policy names.
    fn unused_names(&self) -> Vec<Diagnostic> {
        let named: HashSet<(String, String)> = (self.policies.iter())
            .flat_map(|loaded| loaded.policy.entity_literals())
            .map(|uid| (uid.type_name().to_string(), uid.id().unescaped().to_owned()))
            .collect();
        let lint = |kind: &str, one: &super::Named| {
            let lower = kind.to_lowercase();
            match (named.contains(&(kind.to_owned(), one.name.clone())), &one.unused) {
                (false, None) => Some(
                    self.of_name(&one.name, &format!("no policy names the {lower} `{}`", one.name))
                        .with_help("write a policy that asks for it, delete it here, or say why: unused = \"…\""),
                ),
                (true, Some(_)) => Some(
                    self.of_name(
                        &one.name,
                        &format!("the {lower} `{}` is called unused, but a policy names it", one.name),
                    )
                    .with_help("delete the line `unused`"),
                ),
                (true, None) | (false, Some(_)) => None,
            }
        };
        let catalogue = self.catalogue();
        let roles = catalogue.roles.iter().filter_map(|role| lint("Role", role));
        roles.chain(catalogue.products.iter().filter_map(|product| lint("Product", product))).collect()
    }

    /// Permits that only repeat what another one grants: on the same requests, to the same people, under no further
    /// condition.
    fn shadowed(&self) -> BTreeMap<&str, Diagnostic> {
        let permits: Vec<&Loaded> = self.policies.iter().filter(|loaded| loaded.effect == Effect::Permit).collect();
        let mut reach = Reach::of(self);
        let mut found = BTreeMap::new();
        for permit in &permits {
            let mut wider = permits.iter().filter(|other| other.id != permit.id && looser(other, permit));
            let wider = wider.find(|other| {
                // Of two that cover each other the first one stays.
                let first = other.id < permit.id;
                reach.covers(other, permit) && (first || !(looser(permit, other) && reach.covers(permit, other)))
            });
            if let Some(other) = wider {
                let message =
                    format!("the permit `{}` grants nothing that `{}` does not grant already", permit.id, other.id);
                let finding = self.of_policy(permit, &message).with_help("delete it, or narrow the other one");
                found.insert(&*permit.id, finding);
            }
        }
        found
    }

    /// Endpoints whose action no permit covers: denied to everybody, which may be meant. What a forbid closes to
    /// everybody is.
    fn unreachable(&self) -> Vec<Diagnostic> {
        let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let accepted: BTreeSet<(&str, usize)> = self.uncovered.iter().map(|(file, at)| (file.as_str(), *at)).collect();
        let mut idle = accepted.clone();
        for endpoint in self.routes().endpoints() {
            let Some(action) = self.action(endpoint.action) else { continue };
            if self.of_effect(Effect::Permit, action).any(|_| true)
                || self.of_effect(Effect::Forbid, action).any(is_unconditional)
            {
                continue;
            }
            let file = endpoint.file.as_str();
            match [endpoint.offset, WHOLE_FILE].into_iter().find(|at| accepted.contains(&(file, *at))) {
                Some(at) => drop(idle.remove(&(file, at))),
                None => by_file.entry(file).or_default().push(format!("{} {}", endpoint.method, endpoint.template)),
            }
        }
        let finding = |(file, names): (&str, Vec<String>)| {
            let shown: Vec<&str> = names.iter().map(String::as_str).take(MOST_NAMED).collect();
            let more = names.len() - shown.len();
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("no permit covers {} of its endpoints: {}{rest}", names.len(), shown.join(", "));
            Diagnostic::file(file, &message).with_help(
                "give the routes a group that a permit names, or say why nobody reaches them: uncovered = \"…\"",
            )
        };
        let mut found: Vec<Diagnostic> = by_file.into_iter().map(finding).collect();
        for (file, at) in idle {
            let text = self.texts.get(file).map_or("", String::as_str);
            let message = "`uncovered` stands where permits cover everything";
            let place = if at == WHOLE_FILE { text.find("uncovered").unwrap_or(0) } else { at };
            found.push(Diagnostic::at(file, text, place, message).with_help("delete the line `uncovered`"));
        }
        found
    }

    /// Actions that a permit without any condition grants to whoever asks.
    fn open_to_everybody(&self) -> BTreeMap<&str, Diagnostic> {
        let mut by_permit: BTreeMap<&str, (&Loaded, Vec<&str>)> = BTreeMap::new();
        for action in self.actions() {
            for permit in self.of_effect(Effect::Permit, action).filter(|permit| is_unconditional(permit)) {
                by_permit.entry(&permit.id).or_insert((permit, Vec::new())).1.push(&action.name);
            }
        }
        let finding = |(id, (permit, mut names)): (_, (&Loaded, Vec<&str>))| {
            names.sort_unstable();
            let more = names.len().saturating_sub(MOST_NAMED);
            names.truncate(MOST_NAMED);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("the permit `{}` opens {}{rest} to everybody", permit.id, names.join(", "));
            (id, self.of_policy(permit, &message).with_help("narrow it, or say why: @accept(\"open: …\")"))
        };
        by_permit.into_iter().map(finding).collect()
    }

    /// The policies of an effect whose scope admits the action.
    fn of_effect<'a>(&'a self, effect: Effect, action: &'a Action) -> impl Iterator<Item = &'a Loaded> {
        self.policies.iter().filter(move |loaded| loaded.effect == effect && admits(loaded, action))
    }

    fn of_policy(&self, loaded: &Loaded, message: &str) -> Diagnostic {
        self.near(&loaded.file, &format!("@id(\"{}\")", loaded.id), message)
    }

    /// A finding about a role or a product, where the catalogue names it.
    pub(crate) fn of_name(&self, name: &str, message: &str) -> Diagnostic {
        self.near("catalogue.toml", &format!("name = \"{name}\""), message)
    }

    /// Findings about the groups, people and accounts that policies name, by type and id, and that `known` does not
    /// know.
    pub(crate) fn unknown_names(&self, known: impl Fn(&str, &str) -> bool) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for loaded in &self.policies {
            for uid in loaded.policy.entity_literals() {
                let (kind, id) = (uid.type_name().to_string(), uid.id().unescaped().to_owned());
                let of_people = ["Group", "User", "Account"].contains(&kind.as_str()) && self.from_directory("User");
                if of_people && !known(&kind, &id) {
                    let message = format!("the policy `{}` names {uid}, which the directory does not know", loaded.id);
                    found.push(self.of_policy(loaded, &message));
                }
            }
        }
        found
    }

    fn near(&self, file: &str, words: &str, message: &str) -> Diagnostic {
        Diagnostic::near(file, self.texts.get(file).map_or("", String::as_str), words, message)
    }
}

/// Whoever asks, and under no condition.
fn is_unconditional(loaded: &Loaded) -> bool {
    let everybody =
        matches!(loaded.policy.principal_constraint(), PrincipalConstraint::Any | PrincipalConstraint::Is(_));
    everybody && !loaded.policy.has_non_scope_constraint()
}

/// The requests that each policy can meet at all, as Cedar's type checker says; worked out when asked for.
struct Reach<'a> {
    schema: Option<Schema>,
    known: HashMap<&'a str, BTreeSet<RequestEnv>>,
}

impl<'a> Reach<'a> {
    fn of(bundle: &'a Bundle) -> Self {
        let schema = Schema::from_cedarschema_str(bundle.schema()).ok().map(|(schema, _)| schema);
        Self { schema, known: HashMap::new() }
    }

    fn see(&mut self, loaded: &'a Loaded) {
        if let (Some(schema), false) = (&self.schema, self.known.contains_key(&*loaded.id)) {
            self.known.insert(&loaded.id, loaded.policy.get_valid_request_envs(schema).collect());
        }
    }

    /// Whether whatever meets the narrow one meets the wide one, too.
    fn covers(&mut self, wide: &'a Loaded, narrow: &'a Loaded) -> bool {
        self.see(wide);
        self.see(narrow);
        match (self.known.get(&*wide.id), self.known.get(&*narrow.id)) {
            (Some(wide), Some(narrow)) => !narrow.is_empty() && narrow.is_subset(wide),
            (Some(_), None) | (None, Some(_) | None) => false,
        }
    }
}

/// Whether the one asks nothing of a person, a resource or the request that the other does not ask as well; types are
/// left to [`Reach`].
fn looser(wide: &Loaded, narrow: &Loaded) -> bool {
    let (one, other) = (&wide.policy, &narrow.policy);
    let principal = match (one.principal_constraint(), other.principal_constraint()) {
        (PrincipalConstraint::Any | PrincipalConstraint::Is(_), _) => true,
        (PrincipalConstraint::In(a), PrincipalConstraint::IsIn(_, b)) => a == b,
        (a, b) => a == b,
    };
    let resource = match (one.resource_constraint(), other.resource_constraint()) {
        (ResourceConstraint::Any | ResourceConstraint::Is(_), _) => true,
        (ResourceConstraint::In(a), ResourceConstraint::IsIn(_, b)) => a == b,
        (a, b) => a == b,
    };
    let (Some(asks), Some(also)) = (wide.conditions(), narrow.conditions()) else { return false };
    let beyond_scope = |condition: &&Condition| condition.clause != Clause::Scope;
    let asked = |condition: &Condition| {
        also.iter().any(|other| other.clause == condition.clause && other.text == condition.text)
    };
    principal && resource && asks.iter().filter(beyond_scope).all(asked)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    const CATALOGUE: &str = "[[role]]\nname = \"Used\"\n[[role]]\nname = \"Idle\"\n[[product]]\nname = \"UC\"\n";
    const ROUTES: &str = "area = \"x\"\nhosts = [\"a\"]\nbase_paths = [\"/\"]\n[[route]]\nmethod = \"GET\"\npath = \"/a/{accountId}\"\naction = \"open\"\n[[route]]\nmethod = \"GET\"\npath = \"/b/{accountId}\"\naction = \"lonely\"\n";
    const RULES: &str = r#"@id("everybody") permit (principal is User, action == Action::"open", resource);
        @id("again") permit (principal in Role::"Used", action == Action::"open", resource is Account)
            when { context.channel == "api" };
        "#;

    fn lints(catalogue: &str, routes: &str, rules: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        std::fs::create_dir(folder.path().join("routes")).expect("a folder");
        write(
            "schema.cedarschema",
            "entity Group; entity User in [Role, Group]; entity Organization; entity Account { products: Set<Product> }; type Request = { channel: String };",
        );
        write("catalogue.toml", catalogue);
        write("routes/all.toml", routes);
        write("rules.cedar", rules);
        let bundle = Bundle::load(&Source::Folder(folder.path().into())).expect("sound");
        bundle.lints().iter().map(|found| found.message.clone()).collect()
    }

    #[test]
    fn each_lint_speaks() {
        let rules = format!(
            "{RULES} @id(\"twin\") permit (principal is User, action == Action::\"open\", resource is Account);
             @id(\"never\") forbid (principal is User, action == Action::\"open\", resource) when {{ resource is User }};"
        );
        let said = lints(CATALOGUE, ROUTES, &rules);
        assert_eq!(
            said,
            [
                "no policy names the role `Idle`",
                "no policy names the product `UC`",
                "no permit covers 1 of its endpoints: GET /b/{accountId}",
                "the permit `everybody` opens open to everybody",
                "the permit `again` grants nothing that `everybody` does not grant already",
                "the permit `twin` grants nothing that `everybody` does not grant already",
                "the permit `twin` opens open to everybody",
                "for policy `never`, policy is impossible: the policy expression evaluates to false for all valid requests",
            ]
        );
    }

    #[test]
    fn the_same_conditions_and_more_are_shadowed_and_fewer_are_not() {
        let rules = r#"@id("a") permit (principal in Role::"Used", action == Action::"open", resource is Account)
                when { context.channel == "api" };
            @id("b") permit (principal in Role::"Used", action in [Action::"open", Action::"lonely"], resource)
                when { context.channel == "api" && resource.products.contains(Product::"UC") };
            @id("c") permit (principal in Role::"Used", action == Action::"open", resource is Account)
                when { resource.products.contains(Product::"UC") && context.channel == "api" };
            @id("d") permit (principal in Role::"Idle", action == Action::"open", resource)
                when { context.channel == "api" };"#;
        assert_eq!(lints(CATALOGUE, ROUTES, rules), ["the permit `c` grants nothing that `a` does not grant already"]);
    }

    #[test]
    fn what_is_meant_is_accepted_with_its_reason_and_only_where_it_is_needed() {
        let catalogue = CATALOGUE.replace("\"Idle\"\n", "\"Idle\"\nunused = \"for later\"\n") + "unused = \"so\"\n";
        let rules = RULES
            .replace("@id(\"everybody\")", "@id(\"everybody\") @accept(\"open: it is public\")")
            .replace("@id(\"again\")", "@id(\"again\") @accept(\"shadowed: until the public rule goes\")");
        let routes = format!("{ROUTES}uncovered = \"nobody yet\"\n");
        assert_eq!(lints(&catalogue, &routes, &rules), [""; 0]);
        let of_file = ROUTES.replacen("area", "uncovered = \"nobody yet\"\narea", 1);
        assert_eq!(lints(&catalogue, &of_file, &rules), [""; 0]);

        let covered = rules.replace("Action::\"open\", resource);", "Action::\"lonely\", resource);");
        let said = lints(&catalogue.replacen("\"Used\"\n", "\"Used\"\nunused = \"\"\n", 1), &routes, &covered);
        assert_eq!(
            said,
            [
                "the role `Used` is called unused, but a policy names it",
                "`uncovered` stands where permits cover everything",
                "the policy `again` accepts `shadowed` without need",
            ]
        );
    }

    #[test]
    fn an_acceptance_names_a_finding_and_a_reason() {
        assert_eq!(Lint::accepted("open: it is public"), Ok(Lint::Open));
        for wrong in ["open", "open: ", "wide: it is public", ""] {
            assert!(Lint::accepted(wrong).is_err_and(|told| told.contains("open, shadowed, impossible")), "{wrong}");
        }
    }

    #[test]
    fn the_shipped_folder_has_no_findings() {
        let shipped = Bundle::load(&Source::Shipped).expect("sound");
        assert_eq!(shipped.lints(), []);
    }
}
