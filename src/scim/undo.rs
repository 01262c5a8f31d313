//! What operators do about a connection's deactivations: look at its standing, settle an alarm, take them back.
//!
//! An undo goes the way of every write: what each deactivation changed is put back where nobody has changed it since,
//! rights are judged by what the connection may grant today, memberships return where the groups still are. Whom
//! somebody else has deactivated or deleted since stays so.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::alarm::Alarm;
use super::caller::Wall;
use super::connection::Connection;
use super::content::Draft;
use super::error::ScimError;
use super::event::{Entry, EventKind, Journal, Reversal};
use super::image::Limits;
use super::notes::{alarm_note, token_note};
use super::state::{Claims, UserState};
use super::watch::Standing;
use super::{ATTEMPTS, Failure, Scim, busy, store_failure};
use crate::domain::{Number, Timestamp};
use crate::store::{Comparison, Event, EventQuery, Kind, Page, Predicate, Query, Record, Step};

/// Events that are read from the store at a time.
const PAGE: u64 = 500;
/// People that are restored at a time; their writes share commits.
const SIDE_BY_SIDE: usize = 16;
/// Failures that an answer lists.
const MOST_LISTED: usize = 100;

/// Where an undo begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// With the first deactivation that the present alarm counted.
    Alarm,
    /// With this event.
    Event(String),
    /// At this moment.
    Time(Timestamp),
}

/// What an undo did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// People who have their access back.
    pub restored: u64,
    /// People who had it back already.
    pub unchanged: u64,
    /// People whom somebody else deactivated or deleted, too, and who stay so.
    pub kept: u64,
    /// People who could not get it back.
    pub failed: u64,
    /// Who and why, the first of them: id and sentence.
    pub failures: Vec<(String, String)>,
    /// The first of those who were kept, by id.
    pub kept_people: Vec<String>,
}

/// What became of one person.
enum Restored {
    Yes,
    Already,
    Kept,
}

