//! One action, with everything that an evaluation of it needs prepared when the bundle is loaded.
//!
//! What the policies of an action have in common (how time enters, what they read, what a default deny may say) is
//! summed up for each action or group that a scope names, and an action takes what concerns it: the work at load and
//! the work on a default deny do not grow with the product of actions and policies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cedar_policy::{ActionConstraint, Effect, Entities, Entity, EntityUid, ResourceConstraint};
use cedar_policy_core::ast;

use super::analysis::TimeDependence;
use super::context::{Shapes, reserved};
use super::declarations::ActionDeclaration;
use super::entities::uid_of;
use super::index::{Index, Place};
use super::policies::Loaded;
use super::reads::Reads;

/// One action.
#[derive(Debug)]
pub struct Action {
    /// The name.
    pub name: Arc<str>,
    /// Entity types of its principal.
    pub principals: Vec<Arc<str>>,
    /// Entity types of its resource; the first is the one that answers name.
    pub resources: Vec<Arc<str>>,
    /// Whether callers without an identity may be judged by policy.
    pub anonymous: bool,
    pub(super) entity: Entity,
    pub(super) uid: EntityUid,
    /// Both as the evaluator takes them.
    pub(super) ready: Arc<ast::Entity>,
    pub(super) ready_uid: Arc<ast::EntityUID>,
    /// Every group above it.
    pub(super) groups: Vec<EntityUid>,
    pub(super) shapes: Shapes,
    /// Where its policies stand in the index.
    pub(super) place: Place,
    /// The self-check found the index wrong here: all policies are asked instead.
    pub(super) plainly: AtomicBool,
    /// What the policies that could apply have in common.
    pub(super) profiles: Vec<Arc<Profile>>,
    pub(super) time: TimeDependence,
    /// What its outcomes may depend on.
    pub reads: Reads,
}

/// What policies of one action key and one resource type have in common.
#[derive(Debug, Default)]
pub(super) struct Profile {
    time: TimeDependence,
    reads: Reads,
    /// How many policies there are.
    pub(super) policies: usize,
    /// Permits that ask for a role, by the role.
    pub(super) by_role: BTreeMap<String, Vec<usize>>,
    /// Permits without a role that say what they miss, one of each kind of saying.
    pub(super) others: Vec<usize>,
}

/// The most permits of one role, or without any, that a default deny looks at.
const MOST_HINTS: usize = 32;

/// Every profile, by action key (`None`: any action) and resource type (`None`: any).
pub(super) struct Profiles(HashMap<Option<EntityUid>, HashMap<Option<String>, Arc<Profile>>>);

impl Profiles {
    pub(super) fn of(policies: &[Loaded]) -> Self {
        let mut all: HashMap<Option<EntityUid>, HashMap<Option<String>, Profile>> = HashMap::new();
        for (index, loaded) in policies.iter().enumerate() {
            let kind = match loaded.policy.resource_constraint() {
                // Every type may stand below others, so `in` excludes nothing.
                ResourceConstraint::Any | ResourceConstraint::In(_) => None,
                ResourceConstraint::Eq(uid) => Some(uid.type_name().to_string()),
                ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => Some(kind.to_string()),
            };
            let actions: Vec<Option<EntityUid>> = match loaded.policy.action_constraint() {
                ActionConstraint::Any => vec![None],
                ActionConstraint::Eq(uid) => vec![Some(uid)],
                ActionConstraint::In(uids) => uids.into_iter().map(Some).collect(),
            };
            for action in actions {
                all.entry(action).or_default().entry(kind.clone()).or_default().add(index, loaded, policies);
            }
        }
        let shared = |by_kind: HashMap<_, _>| by_kind.into_iter().map(|(kind, one)| (kind, Arc::new(one))).collect();
        Self(all.into_iter().map(|(action, by_kind)| (action, shared(by_kind))).collect())
    }

