//! The customer's API: method, host and path to an action and the resource it acts on.
//!
//! A trie for each method. Literals are compared without ASCII case and beat parameters, leftmost first;
//! ids are compared exactly. Two templates that some path fits are listed at load ([`Routes::overlaps`]),
//! and the same template twice is a fault.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use hashbrown::HashMap;

use super::path::{CanonicalPath, decode};

/// Which part of the path names the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The account in the `accountId` parameter.
    Account,
    /// The person in the `userId` parameter.
    User,
    /// The principal's organization: an endpoint without an account in its path.
    Organization,
    /// An entity of the bundle's own of this type, in the parameter named after it: `Document` in `{documentId}`.
    Entity(Arc<str>),
}

impl Target {
    /// The target of an entity type.
    pub fn of(kind: &str) -> Self {
        match kind {
            "Account" => Self::Account,
            "User" => Self::User,
            "Organization" | "Dashboard" => Self::Organization,
            other => Self::Entity(other.into()),
        }
    }

    /// The parameter that names it, with its braces.
    fn parameter(&self) -> Option<String> {
        match self {
            Self::Account => Some("{accountId}".into()),
            Self::User => Some("{userId}".into()),
            Self::Organization => None,
            Self::Entity(kind) => {
                let base = kind.rsplit_once("::").map_or(&**kind, |(_, base)| base);
                let mut letters = base.chars();
                let first = letters.next().map(|c| c.to_ascii_lowercase());
                Some(format!("{{{}{}Id}}", first.map_or_else(String::new, String::from), letters.as_str()))
            }
        }
    }
}

/// One endpoint of the catalogue, before its base paths are multiplied out.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The index of its action in the bundle.
    pub action: usize,
    /// Method.
    pub method: String,
    /// Path template, for example `/accounts/{accountId}/orders`.
    pub template: String,
    /// The hosts that serve it, lower case.
    pub hosts: Vec<String>,
    /// The prefixes under which it is served; `/` is none.
    pub base_paths: Vec<String>,
    /// What it acts on.
    pub target: Target,
    /// File it stands in, for diagnostics.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: usize,
}

/// An endpoint that a request fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<'p> {
    /// The index of the action.
    pub action: usize,
    /// What it acts on.
    pub target: Target,
    /// The decoded id of the target; empty for [`Target::Organization`].
    pub id: Cow<'p, str>,
}

/// Why no endpoint fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No template fits the path.
    Path,
    /// Templates fit the path, but with these methods only.
    Method(Vec<String>),
}

#[derive(Debug, Default)]
struct Node {
    /// Lower-case literal to child.
    literals: HashMap<Box<[u8]>, usize>,
    parameter: Option<usize>,
    /// The endpoint that ends here, with the depth of its target parameter.
    leaf: Option<Leaf>,
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    endpoint: usize,
    target_depth: Option<usize>,
}

/// All endpoints, ready to be asked.
#[derive(Debug, Default)]
pub struct Routes {
    endpoints: Vec<Endpoint>,
    nodes: Vec<Node>,
    /// The trie of each method: a handful.
    roots: Vec<(Box<str>, usize)>,
    /// Every host that serves an endpoint, sorted; its place is its number.
    hosts: Vec<String>,
    /// The hosts of each endpoint, by their numbers.
    served_by: Vec<Box<[usize]>>,
}

/// More segments than any template has are not looked at.
const DEEPEST: usize = 32;

impl Routes {
    /// Builds the tries; answers every fault at once, each with the place of its endpoint.
    pub fn build(endpoints: Vec<Endpoint>) -> Result<Self, Vec<(usize, String)>> {
        let mut routes = Self::default();
        let mut faults = Vec::new();
        let hosts: BTreeSet<&String> = endpoints.iter().flat_map(|endpoint| &endpoint.hosts).collect();
        routes.hosts = hosts.into_iter().cloned().collect();
        for (index, endpoint) in endpoints.iter().enumerate() {
            routes.served_by.push(endpoint.hosts.iter().filter_map(|host| routes.host_number(host)).collect());
            for base in &endpoint.base_paths {
                if let Err(fault) = routes.insert(&endpoints, index, endpoint, base) {
                    faults.push((index, fault));
                }
            }
        }
        routes.endpoints = endpoints;
        if faults.is_empty() { Ok(routes) } else { Err(faults) }
    }

