//! The policy bundle: Cedar schema, policies, routes and tests, loaded whole, validated, immutable.
//!
//! The only room that names `cedar_policy` and its core. It knows no store, no HTTP and no token: facts about people and
//! accounts come in as [`Facts`], an [`Evaluation`] goes out. A bundle is never changed; a new one takes its place.

mod action;
mod analysis;
mod cedar_tests;
mod conditions;
mod context;
mod declarations;
mod diagnostic;
mod engine;
mod entities;
mod explain;
mod format;
mod index;
mod lint;
mod live;
mod load;
mod nouns;
mod path;
mod policies;
mod prepare;
mod reads;
mod routes;
mod schema;
mod source;
pub mod trial;

pub use action::Action;
pub use cedar_tests::CedarTrial;
pub use conditions::{Clause, Piece};
pub use context::ContextFault;
pub use declarations::{Catalogue, Named};
pub use diagnostic::{Diagnostic, Excerpt};
pub use engine::Evaluation;
pub use entities::{AccountFacts, Asker, Facts, PrincipalFacts, ResourceFacts};
pub use explain::{Change, Considered, Explanation, Grant, GroupFacts, Outcome, Own, Seen, Side, State, Step};
pub use format::formatted;
pub use live::{Live, Serving};
pub use load::Bundle;
pub use path::{CanonicalPath, PathFault};
pub use prepare::{PolicyFailure, Ready, Slice};
pub use reads::Reads;
pub use routes::{Matched, NoRoute, Target};
pub use source::Source;

use diagnostic::causes;
