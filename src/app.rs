//! The assembler: settings to a running server. The only file that knows concrete stores, clocks and listeners.
//!
//! Nothing binds before settings, policies, keys and ledger are known to be good; nothing is ready before
//! everything is bound. The one way a change reaches decisions is made here: the ledger's writer calls
//! [`Directory::apply`] in commit order, before the answer to the write leaves.

pub mod demo;
mod files;
mod keys;
pub mod policy;
mod provisioning;
mod tls;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::authz::{Authz, AuthzConfig};
use crate::clock::Sources;
use crate::config::{Config, StoreLocation};
use crate::directory::Directory;
use crate::gate::Gate;
use crate::gate::authzen::AuthZen;
use crate::gate::explain::Explain;
use crate::http::server::{Bound, Ending, ListenerConfig, Service};
use crate::http::{RouteTable, Router, operations};
use crate::manage::{Catalogue, Manage, OperatorToken};
use crate::policy::{Bundle, Diagnostic, Live, Source};
use crate::scim::{EventRetention, RoleSource, Scim, StoredPasswords};
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{ApplyHook, Head, Store};
use crate::telemetry::{Health, LogGuard, Metrics, Stopwatch};

use crate::token::Passwords;

pub use files::Addresses;

/// What a test may put in the place of the machine's own.
pub struct Seams {
    /// Time and randomness.
    pub sources: Sources,
    /// Wraps the step that brings a commit into the directory, so that a test can show that it is needed.
    pub apply: Box<dyn FnOnce(ApplyHook) -> ApplyHook + Send>,
    /// What the process counts; the log, which begins before everything else, counts its losses here.
    pub metrics: Arc<Metrics>,
}

impl Default for Seams {
    fn default() -> Self {
        Self { sources: Sources::system(), apply: Box::new(|hook| hook), metrics: Arc::new(Metrics::new(&[])) }
    }
}

/// Why the server did not start. Each variant is one clear sentence and an exit code of its own kind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings or keys.
    #[error("{0}")]
    Config(String),
    /// The policy bundle, with every diagnostic.
    #[error("{} cannot serve:\n{}", .0, .1.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Policies(Source, Vec<Diagnostic>),
    /// The policy bundle's own tests.
    #[error("{0}: the bundle's own tests fail:\n{1}")]
    PolicyTests(Source, String),
    /// The ledger.
    #[error("{0}")]
    Store(String),
    /// A listener.
    #[error("{name} cannot listen on {address}: {cause}; is another server running there?")]
    Bind {
        /// Which listener.
        name: &'static str,
        /// Where.
        address: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// A file of the data folder.
    #[error("{0}")]
    File(String),
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(String),
}

/// The endpoints of every listener.
pub struct Tables {
    /// SCIM.
    pub front: Arc<RouteTable>,
    /// Questions.
    pub gate: Arc<RouteTable>,
    /// Operators, health and metrics.
    pub ops: Arc<RouteTable>,
}

/// A server with everything bound, not yet serving.
pub struct App {
    addresses: Addresses,
    data: PathBuf,
    listeners: Vec<(Bound, Service)>,
    tables: Tables,
    health: Arc<Health>,
    store: Arc<SqliteStore>,
    authz: Arc<Authz>,
    fatal: Arc<Notify>,
    watch: crate::config::PolicyWatch,
    integrity: Arc<Mutex<Result<(), String>>>,
    reloader: Arc<policy::Reloader>,
    keys: keys::Keeping,
    scim: Arc<Scim>,
    certificates: Arc<tls::Certificates>,
}

