//! The policy bundle: Cedar schema, policies, routes and tests, loaded whole, validated, immutable.
//!
//! The only room that names `cedar_policy`. It knows no store, no HTTP and no token: facts about people and
//! accounts come in as [`Facts`], an [`Evaluation`] goes out. A bundle is never changed; a new one takes its place.

mod analysis;
mod context;
mod declarations;
mod engine;
mod entities;
mod live;
mod load;
mod nouns;
mod path;
mod policies;
mod reads;
mod routes;
mod schema;
mod source;
pub mod trial;

use std::fmt;

pub use context::ContextFault;
pub use declarations::{Catalogue, Named};
pub use engine::{Evaluation, PolicyFailure};
pub use entities::{AccountFacts, Asker, Facts, PrincipalFacts, ResourceFacts};
pub use live::{Live, Serving};
pub use load::{Action, Bundle};
pub use path::{CanonicalPath, PathFault};
pub use reads::Reads;
pub use routes::{Matched, NoRoute, Target};
pub use source::Source;

/// One thing that is wrong with a bundle: where, what, and where known what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file within the folder.
    pub file: String,
    /// Line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 where the file as a whole is meant.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    fn file(file: &str, message: &str) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message: message.to_owned(), help: None }
    }

    /// At a byte offset of the file's text.
    fn at(file: &str, text: &str, offset: usize, message: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |rest| rest.chars().count()) + 1,
            ..Self::file(file, message)
        }
    }

    fn with_help(self, help: &str) -> Self {
        Self { help: Some(help.to_owned()), ..self }
    }

    fn toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        Self::at(file, text, error.span().map_or(0, |span| span.start), error.message())
    }

    /// From one of Cedar's own errors, which carry source spans and help.
    fn cedar(file: &str, text: &str, error: &dyn miette::Diagnostic) -> Self {
        let label = error.labels().and_then(|mut labels| labels.next());
        let detail = label.as_ref().and_then(|label| label.label()).map_or(String::new(), |text| format!(": {text}"));
        let message = format!("{error}{detail}");
        let help = error.help().map(|help| help.to_string());
        let base = match label {
            Some(label) => Self::at(file, text, label.offset(), &message),
            None => Self::file(file, &message),
        };
        Self { help, ..base }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}
