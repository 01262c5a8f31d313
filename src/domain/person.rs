//! What is known of a person beside names: level, access methods, channel; and the small value types.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// The store's own dense number of a resource. Never parsed from anything a client sends.
pub type Number = u32;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// How much of user management a person may do (`domain.md` 2). Product access comes from roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AdministrationLevel {
    /// May view and edit only their own profile.
    #[default]
    #[serde(rename = "Basic User")]
    BasicUser,
    /// Manages users and API credentials.
    #[serde(rename = "Account Admin")]
    AccountAdmin,
}

impl AdministrationLevel {
    /// The name used in SCIM, in policies and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BasicUser => "Basic User",
            Self::AccountAdmin => "Account Admin",
        }
    }

    /// Reads a name exactly as [`Self::name`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Basic User" => Some(Self::BasicUser),
            "Account Admin" => Some(Self::AccountAdmin),
            _ => None,
        }
    }
}

/// The ways a person may come in: any subset of dashboard and API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccessMethods {
    /// May sign in to the dashboard.
    pub dashboard: bool,
    /// May authenticate API calls.
    pub api: bool,
}

impl AccessMethods {
    /// What a person has when nobody said anything (`domain.md` Q4).
    pub const DASHBOARD_ONLY: Self = Self { dashboard: true, api: false };

    /// The values used in SCIM and in policies, sorted.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.api, "api"), (self.dashboard, "dashboard")].into_iter().filter_map(|(held, name)| held.then_some(name))
    }
}

/// Where a question comes from: an API call or a dashboard session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The default.
    #[default]
    Api,
    /// A session of the dashboard.
    Dashboard,
}

impl Channel {
    /// The value used on the wire and in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Dashboard => "dashboard",
        }
    }
}

/// The form in which names are compared: NFKC and full case folding, so that one database or locale
/// cannot disagree with another about what is equal.
pub fn fold(text: &str) -> String {
    folded(text).into_owned()
}

/// As [`fold`]; a text that is in this form already is not copied.
pub fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        let differs = text.bytes().any(|byte| byte.is_ascii_uppercase());
        return if differs { text.to_ascii_lowercase().into() } else { text.into() };
    }
    let folded: String = caseless::default_case_fold_str(&text.nfkc().collect::<String>());
    folded.nfkc().collect()
}
