//! What the directory keeps of each resource, packed.

use std::sync::Arc;

use crate::domain::{AccessMethods, AdministrationLevel, Number, Timestamp, UserImage, fold};

/// A place of the directory, by the store's number.
#[derive(Clone, Debug, Default)]
pub(super) enum Slot {
    /// Never used for a decision (connections), or not reached yet.
    #[default]
    Empty,
    /// A wall.
    Organization(Arc<str>),
    /// An account.
    Account(Arc<Account>),
    /// A person.
    Person(Arc<Person>),
    /// A group.
    Group(Arc<Group>),
    /// A group that is gone, with the revision at which it went: rights that stood on it must not look as
    /// old as before it.
    Gone(u64),
}

/// An account with its products.
#[derive(Clone, Debug)]
pub struct Account {
    /// The store's number.
    pub number: Number,
    /// The id in request paths.
    pub id: Arc<str>,
    /// The organization that owns it.
    pub organization: Number,
    /// Active products.
    pub products: Box<[Box<str>]>,
    /// The same as a set of the snapshot's product numbers; `None` where a number is above 127.
    pub product_set: Option<u128>,
    /// The revision that last changed it.
    pub revision: u64,
}

/// A group and what its members gain.
#[derive(Clone, Debug)]
pub struct Group {
    /// The store's number.
    pub number: Number,
    /// The SCIM id.
    pub id: Box<str>,
    /// The organization that owns it.
    pub organization: Number,
    /// The display name.
    pub name: Box<str>,
    /// Role names, as numbers of the snapshot's name table.
    pub roles: Box<[u32]>,
    /// The same as a set; `None` where a number is above 127.
    pub role_set: Option<u128>,
    /// Whether any role is assigned, though none of `roles` may show it.
    pub assigned: bool,
    /// Account numbers.
    pub accounts: Box<[Number]>,
    /// Groups that this group is a member of.
    pub parents: Box<[Number]>,
    /// The revision that last changed it.
    pub revision: u64,
}

const ACTIVE: u8 = 1;
const LOCKED: u8 = 2;
const ADMIN: u8 = 4;
const DASHBOARD: u8 = 8;
const API: u8 = 16;
const ASSIGNED: u8 = 32;

/// No password time: the value that no clock tells.
const NEVER: i64 = i64::MIN;

/// A person, packed: mostly one piece of memory, since what is asked about is mostly out of the processor's reach.
#[derive(Clone, Debug)]
pub struct Person {
    id: uuid::Uuid,
    /// Username, then the present login where it differs.
    names: Names,
    /// Accounts, then direct groups, then direct roles.
    links: Links,
    password_changed_at: i64,
    /// The revision that last changed the person or their direct memberships.
    pub revision: u64,
    /// The store's number.
    pub number: Number,
    /// The organization's number.
    pub organization: Number,
    accounts_end: u32,
    groups_end: u32,
    roles_end: u32,
    /// Seconds, rounded up; 0 for never.
    linked_again: u32,
    username_length: u16,
    flags: u8,
}

/// Bytes of names that need no memory of their own.
const SHORT_NAMES: usize = 22;
/// Links that need no memory of their own.
const FEW_LINKS: usize = 12;

/// A short text in place.
#[derive(Clone, Debug)]
enum Names {
    Short(u8, [u8; SHORT_NAMES]),
    Long(Box<str>),
}

impl Names {
    fn new(text: String) -> Self {
        let mut short = [0; SHORT_NAMES];
        match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short(length, short)
            }
            (None, _) | (_, Err(_)) => Self::Long(text.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, short) => short.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

/// A few numbers in place.
#[derive(Clone, Debug)]
enum Links {
    Few([u32; FEW_LINKS]),
    Many(Box<[u32]>),
}

impl Links {
    /// How many of [`Self::numbers`] count is for the caller to know.
    fn new(numbers: Vec<u32>) -> Self {
        let mut few = [0; FEW_LINKS];
        match few.get_mut(..numbers.len()) {
            Some(place) => {
                place.copy_from_slice(&numbers);
                Self::Few(few)
            }
            None => Self::Many(numbers.into()),
        }
    }

    fn numbers(&self) -> &[u32] {
        match self {
            Self::Few(few) => few,
            Self::Many(numbers) => numbers,
        }
    }
}

impl Person {
    /// From an image, the direct groups, sorted, and the image's role names as numbers.
    pub(super) fn new(
        number: Number,
        image: &UserImage,
        groups: &[Number],
        roles: &[u32],
        revision: u64,
    ) -> Option<Self> {
        let mut names = image.username.clone();
        names.push_str(image.login.as_deref().unwrap_or(""));
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let mut accounts = image.accounts.clone();
        accounts.sort_unstable();
        accounts.dedup();
        let mut person = Self {
            id: image.id.parse().ok()?,
            names: Names::new(names),
            links: Links::Few([0; FEW_LINKS]),
            password_changed_at: image.password_changed_at.map_or(NEVER, |at| at.0),
            revision,
            number,
            organization: image.organization,
            accounts_end: 0,
            groups_end: 0,
            roles_end: 0,
            linked_again: image.linked_again.map_or(0, seconds),
            username_length: u16::try_from(image.username.len()).ok()?,
            flags: flag(image.active, ACTIVE)
                | flag(image.locked, LOCKED)
                | flag(image.level == AdministrationLevel::AccountAdmin, ADMIN)
                | flag(image.methods.dashboard, DASHBOARD)
                | flag(image.methods.api, API)
                | flag(image.assigned, ASSIGNED),
        };
        person.link(&accounts, groups, roles)?;
        Some(person)
    }

