//! Policy folders made for measuring: 25 policies over 200 actions, and 10 of them among as many as wanted.
//!
//! Both are the shipped schema and catalogue with routes and policies of their own. Policies here read who asks and
//! a `nonce` of the context, so that an outcome can be kept for nobody else and a new nonce is a question never
//! asked before: what it costs is what the engine costs, whatever is kept.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use crate::seed::group_id;
use crate::workload::{Draws, Failure, World};

const ACTIONS: u64 = 200;
const AREAS: u64 = 40;
/// Permits of roles, and the areas that each covers.
const ROLE_POLICIES: u64 = 18;
const AREAS_EACH: u64 = 3;
/// Actions of the folder of many policies, and the policies that are about groups with people in them.
const FEW_ACTIONS: u64 = 20;
const REAL_POLICIES: u64 = 10;

/// Schema, catalogue, and a route for each action: `GET` or `POST /api/accounts/{accountId}/NAME`.
fn common(folder: &Path, actions: u64, groups: impl Fn(u64) -> Vec<String>) -> Result<(), Failure> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    std::fs::create_dir_all(folder.join("routes"))?;
    // The names alone: what else stands there is about the shipped routes.
    let mut catalogue: toml::Table = toml::from_str(&std::fs::read_to_string(shipped.join("catalogue.toml"))?)?;
    catalogue.retain(|key, _| ["role", "product"].contains(&key));
    std::fs::write(folder.join("catalogue.toml"), toml::to_string(&catalogue)?)?;
    let schema = std::fs::read_to_string(shipped.join("schema.cedarschema"))?;
    let (before, after) = schema.split_once("type Request = {").ok_or("the shipped schema has another shape")?;
    let schema = format!("{before}type Request = {{ nonce?: String, mfa?: Bool,{after}");
    std::fs::write(folder.join("schema.cedarschema"), schema)?;
    let mut routes = "area = \"bench\"\nhosts = [\"api.example.com\"]\nbase_paths = [\"/api\"]\n".to_owned();
    for action in 0..actions {
        let groups = serde_json::to_string(&groups(action))?;
        let method = if is_write(action) { "POST" } else { "GET" };
        writeln!(
            routes,
            "[[route]]\nmethod = \"{method}\"\npath = \"/accounts/{{accountId}}/a{action}\"\naction = \"a{action}\"\n\
             groups = {groups}"
        )?;
    }
    std::fs::write(folder.join("routes/all.toml"), routes)?;
    Ok(())
}

/// What an action is: numbers below [`ACTIONS`].
pub const fn is_write(action: u64) -> bool {
    action % 3 == 2
}

pub const fn is_public(action: u64) -> bool {
    action % 20 == 19
}

pub const fn is_dangerous(action: u64) -> bool {
    action % 20 == 17
}

pub const fn area(action: u64) -> u64 {
    action % AREAS
}

/// The names of those actions of [`twenty_five`] that are meant.
pub fn actions(meant: impl Fn(u64) -> bool) -> Vec<String> {
    (0..ACTIONS).filter(|action| meant(*action)).map(|action| format!("a{action}")).collect()
}

/// The areas that the policy of a role covers.
fn areas(policy: u64) -> impl Iterator<Item = u64> {
    (0..AREAS_EACH).map(move |at| (policy * AREAS_EACH + at) % AREAS)
}

/// The policies of roles with the areas of each; the role is the one in its place, beginning again after the last.
pub fn role_policies() -> impl Iterator<Item = (usize, Vec<u64>)> {
    (0..).zip(0..ROLE_POLICIES).map(|(at, policy)| (at, areas(policy).collect()))
}

