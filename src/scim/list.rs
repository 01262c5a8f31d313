//! Lists: filter, sort and page, run by the store over its index. One type, or all of them at the root.

use serde_json::{Value, json};

use super::caller::{Caller, Wall};
use super::content::external_path;
use super::cursor::{Place, Walk};
use super::error::{ScimError, quote};
use super::filter::{Filter, to_predicate};
use super::members::Streamed;
use super::query::{Listing, PageSizes, Start};
use super::respond::body;
use super::schema::{Definition, ResourceKind, Tolerance};
use super::{Scim, kind_of, store_failure};
use crate::domain::Timestamp;
use crate::http::{Request, Response, StatusCode};
use crate::store::{Found, Page, Position, Predicate, Query, Record, StoreError};

/// The URN of a list.
const LIST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
/// How many resources a list holds, and for how many seconds a cursor is good, where the configuration does not say.
const PAGE_SIZES: PageSizes = PageSizes { default: 100, most: 200 };
const CURSOR_SECONDS: u64 = 3_600;
/// The furthest that a list over all types goes by index: it has to walk there.
const FURTHEST_AT_ROOT: u64 = 10_000;

/// What a list is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// One resource type.
    Type(ResourceKind),
    /// The root: every type.
    Root,
}

impl Span {
    const fn kinds(self) -> &'static [ResourceKind] {
        match self {
            Self::Type(ResourceKind::User) => &[ResourceKind::User],
            Self::Type(ResourceKind::Group) => &[ResourceKind::Group],
            Self::Root => &[ResourceKind::User, ResourceKind::Group],
        }
    }

    /// The endpoint, for cursors.
    const fn name(self) -> &'static str {
        match self {
            Self::Type(kind) => kind.name(),
            Self::Root => "",
        }
    }
}

/// A search over one type, but for its page.
struct Search {
    kind: ResourceKind,
    predicate: Option<Predicate>,
    sort: Option<(String, bool)>,
}

/// A part of a list.
#[derive(Default)]
struct Part {
    /// With the type and the position of each.
    hits: Vec<(ResourceKind, Position, Record)>,
    /// How many there are in all; `None` where the part comes after a position.
    total: Option<u64>,
    /// Whether more come after.
    more: bool,
}

impl Scim {
    /// GET /Users, /Groups and the root
    pub(super) async fn list(&self, caller: &Caller, span: Span, request: &Request) -> Result<Response, ScimError> {
        self.listed(caller, span, &Listing::read(&request.query_pairs(), self.page_sizes())?).await
    }

    /// The list that a query or a search asks for.
    pub(super) async fn listed(&self, caller: &Caller, span: Span, listing: &Listing) -> Result<Response, ScimError> {
        let searches = self.searches(caller, span, listing).await?;
        match &listing.start {
            Start::Index(start) => {
                let mut part = self.part(caller.wall(), &searches, start - 1, listing.count, None).await?;
                let (resources, streamed) = self.shown_part(caller, &mut part, listing).await?;
                Ok(answered(&list_of(part.total.unwrap_or_default(), *start, resources), streamed))
            }
            Start::Cursor(cursor) => self.walked(caller, span, listing, &searches, cursor).await,
        }
    }

    /// A page of a walk by cursor (RFC 9865): what comes behind the last resource of the page before.
    async fn walked(
        &self,
        caller: &Caller,
        span: Span,
        listing: &Listing,
        searches: &[Search],
        cursor: &str,
    ) -> Result<Response, ScimError> {
        let (order, descending) = listing.sort.as_ref().map_or(("", false), |(path, down)| (path.as_str(), *down));
        let filter = listing.filter.as_deref().unwrap_or_default();
        let direction = if descending { "descending" } else { "ascending" };
        let over = vec![&*caller.wall().id, caller.connection(), span.name(), filter, order, direction];
        let walk = Walk { over };
        let now = self.sources.clock.now();
        let place = if cursor.is_empty() { None } else { Some(self.cursors.open(&walk, cursor, now)?) };
        let (after, total) = place.map_or((None, None), |place| (Some(place.position), Some(place.total)));
        let mut part = self.part(caller.wall(), searches, 0, listing.count, after).await?;
        let total = total.or(part.total).unwrap_or_default();
        let (resources, streamed) = self.shown_part(caller, &mut part, listing).await?;
        let mut list = json!({
            "schemas": [LIST_SCHEMA],
            "totalResults": total,
            "itemsPerPage": resources.len(),
            "Resources": resources,
        });
        let last = part.hits.into_iter().last().filter(|_| part.more);
        if let (Some((_, position, _)), Some(members)) = (last, list.as_object_mut()) {
            let seconds = self.announced("/pagination/cursorTimeout").unwrap_or(CURSOR_SECONDS);
            let life = i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
            let place = Place { position, total, until: Timestamp(now.0.saturating_add(life)) };
            members.insert("nextCursor".to_owned(), Value::from(self.cursors.seal(&walk, &place)));
        }
        Ok(answered(&list, streamed))
    }

