//! Where words go: data to stdout, talk to stderr, tables or JSON, colour only on a terminal that wants it.
//!
//! The one place of the house that writes to the standard streams for people. Knows no verb.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// How data is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// What a verb writes to. A write that fails (a closed pipe) is remembered and ends the process as a runtime
/// failure; it never panics.
pub struct Out {
    data: Box<dyn Write + Send>,
    talk: Box<dyn Write + Send>,
    /// Table or JSON.
    pub format: OutputFormat,
    colour: bool,
    terminal: bool,
    failed: bool,
}

/// How a word is shown where colour is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Green.
    Good,
    /// Red.
    Bad,
    /// Bold.
    Strong,
}

impl Out {
    /// The process's own streams. Colour where stdout is a terminal and `NO_COLOR` is not set to anything.
    pub fn system(format: OutputFormat, no_color: Option<&str>) -> Self {
        let colour = io::stdout().is_terminal() && no_color.is_none_or(str::is_empty);
        Self {
            data: Box::new(io::stdout()),
            talk: Box::new(io::stderr()),
            format,
            colour,
            terminal: io::stderr().is_terminal(),
            failed: false,
        }
    }

    /// Any two streams, without colour and progress.
    pub fn to(data: Box<dyn Write + Send>, talk: Box<dyn Write + Send>, format: OutputFormat) -> Self {
        Self { data, talk, format, colour: false, terminal: false, failed: false }
    }

    /// Data exactly as given.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.failed |= self.data.write_all(bytes).and_then(|()| self.data.flush()).is_err();
    }

    /// One line of data. Control characters are escaped: names come from outside and must not steer a terminal.
    pub fn line(&mut self, text: &str) {
        let safe = safe(text);
        self.raw(format!("{safe}\n").as_bytes());
    }

    /// One JSON document, indented.
    pub fn json(&mut self, value: &Value) {
        // JSON escapes control characters itself.
        self.raw(format!("{value:#}\n").as_bytes());
    }

    /// One line of talk.
    pub fn say(&mut self, text: &str) {
        // Nobody is left to tell where stderr is closed, too.
        let _gone = writeln!(self.talk, "{}", safe(text));
    }

    /// A table: the header in bold, the columns as wide as their widest cell.
    pub fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        let text = render(header, rows, |cell| self.tone(Tone::Strong, cell));
        self.raw(text.as_bytes());
    }

    /// Names and values below each other. Values that are empty are left out.
    pub fn facts(&mut self, facts: &[(&str, String)]) {
        let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            let shown = self.tone(Tone::Strong, &format!("{name:width$}"));
            self.raw(format!("{shown}  {}\n", safe(value)).as_bytes());
        }
    }

    /// The text in a colour, where colour is allowed.
    pub fn tone(&self, tone: Tone, text: &str) -> String {
        let text = safe(text);
        if !self.colour {
            return text;
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Whether somebody watches stderr.
    pub const fn watched(&self) -> bool {
        self.terminal
    }

    /// Whether a write of data failed.
    pub const fn failed(&self) -> bool {
        self.failed
    }
}

/// Control characters as `\u{…}`, the tab as a blank.
fn safe(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push(' '),
            '\n' => shown.push_str("\\n"),
            other if other.is_control() => shown.extend(other.escape_unicode()),
            other => shown.push(other),
        }
    }
    shown
}

fn render(header: &[&str], rows: &[Vec<String>], head: impl Fn(&str) -> String) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| safe(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let align = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = head(&align(&mut header.iter().copied()));
    text.push('\n');
    for row in &rows {
        text.push_str(&align(&mut row.iter().map(String::as_str)));
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub(crate) mod testing {
    //! Streams that tests read back.

    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::{Out, OutputFormat};

    /// Keeps what was written.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An [`Out`] with its data and its talk.
    pub(crate) fn out(format: OutputFormat) -> (Out, Kept, Kept) {
        let (data, talk) = (Kept::default(), Kept::default());
        (Out::to(Box::new(data.clone()), Box::new(talk.clone()), format), data, talk)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::out;
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let rows = [vec!["a".into(), "1".into(), String::new()], vec!["Ünïcode".into(), "22".into(), "x".into()]];
        let text = render(&["ID", "PRODUCTS", "E"], &rows, str::to_owned);
        assert_eq!(text, "ID       PRODUCTS  E\na        1\nÜnïcode  22        x\n");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let (mut out, data, _) = out(OutputFormat::Table);
        out.table(&["NAME"], &[vec!["\u{1b}[31mred\nnext".into()]]);
        out.line("a\u{7}b");
        assert!(!data.text().contains('\u{1b}') && !data.text().contains('\u{7}'), "{}", data.text());
        assert_eq!(data.text().lines().count(), 3);
    }

    #[test]
    fn facts_leave_out_what_is_empty() {
        let (mut out, data, _) = out(OutputFormat::Table);
        out.facts(&[("id", "7".into()), ("reason", String::new()), ("message", "no".into())]);
        assert_eq!(data.text(), "id       7\nmessage  no\n");
    }

    #[test]
    fn a_closed_pipe_is_remembered() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Out::to(Box::new(Closed), Box::new(io::sink()), OutputFormat::Table);
        out.line("x");
        assert!(out.failed());
    }
}