    fn insert(&mut self, all: &[Endpoint], index: usize, endpoint: &Endpoint, base: &str) -> Result<(), String> {
        let whole = format!("{}{}", base.trim_end_matches('/'), endpoint.template);
        let here = |what: &str| format!("{} {whole}: {what}", endpoint.method);
        let path = CanonicalPath::parse(&whole).map_err(|fault| here(&fault.to_string()))?;
        if path.segments().count() > DEEPEST {
            return Err(here("more than 32 segments"));
        }
        let wanted = endpoint.target.parameter();
        let target_depth = wanted.as_ref().and_then(|name| path.segments().position(|segment| segment == name));
        if let (Some(name), None) = (wanted, target_depth) {
            return Err(here(&format!("the path has no parameter `{name}` for its resource")));
        }
        let mut node = self.root(&endpoint.method).unwrap_or_else(|| {
            let root = self.add();
            self.roots.push((endpoint.method.as_str().into(), root));
            root
        });
        for segment in path.segments() {
            let literal = (!segment.starts_with('{')).then(|| segment.to_ascii_lowercase());
            let known = self.nodes.get(node).and_then(|n| match &literal {
                Some(text) => n.literals.get(text.as_bytes()).copied(),
                None => n.parameter,
            });
            let child = known.unwrap_or_else(|| self.add());
            if let Some(n) = self.nodes.get_mut(node) {
                match literal {
                    Some(text) => drop(n.literals.insert(text.into_bytes().into(), child)),
                    None => n.parameter = Some(child),
                }
            }
            node = child;
        }
        let Some(end) = self.nodes.get_mut(node) else { return Ok(()) };
        // Also on another host: a gateway need not name the host, and then one path must mean one endpoint.
        if let Some(other) = end.leaf.and_then(|leaf| all.get(leaf.endpoint)) {
            return Err(here(&format!("the same path stands in {} for another action", other.file)));
        }
        end.leaf = Some(Leaf { endpoint: index, target_depth });
        Ok(())
    }

    fn add(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn root(&self, method: &str) -> Option<usize> {
        self.roots.iter().find(|(name, _)| &**name == method).map(|(_, root)| *root)
    }

    fn host_number(&self, host: &str) -> Option<usize> {
        self.hosts.binary_search_by(|known| known.as_str().cmp(host)).ok()
    }

    /// The endpoints, in the order of the files.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Finds the endpoint for a request. A host that the catalogue names restricts the match to its own
    /// endpoints; any other host matches all of them unless `strict_hosts` is set.
    pub fn find<'p>(
        &self,
        method: &str,
        host: Option<&str>,
        path: CanonicalPath<'p>,
        strict_hosts: bool,
    ) -> Result<Matched<'p>, NoRoute> {
        let host = match host.map(|host| self.host_number(&normal_host(host))) {
            Some(Some(number)) => Host::Is(number),
            Some(None) if strict_hosts => Host::Unknown,
            Some(None) | None => Host::Any,
        };
        let mut segments = [""; DEEPEST];
        let mut count = 0;
        for segment in path.segments() {
            let Some(slot) = segments.get_mut(count) else { return Err(NoRoute::Path) };
            *slot = segment;
            count += 1;
        }
        let segments = segments.get(..count).unwrap_or_default();
        let search = Search { routes: self, segments, host };
        if let Some(root) = self.root(method)
            && let Some(leaf) = search.walk(root, 0)
        {
            return search.matched(leaf).ok_or(NoRoute::Path);
        }
        let mut others: Vec<String> = (self.roots.iter())
            .filter(|(name, root)| &**name != method && search.walk(*root, 0).is_some())
            .map(|(name, _)| name.to_string())
            .collect();
        others.sort();
        if others.is_empty() { Err(NoRoute::Path) } else { Err(NoRoute::Method(others)) }
    }

    /// Every pair of templates of one method that some path fits, and which of the two wins: one line each.
    pub fn overlaps(&self) -> Vec<String> {
        let mut lines = BTreeSet::new();
        let mut by_shape: HashMap<(&str, usize), Vec<&Endpoint>> = HashMap::new();
        for endpoint in &self.endpoints {
            let depth = endpoint.template.split('/').count();
            by_shape.entry((&endpoint.method, depth)).or_default().push(endpoint);
        }
        for group in by_shape.values() {
            for (at, one) in group.iter().enumerate() {
                for other in group.iter().skip(at + 1) {
                    if let Some(winner) = winner(one, other) {
                        let loser = if std::ptr::eq(winner, *one) { other } else { one };
                        let mut line = String::new();
                        let _ = write!(line, "{} {} wins over {}", winner.method, winner.template, loser.template);
                        lines.insert(line);
                    }
                }
            }
        }
        lines.into_iter().collect()
    }
}

