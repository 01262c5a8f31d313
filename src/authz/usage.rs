//! What a bundle declares and nobody of a directory uses; and what people hold, accounts have and policies name that
//! the other side does not know.

use std::collections::BTreeMap;

use crate::directory::{Directory, Snapshot};
use crate::policy::{Bundle, Diagnostic, Named};

/// Findings, in the order of the files.
pub fn unused(bundle: &Bundle, directory: &Directory) -> Vec<Diagnostic> {
    let snapshot = directory.snapshot();
    let catalogue = bundle.catalogue();
    let mut found = compare(bundle, &catalogue.roles, &roles(&snapshot), ["role", "nobody holds", "held by"]);
    let products = products(&snapshot);
    found.extend(compare(bundle, &catalogue.products, &products, ["product", "no account has", "active on"]));
    found.extend(bundle.unknown_names(|kind, id| match kind {
        "Group" => snapshot.groups().any(|group| *group.id == *id),
        "User" => snapshot.user_by_id(id).is_some(),
        _ => snapshot.account(id).is_some(),
    }));
    found.sort();
    found
}

/// Role names with how many people hold each, through groups too.
fn roles(snapshot: &Snapshot) -> BTreeMap<&str, usize> {
    let mut held = BTreeMap::new();
    for person in snapshot.everybody() {
        for role in snapshot.rights(person).roles {
            *held.entry(snapshot.role(role)).or_default() += 1;
        }
    }
    held
}

/// Product names with how many accounts have each.
fn products(snapshot: &Snapshot) -> BTreeMap<&str, usize> {
    let mut active = BTreeMap::new();
    for product in snapshot.accounts().flat_map(|account| &account.products) {
        *active.entry(&**product).or_default() += 1;
    }
    active
}

fn compare(bundle: &Bundle, named: &[Named], used: &BTreeMap<&str, usize>, words: [&str; 3]) -> Vec<Diagnostic> {
    let [kind, nobody, by] = words;
    let idle = named.iter().filter(|one| one.unused.is_none() && !used.contains_key(one.name.as_str()));
    let mut found: Vec<Diagnostic> =
        idle.map(|one| bundle.of_name(&one.name, &format!("{nobody} the {kind} `{}`", one.name))).collect();
    for (name, count) in used.iter().filter(|(name, _)| !named.iter().any(|one| one.name == **name)) {
        let message = format!("the {kind} `{name}`, {by} {count}, is not in the catalogue and grants nothing");
        found.push(bundle.of_name(name, &message));
    }
    found
}
