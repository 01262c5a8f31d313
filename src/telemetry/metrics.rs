//! What is counted, under which name. Names and labels are a contract with dashboards: add, do not rename.
//!
//! Everything on the decision path is an atomic that exists before the first request: no label map, no
//! lock, no allocation. They are turned into text only when somebody asks for `/metrics`.

mod http;
mod misses;
mod provisioning;
mod stages;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use http::{Cut, ListenerMetrics};
pub use misses::Miss;
pub use provisioning::{ConnectionFigures, ProvisioningFigures, ProvisioningSource};

use self::misses::Misses;
use self::provisioning::{Provisioning, ProvisioningCollector};
use self::stages::Stages;
use super::stages::Laps;
use crate::domain::Reason;

type Labels = Vec<(&'static str, String)>;

/// Where an answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// The identical question had been answered on the identical state of the world.
    Answer,
    /// In a decision row of the class pair.
    Row,
    /// In the cache.
    Hit,
    /// The engine was asked.
    Miss,
    /// Nothing to look up: the answer came before the policies (no route, unknown user, …).
    None,
}

impl CacheUse {
    pub(super) const ALL: [Self; 5] = [Self::Answer, Self::Row, Self::Hit, Self::Miss, Self::None];

    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Row => "row",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::None => "none",
        }
    }
}

/// Everything the process counts. One for a process; rooms take an `Arc` of it.
pub struct Metrics {
    registry: Registry,
    listeners: Arc<Listeners>,
    decisions: Arc<Decisions>,
    misses: Arc<Misses>,
    stages: Arc<Stages>,
    bundle: Arc<Bundle>,
    scim_requests: Family<ScimLabels, Counter>,
    ledger_revision: Gauge,
    policy_errors: Counter,
    log_lost: Counter,
    policies: PolicyCounters,
    provisioning: Arc<Provisioning>,
}

