//! Every conversation of `tests/cases/scim`, each on a server of its own, for every profile that its file names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cedargate::clock::Sources;
use cedargate::domain::{AccountImage, Image, Number, OrganizationImage};
use cedargate::http::header::{HeaderMap, HeaderName, HeaderValue};
use cedargate::http::{Handling, Method, Request, RouteTable};
use cedargate::scim::Scim;
use cedargate::scim::connection::{Connection, Profile, Settings};
use cedargate::scim::conversation::{Conversation, Incoming, Outgoing, Sender};
use cedargate::scim::schema::Schemas;
use cedargate::store::memory::MemoryStore;
use cedargate::store::{BoxFuture, Content, Kind, Step, Store, Transaction};
use serde_json::Value;

/// The public address of the server; every `meta.location` and `$ref` begins so.
const PUBLIC: &str = "https://cedargate.example";

/// A server with two organizations: `acme` with the accounts 100 and 200, and `rival` with the account 900.
pub struct World {
    store: Arc<MemoryStore>,
    sources: Sources,
    table: Arc<RouteTable>,
}

/// An identity provider: one connection to a [`World`].
pub struct Provider {
    table: Arc<RouteTable>,
    pub token: String,
}

impl World {
    pub async fn new(sources: Sources) -> Self {
        let store = Arc::new(MemoryStore::new());
        let scim = Scim::new(store.clone(), Schemas::builtin().unwrap(), sources.clone(), PUBLIC);
        let scim = Arc::new(scim.with_roles(Arc::new(|| {
            [("Ordering", "search and order numbers"), ("Porting", "port numbers in and out")]
                .map(|(name, description)| (name.to_owned(), description.to_owned()))
                .to_vec()
        })));
        let world = Self { store, sources, table: Arc::new(scim.router().build().unwrap()) };
        for (organization, accounts) in [("acme", &["100", "200"][..]), ("rival", &["900"])] {
            let image = Image::Organization(OrganizationImage { id: organization.into() });
            let number = world.create(Kind::Organization, organization, "", content(Some(image))).await;
            for account in accounts {
                let image = AccountImage { id: (*account).into(), organization: number, products: Vec::new() };
                world.create(Kind::Account, account, organization, content(Some(Image::Account(image)))).await;
            }
        }
        world
    }

    pub async fn connect(&self, organization: &str, profile: Profile, settings: Settings) -> Provider {
        let id = self.sources.identifier();
        let mut connection = Connection::new(id.clone(), organization.into(), "test".into(), profile, settings);
        let token = connection.add_token(&self.sources, None).unwrap().shown;
        self.create(Kind::Connection, &id, organization, connection.to_content().unwrap()).await;
        Provider { table: Arc::clone(&self.table), token }
    }

    async fn create(&self, kind: Kind, id: &str, organization: &str, content: Content) -> Number {
        let step = Step::Create { kind, id: id.to_owned(), organization: organization.to_owned(), content };
        let operation = self.sources.identifier();
        let transaction = Transaction { operation, at: self.sources.clock.now(), steps: vec![step] };
        self.store.commit(transaction).await.unwrap().outcomes[0].number
    }
}

fn content(image: Option<Image>) -> Content {
    Content { document: "{}".into(), state: "{}".into(), image, ..Content::default() }
}

impl Sender for Provider {
    /// With the connection's token, unless a step names another; an empty header is not sent.
    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, String>> {
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", self.token)).unwrap());
            for (name, value) in &outgoing.headers {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.remove(&name);
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_str(value).unwrap());
                }
            }
            let (path, query) = outgoing.path.split_once('?').unwrap_or((&outgoing.path, ""));
            let method = Method::from_bytes(outgoing.method.as_bytes()).unwrap();
            let response = match self.table.find(&method, path) {
                Ok(found) => {
                    let request = Request {
                        parameters: found.parameters,
                        method,
                        path: path.to_owned(),
                        query: Some(query.to_owned()),
                        headers,
                        body: outgoing.body.unwrap_or_default().into(),
                        peer: Arc::default(),
                        id: "test".into(),
                    };
                    let Handling::Later(handler) = found.handling else {
                        return Err("a handler of another kind".into());
                    };
                    handler(request).await
                }
                Err(miss) => self.table.render_miss(path, &miss),
            };
            let (parts, body) = response.into_parts();
            let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
            Ok(Incoming {
                status: parts.status.as_u16(),
                headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                body: String::from_utf8(body.whole().cloned().unwrap_or_default().to_vec()).unwrap(),
            })
        })
    }
}

