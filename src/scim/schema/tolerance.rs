//! What is forgiven, by name.

/// What a client's shapes may differ in from the letter of RFC 7643 and 7644. One flag for one habit of real
/// identity providers, so that a client profile is a row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// `"True"` and `"false"` in any case where a boolean belongs, in bodies and in filters (Entra, OneLogin).
    pub string_booleans: bool,
    /// A JSON number where text belongs is taken as its digits (employee numbers, postal codes).
    pub numbers_as_text: bool,
    /// One value where an array belongs (`emails` as one object: OneLogin).
    pub single_object_as_array: bool,
    /// An array of exactly one element where a single value belongs (`manager` of Entra).
    pub one_element_array: bool,
    /// Bare text where a complex value with `value` belongs, and `{"value": …}` where simple text belongs.
    pub bare_values: bool,
    /// `""` is the same as null: the attribute is cleared (Okta, Entra's manager).
    pub empty_string_clears: bool,
    /// Keys of bodies and path-less operations may be paths: `name.givenName`, `urn:…:User:department`,
    /// `emails[type eq "work"].value` (Entra).
    pub path_keys: bool,
    /// Names of schemas from before RFC 7643: `urn:scim:schemas:core:1.0` and its like (OneLogin).
    pub legacy_urns: bool,
    /// Names of an extension's attributes without its URN, in filters (`manager eq "…"`: Entra).
    pub unqualified_names: bool,
    /// Attributes that no schema knows are left out, in bodies and in path-less operations, instead of refused.
    pub unknown_attributes: bool,
    /// A body without `schemas`, or with others than the resource's own.
    pub missing_schemas: bool,
    /// `op` in any case, `Operations` likewise (Entra).
    pub any_case_operations: bool,
    /// A value path that matches no element creates one from the `eq` terms of its filter (Entra).
    pub create_from_value_path: bool,
    /// `remove` with a value list takes away just those elements (Entra, JumpCloud, authentik).
    pub remove_with_value: bool,
    /// Literals of filters without quotes (Entra).
    pub unquoted_literals: bool,
}

impl Tolerance {
    /// Everything is forgiven: the default of connections.
    pub const GENERIC: Self = Self {
        string_booleans: true,
        numbers_as_text: true,
        single_object_as_array: true,
        one_element_array: true,
        bare_values: true,
        empty_string_clears: true,
        path_keys: true,
        legacy_urns: true,
        unqualified_names: true,
        unknown_attributes: true,
        missing_schemas: true,
        any_case_operations: true,
        create_from_value_path: true,
        remove_with_value: true,
        unquoted_literals: true,
    };

    /// Nothing is: for conformance tools. Unknown attributes in bodies are still left out, because RFC 7644
    /// section 3.3 does not let a server refuse what it may ignore.
    pub const STRICT: Self = Self {
        string_booleans: false,
        numbers_as_text: false,
        single_object_as_array: false,
        one_element_array: false,
        bare_values: false,
        empty_string_clears: false,
        path_keys: false,
        legacy_urns: false,
        unqualified_names: false,
        unknown_attributes: true,
        missing_schemas: false,
        any_case_operations: false,
        create_from_value_path: false,
        remove_with_value: false,
        unquoted_literals: false,
    };
}

impl Default for Tolerance {
    fn default() -> Self {
        Self::GENERIC
    }
}