/// 18 permits of roles, 2 of the level, 1 public, 4 forbids.
pub fn twenty_five(folder: &Path, world: &World) -> Result<(), Failure> {
    common(folder, ACTIONS, |action| {
        let mut groups =
            vec![format!("area{}", action % AREAS), if is_write(action) { "write" } else { "read" }.into()];
        groups.extend(is_public(action).then(|| "public_read".to_owned()));
        groups.extend(is_dangerous(action).then(|| "danger".to_owned()));
        groups
    })?;
    let mut rules = String::new();
    let roles = world.role_names();
    for (policy, areas) in role_policies() {
        let role = roles.get(policy % roles.len().max(1)).ok_or("no roles")?;
        let areas: Vec<String> = areas.iter().map(|area| format!("Action::\"area{area}\"")).collect();
        writeln!(
            rules,
            "@id(\"role{policy}\") permit (principal in Role::\"{role}\", action in [{}], resource is Account)\n\
             when {{ principal.accounts.contains(resource) }};",
            areas.join(", ")
        )?;
    }
    for kind in ["read", "write"] {
        writeln!(
            rules,
            "@id(\"admin-{kind}\") permit (principal is User, action in Action::\"{kind}\", resource is Account)\n\
             when {{ principal.administrationLevel == \"Account Admin\" && principal.accounts.contains(resource) }};"
        )?;
    }
    rules.push_str(
        "@id(\"public\") permit (principal is User, action in Action::\"public_read\", resource is Account);
         @id(\"blocked\") forbid (principal is User, action, resource is Account)
         when { principal.username == \"blocked\" || (context has nonce && context.nonce == \"blocked\") };
         @id(\"expired\") forbid (principal is User, action, resource is Account)
         when { principal has passwordChangedAt
                && context.now.durationSince(principal.passwordChangedAt) > duration(\"90d\") };
         @id(\"read-only\") forbid (principal is User, action in Action::\"write\", resource is Account)
         when { !(resource in principal.organization) };
         @id(\"danger\") forbid (principal is User, action in Action::\"danger\", resource is Account)
         unless { context has mfa && context.mfa };\n",
    );
    std::fs::write(folder.join("rules.cedar"), rules)?;
    Ok(())
}

/// A question about the folder of [`twenty_five`], mostly within a role of the person.
pub fn question_of_twenty_five(world: &World, user: u64, nonce: Option<u64>, draws: &mut Draws) -> String {
    let roles = world.role_names();
    let held = world.roles_of(user);
    let is_held = |at: usize| roles.get(at % roles.len().max(1)).is_some_and(|role| held.contains(role));
    let own: Vec<u64> = role_policies().filter(|(at, _)| is_held(*at)).flat_map(|(_, areas)| areas).collect();
    let area = if draws.below(10) < 8 { draws.one(&own).copied() } else { None };
    let area = area.unwrap_or_else(|| draws.below(AREAS));
    question(world, user, area + AREAS * draws.below(ACTIONS / AREAS), nonce, draws)
}

/// So many policies: ten about groups with people in them, all others about teams that nobody is in, on the same
/// actions, every eighth a forbid. So each of these folders gives the same answers.
pub fn many(folder: &Path, policies: u64) -> Result<(), Failure> {
    common(folder, FEW_ACTIONS, |_| vec!["all".to_owned()])?;
    let mut rules = String::new();
    for policy in 0..policies {
        let is_real = policy < REAL_POLICIES;
        let group = if is_real { group_id(policy) } else { format!("team-{policy}") };
        let effect = if !is_real && policy % 8 == 7 { "forbid" } else { "permit" };
        writeln!(
            rules,
            "@id(\"p{policy}\") {effect} (principal in Group::\"{group}\", action == Action::\"a{}\", resource is Account)\n\
             when {{ principal.accounts.contains(resource) && !(context has nonce && context.nonce == \"blocked\") }};",
            policy % FEW_ACTIONS
        )?;
    }
    std::fs::write(folder.join("rules.cedar"), rules)?;
    Ok(())
}

/// A question about the folders of [`many`], by somebody of a group that a policy is about.
pub fn question_of_many(world: &World, nonce: Option<u64>, draws: &mut Draws) -> String {
    loop {
        let user = draws.below(world.users);
        let groups = world.groups_of(user);
        let Some(group) = groups.iter().find(|group| **group < REAL_POLICIES) else { continue };
        let action = if draws.below(10) < 8 { *group } else { draws.below(FEW_ACTIONS) };
        return question(world, user, action, nonce, draws);
    }
}

fn question(world: &World, user: u64, action: u64, nonce: Option<u64>, draws: &mut Draws) -> String {
    let own = world.accounts_of(user);
    let account = World::account_id(draws.one(&own).copied().unwrap_or(0));
    let method = if is_write(action) { "POST" } else { "GET" };
    let mut question = json!({
        "subject": {"user": World::username(user)},
        "request": {"method": method, "host": "api.example.com", "path": format!("/api/accounts/{account}/a{action}")},
        "channel": "api",
    });
    if let (Some(nonce), Some(members)) = (nonce, question.as_object_mut()) {
        members.insert("context".to_owned(), json!({"nonce": format!("n{nonce:010}"), "mfa": true}));
    }
    question.to_string()
}
