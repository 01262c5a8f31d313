//! What is asked: people by Zipf's law, the real endpoints of the shipped routes, mostly within a person's job.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use crate::workload::{Draws, Failure, World, mix};

/// Of ten questions, so many are about endpoints that a role of the person covers, on an account of theirs; the
/// others about any endpoint and, every second time, any account.
const WITHIN_THE_JOB: u64 = 8;
/// The exponent of Zipf's law: few people ask much.
const EXPONENT: f64 = 0.99;

#[derive(Deserialize)]
struct RouteFile {
    hosts: Vec<String>,
    base_paths: Vec<String>,
    route: Vec<Route>,
}

#[derive(Clone, Deserialize)]
struct Route {
    method: String,
    path: String,
    groups: Vec<String>,
    hosts: Option<Vec<String>>,
    base_paths: Option<Vec<String>>,
}

/// Makes questions about a world.
pub struct Questions<'a> {
    world: &'a World,
    routes: Vec<Route>,
    /// Cumulative weights of the ranks.
    ranks: Vec<f64>,
    draws: Draws,
}

impl<'a> Questions<'a> {
    /// Reads the routes that the server serves.
    pub fn new(world: &'a World, seed: u64) -> Result<Self, Failure> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/routes");
        let mut files: Vec<_> =
            std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        files.sort();
        let mut routes = Vec::new();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "toml")) {
            let RouteFile { hosts, base_paths, route } = toml::from_str(&std::fs::read_to_string(file)?)?;
            routes.extend(route.into_iter().map(|route| Route {
                hosts: Some(route.hosts.unwrap_or_else(|| hosts.clone())),
                base_paths: Some(route.base_paths.unwrap_or_else(|| base_paths.clone())),
                ..route
            }));
        }
        let mut sum = 0.0;
        let ranks = (1..=u32::try_from(world.users)?)
            .map(|rank| {
                sum += f64::from(rank).powf(-EXPONENT);
                sum
            })
            .collect();
        Ok(Self { world, routes, ranks, draws: Draws::new(seed) })
    }

    /// How many endpoints there are.
    pub fn endpoints(&self) -> usize {
        self.routes.len()
    }

    /// A question by somebody who asks as often as Zipf's law says.
    pub fn by_frequency(&mut self) -> String {
        let total = self.ranks.last().copied().unwrap_or(1.0);
        let drawn = f64::from(u32::try_from(self.draws.below(1 << 32)).unwrap_or(0)) / f64::from(u32::MAX) * total;
        let rank = self.ranks.partition_point(|sum| *sum < drawn) as u64;
        // Ranks are spread over everybody, so that the frequent ones do not lie side by side in memory.
        self.question(mix(rank, 8) % self.world.users)
    }

    /// A question by anybody, each as likely as the other.
    pub fn by_anybody(&mut self) -> String {
        let user = self.draws.below(self.world.users);
        self.question(user)
    }

    fn question(&mut self, user: u64) -> String {
        let own = self.world.accounts_of(user);
        let within = self.draws.below(10) < WITHIN_THE_JOB;
        let route = if within { self.covered(user) } else { self.draws.one(&self.routes).cloned() };
        let foreign = !within && self.draws.below(2) == 0;
        let account = if foreign { None } else { self.draws.one(&own).copied() };
        let account = account.unwrap_or_else(|| self.draws.below(self.world.accounts));
        let (method, host, path) = match route {
            Some(route) => self.address(&route, account),
            None => ("GET".to_owned(), String::new(), "/".to_owned()),
        };
        json!({
            "subject": {"user": World::username(user)},
            "request": {"method": method, "host": host, "path": path},
            "channel": "api",
        })
        .to_string()
    }

    /// An endpoint that one of the person's roles is about. Groups of endpoints begin with the role's name.
    fn covered(&mut self, user: u64) -> Option<Route> {
        let roles = self.world.roles_of(user);
        let is_for = |group: &String| roles.iter().any(|role| group.split(": ").next() == Some(role));
        let covered: Vec<&Route> = self.routes.iter().filter(|route| route.groups.iter().any(is_for)).collect();
        self.draws.one(&covered).map(|route| (*route).clone())
    }

    /// Method, host and path with the placeholders filled in.
    fn address(&mut self, route: &Route, account: u64) -> (String, String, String) {
        let one = |draws: &mut Draws, of: &Option<Vec<String>>| {
            of.as_ref().and_then(|of| draws.one(of)).cloned().unwrap_or_default()
        };
        let base = one(&mut self.draws, &route.base_paths);
        let mut path = base.trim_end_matches('/').to_owned();
        for part in route.path.split('/').filter(|part| !part.is_empty()) {
            path.push('/');
            match part.split_once('{') {
                Some((before, "accountId}")) => {
                    path.push_str(before);
                    path.push_str(&World::account_id(account));
                }
                Some((before, placeholder)) => {
                    path.push_str(before);
                    path.push_str(&self.draws.below(1_000_000).to_string());
                    path.push_str(placeholder.split_once('}').map_or("", |(_, after)| after));
                }
                None => path.push_str(part),
            }
        }
        (route.method.clone(), one(&mut self.draws, &route.hosts), path)
    }
}

/// A whole HTTP/1.1 request, ready to be sent.
pub fn http_request(path: &str, body: &str) -> Box<[u8]> {
    let length = body.len();
    let head = "content-type: application/json\r\ncontent-length:";
    format!("POST {path} HTTP/1.1\r\nhost: gate\r\n{head} {length}\r\n\r\n{body}").into_bytes().into()
}

/// The same with a header that is another one each time, as gateways send that trace requests (W3C Trace Context).
pub fn traced_request(path: &str, body: &str, number: usize) -> Box<[u8]> {
    let length = body.len();
    let head = format!("content-type: application/json\r\ntraceparent: 00-{number:032x}-{number:016x}-01");
    format!("POST {path} HTTP/1.1\r\nhost: gate\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
        .into()
}

/// So many questions in one batch.
pub fn batch(questions: &[String]) -> String {
    format!("{{\"questions\":[{}]}}", questions.join(","))
}

/// The same question with a token of the person in the place of their name.
pub fn with_token(body: &str, token: impl FnOnce(&str) -> Result<String, Failure>) -> Result<String, Failure> {
    let mut body: serde_json::Value = serde_json::from_str(body)?;
    let user = body.pointer("/subject/user").and_then(serde_json::Value::as_str).ok_or("no user")?.to_owned();
    let subject = body.get_mut("subject").ok_or("no subject")?;
    *subject = json!({"authorization": format!("Bearer {}", token(&user)?)});
    Ok(body.to_string())
}