impl App {
    /// Builds everything from the settings. Blocking work happens on the calling thread; call it once, at start.
    pub fn build(config: &Config, seams: Seams) -> Result<Self, StartError> {
        let Seams { sources, apply, metrics } = seams;
        let (verifier, key_places) = keys::load(config, &*sources.clock)?;
        let verifier = Arc::new(verifier);
        let certificates = Arc::new(tls::Certificates::load(config)?);
        let source = policy::source(config.policies.as_deref());
        let operator_token = files::operator_token(&config.data, &sources).map_err(StartError::File)?;
        let fatal = Arc::new(Notify::new());
        // Both take their time, and neither needs the other.
        let (bundle, opened) = std::thread::scope(|scope| {
            let bundle = scope.spawn(|| load_policies(&source));
            let opened = open_ledger(config, &sources, &fatal, &metrics, apply);
            (bundle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), opened)
        });
        let (bundle, (store, directory)) = (bundle?, opened?);
        metrics.policy_bundle(Arc::clone(bundle.id()));
        let live = Arc::new(Live::new(bundle));
        let authz_config = AuthzConfig {
            cache_entries: config.decision.cache_entries,
            strict_hosts: config.decision.strict_hosts,
            self_check_every: config.decision.self_check_every,
        };
        let keys = keys::Keeping::new(Arc::clone(&verifier), key_places, Arc::clone(&sources.clock));
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let passwords = Passwords::new(Arc::new(StoredPasswords::new(Arc::clone(&shared))), &sources.random);
        let authz = Authz::new(&authz_config, directory, Arc::clone(&live), verifier, &sources, Arc::clone(&metrics));
        let authz = Arc::new(authz.with_passwords(passwords));
        let reloader = Arc::new(policy::Reloader::new(source, live, Arc::clone(&metrics)));
        let integrity = Arc::new(Mutex::new(Ok(())));

        let bound = bind(config, &certificates)?;
        let addresses = Addresses::of(&bound);
        let public_url = config.scim.public_url.clone().unwrap_or_else(|| addresses.front.clone());
        let schemas = files::schemas(config.scim.schemas.as_deref()).map_err(StartError::Config)?;
        let scim = Scim::new(Arc::clone(&shared), schemas, sources.clone(), &public_url);
        let retention = EventRetention { count: config.scim.event_count, days: config.scim.event_days };
        let scim = scim.counted_by(Arc::clone(&metrics)).retaining(retention).with_roles(role_source(&reloader));
        let scim = Arc::new(scim);
        metrics.provisioning(provisioning::figures(&scim));
        let health = health(&authz, &reloader, &integrity, &scim);
        let health = Arc::new(keys.concern(certificates.concern(health)));
        if config.gate.credentials.is_empty() {
            tracing::warn!(
                gate = addresses.gate,
                "the gate is open: whoever can connect may ask and is believed what the original request was; set \
                 gate.credentials to admit gateways only"
            );
        }
        let gate = Arc::new(Gate::new(Arc::clone(&authz), config.gate.clone()));
        let mut page_key = [0; 32];
        sources.random.fill(&mut page_key);
        let authzen = Arc::new(AuthZen::new(Arc::clone(&gate), page_key, config.listeners.gate_public_url.clone()));
        let manage = Arc::new(manage(shared, &scim, &sources, &operator_token, &reloader)?);
        let explain = Arc::new(Explain::new(Arc::clone(&authz), &operator_token));
        let version = serde_json::json!({"name": "cedargate", "version": env!("CARGO_PKG_VERSION")});
        let ops = operations::routes(Arc::clone(&health), Arc::clone(&metrics), version).merge(manage.routes());
        let ops = ops.merge(explain.operator_routes());
        let tables = Tables {
            front: table(scim.router())?,
            gate: table(gate.routes().merge(authzen.routes()).merge(explain.gate_routes(&gate)))?,
            ops: table(ops)?,
        };
        let listeners = bound.into_iter().map(|bound| serve_with(bound, config, &tables, &metrics, &sources)).collect();
        let data = config.data.clone();
        Ok(Self {
            watch: config.watch,
            addresses,
            data,
            listeners,
            tables,
            health,
            store,
            authz,
            fatal,
            integrity,
            reloader,
            keys,
            scim,
            certificates,
        })
    }

    /// Where the listeners are.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The endpoints of every listener, for tests that walk all doors.
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The decisions, for tests that ask without a socket.
    pub const fn authz(&self) -> &Arc<Authz> {
        &self.authz
    }

    /// Serves until `stop` is done or the ledger fails, then drains. `true` where everything ended well.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<Ending, StartError> {
        let Self { addresses, data, listeners, health, store, fatal, integrity, reloader, .. } = self;
        let Self { certificates, keys, scim, authz, watch, .. } = self;
        // An alarm of an earlier process stands on, before anybody can ask.
        scim.recover().await.map_err(|error| StartError::Store(error.detail))?;
        let (stopping, stopped) = watch::channel(false);
        let mut serving = JoinSet::new();
        for (bound, service) in listeners {
            let mut stopped = stopped.clone();
            serving.spawn(bound.serve(service, async move {
                let _gone = stopped.wait_for(|stopping| *stopping).await;
            }));
        }
        addresses.publish(&data).map_err(StartError::File)?;
        // A thread of its own that nobody waits for: a large ledger takes minutes, and the end must not.
        std::thread::Builder::new()
            .name("ledger-check".into())
            .spawn(move || check_integrity(&*store, &integrity))
            .map_err(|error| StartError::Internal(error.to_string()))?;
        let watching = watch.watch.then(|| tokio::spawn(policy::reload_on_change(Arc::clone(&reloader), watch.poll)));
        let reloading = tokio::spawn(policy::reload_on_hangup(reloader));
        let looking = tokio::spawn(authz.passwords().keep_looking());
        let checked = Arc::downgrade(&authz);
        std::thread::Builder::new()
            .name("self-check".into())
            .spawn(move || Authz::check_samples(&checked))
            .map_err(|error| StartError::Internal(error.to_string()))?;
        drop(authz);
        let keys = keys.spawn();
        let renewing = tokio::spawn(tls::keep_renewing(certificates));
        let failed = tokio::select! {
            () = stop => false,
            () = fatal.notified() => true,
        };
        // Readiness goes first, so that nobody new is sent here while the rest is finished.
        health.drain();
        let _ = stopping.send(true);
        let mut ending = Ending::Clean;
        while let Some(ended) = serving.join_next().await {
            if !matches!(ended, Ok(Ending::Clean)) {
                ending = Ending::Cut;
            }
        }
        reloading.abort();
        if let Some(watching) = watching {
            watching.abort();
        }
        renewing.abort();
        keys.abort();
        looking.abort();
        addresses.withdraw(&data);
        if failed { Err(StartError::Store("the ledger failed; see the log".into())) } else { Ok(ending) }
    }
}

