//! Profiles: **the one table** of what a connection's profile changes.
//!
//! A profile is a row: which habits of real clients are forgiven ([`Tolerance`]), how a PATCH is answered, whether
//! roles are announced. Endpoints ask the row, never the profile. Knows nothing of documents, stores or requests.
//!
//! The same for every profile, hence not in the table: both media types (RFC 7644 section 8.1) and any `Accept`;
//! names of attributes, types of resources and URNs without regard to case; a trailing `?` or `&`; read-only
//! attributes that clients echo; null and `[]` as absent; unknown `schemas` beside the right one; JSON text inside the
//! value of a role, since what a stored document means must not depend on who reads it; 409 for a second group of the
//! same `displayName` in one organization, ignoring case.

use super::connection::Profile;
use super::schema::Tolerance;

/// How a successful PATCH is answered. RFC 7644 section 3.5.2 allows both; `attributes` always asks for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patched {
    /// 200 with the resource.
    Body,
    /// 204: clients that never read the answer need not wait for it to be built.
    NoBody,
}

/// What a profile changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// What is forgiven.
    pub forgives: Tolerance,
    /// The answer to a PATCH of a person, unless the connection's setting `patch_without_body` says 204.
    pub patched_user: Patched,
    /// The same for groups, which grow large.
    pub patched_group: Patched,
    /// Whether `/ResourceTypes` and `/Schemas` name the read-only types Role and Entitlement, which Okta looks for.
    /// Other clients take every type that is named there for one that they may write.
    pub announces_roles: bool,
}

impl Dialect {
    /// The row of a profile.
    pub const fn of(profile: Profile) -> Self {
        let forgiving = Self {
            forgives: Tolerance::GENERIC,
            patched_user: Patched::Body,
            patched_group: Patched::Body,
            announces_roles: false,
        };
        match profile {
            Profile::Generic | Profile::OneLogin | Profile::JumpCloud => forgiving,
            Profile::Strict => Self { forgives: Tolerance::STRICT, ..forgiving },
            Profile::Okta => Self { patched_group: Patched::NoBody, announces_roles: true, ..forgiving },
            Profile::Entra => Self { patched_group: Patched::NoBody, ..forgiving },
        }
    }
}

/// A habit of real clients that departs from the letter of RFC 7643 and 7644.
#[derive(Clone, Copy)]
pub struct Habit {
    /// As in [`Tolerance`].
    pub name: &'static str,
    /// What is sent, and what it is taken for.
    pub sent: &'static str,
    /// Who does so.
    pub clients: &'static str,
    /// Whether it is forgiven.
    pub forgiven: fn(&Tolerance) -> bool,
}

