//! What a change of policies changes in access: for every active person, endpoint and account, who gains and who loses.
//!
//! Asks the ordinary decision of both bundles on the same directory. Endpoints that the same policies treat alike are
//! asked about once, and so are people and accounts that none of these policies can tell apart. Endpoints about a
//! person are asked about oneself and about one colleague: somebody who shares an account. What is about entities of
//! the bundles' own is asked singly, on every listed one.

mod own;
mod spots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::trial::directory_of;
use super::{Authz, AuthzConfig, Failure, View};
use crate::clock::Sources;
use crate::directory::Directory;
use crate::domain::{Asked, Channel, EntityName, Question, Subject, Verdict};
use crate::policy::trial::{AccountCase, CaseFile, PersonCase};
use crate::policy::{Action, Bundle, Catalogue, Live, Named, Reads, Target};
use crate::telemetry::Metrics;
use crate::token::Verifier;
use spots::{People, Spot};

/// Where access changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// On accounts that are granted to the person.
    GrantedAccounts,
    /// On accounts of the organization that are not granted to the person.
    OtherAccounts,
    /// On their own profile.
    OwnProfile,
    /// On people who share an account with them.
    Colleagues,
    /// On endpoints without an account in their path.
    Organization,
    /// On entities that the bundle itself lists.
    Entities,
}

impl Place {
    /// `granted accounts`, `other accounts`, `own profile`, `colleagues`, `organization` or `entities`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrantedAccounts => "granted accounts",
            Self::OtherAccounts => "other accounts",
            Self::OwnProfile => "own profile",
            Self::Colleagues => "colleagues",
            Self::Organization => "organization",
            Self::Entities => "entities",
        }
    }
}

/// Names, and how many there are in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// All of them.
    pub count: usize,
    /// The first ones.
    pub some: Vec<String>,
}

/// The most names that are told.
const MOST_NAMES: usize = 10;

/// People who gain or lose the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    /// They gain it, or lose it.
    pub gains: bool,
    /// Where.
    pub place: Place,
    /// `METHOD path` of each endpoint, or the name of an action without one.
    pub endpoints: Vec<String>,
    /// Who.
    pub people: Names,
    /// On which accounts, or entities of the bundle's own; none where the endpoints are about neither.
    pub accounts: Names,
}

/// Everything that changes, the changes that touch most people first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Gains and losses.
    pub changes: Vec<AccessChange>,
    /// How many people were looked at; deactivated and locked ones reach nothing in any case.
    pub people: usize,
    /// How many endpoints.
    pub endpoints: usize,
    /// How many decisions it took.
    pub decisions: usize,
    /// There are more listed entities than were asked about.
    pub cut: bool,
}

/// A gain or a loss, where, by whom and on which accounts.
type Touched = (bool, Place, BTreeSet<u32>, BTreeSet<u32>);

/// Endpoints that both bundles treat alike, by what policies see of them.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    old: Option<String>,
    new: Option<String>,
    target: Kind,
}

/// What endpoints are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Account,
    User,
    Organization,
}

/// An endpoint as each bundle knows it.
struct Endpoint<'a> {
    name: String,
    kind: Kind,
    old: Option<&'a Action>,
    new: Option<&'a Action>,
}

/// Compares two bundles on everybody of a directory.
///
/// # Errors
/// As [`View::decide`].
pub fn compare(
    old: &Arc<Bundle>,
    new: &Arc<Bundle>,
    directory: &Arc<Directory>,
    sources: &Sources,
) -> Result<Difference, Failure> {
    let authz = |bundle: &Arc<Bundle>| {
        let config = AuthzConfig { cache_entries: 0, ..AuthzConfig::default() };
        let live = Arc::new(Live::new(Arc::clone(bundle)));
        let metrics = Arc::new(Metrics::new(&[]));
        Authz::new(&config, Arc::clone(directory), live, Arc::new(Verifier::default()), sources, metrics)
    };
    let (old_authz, new_authz) = (authz(old), authz(new));
    let (old_view, new_view) = (old_authz.view(), new_authz.view());
    let sides = [old_view.aside(), new_view.aside()];
    let endpoints = endpoints(old, new);
    let mut alike: HashMap<Alike, Vec<&Endpoint<'_>>> = HashMap::new();
    for endpoint in &endpoints {
        let [was, is] = [(old, endpoint.old), (new, endpoint.new)]
            .map(|(bundle, action)| action.map(|action| bundle.signature(action)));
        if was != is {
            alike.entry(Alike { old: was, new: is, target: endpoint.kind }).or_default().push(endpoint);
        }
    }
    let people = People::of(&sides[1].snapshot);
    let mut places: HashMap<(Kind, Reads), Vec<Spot>> = HashMap::new();
    let mut found: BTreeMap<Touched, Vec<String>> = BTreeMap::new();
    let mut decisions = 0;
    let now = sources.clock.now();
    for (key, group) in &alike {
        let Some(first) = group.first() else { continue };
        let mut reads = Reads::default();
        [first.old, first.new].into_iter().flatten().for_each(|action| reads.join(&action.reads));
        let spots = places
            .entry((key.target, reads.clone()))
            .or_insert_with(|| people.spots(key.target, &reads, &sides[1].snapshot, now));
        let mut touched: BTreeMap<(bool, Place), (BTreeSet<u32>, BTreeSet<u32>)> = BTreeMap::new();
        for spot in spots.iter() {
            for channel in [Channel::Api, Channel::Dashboard] {
                let before = permits(&sides[0], first.old, spot, channel)?;
                let after = permits(&sides[1], first.new, spot, channel)?;
                decisions += 2;
                if before != after {
                    let (who, on) = touched.entry((after, spot.place)).or_default();
                    people.members(spot, who, on);
                }
            }
        }
        for ((gains, place), (who, on)) in touched {
            let names = group.iter().map(|endpoint| endpoint.name.clone());
            found.entry((gains, place, who, on)).or_default().extend(names);
        }
    }
    let mut changes: Vec<AccessChange> = (found.into_iter())
        .map(|((gains, place, who, on), mut endpoints)| {
            endpoints.sort();
            AccessChange { gains, place, endpoints, people: people.names(&who), accounts: people.account_names(&on) }
        })
        .collect();
    let own = own::compare([&sides[0], &sides[1]])?;
    changes.extend(own.changes.into_iter().map(|(gains, action, people, accounts)| AccessChange {
        gains,
        place: Place::Entities,
        endpoints: vec![action],
        people,
        accounts,
    }));
    changes.sort_by(|a, b| {
        let weight = |change: &AccessChange| (change.people.count, change.endpoints.len());
        weight(b).cmp(&weight(a)).then_with(|| a.endpoints.cmp(&b.endpoints)).then(a.gains.cmp(&b.gains))
    });
    let (endpoints, decisions) = (endpoints.len() + own.actions, decisions + own.decisions);
    Ok(Difference { changes, people: people.count(), endpoints, decisions, cut: own.cut })
}

