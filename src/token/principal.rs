//! From a name in a verified client certificate to the person whom it names, by rules of the configuration.

use super::issuer::{Identity, Issued, NamedBy};

/// What begins with `prefix` names a person by what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalRule {
    /// Such as `spiffe://example.com/people/`.
    pub prefix: String,
    /// What the rest of the name is.
    pub by: NamedBy,
}

/// Whom the name stands for; the longest prefix wins. Nothing is decoded or folded here: a certificate's name is
/// compared as it stands.
pub(super) fn identify(rules: &[PrincipalRule], name: &str) -> Option<Identity> {
    let fitting = rules.iter().filter_map(|rule| Some((rule, name.strip_prefix(rule.prefix.as_str())?)));
    let (rule, rest) = fitting.max_by_key(|(rule, _)| rule.prefix.len())?;
    (!rest.is_empty()).then(|| Identity { by: rule.by.clone(), name: rest.to_owned(), issued: Issued::Otherwise })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_says_what_the_rest_is() {
        let rule = |prefix: &str, by| PrincipalRule { prefix: prefix.into(), by };
        let rules = [rule("spiffe://x/", NamedBy::Username), rule("spiffe://x/id/", NamedBy::Id)];
        let identity = |by, name: &str| Some(Identity { by, name: name.into(), issued: Issued::Otherwise });
        assert_eq!(identify(&rules, "spiffe://x/jdoe"), identity(NamedBy::Username, "jdoe"));
        assert_eq!(identify(&rules, "spiffe://x/id/7"), identity(NamedBy::Id, "7"));
        for nobody in ["spiffe://x/id/", "spiffe://X/jdoe", "spiffe://y/jdoe", "", "x/spiffe://x/jdoe"] {
            assert_eq!(identify(&rules, nobody), None, "{nobody}");
        }
    }
}
