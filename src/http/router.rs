//! Our own endpoints: which handler answers which method and path.
//!
//! A room hands over a [`Router`], the assembler merges them and builds the [`RouteTable`] of a listener.
//! Building refuses whatever would leave it open which handler answers. A path without parameters costs one
//! hash look-up. Paths are compared as sent; only parameters are percent-decoded, once.

mod table;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

pub use table::{Found, Miss, RouteTable};

use super::{
    Answer, BodyReader, Handler, HeadHandler, Method, NowHandler, PromptHandler, Refusal, Reply, Request, Response,
    StreamHandler,
};

/// How a route is answered.
#[derive(Clone)]
pub enum Handling {
    /// At once, on the connection's own task.
    Now(NowHandler),
    /// On the connection's own task, at once or by a future that ends with the client's patience: for work without
    /// effects.
    Here(PromptHandler),
    /// By a future that runs to its end: on a task of its own where it waits.
    Later(Handler),
    /// By a future that reads the body piece by piece.
    Stream(StreamHandler),
}

impl From<Handler> for Handling {
    fn from(handler: Handler) -> Self {
        Self::Later(handler)
    }
}

impl From<NowHandler> for Handling {
    fn from(handler: NowHandler) -> Self {
        Self::Now(handler)
    }
}

impl From<StreamHandler> for Handling {
    fn from(handler: StreamHandler) -> Self {
        Self::Stream(handler)
    }
}

/// A handler that never waits, from a closure.
pub fn now(handler: impl Fn(Request) -> Response + Send + Sync + 'static) -> Handling {
    Handling::Now(Arc::new(handler))
}

/// A handler on the connection's own task, from a closure.
pub fn here(handler: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Handling {
    Handling::Here(Arc::new(handler))
}

/// A handler from a closure that gives a future (`later(move |request| create(state.clone(), request))`).
pub fn later<F>(handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Handling
where
    F: Future<Output = Response> + Send + 'static,
{
    Handling::Later(Arc::new(move |request| -> Answer { Box::pin(handler(request)) }))
}

/// A handler that reads the body piece by piece, from a closure that gives a future.
pub fn stream<F>(handler: impl Fn(Request, BodyReader) -> F + Send + Sync + 'static) -> StreamHandler
where
    F: Future<Output = Response> + Send + 'static,
{
    Arc::new(move |request, body| -> Answer { Box::pin(handler(request, body)) })
}

/// Renders a refusal the way the routes under a prefix want it: SCIM's error body, a gateway's bare status.
pub type Renderer = Arc<dyn Fn(&Refusal) -> Response + Send + Sync>;

/// One endpoint, for tests that walk all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The method; `None` for any.
    pub method: Option<String>,
    /// The template as registered: `/scim/v2/Users/{id}`; a prefix ends in `*`.
    pub template: String,
}

/// Why routes cannot become a table: always a mistake in the program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// A template that cannot be read.
    #[error("the route {template} {why}")]
    Template {
        /// The template.
        template: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two routes could answer the same request.
    #[error("the routes {first} and {second} could answer the same request; change one of them")]
    Ambiguous {
        /// The one registered first.
        first: String,
        /// The other.
        second: String,
    },
}

/// Routes being collected.
#[derive(Clone, Default)]
pub struct Router {
    pub(super) registrations: Vec<Registration>,
    pub(super) renderers: Vec<(&'static str, Renderer)>,
    pub(super) folded: Vec<&'static str>,
    pub(super) alike: Vec<(Method, &'static str, HeadHandler)>,
}

#[derive(Clone)]
pub(super) struct Registration {
    pub(super) method: Option<Method>,
    pub(super) template: &'static str,
    pub(super) is_prefix: bool,
    pub(super) handling: Handling,
}

impl Router {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers a method on a template. A segment `{name}` is a parameter: one segment, never empty.
    /// GET answers HEAD as well, unless HEAD has a route of its own.
    #[must_use]
    pub fn route(self, method: Method, template: &'static str, handling: impl Into<Handling>) -> Self {
        self.register(Some(method), template, false, handling.into())
    }

    /// Answers every method on a template, except those that have a route of their own there.
    #[must_use]
    pub fn any(self, template: &'static str, handling: impl Into<Handling>) -> Self {
        self.register(None, template, false, handling.into())
    }

    /// Answers every method on every path that begins so (`/envoy/`); the longest prefix wins, and
    /// every template beats it.
    #[must_use]
    pub fn prefix(self, prefix: &'static str, handling: impl Into<Handling>) -> Self {
        self.register(None, prefix, true, handling.into())
    }

    /// As [`Self::route`], with the body read piece by piece.
    #[must_use]
    pub fn stream(self, method: Method, template: &'static str, handler: StreamHandler) -> Self {
        self.route(method, template, handler)
    }

    /// Renders every refusal on paths that begin so (without ASCII case): unknown paths and methods, bodies
    /// too large or too slow, overload, a handler that failed. The longest prefix wins.
    #[must_use]
    pub fn refusals(mut self, prefix: &'static str, renderer: Renderer) -> Self {
        self.renderers.push((prefix, renderer));
        self
    }

    /// Literal segments of routes under this prefix, the prefix included, match without ASCII case;
    /// parameters keep theirs.
    #[must_use]
    pub fn ignore_case(mut self, prefix: &'static str) -> Self {
        self.folded.push(prefix);
        self
    }

    /// Answers requests to an exact path that have the same head as one before, by their bodies alone and without the
    /// library, where the handler can; the path's route answers all others.
    #[must_use]
    pub fn alike(mut self, method: Method, path: &'static str, handler: HeadHandler) -> Self {
        self.alike.push((method, path, handler));
        self
    }

    /// All routes of both.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.registrations.extend(other.registrations);
        self.renderers.extend(other.renderers);
        self.folded.extend(other.folded);
        self.alike.extend(other.alike);
        self
    }

    /// Every endpoint, sorted.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = self
            .registrations
            .iter()
            .map(|registration| Endpoint {
                method: registration.method.as_ref().map(ToString::to_string),
                template: if registration.is_prefix {
                    format!("{}*", registration.template)
                } else {
                    registration.template.to_owned()
                },
            })
            .collect();
        endpoints.sort();
        endpoints
    }

    /// Checks the routes and makes them ready to answer.
    ///
    /// # Errors
    /// A template that cannot be read; two routes that could answer the same request.
    pub fn build(self) -> Result<RouteTable, RouterError> {
        RouteTable::build(self)
    }

    fn register(mut self, method: Option<Method>, template: &'static str, is_prefix: bool, handling: Handling) -> Self {
        self.registrations.push(Registration { method, template, is_prefix, handling });
        self
    }
}
