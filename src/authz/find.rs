//! What a question names, looked up: the action and its target in the bundle, and who asks in the directory or among
//! the bundle's own entities. Judges nothing beyond "there is no such thing".

use std::borrow::Cow;
use std::sync::Arc;

use super::{Authz, View};
use crate::directory::Person;
use crate::domain::{Asked, ContextValue, EntityName, Reason, Subject, Timestamp};
use crate::policy::{Action, Bundle, CanonicalPath, NoRoute, Target};
use crate::telemetry::Stage;
use crate::token::{Basic, CredentialFault, Identity, Issued, NamedBy};

/// What the question is about, found in the catalogue.
pub(super) struct Found<'a> {
    pub(super) index: usize,
    pub(super) action: &'a Action,
    pub(super) target: Target,
    /// The target's id; `None` where none was named.
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) dashboard: bool,
    /// What the question says of the resource.
    pub(super) resource: &'a [(String, ContextValue)],
    /// What the question says of the action.
    pub(super) properties: &'a [(String, ContextValue)],
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum Who<'a> {
    /// A caller without an identity.
    Nobody,
    /// A person of the directory.
    Person(&'a Person),
    /// An entity of the bundle's own, by the full name of its type.
    Entity(EntityName<'a>),
}

impl<'a> Who<'a> {
    pub(super) const fn person(&self) -> Option<&'a Person> {
        match self {
            Self::Person(person) => Some(person),
            Self::Nobody | Self::Entity(_) => None,
        }
    }
}

/// A deny that no policy was asked about.
pub(super) struct Denied {
    pub(super) reason: Reason,
    pub(super) message: String,
}

pub(super) fn denied(reason: Reason, message: impl Into<String>) -> Denied {
    Denied { reason, message: message.into() }
}

/// Finds action and target of what is asked.
pub(super) fn find<'a>(bundle: &'a Bundle, asked: &Asked<'a>, strict_hosts: bool) -> Result<Found<'a>, Denied> {
    let no_route = |message: String| denied(Reason::NoRoute, message);
    let malformed = |message: String| denied(Reason::MalformedRequest, message);
    let missing = || no_route("the catalogue is inconsistent".into());
    match *asked {
        Asked::Request { method, host, path } => {
            let canonical = CanonicalPath::parse(path).map_err(|fault| malformed(fault.to_string()))?;
            let matched = bundle.routes().find(method, host, canonical, strict_hosts).map_err(|none| match none {
                NoRoute::Path => no_route("no endpoint of the catalogue has this path".into()),
                NoRoute::Method(others) => {
                    no_route(format!("no endpoint answers this method here; this path answers {}", others.join(", ")))
                }
            })?;
            let action = bundle.action(matched.action).ok_or_else(missing)?;
            let id = (matched.target != Target::Organization).then_some(matched.id);
            let (index, target) = (matched.action, matched.target);
            Ok(Found { index, action, target, id, dashboard: false, resource: &[], properties: &[] })
        }
        Asked::Action { action: name, properties, resource } => {
            let index =
                bundle.action_named(name).ok_or_else(|| no_route("no action of the catalogue has this name".into()))?;
            let action = bundle.action(index).ok_or_else(missing)?;
            let own = action.resources.first().map_or("", |kind| &**kind);
            let kind = match resource {
                None => own,
                Some(named) => match bundle.entity_type(named.kind) {
                    Some(kind) if action.applies_to(kind) => kind,
                    Some(_) | None => {
                        let kinds: Vec<&str> = action.resources.iter().map(|kind| &**kind).collect();
                        return Err(malformed(format!("{name} acts on {}", kinds.join(" or "))));
                    }
                },
            };
            let target = if bundle.from_directory(kind) { Target::of(kind) } else { Target::Entity(kind.into()) };
            // Entering the dashboard is the one action that says its channel by itself.
            let dashboard = own == "Dashboard" && bundle.from_directory(own);
            let id = resource.map(|named| Cow::Borrowed(named.id));
            let resource = resource.map_or(&[][..], |named| named.properties);
            Ok(Found { index, action, target, id, dashboard, resource, properties })
        }
    }
}

fn unknown(what: &str) -> Denied {
    denied(Reason::UnknownUser, format!("nobody {what} is provisioned here"))
}

fn unauthenticated(fault: &CredentialFault) -> Denied {
    denied(Reason::Unauthenticated, fault.to_string())
}

impl Authz {
    /// Whether the key of the subject's token is not here, and might come ([`Self::newer_keys`]).
    pub fn lacks_key(&self, subject: &Subject<'_>) -> bool {
        matches!(subject, Subject::Authorization(header) if self.verifier.lacks_key(header, self.clock.now()))
    }
}

