//! A connection: one identity provider of one organization, what it may grant, and its tokens.
//!
//! The public part is the record's document; the hashes of the tokens are its state. A presented token is found by its
//! id through the unique key scope [`TOKEN_SCOPE`]; whether it holds is [`Connection::admit`]'s answer alone.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::alarm::{AlarmRule, MOST_COUNTED};
use crate::clock::Sources;
use crate::domain::Timestamp;
use crate::store::{Content, Record, UniqueKey};
use crate::token::{NewSecret, Presented, Secret};

/// The scope of the unique keys that tokens are found by; the value is the token's id.
pub const TOKEN_SCOPE: &str = "token";

/// How many live tokens a connection may have: one in use and one to rotate to.
pub const LIVE_TOKENS: usize = 2;

/// The slowest rate limit: what Entra asks of an application.
const LEAST_RATE: u32 = 25;
/// The longest window of the alarm, in minutes: a day.
const MOST_WINDOW: u32 = 1_440;

/// Ended tokens that are remembered, so that their use can be answered with the reason. The oldest go first.
const REMEMBERED_TOKENS: usize = 16;

/// One identity provider of one organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Made by the server.
    pub id: String,
    /// The owning organization's id.
    pub organization: String,
    /// For people.
    pub name: String,
    /// Whose dialect it speaks.
    pub profile: Profile,
    /// What it may do.
    pub settings: Settings,
    /// Its tokens, live and ended.
    pub tokens: Vec<TokenRecord>,
}

/// Whose dialect a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Every tolerance: what to choose when in doubt.
    #[default]
    Generic,
    /// The RFCs to the letter.
    Strict,
    /// Okta.
    Okta,
    /// Microsoft Entra ID.
    Entra,
    /// OneLogin.
    OneLogin,
    /// JumpCloud.
    JumpCloud,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 6] = [Self::Generic, Self::Strict, Self::Okta, Self::Entra, Self::OneLogin, Self::JumpCloud];

    /// The name in the manage API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Strict => "strict",
            Self::Okta => "okta",
            Self::Entra => "entra",
            Self::OneLogin => "onelogin",
            Self::JumpCloud => "jumpcloud",
        }
    }
}

impl FromStr for Profile {
    type Err = ConnectionFault;

    fn from_str(text: &str) -> Result<Self, ConnectionFault> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == text)
            .ok_or_else(|| ConnectionFault::UnknownProfile(text.chars().take(64).collect()))
    }
}

/// What becomes of a changed `userName`. The dashboard username itself never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsernameChange {
    /// It becomes the login at the identity provider, beside the username.
    #[default]
    Alias,
    /// It is refused with `mutability`.
    Reject,
}

/// What a connection may do. Unknown members are an error, so that a misspelt limit is never silently none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// May give the level Account Admin.
    pub may_grant_admin: bool,
    /// The roles that it may give; `None` allows every role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// The ids of the accounts that it may give; `None` allows every account of the organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<String>>,
    /// What becomes of a changed `userName`.
    pub username_change: UsernameChange,
    /// Whether the passwords that it sends are kept (HTTP Basic); else they are taken without effect.
    pub password_sync: bool,
    /// Whether PATCH answers 204 without a body instead of 200 with the resource.
    pub patch_without_body: bool,
    /// Whether a PATCH that adds members passes over ids that nobody has, instead of refusing the whole. For identity
    /// providers that push a group before its people; nobody gains anything by it.
    pub pass_over_unknown_members: bool,
    /// How many requests a second it may send, with a burst of five seconds' worth; 0 sets no limit. Entra alone
    /// asks 25 a second of an application.
    pub requests_per_second: u32,
    /// When deactivations are too many to be meant.
    pub deactivation_alarm: AlarmRule,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            may_grant_admin: false,
            roles: None,
            accounts: None,
            username_change: UsernameChange::default(),
            password_sync: false,
            patch_without_body: false,
            pass_over_unknown_members: false,
            requests_per_second: 1_000,
            deactivation_alarm: AlarmRule::default(),
        }
    }
}

impl Settings {
    /// What cannot be meant, if anything.
    ///
    /// # Errors
    /// [`ConnectionFault::Setting`] names the setting and what to write.
    pub fn check(&self) -> Result<(), ConnectionFault> {
        let rule = self.deactivation_alarm;
        if self.requests_per_second > 0 && self.requests_per_second < LEAST_RATE {
            return Err(ConnectionFault::Setting(format!(
                "requests_per_second is {}; write at least {LEAST_RATE}, which Entra needs, or 0 for no limit",
                self.requests_per_second
            )));
        }
        if !(1..=MOST_WINDOW).contains(&rule.window_minutes) {
            return Err(ConnectionFault::Setting(format!(
                "deactivation_alarm.window_minutes is {}; write 1 to {MOST_WINDOW}",
                rule.window_minutes
            )));
        }
        if rule.count > MOST_COUNTED || rule.share_percent > 100 {
            return Err(ConnectionFault::Setting(format!(
                "deactivation_alarm counts to {MOST_COUNTED} and to 100 percent; write 0 to switch one of them off"
            )));
        }
        Ok(())
    }
}