impl Scim {
    /// How a connection stands, with the last use of its tokens as this process or an earlier one saw it.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub async fn standing(&self, connection: &str) -> Result<Standing, ScimError> {
        let mut standing = self.watch.standing(connection, self.sources.clock.now());
        let prefix = token_note(connection, "");
        for (key, value) in self.store.notes(&prefix).await.map_err(store_failure)? {
            if let (Some(token), Ok(at)) = (key.strip_prefix(&prefix), value.parse()) {
                let used = standing.tokens.entry(token.to_owned()).or_insert(Timestamp(at));
                used.0 = used.0.max(at);
            }
        }
        Ok(standing)
    }

    /// Every connection that this process heard of, by id.
    pub fn standings(&self) -> BTreeMap<String, Standing> {
        self.watch.standings(self.sources.clock.now())
    }

    /// How many events of the provisioning log were lost.
    pub fn lost_events(&self) -> u64 {
        self.watch.lost()
    }

    /// A sentence for operators where an alarm stands.
    ///
    /// # Errors
    /// The sentence.
    pub fn concern(&self) -> Result<(), String> {
        let alarmed = self.watch.alarmed();
        if alarmed.is_empty() {
            return Ok(());
        }
        let each: Vec<String> = alarmed
            .iter()
            .map(|(id, people)| format!("connection {id} deactivated {people} people within a short time"))
            .collect();
        Err(format!("{}; `cedargate connection undo` takes it back, `settle` says that it was meant", each.join("; ")))
    }

    /// The deactivations were meant: the alarm is over. `false` where none stood.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub async fn settle(&self, connection: &str) -> Result<bool, ScimError> {
        let Some(alarm) = self.watch.alarm(connection) else { return Ok(false) };
        let body = json!({"detail": "an operator settled the alarm: the deactivations were meant",
            "deactivated": alarm.deactivated});
        self.end_alarm(connection, EventKind::Settled, &body).await?;
        Ok(true)
    }

    async fn end_alarm(&self, connection: &str, kind: EventKind, body: &Value) -> Result<(), ScimError> {
        let steps = vec![
            Step::Note { key: alarm_note(connection), value: None },
            Step::Event(self.own_event(connection, kind, 200, body)),
        ];
        match self.commit_steps(steps).await {
            Ok(_) => {}
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Raced) => return Err(busy()),
        }
        self.watch.settle(connection);
        Ok(())
    }

    /// An event that is no request.
    fn own_event(&self, connection: &str, kind: EventKind, status: u16, body: &Value) -> Event {
        Event {
            id: self.sources.identifier(),
            connection: connection.to_owned(),
            at: self.sources.clock.now(),
            kind: kind.name().to_owned(),
            status,
            resource: String::new(),
            body: body.to_string(),
            before: None,
        }
    }

    /// Refuses a deactivation while an alarm stands, where the connection's settings say so.
    pub(super) fn refuse_held(&self, entry: &Entry) -> Result<(), ScimError> {
        if !entry.rule.hold || entry.kind != EventKind::Request || self.watch.alarm(&entry.connection).is_none() {
            return Ok(());
        }
        Err(ScimError::too_many_requests(
            HELD_SECONDS,
            "this connection deactivated very many people, so that further deactivations wait for an operator, who runs \
             `cedargate connection settle` where they are meant",
        ))
    }

    /// Counts a deactivation, and raises the alarm where they are too many.
    pub(super) async fn count_deactivation(&self, wall: &Wall, entry: &Entry) {
        let now = self.sources.clock.now();
        let (connection, rule) = (entry.connection.as_str(), &entry.rule);
        let Some((count, since_time, since)) = self.watch.deactivated(connection, rule, now, &entry.id) else { return };
        let mut of = None;
        if !rule.is_crossed(count, None) && rule.looks_at_share(count) {
            of = self.active_people(wall).await.map(|active| active + u64::from(count));
        }
        if !rule.is_crossed(count, of) {
            return;
        }
        let alarm = Alarm { at: now, since, since_time, deactivated: count, of };
        if !self.watch.raise(connection, alarm.clone()) {
            return;
        }
        tracing::error!(
            connection,
            deactivated = count,
            "very many people were deactivated; see `cedargate connection show`"
        );
        let minutes = rule.window_minutes;
        let of_people = of.map(|of| format!(" of {of}")).unwrap_or_default();
        let detail = format!(
            "{count}{of_people} people were deactivated within {minutes} minutes; `cedargate connection undo {connection}` \
             takes it back, `cedargate connection settle {connection}` says that it was meant"
        );
        let body = json!({"detail": detail, "deactivated": count, "of": of, "since": alarm.since});
        let mut steps = vec![Step::Event(self.own_event(connection, EventKind::Alarm, 200, &body))];
        let value = serde_json::to_string(&alarm).ok();
        steps.extend(value.map(|value| Step::Note { key: alarm_note(connection), value: Some(value) }));
        // The deactivation itself is committed; an alarm that cannot be written down stands in memory all the same.
        if self.commit_steps(steps).await.is_err() {
            self.watch.lose();
        }
    }

    /// How many people of the organization are active; `None` where the store does not say.
    async fn active_people(&self, wall: &Wall) -> Option<u64> {
        let count = |predicate| Query {
            kind: Kind::User,
            organization: Some(wall.id.clone()),
            predicate,
            sort: None,
            page: Page { offset: 0, count: 0, after: None },
        };
        let inactive =
            Predicate::Compare { path: "active".to_owned(), comparison: Comparison::Equal, value: "false".to_owned() };
        let all = self.store.query(count(None)).await.ok()?.total;
        let inactive = self.store.query(count(Some(inactive))).await.ok()?.total;
        Some(all?.saturating_sub(inactive?))
    }

    /// Gives back what this connection's deactivations took: `active`, rights and memberships. Safe to run again.
    /// `dry_run` only counts. Ends an alarm where everybody has it back.
    ///
    /// # Errors
    /// 404 for an event that is not there, 409 where no alarm says where to begin; 503 and 500 from the store.
    pub async fn undo(
        self: &Arc<Self>,
        connection: &Connection,
        since: &Since,
        dry_run: bool,
    ) -> Result<Undone, ScimError> {
        let wall = Wall::find(&*self.store, &connection.organization).await?;
        self.settle_log().await;
        let people = self.deactivated_since(&connection.id, since).await?;
        let mut undone = Undone::default();
        let mut work = JoinSet::new();
        for (person, events) in people {
            if work.len() >= SIDE_BY_SIDE
                && let Some(done) = work.join_next().await
            {
                undone.add(done);
            }
            let (scim, wall, limits) = (Arc::clone(self), wall.clone(), Limits::of(connection));
            let connection = connection.id.clone();
            work.spawn(async move {
                let restored = scim.restore(&connection, wall, &limits, &person, &events, dry_run).await;
                (person, restored)
            });
        }
        while let Some(done) = work.join_next().await {
            undone.add(done);
        }
        if !dry_run && undone.failed == 0 && self.watch.alarm(&connection.id).is_some() {
            let body = json!({"detail": "an operator took the deactivations back", "restored": undone.restored});
            self.end_alarm(&connection.id, EventKind::Undo, &body).await?;
        }
        Ok(undone)
    }

    /// Who was deactivated, and by which events, newest first.
    async fn deactivated_since(
        &self,
        connection: &str,
        since: &Since,
    ) -> Result<BTreeMap<String, Vec<String>>, ScimError> {
        let mut query = EventQuery {
            connection: Some(connection.to_owned()),
            reversible: true,
            limit: PAGE,
            ..EventQuery::default()
        };
        let first = match since {
            Since::Time(at) => {
                query.since = Some(*at);
                None
            }
            Since::Event(id) => Some(id.clone()),
            Since::Alarm => Some(self.watch.alarm(connection).map(|alarm| alarm.since).ok_or_else(|| {
                ScimError::conflict("no alarm stands for this connection; say since which event or time")
            })?),
        };
        if let Some(id) = first {
            let one =
                EventQuery { connection: query.connection.clone(), id: Some(id), limit: 1, ..EventQuery::default() };
            let found = self.store.events(one).await.map_err(store_failure)?;
            let event = found.first().ok_or_else(|| {
                ScimError::not_found("this connection has no such event; `connection events` lists those that are kept")
            })?;
            query.after = Some(event.number.saturating_sub(1));
        }
        let mut people = BTreeMap::<String, Vec<String>>::new();
        loop {
            let page = self.store.events(query.clone()).await.map_err(store_failure)?;
            let Some(last) = page.last() else { return Ok(people) };
            query.below = Some(last.number);
            for logged in page {
                people.entry(logged.event.resource).or_default().push(logged.event.id);
            }
        }
    }

    async fn restore(
        &self,
        connection: &str,
        mut wall: Wall,
        limits: &Limits,
        person: &str,
        events: &[String],
        dry_run: bool,
    ) -> Result<Restored, ScimError> {
        let mut reversals = BTreeMap::new();
        for id in events {
            let query = EventQuery { id: Some(id.clone()), limit: 1, ..EventQuery::default() };
            let found = self.store.events(query).await.map_err(store_failure)?;
            let Some(logged) = found.into_iter().next() else { continue };
            let reversal = logged.event.before.and_then(|before| serde_json::from_str::<Reversal>(&before).ok());
            reversals.extend(reversal.map(|reversal| (id.as_str(), (logged.number, reversal))));
        }
        for _ in 0..ATTEMPTS {
            let now = self.sources.clock.now();
            wall.journal = Journal::of_undo(self.sources.identifier(), connection, now);
            match self.try_restore(&wall, limits, person, &reversals, dry_run).await {
                Ok(restored) => return Ok(restored),
                Err(Failure::Raced) => {}
                Err(Failure::Refused(error)) => return Err(error),
            }
        }
        Err(busy())
    }

    async fn try_restore(
        &self,
        wall: &Wall,
        limits: &Limits,
        person: &str,
        reversals: &BTreeMap<&str, (u64, Reversal)>,
        dry_run: bool,
    ) -> Result<Restored, Failure> {
        let found = self.store.get(Kind::User, person).await.map_err(store_failure)?;
        let own = found.filter(|record| record.organization == wall.id);
        let Some(number) = own.map(|record| record.number) else {
            return Err(ScimError::not_found("there is no such person any more; create it anew").into());
        };
        let _turn = self.stripe(number).await;
        let Some(record) = self.store.get(Kind::User, person).await.map_err(store_failure)? else {
            return Err(ScimError::not_found("there is no such person any more; create it anew").into());
        };
        let mut draft = Draft::<UserState>::read(&record)?;
        if draft.state.active && !record.deleted {
            return Ok(Restored::Already);
        }
        let mut reversed: Vec<&Reversal> = Vec::new();
        if let Some(reversal) = self.untold(person, &draft, reversals).await? {
            revert(&mut draft, reversal);
            reversed.push(reversal);
        }
        // From the newest back, as long as each is what made the person what it is; each event at most once.
        while let Some((_, reversal)) = draft.state.ended.as_ref().and_then(|ended| reversals.get(ended.event.as_str()))
            && reversed.len() < reversals.len()
        {
            revert(&mut draft, reversal);
            reversed.push(reversal);
        }
        if reversed.is_empty() {
            return Ok(Restored::Kept);
        }
        if dry_run {
            return Ok(Restored::Yes);
        }
        let (content, _) = self.user_content(wall, limits, person, &mut draft, false).await?;
        let mut steps = vec![Step::Replace { number, expected: Some(record.version), content }];
        for group in self.living_groups(wall, &reversed).await? {
            steps.push(Step::Members { group, expected: None, add: vec![number], remove: Vec::new() });
        }
        self.commit(wall, steps).await?;
        Ok(Restored::Yes)
    }

    /// The deactivation of an earlier release, which did not note with the person who had ended the access: it is the
    /// newest, all that it changed stands as it left it, and no request of any connection has written here since.
    async fn untold<'r>(
        &self,
        person: &str,
        draft: &Draft<UserState>,
        reversals: &'r BTreeMap<&str, (u64, Reversal)>,
    ) -> Result<Option<&'r Reversal>, ScimError> {
        let newest = reversals.values().max_by_key(|(number, _)| *number);
        let Some((number, reversal)) = newest.filter(|(_, reversal)| reversal.active.is_none()) else {
            return Ok(None);
        };
        let stands = reversal.changes.iter().all(|change| change.find(&draft.document) == change.after.as_ref());
        if draft.state.ended.is_some() || !stands {
            return Ok(None);
        }
        let later = EventQuery {
            resource: Some(person.to_owned()),
            success: Some(true),
            after: Some(*number),
            limit: 1,
            ..EventQuery::default()
        };
        let later = self.store.events(later).await.map_err(store_failure)?;
        Ok(later.is_empty().then_some(reversal))
    }

    /// The groups that were left and that are still there.
    async fn living_groups(&self, wall: &Wall, reversals: &[&Reversal]) -> Result<Vec<Number>, ScimError> {
        let mut groups = Vec::new();
        for id in reversals.iter().flat_map(|reversal| &reversal.groups) {
            let record = self.store.get(Kind::Group, id).await.map_err(store_failure)?;
            let living = record.filter(|record: &Record| !record.deleted && record.organization == wall.id);
            groups.extend(living.map(|record| record.number).filter(|number| !groups.contains(number)));
        }
        Ok(groups)
    }
}

