//! Where settings come from: a file, the environment, flags. All become flat keys such as `gate.limits.body_bytes`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Fault, Faults, Overrides};

/// The file that is read when nobody names another.
const DEFAULT_FILE: &str = "cedargate.toml";

/// A longer file is not ours.
const LONGEST_FILE: u64 = 1024 * 1024;

/// What settings in the environment begin with, and what stands for the dot.
const PREFIX: &str = "CEDARGATE_";
const DOT: &str = "__";

/// A settings file as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Reads the named file, which must be there, or `cedargate.toml`, which need not.
///
/// # Errors
/// A file that cannot be read, is too long or is not UTF-8.
pub fn read_file(named: Option<&Path>) -> Result<Option<ConfigFile>, Faults> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let name = path.display().to_string();
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > LONGEST_FILE => {
            let message = format!("{name} has more than {LONGEST_FILE} bytes; this cannot be a settings file");
            Err(Faults(vec![Fault { origin: None, message }]))
        }
        Ok(_) => Ok(Some(ConfigFile { name, text })),
        Err(cause) if named.is_none() && cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => {
            let message = format!("{name} cannot be read: {cause}");
            Err(Faults(vec![Fault { origin: None, message }]))
        }
    }
}

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is built in.
    Default,
    /// A line of the file.
    File {
        /// The file's name.
        name: String,
        /// From 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { name, line } => write!(formatter, "{name}:{line}"),
            Self::Environment(name) => formatter.write_str(name),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// A value before it is understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Raw>),
    /// An empty section.
    Empty,
    /// Anything that no setting takes.
    Other(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Raw,
    pub(super) origin: Origin,
}

/// The winning entry for each key.
pub(super) type Entries = BTreeMap<String, Entry>;

pub(super) fn merge(
    file: Option<&ConfigFile>,
    environment: &BTreeMap<String, String>,
    overrides: &Overrides,
) -> (Entries, Vec<Fault>) {
    let (mut entries, mut faults) = (Entries::new(), Vec::new());
    if let Some(file) = file {
        let (document, errors) = DeTable::parse_recoverable(&file.text);
        faults.extend(errors.iter().map(|error| Fault {
            origin: Some(position(file, error.span().map_or(0, |span| span.start))),
            message: error.message().replace('\n', ", "),
        }));
        if errors.is_empty() {
            flatten(file, "", document.get_ref(), &mut entries);
        }
    }
    for (name, value) in environment {
        if let Some(key) = name.strip_prefix(PREFIX).filter(|rest| rest.contains(DOT)) {
            let entry = Entry { value: Raw::Text(value.clone()), origin: Origin::Environment(name.clone()) };
            entries.insert(key.to_ascii_lowercase().replace(DOT, "."), entry);
        }
    }
    for (flag, key, value) in flags(overrides) {
        if let Some(value) = value {
            entries.insert(key.to_owned(), Entry { value: Raw::Text(value.clone()), origin: Origin::Flag(flag) });
        }
    }
    (entries, faults)
}

const fn flags(overrides: &Overrides) -> [(&'static str, &'static str, Option<&String>); 9] {
    [
        ("--data", "data.folder", overrides.data.as_ref()),
        ("--policies", "policies.folder", overrides.policies.as_ref()),
        ("--scim-schemas", "scim.schemas", overrides.scim_schemas.as_ref()),
        ("--store", "store.location", overrides.store.as_ref()),
        ("--front", "front.address", overrides.front.as_ref()),
        ("--gate", "gate.address", overrides.gate.as_ref()),
        ("--gate-socket", "gate.socket", overrides.gate_socket.as_ref()),
        ("--ops", "ops.address", overrides.ops.as_ref()),
        ("--log", "log.filter", overrides.log.as_ref()),
    ]
}

fn flatten(file: &ConfigFile, above: &str, table: &DeTable<'_>, entries: &mut Entries) {
    for (name, value) in table {
        let key = if above.is_empty() { name.get_ref().to_string() } else { format!("{above}.{}", name.get_ref()) };
        flatten_value(file, key, name.span().start, value, entries);
    }
}

fn flatten_value(file: &ConfigFile, key: String, start: usize, value: &Spanned<DeValue<'_>>, entries: &mut Entries) {
    let tables = |list: &toml::de::DeArray<'_>| !list.is_empty() && list.iter().all(|item| item.get_ref().is_table());
    match value.get_ref() {
        DeValue::Table(table) if !table.is_empty() => flatten(file, &key, table, entries),
        DeValue::Array(list) if tables(list) => {
            for (index, item) in list.iter().enumerate() {
                flatten_value(file, format!("{key}.{index}"), item.span().start, item, entries);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            entries.insert(key, Entry { value: raw(value.get_ref()), origin: position(file, start) });
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
            .map_or(Raw::Other("a number that is too large"), Raw::Integer),
        DeValue::Boolean(flag) => Raw::Boolean(*flag),
        DeValue::Array(list) => Raw::List(list.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(_) => Raw::Empty,
        DeValue::Float(_) | DeValue::Datetime(_) => Raw::Other(value.type_str()),
    }
}

fn position(file: &ConfigFile, offset: usize) -> Origin {
    let line = file.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    Origin::File { name: file.name.clone(), line }
}