/// Of two templates of equal length that some path fits, the one with the leftmost literal; `None` where no
/// path fits both or they share neither host nor base path.
fn winner<'a>(one: &'a Endpoint, other: &'a Endpoint) -> Option<&'a Endpoint> {
    let share = |a: &[String], b: &[String]| a.iter().any(|x| b.contains(x));
    if !share(&one.base_paths, &other.base_paths) {
        return None;
    }
    let mut first = None;
    for (a, b) in one.template.split('/').zip(other.template.split('/')) {
        match (a.starts_with('{'), b.starts_with('{')) {
            (false, false) if !a.eq_ignore_ascii_case(b) => return None,
            (false, true) => first = first.or(Some(one)),
            (true, false) => first = first.or(Some(other)),
            (false, false) | (true, true) => {}
        }
    }
    first
}

/// Lower case, without port and without a trailing dot.
fn normal_host(host: &str) -> Cow<'_, str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    };
    let name = name.trim_end_matches('.');
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

/// What the host of a request says about endpoints.
#[derive(Clone, Copy)]
enum Host {
    /// Nothing: any of them may be meant.
    Any,
    /// Only those of the host with this number.
    Is(usize),
    /// None of them.
    Unknown,
}

struct Search<'r, 's, 'p> {
    routes: &'r Routes,
    segments: &'s [&'p str],
    host: Host,
}

impl<'p> Search<'_, '_, 'p> {
    /// Depth first, literal before parameter: the first hit has the leftmost literals.
    fn walk(&self, node: usize, depth: usize) -> Option<Leaf> {
        let node = self.routes.nodes.get(node)?;
        let Some(segment) = self.segments.get(depth) else {
            return node.leaf.filter(|leaf| self.serves(*leaf));
        };
        node.literal(segment)
            .and_then(|child| self.walk(child, depth + 1))
            .or_else(|| node.parameter.and_then(|child| self.walk(child, depth + 1)))
    }

    fn serves(&self, leaf: Leaf) -> bool {
        match self.host {
            Host::Any => true,
            Host::Is(number) => self.routes.served_by.get(leaf.endpoint).is_some_and(|hosts| hosts.contains(&number)),
            Host::Unknown => false,
        }
    }

    fn matched(&self, leaf: Leaf) -> Option<Matched<'p>> {
        let endpoint = self.routes.endpoints.get(leaf.endpoint)?;
        let id = match leaf.target_depth {
            Some(depth) => decode(self.segments.get(depth)?)?,
            None => Cow::Borrowed(""),
        };
        Some(Matched { action: endpoint.action, target: endpoint.target.clone(), id })
    }
}

