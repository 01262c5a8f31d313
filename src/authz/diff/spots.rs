//! Where to ask: for each class of people, and of accounts, one of them, and who else is meant.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Kind, MOST_NAMES, Names, Place};
use crate::authz::classes::{Interest, Lens, PersonClass};
use crate::authz::judge;
use crate::directory::{Account, Person, Rights, Snapshot};
use crate::domain::{Number, Timestamp};
use crate::policy::Reads;

/// A question whose answer many share.
pub(super) struct Spot {
    pub(super) place: Place,
    /// The SCIM id of the one who asks.
    pub(super) who: String,
    /// Entity type and id.
    pub(super) resource: Option<(&'static str, String)>,
    /// By their places in the list of people.
    members: Arc<Vec<u32>>,
    /// By number: of these every member is meant with the ones granted to them, or with the others.
    accounts: Arc<Vec<Number>>,
}

/// Everybody who can reach anything.
pub(super) struct People {
    all: Vec<(Arc<Person>, Rights)>,
    accounts: Vec<Arc<Account>>,
    /// Two who are granted an account, by account.
    sharing: HashMap<Number, (u32, Option<u32>)>,
}

/// How many people and accounts are looked at for one pair that is not granted.
const TRIES: usize = 64;

impl People {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let active = snapshot.everybody().filter(|person| judge::standing(person).is_none());
        let all: Vec<(Arc<Person>, Rights)> =
            active.map(|person| (Arc::clone(person), snapshot.rights(person))).collect();
        let mut sharing: HashMap<Number, (u32, Option<u32>)> = HashMap::new();
        for (at, (_, rights)) in (0_u32..).zip(&all) {
            for account in &rights.accounts {
                sharing.entry(*account).and_modify(|two| two.1 = two.1.or(Some(at))).or_insert((at, None));
            }
        }
        Self { all, accounts: snapshot.accounts().cloned().collect(), sharing }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// The questions that stand for all people, and all accounts where the endpoints are about one.
    pub(super) fn spots(&self, kind: Kind, reads: &Reads, snapshot: &Snapshot, now: Timestamp) -> Vec<Spot> {
        let interest = match kind {
            Kind::Account | Kind::User => Interest::These(Vec::new()),
            Kind::Organization => Interest::Reach(Vec::new()),
        };
        let mut lens = Lens::new(snapshot, reads, interest, now);
        let mut classes: HashMap<PersonClass, Vec<u32>> = HashMap::new();
        for (at, (person, rights)) in (0_u32..).zip(&self.all) {
            classes.entry(lens.principal(person, rights, false)).or_default().push(at);
        }
        let mut classes: Vec<Arc<Vec<u32>>> = classes.into_values().map(Arc::new).collect();
        classes.sort();
        match kind {
            Kind::Organization => classes.iter().filter_map(|class| self.alone(class)).collect(),
            Kind::User => classes.iter().flat_map(|class| self.on_people(class)).collect(),
            Kind::Account => self.on_accounts(&classes, &mut lens),
        }
    }