impl Metrics {
    /// All at zero. `build` labels `cedargate_build_info` beside the version (`[("cedar", "4.14.1")]`).
    pub fn new(build: &[(&'static str, String)]) -> Self {
        let mut registry = Registry::with_prefix("cedargate");
        let listeners = Arc::new(Listeners::default());
        let decisions = Arc::new(Decisions::default());
        let (misses, stages) = (Arc::new(Misses::default()), Arc::new(Stages::default()));
        let bundle = Arc::new(Bundle::default());
        let scim_requests = Family::<ScimLabels, Counter>::default();
        let (ledger_revision, policy_errors, log_lost) = (Gauge::default(), Counter::default(), Counter::default());

        let mut labels: Labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        labels.extend_from_slice(build);
        registry.register("build", "What is running", Info::new(labels));
        registry.register_collector(Box::new(Arc::clone(&listeners)));
        registry.register_collector(Box::new(Arc::clone(&decisions)));
        registry.register_collector(Box::new(Arc::clone(&misses)));
        registry.register_collector(Box::new(Arc::clone(&stages)));
        registry.register_collector(Box::new(Arc::clone(&bundle)));
        let provisioning = Arc::new(Provisioning::default());
        registry.register_collector(Box::new(ProvisioningCollector(Arc::clone(&provisioning))));
        registry.register("scim_requests", "SCIM requests by operation and HTTP status", scim_requests.clone());
        registry.register("ledger_revision", "Number of the last revision applied here", ledger_revision.clone());
        registry.register("policy_errors", "Policies that could not be evaluated", policy_errors.clone());
        registry.register("log_lost", "Log lines dropped because nobody read them", log_lost.clone());
        Self {
            listeners,
            decisions,
            misses,
            stages,
            bundle,
            scim_requests,
            ledger_revision,
            policy_errors,
            log_lost,
            policies: PolicyCounters::register(&mut registry),
            registry,
            provisioning,
        }
    }

    /// The counters of a listener; the same ones for the same name.
    pub fn listener(&self, name: &'static str) -> Arc<ListenerMetrics> {
        let mut listeners = self.listeners.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = listeners.iter().find(|listener| listener.name() == name) {
            return Arc::clone(found);
        }
        let listener = Arc::new(ListenerMetrics::new(name));
        listeners.push(Arc::clone(&listener));
        listener
    }

    /// Counts a decision. On the decision path: one atomic addition.
    pub fn decision(&self, reason: Reason, cache: CacheUse) {
        if let Some(counter) = self.decisions.0.get(reason as usize).and_then(|row| row.get(cache as usize)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts why the engine was asked for a decision.
    pub fn cache_miss(&self, miss: Miss) {
        self.misses.count(miss);
    }

    /// Measures the stages of the decision that begins now, where it is one to measure: one in 64 for two minutes after
    /// a scrape. On the decision path: one relaxed load while nobody scrapes.
    pub fn sample(&self) -> Option<Laps> {
        self.stages.sample()
    }

    /// Adds the times of a decision that [`Self::sample`] had measured.
    pub fn measured(&self, laps: &Laps) {
        self.stages.add(laps);
    }

    /// Counts a SCIM request; `operation` is a word of the code such as `users.create`, never input.
    pub fn scim_request(&self, operation: &'static str, status: u16) {
        self.scim_requests.get_or_create(&ScimLabels { operation, status }).inc();
    }

    /// The number of the last applied revision.
    pub fn ledger_revision(&self, number: u64) {
        self.ledger_revision.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// The bundle that decides from now on.
    pub fn policy_bundle(&self, bundle: Arc<str>) {
        self.bundle.0.store(Some(Arc::new(bundle)));
    }

    /// Counts a policy that could not be evaluated.
    pub fn policy_error(&self) {
        self.policy_errors.inc();
    }

    /// Where the figures of connections come from; the first source stays.
    pub fn provisioning(&self, source: ProvisioningSource) {
        let _first = self.provisioning.0.set(source);
    }

    /// Counts a decision that was made again by plain Cedar, and whether it differed.
    pub fn self_check(&self, differed: bool) {
        self.policies.checks.inc();
        if differed {
            self.policies.differences.inc();
        }
    }

    /// Counts policies that were put in service, or refused.
    pub fn policy_reload(&self, refused: bool) {
        if refused {
            self.policies.refusals.inc();
        } else {
            self.policies.reloads.inc();
        }
    }

    /// The counter of lost log lines, for [`super::log::start`].
    pub fn log_lost(&self) -> Counter {
        self.log_lost.clone()
    }

    /// Everything in the OpenMetrics text format, media type [`Self::MEDIA_TYPE`]. From now on the stages of decisions are
    /// measured for a while ([`Self::sample`]).
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn render(&self) -> Result<String, fmt::Error> {
        self.stages.watch();
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    /// The media type of [`Self::render`].
    pub const MEDIA_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

/// What happens to bundles and to the trust in their index.
#[derive(Debug, Default)]
struct PolicyCounters {
    checks: Counter,
    differences: Counter,
    reloads: Counter,
    refusals: Counter,
}

impl PolicyCounters {
    fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        for (name, help, counter) in [
            ("self_checks", "Decisions made again by plain Cedar", &all.checks),
            ("self_check_differences", "Decisions that differed from plain Cedar's", &all.differences),
            ("policy_reloads", "Bundles put in service after the first", &all.reloads),
            ("policy_reload_failures", "Bundles refused while another one served", &all.refusals),
        ] {
            registry.register(name, help, counter.clone());
        }
        all
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ScimLabels {
    operation: &'static str,
    status: u16,
}

impl EncodeLabelSet for ScimLabels {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        [("operation", self.operation.to_owned()), ("status", self.status.to_string())].encode(encoder)
    }
}

#[derive(Debug, Default)]
struct Listeners(RwLock<Vec<Arc<ListenerMetrics>>>);

impl Collector for Listeners {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        http::encode(&self.0.read().unwrap_or_else(PoisonError::into_inner), encoder)
    }
}

/// Counters by reason and cache use; the verdict follows from the reason.
#[derive(Debug)]
struct Decisions([[AtomicU64; CacheUse::ALL.len()]; Reason::ALL.len()]);

impl Default for Decisions {
    fn default() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl Collector for Decisions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Decisions by verdict, reason and where the answer was found";
        let mut family = encoder.encode_descriptor("decisions", help, None, MetricType::Counter)?;
        for (reason, row) in Reason::ALL.into_iter().zip(&self.0) {
            for (cache, counter) in CacheUse::ALL.into_iter().zip(row) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    let verdict = if reason.permits() { "permit" } else { "deny" };
                    let labels = [("verdict", verdict), ("reason", reason.code()), ("cache", cache.name())];
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Bundle(ArcSwapOption<Arc<str>>);

impl Collector for Bundle {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(bundle) = self.0.load_full() else { return Ok(()) };
        let help = "The policy bundle that decides";
        let mut family = encoder.encode_descriptor("policy_bundle", help, None, MetricType::Info)?;
        let labels: Labels = vec![("bundle", bundle.to_string())];
        family.encode_info(&labels)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_family_appears_under_its_contracted_name() {
        let metrics = Metrics::new(&[("cedar", "4".to_owned())]);
        metrics.decision(Reason::Role, CacheUse::Row);
        metrics.decision(Reason::Role, CacheUse::Row);
        metrics.decision(Reason::Deactivated, CacheUse::None);
        metrics.scim_request("users.create", 201);
        metrics.ledger_revision(42);
        metrics.policy_bundle(Arc::from("b3f0"));
        metrics.policy_bundle(Arc::from("c4a1"));
        metrics.policy_error();
        metrics.log_lost().inc();
        let gate = metrics.listener("gate");
        gate.answered(200, Duration::from_micros(80));
        gate.answered(404, Duration::from_millis(80));
        gate.begin();

        let text = metrics.render().unwrap();
        let expected = [
            "cedargate_build_info{version=\"0.1.0\",cedar=\"4\"} 1",
            "cedargate_decisions_total{verdict=\"permit\",reason=\"role\",cache=\"row\"} 2",
            "cedargate_decisions_total{verdict=\"deny\",reason=\"deactivated\",cache=\"none\"} 1",
            "cedargate_scim_requests_total{operation=\"users.create\",status=\"201\"} 1",
            "cedargate_ledger_revision 42",
            "cedargate_policy_bundle_info{bundle=\"c4a1\"} 1",
            "cedargate_policy_errors_total 1",
            "cedargate_log_lost_total 1",
            "cedargate_http_requests_total{listener=\"gate\",status=\"200\"} 1",
            "cedargate_http_requests_total{listener=\"gate\",status=\"404\"} 1",
            "cedargate_http_requests_in_flight{listener=\"gate\"} 1",
            "cedargate_http_request_duration_seconds_count{listener=\"gate\"} 2",
        ];
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains("b3f0"), "the bundle before is gone");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_listener_has_one_set_of_counters() {
        let metrics = Metrics::new(&[]);
        assert!(Arc::ptr_eq(&metrics.listener("gate"), &metrics.listener("gate")));
        assert!(!Arc::ptr_eq(&metrics.listener("gate"), &metrics.listener("ops")));
    }

    #[test]
    fn every_reason_has_its_own_counter() {
        let metrics = Metrics::new(&[]);
        for reason in Reason::ALL {
            metrics.decision(reason, CacheUse::Miss);
        }
        let text = metrics.render().unwrap();
        for reason in Reason::ALL {
            let label = format!("reason=\"{}\",cache=\"miss\"}} 1", reason.code());
            assert!(text.contains(&label), "{label}");
        }
    }
}