impl Node {
    /// The child of a literal, without case.
    fn literal(&self, segment: &str) -> Option<usize> {
        if self.literals.is_empty() {
            return None;
        }
        // Most segments fit here, so that comparing without case takes no memory of its own.
        let mut buffer = [0; 64];
        let found = match buffer.get_mut(..segment.len()) {
            Some(lower) => {
                lower.copy_from_slice(segment.as_bytes());
                lower.make_ascii_lowercase();
                self.literals.get(&*lower)
            }
            None => self.literals.get(segment.to_ascii_lowercase().as_bytes()),
        };
        found.copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(action: usize, method: &str, template: &str) -> Endpoint {
        Endpoint {
            action,
            method: method.into(),
            template: template.into(),
            hosts: vec!["api.example.com".into()],
            base_paths: vec!["/api".into(), "/api/v2".into()],
            target: if template.contains("{accountId}") { Target::Account } else { Target::Organization },
            file: "routes/test.toml".into(),
            offset: 0,
        }
    }

    fn routes() -> Routes {
        Routes::build(vec![
            endpoint(0, "GET", "/accounts/{accountId}/orders"),
            endpoint(1, "GET", "/accounts/{accountId}/orders/{orderId}"),
            endpoint(2, "GET", "/accounts/{accountId}/orders/totals"),
            endpoint(3, "GET", "/accounts/{accountId}/imports/{orderId}/history"),
            endpoint(4, "GET", "/accounts/{accountId}/imports/voice/{orderId}"),
            endpoint(5, "POST", "/tns"),
        ])
        .expect("sound routes")
    }

    fn find(method: &str, path: &str) -> Result<usize, NoRoute> {
        let path = CanonicalPath::parse(path).expect(path);
        routes().find(method, None, path, false).map(|matched| matched.action)
    }

    #[test]
    fn literal_beats_parameter_leftmost_first() {
        assert_eq!(find("GET", "/api/accounts/100/orders/7"), Ok(1));
        assert_eq!(find("GET", "/api/accounts/100/orders/totals"), Ok(2));
        assert_eq!(find("GET", "/api/accounts/100/orders/Totals"), Ok(2));
        assert_eq!(find("GET", "/api/accounts/100/imports/voice/history"), Ok(4));
        assert_eq!(find("GET", "/api/accounts/100/imports/9/history"), Ok(3));
        assert_eq!(find("GET", "/api/v2/accounts/100/orders"), Ok(0));
    }

    #[test]
    fn says_which_methods_would_fit() {
        assert_eq!(find("HEAD", "/api/accounts/100/orders"), Err(NoRoute::Method(vec!["GET".into()])));
        assert_eq!(find("get", "/api/accounts/100/orders"), Err(NoRoute::Method(vec!["GET".into()])));
        assert_eq!(find("GET", "/api/accounts/100"), Err(NoRoute::Path));
        assert_eq!(find("GET", "/"), Err(NoRoute::Path));
        assert_eq!(find("GET", &"/a".repeat(40)), Err(NoRoute::Path));
    }

    #[test]
    fn ids_are_decoded_once_and_compared_exactly() {
        let routes = routes();
        let path = CanonicalPath::parse("/API/accounts/Ab%40c/orders").expect("canonical");
        assert_eq!(routes.find("GET", None, path, false).expect("route").id, "Ab@c");
    }

    #[test]
    fn hosts_restrict_when_known_or_strict() {
        let routes = routes();
        let find = |host, strict| {
            let path = CanonicalPath::parse("/api/tns").expect("canonical");
            routes.find("POST", Some(host), path, strict).is_ok()
        };
        assert!(find("API.example.com:443", false) && find("elsewhere", false));
        assert!(find("api.example.com.", true) && !find("elsewhere", true));
    }

    #[test]
    fn lists_overlaps_and_refuses_twins() {
        assert_eq!(
            routes().overlaps(),
            [
                "GET /accounts/{accountId}/imports/voice/{orderId} wins over /accounts/{accountId}/imports/{orderId}/history",
                "GET /accounts/{accountId}/orders/totals wins over /accounts/{accountId}/orders/{orderId}",
            ]
        );
        let twins = vec![endpoint(0, "GET", "/x/{a}"), endpoint(1, "GET", "/X/{b}")];
        assert!(Routes::build(twins).is_err());
    }
}