impl View<'_> {
    /// Who asks, and whether the action is for such a one at all.
    pub(super) fn who<'a>(&'a self, subject: Subject<'a>, action: &Action, now: Timestamp) -> Result<Who<'a>, Denied> {
        let who = self.asking(subject, action, now)?;
        let kind = match &who {
            Who::Nobody => "Anonymous",
            Who::Person(_) => "User",
            Who::Entity(name) => name.kind,
        };
        if action.principals.iter().any(|one| &**one == kind) {
            return Ok(who);
        }
        let kinds: Vec<&str> = action.principals.iter().map(|kind| &**kind).collect();
        let message = format!("{} is for a {}, not for a {kind}", action.name, kinds.join(" or a "));
        Err(denied(Reason::NoRoute, message))
    }

    fn asking<'a>(&'a self, subject: Subject<'a>, action: &Action, now: Timestamp) -> Result<Who<'a>, Denied> {
        let bundle = &self.serving.bundle;
        let people = action.principals.iter().any(|kind| bundle.from_directory(kind));
        let named_here = match subject {
            Subject::Entity(name) => match bundle.entity_type(name.kind) {
                Some(kind) if !bundle.from_directory(kind) => {
                    let admitted = bundle.admits(kind, name.id).then_some(Who::Entity(EntityName { kind, ..name }));
                    return admitted.ok_or_else(|| unknown("of this type and id"));
                }
                Some(_) | None => return self.person(subject, now).map(Who::Person),
            },
            _ if people => return self.person(subject, now).map(Who::Person),
            Subject::User(name) | Subject::Id(name) => self.own(name, action).ok_or_else(|| unknown("of this name")),
            Subject::Authorization(_) | Subject::Claims(_) | Subject::Principal(_) => {
                let identity = self.identity(subject, now).map_err(|error| unauthenticated(&error))?;
                self.own(&identity.name, action).ok_or_else(|| unknown("named by this credential"))
            }
        };
        named_here.map(Who::Entity)
    }

    /// The person of the directory whom a subject names.
    fn person(&self, subject: Subject<'_>, now: Timestamp) -> Result<&Person, Denied> {
        let found = match subject {
            Subject::User(name) => self.snapshot.user(name).ok_or_else(|| unknown("of this username"))?,
            Subject::Id(id) => self.snapshot.user_by_id(id).ok_or_else(|| unknown("of this id"))?,
            Subject::Authorization(_) | Subject::Claims(_) | Subject::Principal(_) => {
                let identity = self.identity(subject, now).map_err(|error| unauthenticated(&error))?;
                let person = self.identified(&identity).ok_or_else(|| unknown("named by this credential"))?;
                // What was issued to somebody whose access has ended since opens nothing, though the person is back.
                if !person.tokens_since().is_none_or(|second| identity.is_since(second)) {
                    return Err(unauthenticated(&CredentialFault::Superseded));
                }
                person
            }
            Subject::Entity(name) => {
                let bundle = &self.serving.bundle;
                let kind = bundle.entity_type(name.kind).ok_or_else(|| unknown("of this type"))?;
                let person = if &**kind == "User" && bundle.from_directory(kind) { self.named(name.id) } else { None };
                person.ok_or_else(|| unknown("of this id or username"))?
            }
        };
        Ok(found)
    }

    /// Whom a credential names, once it is verified.
    fn identity(&self, subject: Subject<'_>, now: Timestamp) -> Result<Identity, CredentialFault> {
        let verifier = &self.authz.verifier;
        let named = match subject {
            Subject::Authorization(header) => match Basic::read(header) {
                Some(basic) => basic.and_then(|basic| self.by_password(&basic, now)),
                None => verifier.verify(header, now).map(|proof| {
                    let identity = proof.identity().clone();
                    self.proved(proof);
                    identity
                }),
            },
            Subject::Claims(claims) => verifier.identify(claims, now),
            Subject::Principal(name) => verifier.identify_principal(name),
            Subject::User(_) | Subject::Id(_) | Subject::Entity(_) => Err(CredentialFault::NotBearer),
        };
        self.lap(Stage::Token);
        named
    }

    fn by_password(&self, basic: &Basic, now: Timestamp) -> Result<Identity, CredentialFault> {
        let person = self.snapshot.user(&basic.username).map(|person| (person.number, person.revision));
        self.authz.passwords.holds(basic, person, now)?;
        Ok(Identity { by: NamedBy::Username, name: basic.username.clone(), issued: Issued::Otherwise })
    }

    /// The person whom a verified credential names, looked up anew each time: what was verified a moment ago grants
    /// nothing to somebody who has gone since.
    fn identified(&self, identity: &Identity) -> Option<&Arc<Person>> {
        match &identity.by {
            NamedBy::Username => self.snapshot.user(&identity.name),
            NamedBy::Id => self.snapshot.user_by_id(&identity.name),
            NamedBy::ExternalId { connection } => self.snapshot.user_by_external_id(connection, &identity.name),
        }
    }

    /// The one listed entity of this id that may ask for the action.
    fn own(&self, id: &str, action: &Action) -> Option<EntityName<'_>> {
        let bundle = &self.serving.bundle;
        let mut found = None;
        for kind in action.principals.iter().filter_map(|kind| bundle.entity_type(kind)) {
            if let Ok(at) = bundle.listed_ids(kind).binary_search_by(|known| (**known).cmp(id)) {
                let id = bundle.listed_ids(kind).get(at)?;
                if found.replace(EntityName::new(kind, id)).is_some() {
                    return None;
                }
            }
        }
        found
    }

    /// A person by id, username or login. A text that is one person's id and another's name means nobody.
    pub(super) fn named(&self, text: &str) -> Option<&Arc<Person>> {
        match (self.snapshot.user_by_id(text), self.snapshot.user(text)) {
            (Some(one), Some(other)) if one.number != other.number => None,
            (one, other) => one.or(other),
        }
    }
}
