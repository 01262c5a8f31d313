//! Attributes with their characteristics (RFC 7643 sections 2.2 and 7).

use serde::Deserialize;

/// The data types of RFC 7643 section 2.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AttributeType {
    /// Text.
    #[default]
    String,
    /// True or false.
    Boolean,
    /// A decimal number.
    Decimal,
    /// A whole number of 64 bits.
    Integer,
    /// A time in the form of xsd:dateTime.
    DateTime,
    /// Base64 text.
    Binary,
    /// A URI; never followed.
    Reference,
    /// Sub-attributes, which are simple themselves.
    Complex,
}

/// Who may write, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mutability {
    /// The server alone.
    ReadOnly,
    /// Clients.
    #[default]
    ReadWrite,
    /// Clients, once.
    Immutable,
    /// Clients, and nobody reads it.
    WriteOnly,
}

/// When answers hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Returned {
    /// In every answer.
    Always,
    /// In none.
    Never,
    /// Unless excluded.
    #[default]
    Default,
    /// Only when asked for.
    Request,
}

/// Where a value must be unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Uniqueness {
    /// Nowhere.
    #[default]
    None,
    /// On this server.
    Server,
    /// Everywhere.
    Global,
}

/// One attribute or sub-attribute, as a schema document declares it. What the document leaves out takes the
/// defaults of RFC 7643 section 2.2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attribute {
    /// The name in its canonical spelling.
    pub name: String,
    /// The data type.
    #[serde(rename = "type", default)]
    pub kind: AttributeType,
    /// Whether there may be many values.
    #[serde(default)]
    pub multi_valued: bool,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whether a resource must have it.
    #[serde(default)]
    pub required: bool,
    /// Suggested values. Never enforced.
    #[serde(default)]
    pub canonical_values: Vec<String>,
    /// Whether comparisons mind the case.
    #[serde(default)]
    pub case_exact: bool,
    /// Who may write.
    #[serde(default)]
    pub mutability: Mutability,
    /// When answers hold it.
    #[serde(default)]
    pub returned: Returned,
    /// Where it must be unique.
    #[serde(default)]
    pub uniqueness: Uniqueness,
    /// What a reference may point to.
    #[serde(default)]
    pub reference_types: Vec<String>,
    /// The parts of a complex attribute.
    #[serde(default)]
    pub sub_attributes: Vec<Attribute>,
}

impl Attribute {
    /// The sub-attribute of this name, compared without case.
    pub fn sub_attribute(&self, name: &str) -> Option<&Attribute> {
        self.sub_attributes.iter().find(|sub| sub.name.eq_ignore_ascii_case(name))
    }

    /// Whether it has sub-attributes.
    pub fn is_complex(&self) -> bool {
        self.kind == AttributeType::Complex
    }

    /// Whether it may never stand in an answer, a filter, an index or a log.
    pub fn is_secret(&self) -> bool {
        self.mutability == Mutability::WriteOnly || self.returned == Returned::Never
    }

    /// Whether the server alone writes it.
    pub fn is_read_only(&self) -> bool {
        self.mutability == Mutability::ReadOnly
    }

    /// What is wrong with this declaration, if anything.
    pub(super) fn fault(&self, is_sub_attribute: bool) -> Option<String> {
        let name = &self.name;
        let mut letters = name.strip_prefix('$').unwrap_or(name).chars();
        if !letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            || !letters.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            return Some(format!("`{name}` is not an attribute name (RFC 7643 section 2.1)"));
        }
        if is_sub_attribute && self.is_complex() {
            return Some(format!("`{name}` is complex inside a complex attribute; make it simple"));
        }
        if self.is_complex() == self.sub_attributes.is_empty() {
            return Some(format!("`{name}` needs `subAttributes` exactly when its type is complex"));
        }
        if let Some(twice) = duplicate(&self.sub_attributes) {
            return Some(format!("`{name}.{twice}` is declared twice"));
        }
        self.sub_attributes.iter().find_map(|sub| sub.fault(true))
    }
}

/// The first name that stands twice, compared without case.
pub(super) fn duplicate(attributes: &[Attribute]) -> Option<&str> {
    let mut seen = std::collections::HashSet::new();
    attributes.iter().find(|a| !seen.insert(a.name.to_ascii_lowercase())).map(|a| a.name.as_str())
}