fn load_policies(source: &Source) -> Result<Arc<Bundle>, StartError> {
    let loading = Stopwatch::start();
    let bundle = policy::load_and_try(source)?;
    tracing::info!(took_ms = loading.elapsed().as_millis(), "the policies are loaded and tried");
    Ok(bundle)
}

fn open_ledger(
    config: &Config,
    sources: &Sources,
    fatal: &Arc<Notify>,
    metrics: &Arc<Metrics>,
    wrap: Box<dyn FnOnce(ApplyHook) -> ApplyHook + Send>,
) -> Result<(Arc<SqliteStore>, Arc<Directory>), StartError> {
    let StoreLocation::Sqlite(folder) = &config.store;
    let notify = Arc::clone(fatal);
    let opening = Stopwatch::start();
    let store = SqliteStore::open(sqlite::Options {
        folder: folder.clone(),
        clock: Arc::clone(&sources.clock),
        apply: None,
        on_fatal: Some(Arc::new(move |why| {
            tracing::error!(why, "the ledger acknowledges nothing any more; the process ends");
            notify.notify_one();
        })),
    })
    .map_err(|error| StartError::Store(error.to_string()))?;
    let (opened, loading) = (opening.elapsed(), Stopwatch::start());
    let directory = Directory::load_with_external_ids(&store, &config.tokens.external_connections())
        .map_err(|error| StartError::Store(error.to_string()))?;
    let directory = Arc::new(directory);
    tracing::info!(
        people = directory.snapshot().people(),
        open_ms = opened.as_millis(),
        load_ms = loading.elapsed().as_millis(),
        "the ledger is open and everybody is in memory"
    );
    metrics.ledger_revision(directory.snapshot().revision().number);
    let (applied, counted) = (Arc::clone(&directory), Arc::clone(metrics));
    let apply: ApplyHook = Arc::new(move |revision, changes| {
        applied.apply(revision, changes);
        counted.ledger_revision(revision.number);
    });
    store.set_apply_hook(wrap(apply));
    Ok((Arc::new(store), directory))
}

/// Begins to log as the settings say; lasts as long as the guard.
pub fn start_log(config: &Config, metrics: &Metrics) -> Result<LogGuard, StartError> {
    crate::telemetry::log::start(&config.log, metrics.log_lost()).map_err(|error| StartError::Config(error.to_string()))
}

/// Opens the ledger of a server that does not run and checks all of it.
pub fn check_ledger(config: &Config) -> Result<Head, StartError> {
    let StoreLocation::Sqlite(folder) = &config.store;
    let clock = Sources::system().clock;
    let options = sqlite::Options { folder: folder.clone(), clock, apply: None, on_fatal: None };
    let store = SqliteStore::open(options).map_err(|error| StartError::Store(error.to_string()))?;
    store.verify().map_err(|error| StartError::Store(error.to_string()))
}