    fn link(&mut self, accounts: &[Number], groups: &[Number], roles: &[u32]) -> Option<()> {
        self.accounts_end = u32::try_from(accounts.len()).ok()?;
        self.groups_end = u32::try_from(accounts.len() + groups.len()).ok()?;
        self.roles_end = u32::try_from(accounts.len() + groups.len() + roles.len()).ok()?;
        self.links = Links::new([accounts, groups, roles].concat());
        Some(())
    }

    /// The same person within this group or without it; `None` where nothing changes.
    pub(super) fn joining(&self, group: Number, joins: bool, revision: u64) -> Option<Self> {
        let groups = self.groups();
        let (before, after) = match (groups.binary_search(&group), joins) {
            (Err(at), true) => groups.split_at_checked(at)?,
            (Ok(at), false) => (groups.get(..at)?, groups.get(at + 1..)?),
            (Ok(_), true) | (Err(_), false) => return None,
        };
        let joined: &[Number] = if joins { &[group] } else { &[] };
        let links = [self.accounts(), before, joined, after, self.roles()].concat();
        let groups_end = self.accounts_end + u32::try_from(before.len() + joined.len() + after.len()).ok()?;
        let roles_end = u32::try_from(links.len()).ok()?;
        // Field by field, so that no copy of the old links is made and thrown away.
        let (names, links) = (self.names.clone(), Links::new(links));
        Some(Self { names, links, revision, groups_end, roles_end, ..*self })
    }

    /// The SCIM id.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// The SCIM id as bytes.
    pub(super) const fn uuid(&self) -> &[u8; 16] {
        self.id.as_bytes()
    }

    /// The dashboard username.
    pub fn username(&self) -> &str {
        self.name(..usize::from(self.username_length))
    }

    fn name(&self, part: impl std::slice::SliceIndex<[u8], Output = [u8]>) -> &str {
        self.names.bytes().get(part).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// The present login, where it differs from the username.
    pub fn login(&self) -> Option<&str> {
        Some(self.name(usize::from(self.username_length)..)).filter(|login| !login.is_empty())
    }

    /// Whether the folded name is this person's username or login.
    pub(super) fn is_named(&self, folded: &str) -> bool {
        let same = |name: &str| {
            if name.is_ascii() { name.eq_ignore_ascii_case(folded) } else { fold(name) == folded }
        };
        same(self.username()) || self.login().is_some_and(same)
    }

    /// Directly granted accounts, sorted.
    pub fn accounts(&self) -> &[Number] {
        self.links.numbers().get(..self.accounts_end as usize).unwrap_or(&[])
    }

    /// Groups that the person is a direct member of, sorted.
    pub fn groups(&self) -> &[Number] {
        self.links.numbers().get(self.accounts_end as usize..self.groups_end as usize).unwrap_or(&[])
    }

    /// Directly assigned roles, as numbers of the snapshot's name table.
    pub fn roles(&self) -> &[u32] {
        self.links.numbers().get(self.groups_end as usize..self.roles_end as usize).unwrap_or(&[])
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Effective SCIM `active`.
    pub const fn active(&self) -> bool {
        self.has(ACTIVE)
    }

    /// The administrative lock.
    pub const fn locked(&self) -> bool {
        self.has(LOCKED)
    }

    /// Whether a role is assigned that `roles` may not show.
    pub const fn assigned(&self) -> bool {
        self.has(ASSIGNED)
    }

    /// The level.
    pub const fn level(&self) -> AdministrationLevel {
        if self.has(ADMIN) { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser }
    }

    /// The access methods.
    pub const fn methods(&self) -> AccessMethods {
        AccessMethods { dashboard: self.has(DASHBOARD), api: self.has(API) }
    }

    /// The first second of which a token may be: those issued before were somebody's whose access ended. `None` where
    /// no create has ever linked to this record again.
    pub fn tokens_since(&self) -> Option<i64> {
        (self.linked_again > 0).then(|| i64::from(self.linked_again))
    }

    /// When the password was last set.
    pub const fn password_changed_at(&self) -> Option<Timestamp> {
        if self.password_changed_at == NEVER { None } else { Some(Timestamp(self.password_changed_at)) }
    }
}

/// The first whole second that is not before this; what lies outside its range is its nearest end.
fn seconds(at: Timestamp) -> u32 {
    let seconds = at.0.div_euclid(1_000).saturating_add(i64::from(at.0.rem_euclid(1_000) > 0));
    u32::try_from(seconds.clamp(1, i64::from(u32::MAX))).unwrap_or(u32::MAX)
}
