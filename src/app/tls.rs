//! The certificates of the listeners: loaded before anything is bound, renewed while they serve.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::StartError;
use crate::config::Config;
use crate::http::server::Tls;
use crate::telemetry::Health;

/// How often the files are looked at, besides at each SIGHUP: what renews certificates seldom sends signals.
const GLANCE: Duration = Duration::from_secs(30);

/// The listeners that speak TLS, by name.
pub(super) struct Certificates {
    listeners: Vec<(&'static str, Arc<Tls>)>,
    refused: Mutex<Result<(), String>>,
}

impl Certificates {
    pub(super) fn load(config: &Config) -> Result<Self, StartError> {
        let listeners = &config.listeners;
        let all = [("front", &listeners.front), ("gate", &listeners.gate), ("ops", &listeners.ops)];
        let mut loaded = Vec::new();
        for (name, listener) in all {
            if let Some(files) = &listener.tls {
                let tls = Tls::load(files.clone())
                    .map_err(|fault| StartError::Config(format!("{name}.tls cannot be used: {fault}")))?;
                loaded.push((name, Arc::new(tls)));
            }
        }
        Ok(Self { listeners: loaded, refused: Mutex::new(Ok(())) })
    }

    pub(super) fn of(&self, listener: &str) -> Option<Arc<Tls>> {
        self.listeners.iter().find(|(name, _)| *name == listener).map(|(_, tls)| Arc::clone(tls))
    }

    /// New certificates that cannot serve are told with the health; the earlier ones serve on meanwhile.
    pub(super) fn concern(self: &Arc<Self>, health: Health) -> Health {
        let certificates = Arc::clone(self);
        health.concern("certificates", move || certificates.last_refusal())
    }

    fn last_refusal(&self) -> Result<(), String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads all files again. Whatever cannot serve leaves the old in service.
    fn renew(&self) {
        let mut outcome = Ok(());
        for (listener, tls) in &self.listeners {
            match tls.renew() {
                Ok(true) => tracing::info!(listener, "new certificates serve"),
                Ok(false) => {}
                Err(fault) => outcome = Err(format!("{listener}: {fault}; the earlier certificate serves on")),
            }
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(cause) = &outcome
            && *refused != outcome
        {
            tracing::error!(cause, "new certificates cannot serve");
        }
        *refused = outcome;
    }
}

/// Renews at every SIGHUP and every now and then, for ever.
pub(super) async fn keep_renewing(certificates: Arc<Certificates>) {
    if certificates.listeners.is_empty() {
        return;
    }
    let hangup = tokio::signal::unix::SignalKind::hangup();
    let Ok(mut signals) = tokio::signal::unix::signal(hangup) else { return };
    loop {
        tokio::select! {
            told = signals.recv() => if told.is_none() { return },
            () = tokio::time::sleep(GLANCE) => {}
        }
        let certificates = Arc::clone(&certificates);
        // Files may lie on a slow disk: never on a thread that answers.
        let _done = tokio::task::spawn_blocking(move || certificates.renew()).await;
    }
}
