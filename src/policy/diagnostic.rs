//! One thing that is wrong with a bundle: where, what, and what to write instead. Knows only texts and places in them.

use std::fmt;

use super::source::Files;

/// A finding in a bundle's files.
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
    /// The line itself.
    pub excerpt: Option<Excerpt>,
}

/// The line that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excerpt {
    /// The whole line, without its end.
    pub text: String,
    /// How many characters are meant, from the finding's column on; at least 1.
    pub width: usize,
}

/// Longer lines are shown without an excerpt.
const LONGEST_LINE: usize = 400;

/// What to write instead of a chain of entities.
const TOO_DEEP: &str = "read attributes of principal, resource and what the context names; an entity that one of them \
    names may be compared, not looked into";

impl Diagnostic {
    /// The file as a whole.
    pub(super) fn file(file: &str, message: &str) -> Self {
        let (file, message) = (file.to_owned(), message.to_owned());
        Self { file, line: 0, column: 0, message, help: None, excerpt: None }
    }

    /// At a byte offset of the file's text.
    pub(super) fn at(file: &str, text: &str, offset: usize, message: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let excerpt = (line.len() <= LONGEST_LINE && !line.trim().is_empty())
            .then(|| Excerpt { text: line.to_owned(), width: 1 });
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |rest| rest.chars().count()) + 1,
            excerpt,
            ..Self::file(file, message)
        }
    }

    /// Where a part of the text begins; `part` is a slice of it.
    pub(super) fn part(file: &str, text: &str, part: &str, message: &str) -> Self {
        let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        Self::at(file, text, offset, message).spanning(part.lines().next())
    }

    /// At the first place where these words stand; the file as a whole where they do not.
    pub(super) fn near(file: &str, text: &str, words: &str, message: &str) -> Self {
        match text.find(words) {
            Some(offset) => Self::at(file, text, offset, message).spanning(Some(words)),
            None => Self::file(file, message),
        }
    }

    /// Where a schema file declares something of this name.
    pub(super) fn declared(files: &Files, name: &str, message: &str) -> Self {
        let places = [format!("\"{name}\""), format!(" {name} "), name.to_owned()];
        for words in places {
            for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".cedarschema")) {
                if let Some(at) = text.rfind(&words) {
                    let start = at + words.len() - words.trim_start().len();
                    return Self::at(file, text, start, message).spanning(Some(words.trim()));
                }
            }
        }
        Self::file("schema.cedarschema", message)
    }

    /// Where a file says the first of the names that a message quotes, since Cedar gives no place for it: a schema
    /// file, else one of routes.
    pub(super) fn quoted(files: &Files, message: &str, help: Option<String>) -> Self {
        let names = message.split(['`', '"']).skip(1).step_by(2).filter(|name| !name.is_empty());
        for name in names {
            let found = Self::declared(files, name, message);
            if found.line > 0 {
                return Self { help, ..found };
            }
            let route = files.iter().find(|(file, text)| file.starts_with("routes/") && text.contains(name));
            if let Some((file, text)) = route {
                return Self { help, ..Self::near(file, text, name, message) };
            }
        }
        Self { help, ..Self::file("schema.cedarschema", message) }
    }

    /// Marks these words, as far as they stand on the line.
    pub(super) fn spanning(mut self, words: Option<&str>) -> Self {
        if let (Some(excerpt), Some(words)) = (&mut self.excerpt, words) {
            let rest = excerpt.text.chars().count().saturating_sub(self.column - 1);
            excerpt.width = words.trim_end().chars().count().min(rest).max(1);
        }
        self
    }

    pub(super) fn with_help(self, help: &str) -> Self {
        Self { help: Some(help.to_owned()), ..self }
    }

    pub(super) fn toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        Self::at(file, text, span.start, error.message().trim_end()).spanning(text.get(span))
    }

    pub(super) fn json(file: &str, text: &str, error: &serde_json::Error) -> Self {
        let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
        let offset = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        let message = error.to_string();
        // The place stands beside the message already.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        Self::at(file, text, offset.min(text.len()), message)
    }

    /// From one of Cedar's own errors, which carry source spans and help.
    pub(super) fn cedar(file: &str, text: &str, error: &dyn miette::Diagnostic) -> Self {
        let label = error.labels().and_then(|mut labels| labels.next());
        let detail = label.as_ref().and_then(|label| label.label()).map_or(String::new(), |text| format!(": {text}"));
        let message = format!("{}{detail}", causes(error));
        let deep = message.contains("exceeds the maximum allowed level").then(|| TOO_DEEP.to_owned());
        let help = error.help().map(|help| help.to_string()).or(deep);
        let base = match label {
            Some(label) if !text.is_empty() => {
                let words = text.get(label.offset()..label.offset() + label.len());
                Self::at(file, text, label.offset(), &message).spanning(words.and_then(|words| words.lines().next()))
            }
            Some(_) | None => Self::file(file, &message),
        };
        Self { help, ..base }
    }

    /// With the source line and a caret below what is meant.
    pub fn pretty(&self) -> String {
        use fmt::Write as _;
        let mut text = format!("{}\n", self.message);
        // Writing to a string cannot fail.
        let _ = match (self.line, &self.excerpt) {
            (0, _) => writeln!(text, "  --> {}", self.file),
            (line, None) => writeln!(text, "  --> {}:{line}:{}", self.file, self.column),
            (line, Some(excerpt)) => {
                let margin = " ".repeat(line.to_string().len());
                // Tabs keep their width, whatever it is.
                let before: String =
                    excerpt.text.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let carets = "^".repeat(excerpt.width);
                let place = format!("{}:{line}:{}", self.file, self.column);
                writeln!(
                    text,
                    "{margin}--> {place}\n{margin} |\n{line} | {}\n{margin} | {before}{carets}",
                    excerpt.text.trim_end()
                )
            }
        };
        if let Some(help) = &self.help {
            let margin = " ".repeat(self.line.to_string().len());
            let _ = writeln!(text, "{margin} = help: {}", help.replace('\n', "\n          "));
        }
        text
    }
}

/// One line, and one of help where there is some.
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

/// An error with what caused it, each said once.
pub(super) fn causes<E: std::error::Error + ?Sized>(error: &E) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !message.contains(&words) {
            message = format!("{message}: {words}");
        }
        cause = inner.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_words_that_are_meant() {
        let text = "first\n\tgroups = [\"Ordring\"]\n";
        let found =
            Diagnostic::near("routes/a.toml", text, "\"Ordring\"", "no such role").with_help("write `Ordering`");
        assert_eq!(
            found.pretty(),
            "no such role\n --> routes/a.toml:2:12\n  |\n2 | \tgroups = [\"Ordring\"]\n  | \t          ^^^^^^^^^\n  = help: write `Ordering`\n"
        );
        assert_eq!(found.to_string(), "routes/a.toml:2:12: no such role\n  help: write `Ordering`");
        assert_eq!(Diagnostic::file("a", "gone").pretty(), "gone\n  --> a\n");
        let end = Diagnostic::at("a", "x", 9, "beyond");
        assert_eq!((end.line, end.column), (1, 2));
    }
}