/// What is kept of a token. `Debug` shows the hash, which is of no use to anybody who lacks the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Its public part.
    pub id: String,
    /// See [`NewSecret::hash`].
    pub hash: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

impl TokenRecord {
    /// Neither revoked nor expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// Why a token does not open a connection. Tell the client no more than `Display` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// No such token, or another secret than the one with its id.
    #[error("the token is not known here; use one of this connection, or make a new one")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired; make a new one for this connection")]
    Expired,
    /// Somebody revoked it.
    #[error("the token was revoked; make a new one for this connection")]
    Revoked,
}

/// Why a connection cannot be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionFault {
    /// The stored text is not what [`Connection::to_content`] writes.
    #[error("the stored connection `{id}` cannot be read: {reason}")]
    Damaged {
        /// Its id.
        id: String,
        /// What the parser said.
        reason: String,
    },
    /// No profile of this name.
    #[error("`{0}` is no profile; use generic, strict, okta, entra, onelogin or jumpcloud")]
    UnknownProfile(String),
    /// A setting that cannot be meant.
    #[error("{0}")]
    Setting(String),
    /// Both live tokens are taken.
    #[error("the connection has {LIVE_TOKENS} live tokens already; revoke one of {} first", .0.join(", "))]
    TooManyTokens(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    profile: Profile,
    settings: Settings,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    tokens: Vec<TokenRecord>,
}

impl Connection {
    /// A new connection without a token.
    pub fn new(id: String, organization: String, name: String, profile: Profile, settings: Settings) -> Self {
        Self { id, organization, name, profile, settings, tokens: Vec::new() }
    }

    /// Reads what [`Self::to_content`] wrote.
    ///
    /// # Errors
    /// [`ConnectionFault::Damaged`] where it is something else.
    pub fn from_record(record: &Record) -> Result<Self, ConnectionFault> {
        let damaged =
            |error: serde_json::Error| ConnectionFault::Damaged { id: record.id.clone(), reason: error.to_string() };
        let document: Document = serde_json::from_str(&record.document).map_err(damaged)?;
        let state: State = serde_json::from_str(&record.state).map_err(damaged)?;
        Ok(Self {
            id: record.id.clone(),
            organization: record.organization.clone(),
            name: document.name,
            profile: document.profile,
            settings: document.settings,
            tokens: state.tokens,
        })
    }

    /// What the store keeps: the public part as the document, the tokens as the state, one unique key for each token.
    ///
    /// # Errors
    /// [`ConnectionFault::Damaged`] where it cannot be written as JSON.
    pub fn to_content(&self) -> Result<Content, ConnectionFault> {
        let damaged =
            |error: serde_json::Error| ConnectionFault::Damaged { id: self.id.clone(), reason: error.to_string() };
        let document = Document { name: self.name.clone(), profile: self.profile, settings: self.settings.clone() };
        Ok(Content {
            document: serde_json::to_string(&document).map_err(damaged)?,
            state: serde_json::to_string(&State { tokens: self.tokens.clone() }).map_err(damaged)?,
            unique: self
                .tokens
                .iter()
                .map(|token| UniqueKey { scope: TOKEN_SCOPE.to_owned(), value: token.id.clone() })
                .collect(),
            ..Content::default()
        })
    }

    /// Adds a token; the secret that comes back is shown once and kept nowhere.
    ///
    /// # Errors
    /// [`ConnectionFault::TooManyTokens`] where [`LIVE_TOKENS`] are live already.
    pub fn add_token(&mut self, sources: &Sources, expires: Option<Timestamp>) -> Result<NewSecret, ConnectionFault> {
        let now = sources.clock.now();
        let live: Vec<String> =
            self.tokens.iter().filter(|token| token.is_live(now)).map(|token| token.id.clone()).collect();
        if live.len() >= LIVE_TOKENS {
            return Err(ConnectionFault::TooManyTokens(live));
        }
        let ended = self.tokens.len() - live.len();
        let mut excess = (ended + 1).saturating_sub(REMEMBERED_TOKENS);
        self.tokens.retain(|token| {
            let forget = excess > 0 && !token.is_live(now);
            excess -= usize::from(forget);
            !forget
        });
        let new = Secret::generate(&*sources.random);
        self.tokens.push(TokenRecord {
            id: new.id.clone(),
            hash: new.hash.clone(),
            created: now,
            expires,
            revoked: None,
        });
        Ok(new)
    }

    /// Ends a token at once; `false` where there is none of this id. Revoking twice keeps the first time.
    pub fn revoke_token(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(token) = self.tokens.iter_mut().find(|token| token.id == id) else { return false };
        token.revoked.get_or_insert(now);
        true
    }