    /// What a list asks of the store, type by type. At the root a type whose schemas do not know the filter's
    /// attributes has no match, and one that does not know the order's has no value to be sorted by.
    async fn searches(&self, caller: &Caller, span: Span, listing: &Listing) -> Result<Vec<Search>, ScimError> {
        let (mut sort, mut unsorted) = (None, None);
        if let Some((path, descending)) = &listing.sort {
            for kind in span.kinds() {
                match sort_path(self.schemas.definition(*kind), caller.connection(), path) {
                    Ok(key) if sort.is_none() => sort = Some((key, *descending)),
                    Ok(_) => {}
                    Err(error) => unsorted = unsorted.or(Some(error)),
                }
            }
        }
        if let Some(error) = unsorted.filter(|error| sort.is_none() || error.scim_type == Some("sensitive")) {
            return Err(error);
        }
        let (mut searches, mut refused) = (Vec::new(), None);
        for kind in span.kinds() {
            let definition = self.schemas.definition(*kind);
            let predicate = match &listing.filter {
                Some(text) => {
                    let tolerance = caller.tolerance();
                    self.predicate(Some(caller.wall()), caller.connection(), definition, text, &tolerance)
                        .await
                        .map(Some)
                }
                None => Ok(None),
            };
            match predicate {
                Ok(predicate) => searches.push(Search { kind: *kind, predicate, sort: sort.clone() }),
                Err(error) if error.scim_type == Some("invalidFilter") => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        refused.filter(|_| searches.is_empty()).map_or(Ok(searches), Err)
    }

    async fn part(
        &self,
        wall: &Wall,
        searches: &[Search],
        offset: u64,
        count: u64,
        after: Option<Position>,
    ) -> Result<Part, ScimError> {
        if let [search] = searches {
            return self.found(wall, search, Page { offset, count, after }).await;
        }
        if offset > FURTHEST_AT_ROOT {
            let detail = format!("a list over all types goes up to startIndex {FURTHEST_AT_ROOT}; walk it by cursor");
            return Err(ScimError::too_many(detail));
        }
        let (mut left_out, mut after, mut total) = (offset, after, None);
        while left_out > 0 {
            let skipped = self.merged(wall, searches, left_out.min(PAGE_SIZES.most), after.clone()).await?;
            total = total.or(skipped.total);
            let Some((_, position, _)) = skipped.hits.last().filter(|_| skipped.more) else {
                return Ok(Part { total, ..Part::default() });
            };
            after = Some(position.clone());
            left_out -= u64::try_from(skipped.hits.len()).unwrap_or(u64::MAX).min(left_out);
        }
        let part = self.merged(wall, searches, count, after).await?;
        Ok(Part { total: total.or(part.total), ..part })
    }

    /// The first of all types, in their common order: numbers are common to all.
    async fn merged(
        &self,
        wall: &Wall,
        searches: &[Search],
        count: u64,
        after: Option<Position>,
    ) -> Result<Part, ScimError> {
        let mut whole = Part { total: after.is_none().then_some(0), ..Part::default() };
        for search in searches {
            let part = self.found(wall, search, Page { offset: 0, count, after: after.clone() }).await?;
            whole.total = whole.total.zip(part.total).map(|(one, other)| one + other);
            whole.more |= part.more;
            whole.hits.extend(part.hits);
        }
        let descending = searches.iter().any(|search| search.sort.as_ref().is_some_and(|(_, down)| *down));
        whole.hits.sort_by(|(_, one, _), (_, other, _)| one.compare(other, descending));
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        whole.more |= whole.hits.len() > count;
        whole.hits.truncate(count);
        Ok(whole)
    }

    async fn found(&self, wall: &Wall, search: &Search, page: Page) -> Result<Part, ScimError> {
        let query = Query {
            kind: kind_of(search.kind),
            organization: Some(wall.id.clone()),
            predicate: search.predicate.clone(),
            sort: search.sort.clone(),
            page,
        };
        let Found { records, keys, total, more } = self.store.query(query).await.map_err(query_failure)?;
        let hits = records.into_iter().zip(keys).map(|(record, key)| {
            let position = Position { key, number: record.number };
            (search.kind, position, record)
        });
        Ok(Part { hits: hits.collect(), total, more })
    }

    /// What a list shows of a part. One group may have more members than a list has resources, so that a list holds at
    /// most so many of them: what does not fit is left to the next page, which RFC 7644 section 3.4.2.4 and RFC 9865
    /// allow (`itemsPerPage` says how many came). The first resource comes in any case, streamed where it is too large.
    async fn shown_part(
        &self,
        caller: &Caller,
        part: &mut Part,
        listing: &Listing,
    ) -> Result<(Vec<Value>, Option<Streamed>), ScimError> {
        let people = part.hits.iter().filter(|(kind, ..)| *kind == ResourceKind::User).map(|(_, _, record)| record);
        let people: Vec<&Record> = people.collect();
        let (viewer, wanted) = (caller.connection(), &listing.wanted);
        let mut people = self.shown_users(viewer, &people, wanted, self.most_members).await?.into_iter();
        let mut resources = Vec::with_capacity(part.hits.len());
        let (mut left, mut streamed) = (self.most_members, None);
        for (kind, _, record) in &part.hits {
            let first = resources.is_empty();
            let shown = match kind {
                ResourceKind::User => people.next(),
                ResourceKind::Group => match self.shown_group(viewer, record, wanted, left).await? {
                    None if first => {
                        let (shown, members) = self.streamed_group(viewer, record, wanted)?;
                        (streamed, left) = (members, 0);
                        Some(shown)
                    }
                    shown => shown,
                },
            };
            let Some(shown) = shown else { break };
            let count = |name| shown.get(name).and_then(Value::as_array).map_or(0, Vec::len);
            let elements: usize = count("members") + count("groups");
            if elements > left && !first {
                break;
            }
            left = left.saturating_sub(elements);
            resources.push(Value::Object(shown));
        }
        if resources.len() < part.hits.len() {
            part.hits.truncate(resources.len());
            part.more = true;
        }
        Ok((resources, streamed))
    }

    /// What a filter's text asks of the store, for a viewer of one organization or, where that is `None`, of all.
    pub(super) async fn predicate(
        &self,
        wall: Option<&Wall>,
        viewer: &str,
        definition: &Definition,
        text: &str,
        tolerance: &Tolerance,
    ) -> Result<Predicate, ScimError> {
        let filter = Filter::parse(text, tolerance)?;
        let mut numbers = Vec::new();
        for id in filter.member_ids(definition) {
            if let Some(record) = self.member(wall, &id).await? {
                numbers.push((id, record.number));
            }
        }
        let number_of = |id: &str| numbers.iter().find(|(other, _)| other == id).map(|(_, number)| *number);
        let mut predicate = to_predicate(&filter, definition, tolerance, &number_of)?;
        scope_external(&mut predicate, viewer);
        Ok(predicate)
    }

    /// As announced: `filter.maxResults` and `pagination.defaultPageSize`.
    pub(super) fn page_sizes(&self) -> PageSizes {
        let most = self.announced("/filter/maxResults").unwrap_or(PAGE_SIZES.most);
        let default = self.announced("/pagination/defaultPageSize").unwrap_or(PAGE_SIZES.default);
        PageSizes { default: default.min(most), most }
    }

    /// A number of the announced configuration: what is announced is what holds.
    pub(super) fn announced(&self, pointer: &str) -> Option<u64> {
        self.schemas.service_provider_config().pointer(pointer).and_then(Value::as_u64)
    }
}

/// A list of resources.
pub(super) fn list_response(total: u64, start: u64, resources: Vec<Value>) -> Response {
    body(StatusCode::OK, &list_of(total, start, resources))
}

fn list_of(total: u64, start: u64, resources: Vec<Value>) -> Value {
    json!({
        "schemas": [LIST_SCHEMA],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

fn answered(list: &Value, streamed: Option<Streamed>) -> Response {
    match streamed {
        Some(members) => members.respond(StatusCode::OK, list),
        None => body(StatusCode::OK, list),
    }
}

/// Query failures are the filter's fault where the store says so.
pub(super) fn query_failure(error: StoreError) -> ScimError {
    match error {
        StoreError::TooComplex(reason) => ScimError::invalid_filter(format!("the filter is too large: {reason}")),
        StoreError::Invalid(_)
        | StoreError::Taken(_)
        | StoreError::Exists { .. }
        | StoreError::VersionMismatch { .. }
        | StoreError::NotFound(_)
        | StoreError::Unavailable(_)
        | StoreError::Damaged(_) => store_failure(error),
    }
}

/// `externalId` means the viewer's own.
fn scope_external(predicate: &mut Predicate, viewer: &str) {
    match predicate {
        Predicate::All(inner) | Predicate::Any(inner) => inner.iter_mut().for_each(|one| scope_external(one, viewer)),
        Predicate::Not(inner) => scope_external(inner, viewer),
        Predicate::Compare { path, .. } | Predicate::Present { path } => {
            if path == "externalid" {
                *path = external_path(viewer);
            }
        }
        // Elements are of multi-valued attributes.
        Predicate::Element { .. }
        | Predicate::Member(_)
        | Predicate::MemberOf(_)
        | Predicate::HasMembers
        | Predicate::HasGroups => {}
    }
}

/// The index path that a `sortBy` means; a complex attribute is sorted by its `value`.
fn sort_path(definition: &Definition, viewer: &str, text: &str) -> Result<String, ScimError> {
    let unknown = || ScimError::invalid_path(format!("sortBy is {}, which nothing can be sorted by", quote(text)));
    let path = definition.resolve(text).ok_or_else(unknown)?;
    if path.is_secret() {
        return Err(ScimError::sensitive("nothing is sorted by a secret"));
    }
    if definition.is_membership(&path) {
        return Err(unknown());
    }
    let path = match path.leaf() {
        leaf if leaf.is_complex() => path.with_sub(Some(leaf.sub_attribute("value").ok_or_else(unknown)?)),
        _ => path,
    };
    let key = path.key();
    Ok(if key == "externalid" { external_path(viewer) } else { key })
}