/// Whole seconds after which a held deactivation is worth another try.
const HELD_SECONDS: u64 = 600;

/// What one deactivation changed goes back where nobody was since; whoever had given a right has given it again.
fn revert(draft: &mut Draft<UserState>, reversal: &Reversal) {
    for change in &reversal.changes {
        change.revert(&mut draft.document);
    }
    let active = reversal.active.unwrap_or(true);
    draft.state.active = active;
    draft.state.ended.clone_from(&reversal.ended);
    if active && draft.document.get("active") == Some(&Value::Bool(false)) {
        draft.document.insert("active".to_owned(), Value::Bool(true));
    }
    let Claims { admin, roles, accounts, entitlements } = &reversal.claims;
    let claims = &mut draft.state.claims;
    if claims.admin.is_none() {
        claims.admin.clone_from(admin);
    }
    for (claims, before) in
        [(&mut claims.roles, roles), (&mut claims.accounts, accounts), (&mut claims.entitlements, entitlements)]
    {
        for (name, claim) in before {
            claims.entry(name.clone()).or_insert_with(|| claim.clone());
        }
    }
}

impl Undone {
    fn add(&mut self, done: Result<(String, Result<Restored, ScimError>), tokio::task::JoinError>) {
        let (person, why) = match done {
            Ok((_, Ok(Restored::Yes))) => {
                self.restored += 1;
                return;
            }
            Ok((_, Ok(Restored::Already))) => {
                self.unchanged += 1;
                return;
            }
            Ok((person, Ok(Restored::Kept))) => {
                self.kept += 1;
                if self.kept_people.len() < MOST_LISTED {
                    self.kept_people.push(person);
                }
                return;
            }
            Ok((person, Err(error))) => (person, error.detail),
            Err(error) => {
                tracing::error!(%error, "an undo broke off for one person");
                (String::new(), "it failed inside the server; its log says why".to_owned())
            }
        };
        self.failed += 1;
        if self.failures.len() < MOST_LISTED {
            self.failures.push((person, why));
        }
    }

    /// For answers.
    pub fn to_json(&self) -> Value {
        let failures = self.failures.iter().map(|(user, error)| json!({"user": user, "error": error}));
        let mut shown = Map::new();
        shown.insert("restored".to_owned(), json!(self.restored));
        shown.insert("unchanged".to_owned(), json!(self.unchanged));
        shown.insert("kept".to_owned(), json!(self.kept));
        shown.insert("keptPeople".to_owned(), json!(self.kept_people));
        shown.insert("failed".to_owned(), json!(self.failed));
        shown.insert("failures".to_owned(), failures.collect());
        Value::Object(shown)
    }
}
