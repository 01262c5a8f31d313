//! Takes settings out of what the sources gave, one by one, and remembers: what was asked, what was wrong, what holds.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::source::{Entries, Entry, Origin, Raw};
use super::value::{self, Parsed};
use super::{Fault, Faults, Setting};

/// Longest deadline that may be set.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) struct Reader {
    entries: Entries,
    asked: BTreeSet<String>,
    faults: Vec<Fault>,
    settings: Vec<Setting>,
}

impl Reader {
    pub(super) const fn new(entries: Entries, faults: Vec<Fault>) -> Self {
        Self { entries, asked: BTreeSet::new(), faults, settings: Vec::new() }
    }

    /// The settings in order, or everything that is wrong, keys that nobody asked for included.
    pub(super) fn finish(mut self) -> Result<Vec<Setting>, Faults> {
        let section = |key: &str| {
            self.asked.range(format!("{key}.")..).next().is_some_and(|next| next.starts_with(&format!("{key}.")))
        };
        let unknown = self
            .entries
            .iter()
            .filter(|(key, entry)| !(self.asked.contains(*key) || (entry.value == Raw::Empty && section(key))));
        let unknown: Vec<Fault> = unknown
            .map(|(key, Entry { origin, .. })| {
                let hint = match value::did_you_mean(key, self.asked.iter().map(String::as_str)) {
                    Some(known) => format!("did you mean {known}?"),
                    None => "`cedargate config show` lists all settings".to_owned(),
                };
                Fault { origin: Some(origin.clone()), message: format!("{key} is not a setting; {hint}") }
            })
            .collect();
        self.faults.extend(unknown);
        if self.faults.is_empty() {
            self.settings.sort_by(|one, two| one.key.cmp(&two.key));
            Ok(self.settings)
        } else {
            Err(Faults(self.faults))
        }
    }

    /// A fault that follows from more than one value, or from what a value points to.
    pub(super) fn fault(&mut self, key: &str, message: impl fmt::Display) {
        let origin = self.entries.get(key).map(|entry| entry.origin.clone());
        self.faults.push(Fault { origin, message: format!("{key} {message}") });
    }

    /// How many numbered parts a list of sections has: one more than the highest number.
    pub(super) fn parts(&self, key: &str) -> usize {
        let prefix = format!("{key}.");
        let numbers = self.entries.keys().filter_map(|key| key.strip_prefix(&prefix)?.split('.').next()?.parse().ok());
        // Numbers come from the environment as well: a wild one must not make a million sections.
        numbers.filter(|number: &usize| *number < 64).max().map_or(0, |highest| highest + 1)
    }

    /// Whether somebody set it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn text(&mut self, key: &str, default: &str) -> String {
        self.take(key, default.to_owned(), value::text, Clone::clone)
    }

    pub(super) fn optional<T: Clone>(
        &mut self,
        key: &str,
        parse: impl Fn(&Raw) -> Parsed<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let shown = |value: &Option<T>| value.as_ref().map_or_else(|| "(none)".to_owned(), &show);
        self.take(key, None, |raw| parse(raw).map(Some), shown)
    }

    /// A value that must be there; `None` with a fault where it is not.
    pub(super) fn required<T: Clone>(
        &mut self,
        key: &str,
        parse: impl Fn(&Raw) -> Parsed<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let there = self.entries.contains_key(key);
        let value = self.optional(key, parse, show);
        if !there {
            self.faults.push(Fault { origin: None, message: format!("{key} is missing; set it") });
        }
        value
    }

    pub(super) fn path(&mut self, key: &str, default: &str) -> PathBuf {
        PathBuf::from(self.text(key, default))
    }

    pub(super) fn optional_path(&mut self, key: &str) -> Option<PathBuf> {
        self.optional(key, value::text, Clone::clone).map(PathBuf::from)
    }

    pub(super) fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        self.take(key, default, value::address, ToString::to_string)
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.take(key, default, value::boolean, ToString::to_string)
    }

    pub(super) fn number(&mut self, key: &str, default: u64, least: u64, most: u64) -> u64 {
        self.take(key, default, |raw| value::number(raw, least, most), ToString::to_string)
    }

    pub(super) fn size(&mut self, key: &str, default: u64, least: u64, most: u64) -> u64 {
        self.take(key, default, |raw| value::size(raw, least, most), |bytes| value::show_size(*bytes))
    }

    pub(super) fn duration(&mut self, key: &str, default: Duration) -> Duration {
        let parse = |raw: &Raw| value::duration(raw, Duration::from_millis(100), LONGEST);
        self.take(key, default, parse, |duration| value::show_duration(*duration))
    }

    pub(super) fn choice<T: Copy + PartialEq>(&mut self, key: &str, default: T, choices: &[(&str, T)]) -> T {
        let name =
            |value: &T| choices.iter().find(|(_, choice)| choice == value).map_or("", |(name, _)| *name).to_owned();
        self.take(key, default, |raw| value::choice(raw, choices), name)
    }

    /// The value of a key, or its default where there is none or it cannot be read; what cannot be read is a fault.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl Fn(&Raw) -> Parsed<T>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.asked.insert(key.to_owned());
        let (value, origin) = match self.entries.get(key) {
            None => (default, Origin::Default),
            Some(entry) => match parse(&entry.value) {
                Ok(value) => (value, entry.origin.clone()),
                Err(instead) => {
                    self.faults.push(Fault { origin: Some(entry.origin.clone()), message: format!("{key} {instead}") });
                    (default, entry.origin.clone())
                }
            },
        };
        self.settings.push(Setting { key: key.to_owned(), value: show(&value), origin });
        value
    }
}
