//! The keys of token issuers: files are read, addresses asked, whatever comes is handed to `token`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::StatusCode;
use crate::http::client::Client;
use crate::telemetry::Health;
use crate::token::{Fetching, IssuerConfig, KeyPlace, KeySource, LARGEST_KEY_SET, Verifier};

/// An issuer that does not answer within this time is asked again later.
const DEADLINE: Duration = Duration::from_secs(5);

/// Checks the issuers of the settings; answers the verifier and where its keys come from.
pub(super) fn load(config: &Config, clock: &dyn Clock) -> Result<(Verifier, Places), StartError> {
    let mut faults = Vec::new();
    let mut places = HashMap::new();
    for issuer in &config.tokens.issuers {
        match place(issuer) {
            Ok(place) => drop(places.insert(issuer.issuer.clone(), place)),
            Err(cause) => faults.push(format!("token issuer `{}`: {cause}", issuer.issuer)),
        }
    }
    let verifier = Verifier::new(&config.tokens, clock.now())
        .map_err(|all| faults.extend(all.iter().map(ToString::to_string)))
        .unwrap_or_default();
    if faults.is_empty() { Ok((verifier, Places(places))) } else { Err(StartError::Config(faults.join("\n"))) }
}

/// The work of fetching keys, to begin when the server serves.
pub(super) struct Keeping {
    verifier: Arc<Verifier>,
    places: Arc<Places>,
    clock: Arc<dyn Clock>,
}

impl Keeping {
    pub(super) fn new(verifier: Arc<Verifier>, places: Places, clock: Arc<dyn Clock>) -> Self {
        Self { verifier, places: Arc::new(places), clock }
    }

    /// Keys that could not be renewed are told with the health: the issuer's fault, and no reason to send nobody here.
    pub(super) fn concern(&self, health: Health) -> Health {
        let verifier = Arc::clone(&self.verifier);
        health.concern("token keys", move || {
            let faults = verifier.key_faults();
            if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
        })
    }

    /// Fetches for ever.
    pub(super) fn spawn(self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.verifier.keep_keys(self.places, self.clock))
    }
}

/// Where the keys of each issuer are.
pub(super) struct Places(HashMap<String, Place>);

enum Place {
    File(PathBuf),
    Url { client: Client, path: String },
}

fn place(issuer: &IssuerConfig) -> Result<Place, String> {
    match &issuer.keys {
        KeyPlace::File(path) => Ok(Place::File(path.clone())),
        KeyPlace::Url { url, authorities, .. } => {
            let scheme = url.find("://").map_or(0, |at| at + 3);
            let end = url.get(scheme..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| scheme + at);
            let (base, path) = url.split_at_checked(end).unwrap_or((url, ""));
            let admits: fn(IpAddr) -> bool = if url.starts_with("https://") { is_public_or_private } else { is_here };
            let client = Client::reaching(base, authorities.as_deref(), admits).map_err(|error| error.to_string())?;
            let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
            Ok(Place::Url { client: client.deadline(DEADLINE).most(LARGEST_KEY_SET), path })
        }
    }
}

/// Keys over plain HTTP come from this machine or not at all, whatever a name resolves to today.
const fn is_here(address: IpAddr) -> bool {
    address.is_loopback()
}

/// Link-local addresses hold the credentials of cloud machines, the others nobody at all: no name may lead there.
const fn is_public_or_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !(address.is_link_local() || address.is_unspecified() || address.is_multicast() || address.is_broadcast())
        }
        IpAddr::V6(address) => !(address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast()),
    }
}

impl KeySource for Places {
    fn fetch<'a>(&'a self, issuer: &'a str) -> Fetching<'a> {
        Box::pin(async move {
            match self.0.get(issuer) {
                None => Err("nobody said where its keys are".to_owned()),
                Some(Place::File(path)) => read(path.clone()).await,
                Some(Place::Url { client, path }) => {
                    let reply = client.get(path).await.map_err(|error| error.to_string())?;
                    // A redirect is an answer like any other that is not the key set: it is not followed.
                    if reply.status != StatusCode::OK {
                        return Err(format!("its key set answers {}", reply.status));
                    }
                    Ok(reply.body.to_vec())
                }
            }
        })
    }
}

async fn read(path: PathBuf) -> Result<Vec<u8>, String> {
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || {
        use std::io::Read as _;
        let mut text = Vec::new();
        std::fs::File::open(path)?.take(LARGEST_KEY_SET as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    });
    let text: std::io::Result<Vec<u8>> = read.await.map_err(|error| error.to_string())?;
    text.map_err(|error| format!("{shown} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_no_address_that_a_forger_would_choose() {
        for bad in [
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
        ] {
            assert!(!is_public_or_private(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "10.0.0.1", "192.0.2.1", "::1", "2001:db8::1"] {
            assert!(is_public_or_private(good.parse().unwrap()), "{good}");
        }
        assert!(is_here("127.0.0.9".parse().unwrap()) && !is_here("10.0.0.1".parse().unwrap()));
    }
}