    fn concerning(&self, uid: &EntityUid, groups: &[EntityUid], resources: &[Arc<str>]) -> Vec<Arc<Profile>> {
        let keys = std::iter::once(None).chain(std::iter::once(uid).chain(groups).map(|uid| Some(uid.clone())));
        let kinds: Vec<Option<String>> =
            std::iter::once(None).chain(resources.iter().map(|kind| Some(kind.to_string()))).collect();
        keys.filter_map(|key| self.0.get(&key))
            .flat_map(|by_kind| kinds.iter().filter_map(|kind| by_kind.get(kind).map(Arc::clone)))
            .collect()
    }
}

impl Profile {
    fn add(&mut self, index: usize, loaded: &Loaded, policies: &[Loaded]) {
        self.policies += 1;
        self.time = self.time.and(&loaded.analysis.time);
        self.reads.join(&loaded.analysis.reads);
        if loaded.effect != Effect::Permit {
            return;
        }
        match &loaded.analysis.role {
            Some(role) => {
                let hints = self.by_role.entry(role.clone()).or_default();
                if hints.len() < MOST_HINTS {
                    hints.push(index);
                }
            }
            None if loaded.missing.is_some() && self.others.len() < MOST_HINTS => {
                let says = |one: &Loaded| (one.missing, one.title.clone(), one.advice.clone());
                if !self.others.iter().filter_map(|known| policies.get(*known)).any(|known| says(known) == says(loaded))
                {
                    self.others.push(index);
                }
            }
            None => {}
        }
    }
}

/// What the actions of a bundle are made of.
pub(super) struct Parts<'a> {
    pub(super) index: &'a Index,
    pub(super) profiles: Profiles,
    pub(super) contexts: HashMap<EntityUid, Shapes>,
    /// Every action and group with its ancestors.
    pub(super) actions: Entities,
}

impl Action {
    /// Whether an outcome may change at any moment, because policies read the time in a way that is not known.
    pub fn at_any_moment(&self) -> bool {
        self.time == TimeDependence::Always
    }

    /// Whether the action reads this key of a question's context; what the server itself knows is not among them.
    pub fn reads(&self, key: &str) -> bool {
        self.shapes.get(key).is_some_and(|field| !reserved(key, &field.shape))
    }

    /// Whether the server says this key of the context itself.
    pub(super) fn is_told(&self, key: &str) -> bool {
        self.shapes.get(key).is_some_and(|field| reserved(key, &field.shape))
    }

    /// Whether the action can act on this entity type.
    pub fn applies_to(&self, kind: &str) -> bool {
        self.resources.iter().any(|one| &**one == kind)
    }

    /// From now on all policies are asked for this action, and no index. There is no way back but another bundle.
    pub fn distrust_index(&self) {
        self.plainly.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::distrust_index`] was called.
    pub fn distrusts_index(&self) -> bool {
        self.plainly.load(Ordering::Relaxed)
    }

    pub(super) fn build(declaration: &ActionDeclaration, parts: &Parts<'_>) -> Option<Self> {
        let uid = uid_of(&declaration.kind, &declaration.name)?;
        let entity = parts.actions.get(&uid)?.clone();
        let groups: Vec<EntityUid> = parts.actions.ancestors(&uid)?.cloned().collect();
        let resources: Vec<Arc<str>> = declaration.resources.iter().map(|kind| Arc::from(kind.as_str())).collect();
        let profiles = parts.profiles.concerning(&uid, &groups, &resources);
        let (mut time, mut reads) = (TimeDependence::Never, Reads::default());
        for profile in &profiles {
            time = time.and(&profile.time);
            reads.join(&profile.reads);
        }
        Some(Self {
            name: declaration.name.as_str().into(),
            principals: declaration.principals.iter().map(|kind| Arc::from(kind.as_str())).collect(),
            resources,
            anonymous: declaration.anonymous,
            ready: Arc::new(AsRef::<ast::Entity>::as_ref(&entity).clone()),
            ready_uid: Arc::new(AsRef::<ast::EntityUID>::as_ref(&uid).clone()),
            entity,
            shapes: parts.contexts.get(&uid).cloned().unwrap_or_default(),
            place: parts.index.place(&uid, &groups),
            plainly: AtomicBool::new(false),
            uid,
            groups,
            profiles,
            time,
            reads,
        })
    }
}