    /// Whether the presented token opens this connection now.
    ///
    /// # Errors
    /// [`TokenRefused`]. That a token has ended is told only to somebody who holds its secret.
    pub fn admit(&self, presented: &Presented, now: Timestamp) -> Result<(), TokenRefused> {
        let token = self.tokens.iter().find(|token| token.id == presented.id).ok_or(TokenRefused::Unknown)?;
        if !Secret::verify(presented, &token.hash) {
            return Err(TokenRefused::Unknown);
        }
        if token.revoked.is_some() {
            return Err(TokenRefused::Revoked);
        }
        if token.is_live(now) { Ok(()) } else { Err(TokenRefused::Expired) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{HandClock, SeededRandom};
    use crate::store::Kind;

    fn sources() -> (Arc<HandClock>, Sources) {
        let clock = Arc::new(HandClock::new(Timestamp(1_000)));
        (clock.clone(), Sources { clock, random: Arc::new(SeededRandom::new(5)) })
    }

    fn connection() -> Connection {
        Connection::new("c1".into(), "acme".into(), "Okta".into(), Profile::Okta, Settings::default())
    }

    fn record(content: &Content) -> Record {
        Record {
            number: 1,
            kind: Kind::Connection,
            id: "c1".into(),
            organization: "acme".into(),
            version: 1,
            document: content.document.clone(),
            state: content.state.clone(),
            deleted: false,
            created: Timestamp(0),
            modified: Timestamp(0),
        }
    }

    #[test]
    fn what_is_written_reads_back_and_the_document_holds_no_hash() {
        let (_, sources) = sources();
        let mut connection = connection();
        connection.settings.roles = Some(vec!["Ordering".into()]);
        let new = connection.add_token(&sources, Some(Timestamp(9_000))).unwrap();
        let content = connection.to_content().unwrap();
        assert!(!content.document.contains(&new.hash) && content.image.is_none());
        assert_eq!(content.unique, [UniqueKey { scope: TOKEN_SCOPE.into(), value: new.id }]);
        assert_eq!(Connection::from_record(&record(&content)).unwrap(), connection);
    }

    #[test]
    fn a_token_opens_until_it_is_revoked_or_expires() {
        let (clock, sources) = sources();
        let mut connection = connection();
        let lasting = connection.add_token(&sources, None).unwrap();
        let short = connection.add_token(&sources, Some(Timestamp(2_000))).unwrap();
        let lasting = Secret::parse(&lasting.shown).unwrap();
        let short = Secret::parse(&short.shown).unwrap();
        assert_eq!(connection.admit(&short, clock_now(&sources)), Ok(()));
        clock.advance(1_000);
        assert_eq!(connection.admit(&short, clock_now(&sources)), Err(TokenRefused::Expired));
        assert_eq!(connection.admit(&lasting, clock_now(&sources)), Ok(()));
        assert!(connection.revoke_token(&lasting.id, clock_now(&sources)));
        assert!(!connection.revoke_token("none", clock_now(&sources)));
        assert_eq!(connection.admit(&lasting, clock_now(&sources)), Err(TokenRefused::Revoked));
        let foreign = Secret::parse(&Secret::generate(&SeededRandom::new(99)).shown).unwrap();
        assert_eq!(connection.admit(&foreign, clock_now(&sources)), Err(TokenRefused::Unknown));
    }

    #[test]
    fn two_live_tokens_at_most_and_ended_ones_are_forgotten_in_time() {
        let (_, sources) = sources();
        let mut connection = connection();
        let first = connection.add_token(&sources, None).unwrap();
        let second = connection.add_token(&sources, None).unwrap();
        let fault = connection.add_token(&sources, None).unwrap_err();
        assert_eq!(fault, ConnectionFault::TooManyTokens(vec![first.id.clone(), second.id.clone()]));
        connection.revoke_token(&first.id, Timestamp(1));
        for _ in 0..40 {
            let next = connection.add_token(&sources, None).unwrap();
            connection.revoke_token(&next.id, Timestamp(1));
        }
        assert!(connection.tokens.len() <= REMEMBERED_TOKENS + LIVE_TOKENS, "{}", connection.tokens.len());
        assert!(connection.tokens.iter().any(|token| token.id == second.id), "a live one is never forgotten");
    }

    #[test]
    fn a_misspelt_setting_is_an_error_and_profiles_have_one_name() {
        assert!(serde_json::from_str::<Settings>(r#"{"may_grant_admins": true}"#).is_err());
        assert!(serde_json::from_str::<Settings>(r#"{"username_change": "rename"}"#).is_err());
        for profile in Profile::ALL {
            assert_eq!(serde_json::to_value(profile).unwrap(), profile.name());
            assert_eq!(profile.name().parse::<Profile>().unwrap(), profile);
        }
        assert!("Okta".parse::<Profile>().is_err());
    }

    fn clock_now(sources: &Sources) -> Timestamp {
        sources.clock.now()
    }
}