/// Every habit.
pub const HABITS: [Habit; 15] = [
    Habit {
        name: "string_booleans",
        sent: "`\"True\"` or `\"false\"` where a boolean belongs, in bodies and in filters",
        clients: "Entra, OneLogin",
        forgiven: |t| t.string_booleans,
    },
    Habit {
        name: "numbers_as_text",
        sent: "a JSON number where text belongs: its digits",
        clients: "OneLogin templates",
        forgiven: |t| t.numbers_as_text,
    },
    Habit {
        name: "single_object_as_array",
        sent: "one value where an array belongs (`emails` as one object): an array of it",
        clients: "OneLogin, Entra",
        forgiven: |t| t.single_object_as_array,
    },
    Habit {
        name: "one_element_array",
        sent: "an array of one where a single value belongs (`manager`): its element",
        clients: "Entra",
        forgiven: |t| t.one_element_array,
    },
    Habit {
        name: "bare_values",
        sent: "text where an object with `value` belongs (`manager`, roles, members), or such an object where text belongs",
        clients: "Entra",
        forgiven: |t| t.bare_values,
    },
    Habit {
        name: "empty_string_clears",
        sent: "`\"\"`: the attribute is cleared",
        clients: "Okta, Entra",
        forgiven: |t| t.empty_string_clears,
    },
    Habit {
        name: "path_keys",
        sent: "keys that are paths (`name.givenName`, `urn:…:User:department`) in bodies and path-less operations",
        clients: "Entra",
        forgiven: |t| t.path_keys,
    },
    Habit {
        name: "legacy_urns",
        sent: "`urn:scim:schemas:core:1.0` and its like: the schemas of today",
        clients: "OneLogin",
        forgiven: |t| t.legacy_urns,
    },
    Habit {
        name: "unqualified_names",
        sent: "`manager eq \"…\"` in a filter, without the URN of the extension",
        clients: "Entra",
        forgiven: |t| t.unqualified_names,
    },
    Habit {
        name: "unknown_attributes",
        sent: "attributes that no schema has: left out, and marked",
        clients: "all",
        forgiven: |t| t.unknown_attributes,
    },
    Habit {
        name: "missing_schemas",
        sent: "a body without the right `schemas`",
        clients: "OneLogin, tests by hand",
        forgiven: |t| t.missing_schemas,
    },
    Habit {
        name: "any_case_operations",
        sent: "`Add`, `Replace`, `Remove`, `operations`",
        clients: "Entra",
        forgiven: |t| t.any_case_operations,
    },
    Habit {
        name: "create_from_value_path",
        sent: "`emails[type eq \"work\"].value` without such an element: made from the filter's `eq` terms",
        clients: "Entra",
        forgiven: |t| t.create_from_value_path,
    },
    Habit {
        name: "remove_with_value",
        sent: "`remove` with a list of values: just those",
        clients: "Entra, JumpCloud, authentik",
        forgiven: |t| t.remove_with_value,
    },
    Habit {
        name: "unquoted_literals",
        sent: "`userName eq jane` without quotes",
        clients: "Entra",
        forgiven: |t| t.unquoted_literals,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as people read it.
    fn table() -> String {
        let profiles = Profile::ALL;
        let mut text = String::from("| habit | what is sent, and what it is taken for | seen from |");
        for profile in profiles {
            text.push_str(&format!(" `{}` |", profile.name()));
        }
        text.push_str(&format!("\n|{}\n", "---|".repeat(3 + profiles.len())));
        let mut row = |name: &str, sent: &str, clients: &str, cell: &dyn Fn(Dialect) -> &'static str| {
            text.push_str(&format!("| {name} | {sent} | {clients} |"));
            for profile in profiles {
                text.push_str(&format!(" {} |", cell(Dialect::of(profile))));
            }
            text.push('\n');
        };
        for habit in HABITS {
            let cell = |dialect: Dialect| if (habit.forgiven)(&dialect.forgives) { "yes" } else { "no" };
            row(habit.name, habit.sent, habit.clients, &cell);
        }
        let status = |patched| match patched {
            Patched::Body => "200",
            Patched::NoBody => "204",
        };
        row("patched_user", "the answer to a PATCH of a person", "", &|dialect| status(dialect.patched_user));
        row("patched_group", "the answer to a PATCH of a group", "", &|dialect| status(dialect.patched_group));
        let announced = |dialect: Dialect| if dialect.announces_roles { "yes" } else { "no" };
        row("announces_roles", "`/ResourceTypes` names Role and Entitlement", "", &announced);
        text
    }

    #[test]
    fn the_table_stands_in_the_documentation() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scim-profiles.md");
        let text = std::fs::read_to_string(file).unwrap();
        let table = table();
        assert!(text.contains(&table), "docs/scim-profiles.md should hold this table:\n{table}");
    }

    #[test]
    fn every_habit_is_a_flag_of_its_name_and_strict_forgives_only_what_the_rfc_lets_a_server_pass_over() {
        let flags = format!("{:?}", Tolerance::GENERIC);
        for habit in HABITS {
            assert!(flags.contains(&format!("{}: true", habit.name)), "{}", habit.name);
            let forgiven = (habit.forgiven)(&Tolerance::STRICT);
            assert_eq!(forgiven, habit.name == "unknown_attributes", "{}", habit.name);
        }
        assert_eq!(flags.matches(": true").count(), HABITS.len());
    }
}