    fn spot(
        &self,
        place: Place,
        who: u32,
        resource: Option<(&'static str, String)>,
        members: &Arc<Vec<u32>>,
    ) -> Option<Spot> {
        let who = self.person(who)?.0.id();
        Some(Spot { place, who, resource, members: Arc::clone(members), accounts: Arc::default() })
    }

    fn person(&self, at: u32) -> Option<&(Arc<Person>, Rights)> {
        self.all.get(at as usize)
    }

    fn alone(&self, class: &Arc<Vec<u32>>) -> Option<Spot> {
        self.spot(Place::Organization, *class.first()?, None, class)
    }

    /// On themselves, and on a colleague.
    fn on_people(&self, class: &Arc<Vec<u32>>) -> Vec<Spot> {
        let own = |at: u32| Some(("User", self.person(at)?.0.id()));
        let mut spots = Vec::new();
        // Who has no account shares none with themselves.
        let has_none = |at: &u32| self.person(*at).is_none_or(|(_, rights)| rights.accounts.is_empty());
        let (without, with): (Vec<u32>, Vec<u32>) = class.iter().copied().partition(has_none);
        for part in [without, with].map(Arc::new) {
            spots.extend(part.first().and_then(|first| self.spot(Place::OwnProfile, *first, own(*first), &part)));
        }
        let colleague = |at: u32| {
            self.person(at)?.1.accounts.iter().find_map(|account| match self.sharing.get(account) {
                Some((one, _)) if *one != at => Some(*one),
                Some((_, other)) => *other,
                None => None,
            })
        };
        let with: Vec<u32> = class.iter().copied().filter(|at| colleague(*at).is_some()).collect();
        if let Some(first) = with.first().copied() {
            let resource = colleague(first).and_then(own);
            spots.extend(self.spot(Place::Colleagues, first, resource, &Arc::new(with)));
        }
        spots
    }

    /// On a granted account and on another one of each class of accounts.
    fn on_accounts(&self, classes: &[Arc<Vec<u32>>], lens: &mut Lens<'_>) -> Vec<Spot> {
        let mut kinds: BTreeMap<(Number, u32), Vec<&Arc<Account>>> = BTreeMap::new();
        for account in &self.accounts {
            if let Some(class) = lens.account(account.number) {
                kinds.entry((account.organization, class)).or_default().push(account);
            }
        }
        let numbers: BTreeMap<(Number, u32), Arc<Vec<Number>>> = kinds
            .iter()
            .map(|(kind, accounts)| (*kind, Arc::new(accounts.iter().map(|account| account.number).collect())))
            .collect();
        let mut spots = Vec::new();
        for class in classes {
            let Some((first, _)) = class.first().and_then(|first| self.person(*first)) else { continue };
            let mut granted: BTreeMap<u32, (u32, Number)> = BTreeMap::new();
            for at in class.iter() {
                for account in self.person(*at).iter().flat_map(|(_, rights)| &rights.accounts) {
                    if let Some(kind) = lens.account(*account) {
                        granted.entry(kind).or_insert((*at, *account));
                    }
                }
            }
            let mut add = |place, kind: u32, who: u32, number: Number| {
                let account = self.account(number);
                let resource = account.map(|account| ("Account", account.id.to_string()));
                if let Some(mut spot) = self.spot(place, who, resource, class)
                    && let Some(numbers) = numbers.get(&(first.organization, kind))
                {
                    spot.accounts = Arc::clone(numbers);
                    spots.push(spot);
                }
            };
            for (kind, (who, number)) in &granted {
                add(Place::GrantedAccounts, *kind, *who, *number);
            }
            for ((_, kind), accounts) in kinds.range((first.organization, 0)..=(first.organization, u32::MAX)) {
                if let Some((who, number)) = self.not_granted(class, accounts) {
                    add(Place::OtherAccounts, *kind, who, number);
                }
            }
        }
        spots
    }

    fn not_granted(&self, class: &[u32], accounts: &[&Arc<Account>]) -> Option<(u32, Number)> {
        class.iter().take(TRIES).find_map(|at| {
            let granted = &self.person(*at)?.1.accounts;
            let other = accounts.iter().take(TRIES).find(|account| granted.binary_search(&account.number).is_err());
            other.map(|account| (*at, account.number))
        })
    }

    fn account(&self, number: Number) -> Option<&Arc<Account>> {
        self.accounts.binary_search_by_key(&number, |account| account.number).ok().and_then(|at| self.accounts.get(at))
    }

    /// Adds whom and what a spot stands for.
    pub(super) fn members(&self, spot: &Spot, who: &mut BTreeSet<u32>, on: &mut BTreeSet<Number>) {
        if !matches!(spot.place, Place::GrantedAccounts | Place::OtherAccounts) {
            who.extend(spot.members.iter());
            return;
        }
        for at in spot.members.iter() {
            let Some((_, rights)) = self.person(*at) else { continue };
            let is_granted = |number: &&Number| rights.accounts.binary_search(number).is_ok();
            if spot.place == Place::GrantedAccounts {
                let of_kind = |number: &&Number| spot.accounts.binary_search(number).is_ok();
                let mut meant = rights.accounts.iter().filter(of_kind).peekable();
                if meant.peek().is_some() {
                    who.insert(*at);
                    on.extend(meant);
                }
            } else if spot.accounts.iter().any(|number| !is_granted(&number)) {
                who.insert(*at);
            }
        }
        if spot.place == Place::OtherAccounts {
            let lacks = |at: &u32, number: &Number| {
                self.person(*at).is_some_and(|(_, rights)| rights.accounts.binary_search(number).is_err())
            };
            on.extend(spot.accounts.iter().filter(|number| spot.members.iter().any(|at| lacks(at, number))));
        }
    }

    pub(super) fn names(&self, who: &BTreeSet<u32>) -> Names {
        let some = who.iter().take(MOST_NAMES).filter_map(|at| Some(self.person(*at)?.0.username().to_owned()));
        Names { count: who.len(), some: some.collect() }
    }

    pub(super) fn account_names(&self, on: &BTreeSet<Number>) -> Names {
        let some = on.iter().take(MOST_NAMES).filter_map(|number| Some(self.account(*number)?.id.to_string()));
        Names { count: on.len(), some: some.collect() }
    }
}