/// Every file below `tests/cases/scim`, with its path from there.
pub fn files() -> Vec<(String, String)> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/scim");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// Replays one file as one profile: with `${token}` of the connection, `${other_token}` of a second one of the same
/// organization that may give everything, and `${rival_token}` of another organization's.
async fn replay(conversation: &Conversation, profile: Profile) -> Result<(), String> {
    let world = World::new(Sources::system()).await;
    let provider = world.connect("acme", profile, conversation.settings.clone()).await;
    let everything = Settings { may_grant_admin: true, ..Settings::default() };
    let other = world.connect("acme", Profile::Generic, everything).await;
    let rival = world.connect("rival", Profile::Generic, Settings::default()).await;
    let tokens = [("token", &provider), ("other_token", &other), ("rival_token", &rival)];
    let mut variables: BTreeMap<String, String> =
        tokens.iter().map(|(name, provider)| ((*name).to_owned(), provider.token.clone())).collect();
    let mut secrets: BTreeSet<String> = variables.values().cloned().collect();
    let mut faults = Vec::new();
    let mut seen = 0;
    let mut check = |step: &cedargate::scim::conversation::Step, sent: &Outgoing, came: &Incoming| {
        seen += 1;
        secrets.extend(sent.body.as_deref().map(passwords).unwrap_or_default());
        faults.extend(what_no_answer_may(came, &secrets).map(|fault| format!("step `{}`: {fault}", step.name)));
    };
    let replayed = conversation.replay(&provider, &mut variables, &mut check).await;
    replayed.map_err(|fault| fault.to_string())?;
    assert_eq!(seen, conversation.steps.len());
    faults.first().map_or(Ok(()), |fault| Err(format!("{}, {fault}", conversation.name)))
}

/// The passwords that a body sets, wherever it does.
fn passwords(body: &str) -> Vec<String> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if let (true, Some(text)) = (name.eq_ignore_ascii_case("password"), value.as_str()) {
                        into.push(text.to_owned());
                    }
                    collect(value, into);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| collect(element, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(body).unwrap_or(Value::Null), &mut found);
    found.retain(|password| !password.is_empty());
    found
}

/// What holds of every answer: no secret that was ever sent, SCIM's shape, addresses of our own.
fn what_no_answer_may(came: &Incoming, secrets: &BTreeSet<String>) -> Option<String> {
    let whole = format!("{:?} {}", came.headers, came.body);
    if let Some(secret) = secrets.iter().find(|secret| whole.contains(secret.as_str())) {
        return Some(format!("the answer tells the secret {secret}: {whole}"));
    }
    if came.body.is_empty() {
        return (came.status != 204).then(|| format!("{} without a body", came.status));
    }
    if came.headers.get("content-type").map(String::as_str) != Some("application/scim+json") {
        return Some(format!("the media type is {:?}", came.headers.get("content-type")));
    }
    let Ok(body) = serde_json::from_str::<Value>(&came.body) else { return Some("the answer is not JSON".into()) };
    if came.status >= 400 {
        let shaped = body["schemas"][0] == "urn:ietf:params:scim:api:messages:2.0:Error"
            && body["status"].as_str() == Some(came.status.to_string().as_str())
            && body["detail"].as_str().is_some_and(|detail| detail.len() > 10);
        return (!shaped).then(|| format!("an error of another shape: {body}"));
    }
    let location = body.pointer("/meta/location").and_then(Value::as_str).unwrap_or(PUBLIC);
    (!location.starts_with(PUBLIC)).then(|| format!("a foreign address: {location}"))
}

#[tokio::test]
async fn every_conversation_goes_as_written_for_every_profile_that_it_names() {
    let mut faults = Vec::new();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, text) in files() {
        let conversation = Conversation::parse(&name, &text).unwrap();
        assert!(!conversation.source.is_empty() && conversation.steps.len() > 1, "{name}");
        assert!(!conversation.profiles.is_empty(), "{name} names no profile");
        for profile in &conversation.profiles {
            *count.entry(profile.name()).or_default() += 1;
            if let Err(fault) = replay(&conversation, *profile).await {
                faults.push(format!("{name} as {}: {fault}", profile.name()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for (profile, at_least) in [("okta", 10), ("entra", 10), ("onelogin", 3), ("jumpcloud", 3), ("generic", 30)] {
        assert!(count.get(profile).is_some_and(|count| *count >= at_least), "{profile}: {count:?}");
    }
}
