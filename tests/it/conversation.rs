//! Every conversation of `tests/cases/scim`, each on a server of its own, for the profile that its folder names and for
//! the generic one.

use std::collections::BTreeMap;
use std::path::Path;
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

/// A connection to a server of its own.
struct Provider {
    table: RouteTable,
    token: String,
}

impl Provider {
    async fn new(profile: Profile) -> Self {
        let store = Arc::new(MemoryStore::new());
        let sources = Sources::system();
        let organization = Image::Organization(OrganizationImage { id: "acme".into() });
        let number = create(&store, &sources, Kind::Organization, "acme", "", content(Some(organization))).await;
        let account = AccountImage { id: "100".into(), organization: number, products: Vec::new() };
        create(&store, &sources, Kind::Account, "100", "acme", content(Some(Image::Account(account)))).await;
        let id = sources.identifier();
        let mut connection = Connection::new(id.clone(), "acme".into(), "test".into(), profile, Settings::default());
        let token = connection.add_token(&sources, None).unwrap().shown;
        create(&store, &sources, Kind::Connection, &id, "acme", connection.to_content().unwrap()).await;
        let scim = Arc::new(Scim::new(store, Schemas::builtin().unwrap(), sources, "https://cedargate.example"));
        Self { table: scim.router().build().unwrap(), token }
    }
}

fn content(image: Option<Image>) -> Content {
    Content { document: "{}".into(), state: "{}".into(), image, ..Content::default() }
}

async fn create(
    store: &MemoryStore,
    sources: &Sources,
    kind: Kind,
    id: &str,
    organization: &str,
    content: Content,
) -> Number {
    let step = Step::Create { kind, id: id.to_owned(), organization: organization.to_owned(), content };
    let transaction = Transaction { operation: sources.identifier(), at: sources.clock.now(), steps: vec![step] };
    store.commit(transaction).await.unwrap().outcomes[0].number
}

impl Sender for Provider {
    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, String>> {
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", self.token)).unwrap());
            for (name, value) in &outgoing.headers {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            let (path, query) = outgoing.path.split_once('?').unwrap_or((&outgoing.path, ""));
            let method = Method::from_bytes(outgoing.method.as_bytes()).unwrap();
            let found = self.table.find(&method, path).map_err(|miss| format!("{miss:?}"))?;
            let request = Request {
                parameters: found.parameters,
                method,
                path: path.to_owned(),
                query: Some(query.to_owned()),
                headers,
                body: outgoing.body.unwrap_or_default().into(),
                peer: std::sync::Arc::default(),
                id: "test".into(),
            };
            let Handling::Later(handler) = found.handling else { return Err("a handler of another kind".into()) };
            let (parts, body) = handler(request).await.into_parts();
            let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
            Ok(Incoming {
                status: parts.status.as_u16(),
                headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                body: String::from_utf8(body.whole().cloned().unwrap_or_default().to_vec()).unwrap(),
            })
        })
    }
}

async fn replay_folder(folder: &str, profile: Profile, at_least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/scim").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "conversations are missing from {}", path.display());
    let mut faults = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let conversation = Conversation::parse(&name, &std::fs::read_to_string(&file).unwrap()).unwrap();
        assert!(!conversation.source.is_empty() && conversation.steps.len() > 2, "{name}");
        for profile in [profile, Profile::Generic] {
            let provider = Provider::new(profile).await;
            let mut seen = 0;
            let replayed = conversation.replay(&provider, &mut BTreeMap::new(), &mut |_, _, _| seen += 1).await;
            match replayed {
                Ok(()) => assert_eq!(seen, conversation.steps.len()),
                Err(fault) => faults.push(format!("{name} as {}: {fault}", profile.name())),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn okta_conversations_go_as_written() {
    replay_folder("okta", Profile::Okta, 4).await;
}

#[tokio::test]
async fn entra_conversations_go_as_written() {
    replay_folder("entra", Profile::Entra, 5).await;
}
