//! Passwords of people: how one comes in, where its hash is kept, and who reads it.
//!
//! The hash stands in the private state of the person's record. So it changes in the one commit that moves the
//! record's version and the revision of the person (which ends what is remembered of the password before), is gone
//! when the record is, and needs no table whose rows could outlive theirs. Documents, events and images lack it.

use std::sync::Arc;

use super::Scim;
use super::content::Draft;
use super::error::ScimError;
use super::query::Precondition;
use super::state::{UserState, read_state};
use super::users::Writer;
use crate::domain::Revision;
use crate::store::{Kind, Step, Store};
use crate::token::{Fetched, Password, PasswordSource};

/// The note that somebody has had a password once. Nothing is decided by it: it only tells which sentence explains
/// a refusal.
const IN_USE: &str = "passwords";

/// The hashes of a store.
pub struct StoredPasswords(Arc<dyn Store>);

impl StoredPasswords {
    /// Those of this one.
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

impl PasswordSource for StoredPasswords {
    fn any(&self) -> Fetched<'_, bool> {
        Box::pin(async {
            let notes = self.0.notes(IN_USE).await.map_err(|error| error.to_string())?;
            Ok(notes.iter().any(|(key, _)| key == IN_USE))
        })
    }

    fn hash<'a>(&'a self, id: &'a str) -> Fetched<'a, Option<String>> {
        Box::pin(async move {
            let record = self.0.get(Kind::User, id).await.map_err(|error| error.to_string())?;
            let Some(record) = record.filter(|record| !record.deleted) else { return Ok(None) };
            Ok(read_state::<UserState>(&record).map_err(|error| error.detail)?.password)
        })
    }
}

impl Scim {
    /// Sets the password of a person, found by id, username or login, or takes it away; with it goes the time that it
    /// was set. Answers where the ledger stands then.
    ///
    /// # Errors
    /// 400 for a password of the wrong length; 404 for nobody and for deleted people; 503 and 500 from the store, 503
    /// where too many passwords are being worked on.
    pub async fn set_password(&self, name: &str, password: Option<Password>) -> Result<Revision, ScimError> {
        if let Some(password) = &password {
            check(password)?;
        }
        let record = self.person(name).await?;
        let wall = self.wall_of(&record).await?;
        // The document stays as it is, so there is no role to judge: what operators gave stays given.
        let mut writer = Writer { password_sync: true, ..Self::operator(&wall, &[], false) };
        writer.limits.roles = None;
        let change = |draft: &mut Draft<UserState>| {
            if password.is_none() {
                draft.state.password = None;
            }
            draft.password.clone_from(&password);
            Ok(())
        };
        let written = self.change_user(&wall, &writer, &record.id, &Precondition::default(), &change).await?;
        Ok(written.revision)
    }

    /// Takes the password that was sent into the draft's state, where the writer may set one. Answers the steps that
    /// belong to it.
    pub(super) async fn settle_password(
        &self,
        writer: &Writer,
        draft: &mut Draft<UserState>,
    ) -> Result<Vec<Step>, ScimError> {
        let Some(password) = draft.password.take() else { return Ok(Vec::new()) };
        if !writer.password_sync {
            tracing::debug!(writer = writer.name(), "a password was sent; it is not kept");
            return Ok(Vec::new());
        }
        check(&password)?;
        let before = draft.state.password.clone();
        let hash = self.hashes.hash(password, before).await.map_err(|busy| ScimError::unavailable(busy.to_string()))?;
        if draft.state.password.as_ref() == Some(&hash) {
            return Ok(Vec::new());
        }
        draft.state.password = Some(hash);
        draft.state.password_changed_at = Some(self.sources.clock.now());
        Ok(vec![Step::Note { key: IN_USE.to_owned(), value: Some("stored".to_owned()) }])
    }
}

fn check(password: &Password) -> Result<(), ScimError> {
    if password.fits() {
        return Ok(());
    }
    Err(ScimError::invalid_value(format!("password must have 1 to {} bytes", Password::LONGEST)))
}
