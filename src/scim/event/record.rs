//! A request at work: held to its connection's rate, counted, and entered into the provisioning log.

use super::super::caller::{Caller, NotAdmitted, Wall};
use super::super::content::Draft;
use super::super::error::ScimError;
use super::super::state::UserState;
use super::super::{Failure, Operation, Scim, notes, watch};
use super::{Journal, LONGEST_TEXT};
use crate::http::{Request, Response};
use crate::store::{BoxFuture, Committed, Record, Step};

/// What a client hears that asks too fast.
const SLOW_DOWN: &str = "this connection asks faster than its settings allow; wait for the seconds in Retry-After, or have \
     the connection's requests_per_second raised";

/// What the writer knows of the resource that it writes.
#[derive(Debug, Default)]
pub(in crate::scim) struct Known<'a> {
    /// As it was read.
    pub before: Option<Record>,
    /// The draft of a person that the first step stores.
    pub person: Option<&'a Draft<UserState>>,
}

impl Scim {
    /// A request at work: within its connection's rate, and entered into the provisioning log.
    pub(in crate::scim) async fn recorded(
        &self,
        operation: Operation,
        caller: &Caller,
        request: &Request,
    ) -> Result<Response, ScimError> {
        self.entered(operation, caller, request, true).await
    }

    /// An operation of a bulk request: entered as the single request. It counts against the connection's rate and is
    /// not refused for it, since the whole is one request that was let in. Boxed, since a bulk request is a request.
    pub(in crate::scim) fn recorded_in_bulk<'a>(
        &'a self,
        operation: Operation,
        caller: &'a Caller,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Response, ScimError>> {
        Box::pin(self.entered(operation, caller, request, false))
    }

    async fn entered(
        &self,
        operation: Operation,
        caller: &Caller,
        request: &Request,
        held_to_rate: bool,
    ) -> Result<Response, ScimError> {
        let now = self.sources.clock.now();
        let journal = Journal::of_request(self.sources.identifier(), caller, request, operation.success(), now);
        let caller = caller.noting(journal.clone());
        let answered = match self.within_rate(&caller, request) {
            Ok(()) => self.dispatch(operation, &caller, request).await,
            Err(_) if !held_to_rate => self.dispatch(operation, &caller, request).await,
            Err(limited) => {
                let error = ScimError::too_many_requests(limited.seconds, SLOW_DOWN);
                if !limited.logged {
                    self.watch.answered(caller.connection(), error.status.as_u16(), now);
                    return Err(error);
                }
                Err(error)
            }
        };
        let Some(entry) = journal.entry() else { return answered };
        let status = answered.as_ref().map_or_else(|error| error.status, Response::status);
        self.watch.answered(caller.connection(), status.as_u16(), now);
        match answered {
            Ok(response) => {
                if operation.writes() && !entry.is_written() {
                    self.log_unchanged(entry, request);
                }
                Ok(response)
            }
            Err(error) => {
                self.log_failure(entry, request, &error);
                Err(error.of_event(&entry.id))
            }
        }
    }

    fn within_rate(&self, caller: &Caller, request: &Request) -> Result<(), watch::Limited> {
        let now = self.sources.clock.now();
        let (connection, token) = (caller.connection(), caller.token());
        if self.watch.used(connection, token, now) {
            let key = notes::token_note(connection, token);
            self.log_beside(connection, Step::Note { key, value: Some(now.0.to_string()) });
        }
        // Its text is ASCII.
        let client = request.header("user-agent").unwrap_or_default();
        let client = client.get(..LONGEST_TEXT).unwrap_or(client);
        self.watch.admit(connection, client, caller.settings().requests_per_second, now)
    }

    pub(in crate::scim) fn not_admitted(
        &self,
        NotAdmitted { error, connection }: NotAdmitted,
        request: &Request,
    ) -> ScimError {
        let Some(connection) = connection else { return error };
        self.watch.answered(&connection, error.status.as_u16(), self.sources.clock.now());
        match self.log_refused_token(&connection, request, &error) {
            Some(event) => error.of_event(&event),
            None => error,
        }
    }

    /// One transaction, now, with its event where the journal wants one.
    pub(in crate::scim) async fn commit(&self, wall: &Wall, steps: Vec<Step>) -> Result<Committed, Failure> {
        self.commit_knowing(wall, steps, Known::default()).await
    }

    /// The same: what is known of its resource need not be read again to be noted.
    pub(in crate::scim) async fn commit_knowing(
        &self,
        wall: &Wall,
        mut steps: Vec<Step>,
        known: Known<'_>,
    ) -> Result<Committed, Failure> {
        let Some(entry) = wall.journal.entry() else { return self.commit_steps(steps).await };
        let own = steps.len();
        let noted = self.note(entry, &steps, known).await?;
        let deactivates = noted.as_ref().is_some_and(|noted| noted.deactivates);
        if deactivates {
            self.refuse_held(entry)?;
        }
        steps.extend(noted.map(|noted| Step::Event(noted.event)));
        steps.extend(self.cut(&entry.connection));
        let mut committed = self.commit_steps(steps).await?;
        committed.outcomes.truncate(own);
        entry.set_written();
        if deactivates && entry.rule.is_on() {
            self.count_deactivation(wall, entry).await;
        }
        Ok(committed)
    }
}

impl Operation {
    /// Whether it changes anything.
    const fn writes(self) -> bool {
        match self {
            Self::Create(_) | Self::Replace(_) | Self::Patch(_) | Self::Delete(_) => true,
            Self::List(_)
            | Self::Search(_)
            | Self::Read(_)
            | Self::Bulk
            | Self::Me
            | Self::ServiceProviderConfig
            | Self::ResourceTypes
            | Self::ResourceType
            | Self::Schemas
            | Self::Schema
            | Self::Grantables(_)
            | Self::OneGrantable(_)
            | Self::NotAllowed(_)
            | Self::Unknown => false,
        }
    }

    /// The status of its success in the log; 200 also where the answer leaves out the body and says 204.
    const fn success(self) -> u16 {
        match self {
            Self::Create(_) => 201,
            Self::Delete(_) => 204,
            Self::List(_)
            | Self::Search(_)
            | Self::Read(_)
            | Self::Bulk
            | Self::Me
            | Self::Replace(_)
            | Self::Patch(_)
            | Self::ServiceProviderConfig
            | Self::ResourceTypes
            | Self::ResourceType
            | Self::Schemas
            | Self::Schema
            | Self::Grantables(_)
            | Self::OneGrantable(_)
            | Self::NotAllowed(_)
            | Self::Unknown => 200,
        }
    }
}