/// People to compare on where there are none: for every role of either bundle, and for none, one person of each level
/// and set of access methods, who reach an account without products, one with each product, and one with all; and an
/// account that nobody is granted.
pub fn made_up(old: &Arc<Bundle>, new: &Arc<Bundle>) -> Directory {
    let names = |of: fn(&Catalogue) -> &[Named]| -> BTreeSet<String> {
        [old, new].into_iter().flat_map(|bundle| of(bundle.catalogue())).map(|named| named.name.clone()).collect()
    };
    let (roles, products) = (names(|catalogue| &catalogue.roles), names(|catalogue| &catalogue.products));
    let mut made = CaseFile::default();
    let mut account = |id: &str, products: Vec<String>| made.accounts.insert(id.to_owned(), AccountCase { products });
    account("without products", Vec::new());
    account("with every product", products.iter().cloned().collect());
    account("granted to nobody", products.iter().cloned().collect());
    for product in &products {
        account(&format!("with {product}"), vec![product.clone()]);
    }
    let accounts: Vec<String> = made.accounts.keys().filter(|id| *id != "granted to nobody").cloned().collect();
    for role in roles.iter().map(Some).chain([None]) {
        for level in ["Basic User", "Account Admin"] {
            for methods in [&["api"][..], &["dashboard"], &["dashboard", "api"]] {
                let name = format!("{}, {level}, {}", role.map_or("no role", String::as_str), methods.join(" and "));
                let person = PersonCase {
                    level: level.to_owned(),
                    methods: methods.iter().map(ToString::to_string).collect(),
                    roles: role.cloned().into_iter().collect(),
                    accounts: accounts.clone(),
                    ..PersonCase::default()
                };
                made.people.insert(name, person);
            }
        }
    }
    directory_of(new, &made)
}

/// Every endpoint of either bundle, and every action that has none.
fn endpoints<'a>(old: &'a Bundle, new: &'a Bundle) -> Vec<Endpoint<'a>> {
    let mut all: BTreeMap<String, Endpoint<'a>> = BTreeMap::new();
    for (bundle, is_new) in [(old, false), (new, true)] {
        let mut routed = BTreeSet::new();
        let mut add = |name: String, kind: Kind, action: &'a Action| {
            let endpoint = all.entry(name.clone()).or_insert(Endpoint { name, kind, old: None, new: None });
            endpoint.kind = kind;
            *(if is_new { &mut endpoint.new } else { &mut endpoint.old }) = Some(action);
        };
        for route in bundle.routes().endpoints() {
            let Some(action) = bundle.action(route.action) else { continue };
            routed.insert(&action.name);
            if let Some(kind) = Kind::of(&route.target) {
                add(format!("{} {}", route.method, route.template), kind, action);
            }
        }
        for action in bundle.actions().iter().filter(|action| !routed.contains(&action.name)) {
            let own = action.resources.first().map_or("", |kind| &**kind);
            if bundle.from_directory(own)
                && let Some(kind) = Kind::of(&Target::of(own))
            {
                add(action.name.to_string(), kind, action);
            }
        }
    }
    all.into_values().collect()
}

impl Kind {
    const fn of(target: &Target) -> Option<Self> {
        match target {
            Target::Account => Some(Self::Account),
            Target::User => Some(Self::User),
            Target::Organization => Some(Self::Organization),
            // [`own`] asks about these.
            Target::Entity(_) => None,
        }
    }
}

fn permits(view: &View<'_>, action: Option<&Action>, spot: &Spot, channel: Channel) -> Result<bool, Failure> {
    let Some(action) = action else { return Ok(false) };
    let resource = spot.resource.as_ref().map(|(kind, id)| EntityName::new(kind, id));
    let asked = Asked::Action { action: &action.name, properties: &[], resource };
    let question = Question { subject: Subject::Id(&spot.who), asked, channel, context: &[], least_revision: None };
    Ok(view.decide(&question)?.verdict() == Verdict::Permit)
}
