//! The reference: the ledger's contract in plain memory, for differential tests and for tests of other rooms.
//!
//! Right by being obvious: nothing is derived, everything is looked for by walking. Not durable, not fast.

mod evaluate;
mod state;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use self::state::State;
use super::{
    Above, ApplyHook, BoxFuture, Committed, EventQuery, Found, Head, Kind, LogEntry, LoggedEvent, Lookup, Member,
    Projection, Query, Record, Store, StoreError, Transaction, chain, limits,
};
use crate::domain::{Number, Revision};

/// A ledger that lives as long as its process.
#[derive(Default)]
pub struct MemoryStore {
    ledger: Mutex<Ledger>,
    apply: OnceLock<ApplyHook>,
}

struct Ledger {
    state: State,
    head: Head,
    log: Vec<Logged>,
}

/// An entry of the log with what a repetition needs.
struct Logged {
    operation: String,
    body: String,
    entry: LogEntry,
    committed: Committed,
}

impl Default for Ledger {
    fn default() -> Self {
        let head = Head { revision: Revision { epoch: 1, number: 0 }, hash: [0; 32] };
        Self { state: State::default(), head, log: Vec::new() }
    }
}

impl MemoryStore {
    /// An empty ledger in its first epoch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the apply hook, once. Answers false where there is one already, which then stays.
    pub fn set_apply_hook(&self, apply: ApplyHook) -> bool {
        self.apply.set(apply).is_ok()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, transaction: &Transaction) -> Result<Committed, StoreError> {
        limits::transaction(transaction)?;
        let mut ledger = self.ledger();
        if let Some(before) = ledger.log.iter().find(|logged| logged.operation == transaction.operation) {
            return Ok(before.committed.clone());
        }
        let mut state = ledger.state.clone();
        let mut changes = Vec::new();
        let outcomes = transaction
            .steps
            .iter()
            .map(|step| state.step(step, transaction.at, &mut changes))
            .collect::<Result<Vec<_>, _>>()?;
        if transaction.only_notes() {
            ledger.state = state;
            return Ok(Committed { revision: ledger.head.revision, outcomes });
        }
        let body = serde_json::to_string(&changes).map_err(|error| StoreError::Damaged(error.to_string()))?;

        let Head { revision: Revision { epoch, number }, hash } = ledger.head;
        let revision = Revision { epoch, number: number + 1 };
        let hash = chain(&hash, revision, transaction.at, &body);
        let committed = Committed { revision, outcomes };
        ledger.state = state;
        ledger.head = Head { revision, hash };
        ledger.log.push(Logged {
            operation: transaction.operation.clone(),
            body,
            entry: LogEntry { revision, hash, at: transaction.at, changes: changes.clone() },
            committed: committed.clone(),
        });
        if let Some(apply) = self.apply.get() {
            apply(revision, &changes);
        }
        Ok(committed)
    }
}

/// An answer that is there already.
fn ready<'a, T: Send + 'a>(answer: Result<T, StoreError>) -> BoxFuture<'a, Result<T, StoreError>> {
    Box::pin(std::future::ready(answer))
}

impl Store for MemoryStore {
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async move { self.write(&transaction) })
    }

    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<Record>>, StoreError>> {
        let ledger = self.ledger();
        let by_id = |kind, id: &str| ledger.state.find(|record| record.kind == kind && record.id == id);
        let found = wanted.into_iter().map(|lookup| match lookup {
            Lookup::Id(kind, id) => by_id(kind, &id),
            Lookup::Holder(key) => ledger.state.holder(&key),
            Lookup::OrganizationOfHolder(key) => {
                ledger.state.holder(&key).and_then(|holder| by_id(Kind::Organization, &holder.organization))
            }
        });
        ready(Ok(found.collect()))
    }

    fn stamp(&self, _kind: Kind) -> u64 {
        self.ledger().head.revision.number
    }

    fn records(&self, numbers: Vec<Number>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let ledger = self.ledger();
        ready(Ok(numbers.into_iter().filter_map(|number| ledger.state.record(number)).collect()))
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Found, StoreError>> {
        ready(limits::query(&query).map(|()| evaluate::query(&self.ledger().state, &query)))
    }

    fn members(
        &self,
        group: Number,
        after: Option<Number>,
        limit: u64,
    ) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        let ledger = self.ledger();
        let members = ledger.state.members_of(group).filter(|&member| after.is_none_or(|after| member > after));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = members.filter_map(|member| ledger.state.record(member)).take(limit);
        ready(Ok(found.map(|record| (record.number, record.kind, record.id)).collect()))
    }

    fn groups_of(&self, member: Number) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let ledger = self.ledger();
        ready(Ok(ledger.state.groups_of(member).filter_map(|group| ledger.state.record(group)).collect()))
    }

    fn groups_above(&self, members: Vec<Number>) -> BoxFuture<'_, Result<Vec<Above>, StoreError>> {
        let ledger = self.ledger();
        ready(limits::above(evaluate::groups_above(&ledger.state, &members)))
    }

    fn members_among(&self, group: Number, of: Vec<Number>) -> BoxFuture<'_, Result<Vec<Number>, StoreError>> {
        let ledger = self.ledger();
        ready(Ok(of.into_iter().filter(|&member| ledger.state.is_member(group, member)).collect()))
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, StoreError>> {
        ready(Ok(self.ledger().head))
    }

    fn tail(&self, after: u64, limit: u64) -> BoxFuture<'_, Result<Vec<LogEntry>, StoreError>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let ledger = self.ledger();
        let entries = ledger.log.iter().map(|logged| &logged.entry);
        ready(Ok(entries.filter(|entry| entry.revision.number > after).take(limit).cloned().collect()))
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>> {
        ready(Ok(self.ledger().state.events(&query)))
    }

    fn notes(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        ready(Ok(self.ledger().state.notes(prefix)))
    }

    fn project(&self, into: &dyn Projection) -> Result<Revision, StoreError> {
        let ledger = self.ledger();
        ledger.state.project(into);
        Ok(ledger.head.revision)
    }

    fn verify(&self) -> Result<Head, StoreError> {
        let ledger = self.ledger();
        let mut hash = [0; 32];
        for logged in &ledger.log {
            hash = chain(&hash, logged.entry.revision, logged.entry.at, &logged.body);
            if hash != logged.entry.hash {
                return Err(StoreError::Damaged(format!("revision {} has another hash", logged.entry.revision)));
            }
        }
        if hash == ledger.head.hash { Ok(ledger.head) } else { Err(StoreError::Damaged("the head's hash".into())) }
    }
}
