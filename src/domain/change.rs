//! What a write leaves behind for decisions: post-images of what they read, in commit order.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::person::{AccessMethods, AdministrationLevel, Number, Timestamp};

/// A place in the ledger. Numbers have no gaps within an epoch; a restore begins a new epoch.
/// Written `epoch-number`, for example `1-42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Which life of the ledger.
    pub epoch: u32,
    /// Which commit of it; 0 is the empty ledger.
    pub number: u64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl std::str::FromStr for Revision {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, number) = text.split_once('-').ok_or(())?;
        Ok(Self { epoch: epoch.parse().map_err(|_| ())?, number: number.parse().map_err(|_| ())? })
    }
}

/// One record of the change log: the state of one resource after the commit, or a membership delta.
/// Carries nothing that decisions do not read (no e-mail, no names of people beside their logins).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Whose state this is.
    pub number: Number,
    /// The state after the commit.
    pub image: Image,
}

/// The post-image of a resource, as far as decisions read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Image {
    /// A wall: people, groups and accounts of one never meet those of another.
    Organization(OrganizationImage),
    /// An account with its products.
    Account(AccountImage),
    /// A person. Never removed: a deleted one stays with `active == false`.
    User(UserImage),
    /// A group without its members.
    Group(GroupImage),
    /// Who joined and left the group with this number. Sets, so adding twice is harmless.
    Members(MemberChange),
    /// The resource is gone (groups, organizations); its members lose what it gave.
    Gone,
}

/// See [`Image::Organization`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrganizationImage {
    /// The id that operators chose.
    pub id: String,
}

/// See [`Image::Account`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountImage {
    /// The id that operators chose; stands in request paths.
    pub id: String,
    /// The organization that owns it.
    pub organization: Number,
    /// Active products and features, by the names of the product table.
    pub products: Vec<String>,
}

/// See [`Image::User`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserImage {
    /// The SCIM id (a UUID in lower-case text).
    pub id: String,
    /// The organization that the person belongs to.
    pub organization: Number,
    /// The dashboard username: the first `userName`, for ever.
    pub username: String,
    /// The present `userName` where it differs from `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// SCIM `active`, effective: absent-by-removal and deletion are `false`.
    pub active: bool,
    /// The administrative lock, a fact separate from `active`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// Effective level.
    pub level: AdministrationLevel,
    /// Effective access methods.
    pub methods: AccessMethods,
    /// Role names granted to the person directly (unknown ones grant nothing, but count as assigned).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// True where a role is assigned although `roles` may not show it (one that the connection may
    /// not grant): the no-role default then does not hold (`domain.md` Q10).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assigned: bool,
    /// Accounts granted to the person directly, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Number>,
    /// When the password was last set; absent means not expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_changed_at: Option<Timestamp>,
    /// Set once the record was linked to again after a deletion or deactivation: tokens that were issued before this
    /// moment are void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_again: Option<Timestamp>,
    /// `externalId` by the id of the connection whose it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external_ids: BTreeMap<String, String>,
}

/// See [`Image::Group`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupImage {
    /// The SCIM id.
    pub id: String,
    /// The organization that owns it.
    pub organization: Number,
    /// The display name, for explanations.
    pub name: String,
    /// Roles that every member gains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// As in [`UserImage::assigned`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assigned: bool,
    /// Accounts that every member gains, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Number>,
}

/// See [`Image::Members`]. Members are people or groups, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberChange {
    /// Who is a member from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Number>,
    /// Who is no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Number>,
}