fn check_integrity(store: &dyn Store, outcome: &Mutex<Result<(), String>>) {
    match store.verify() {
        Ok(head) => tracing::info!(revision = %head.revision, "the ledger is whole"),
        Err(error) => {
            tracing::error!(%error, "the ledger did not pass its check");
            *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(error.to_string());
        }
    }
}

fn health(
    authz: &Arc<Authz>,
    reloader: &Arc<policy::Reloader>,
    integrity: &Arc<Mutex<Result<(), String>>>,
    scim: &Arc<Scim>,
) -> Health {
    let (reloader, integrity, scim) = (Arc::clone(reloader), Arc::clone(integrity), Arc::clone(scim));
    let authz = Arc::downgrade(authz);
    Health::new()
        .check("ledger", move || integrity.lock().unwrap_or_else(PoisonError::into_inner).clone())
        // The last good bundle serves on: that is no reason to send nobody here.
        .concern("policies", move || reloader.last_refusal())
        .concern("self-check", move || authz.upgrade().map_or(Ok(()), |authz| authz.self_check()))
        .concern("provisioning", move || scim.concern())
}

fn bind(config: &Config, certificates: &tls::Certificates) -> Result<Vec<Bound>, StartError> {
    let listeners = &config.listeners;
    let mut wanted = vec![
        ("front", listeners.front.address.clone()),
        ("gate", listeners.gate.address.clone()),
        ("ops", listeners.ops.address.clone()),
    ];
    if let Some(path) = &listeners.gate_socket {
        wanted.push(("gate-socket", crate::http::server::ListenerAddress::Unix(path.clone())));
    }
    let mut bound = Vec::new();
    for (name, address) in wanted {
        let shown = address.to_string();
        let one = Bound::bind(&ListenerConfig { name, address, tls: certificates.of(name) })
            .map_err(|cause| StartError::Bind { name, address: shown, cause })?;
        bound.push(one);
    }
    Ok(bound)
}

fn serve_with(
    bound: Bound,
    config: &Config,
    tables: &Tables,
    metrics: &Metrics,
    sources: &Sources,
) -> (Bound, Service) {
    let name = bound.name();
    let (table, limits, request_ids) = match name {
        "front" => (&tables.front, &config.listeners.front.limits, true),
        "ops" => (&tables.ops, &config.listeners.ops.limits, true),
        // The gate's TCP and Unix sockets; the decision's own id serves there.
        _ => (&tables.gate, &config.listeners.gate.limits, false),
    };
    let service = Service {
        table: Arc::clone(table),
        limits: limits.clone(),
        metrics: metrics.listener(name),
        sources: sources.clone(),
        request_ids,
    };
    (bound, service)
}

fn table(router: Router) -> Result<Arc<RouteTable>, StartError> {
    router.build().map(Arc::new).map_err(|error| StartError::Internal(error.to_string()))
}

/// Names and descriptions.
fn named(all: &[crate::policy::Named]) -> Vec<(String, String)> {
    all.iter().map(|named| (named.name.clone(), named.description.clone())).collect()
}

/// The roles of the bundle in force.
fn role_source(reloader: &Arc<policy::Reloader>) -> RoleSource {
    let serving = Arc::clone(reloader);
    Arc::new(move || named(&serving.serving().catalogue().roles))
}

fn manage(
    store: Arc<dyn Store>,
    scim: &Arc<Scim>,
    sources: &Sources,
    operator_token: &str,
    reloader: &Arc<policy::Reloader>,
) -> Result<Manage, StartError> {
    let serving = Arc::clone(reloader);
    let catalogue = move || {
        let catalogue = serving.serving();
        Catalogue { roles: named(&catalogue.catalogue().roles), products: named(&catalogue.catalogue().products) }
    };
    let reloader = Arc::clone(reloader);
    Ok(Manage {
        store,
        scim: Arc::clone(scim),
        sources: sources.clone(),
        operator_token: OperatorToken::new(operator_token).map_err(|error| StartError::File(error.to_string()))?,
        catalogue: Arc::new(catalogue),
        reload: Arc::new(move || {
            let reloader = Arc::clone(&reloader);
            Box::pin(async move { reloader.reload().await })
        }),
    })
}
