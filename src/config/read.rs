//! Which settings there are, their defaults, and what must hold between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::gate;
use super::reader::Reader;
use super::source::Raw;
use super::value::{self, Parsed};
use super::{
    Config, DecisionConfig, Faults, Listener, Listeners, PolicyWatch, ScimConfig, StoreLocation, UsernameChange,
};
use crate::gate::authzen::PublicUrl;
use crate::gate::credentials::GateConfig;
use crate::http::server::{Limits, ListenerAddress};
use crate::telemetry::log::{LogConfig, LogFormat, check_filter};

pub(super) fn config(mut reader: Reader) -> Result<Config, Faults> {
    let listeners = listeners(&mut reader);
    let gate = gate::gate(&mut reader);
    check_listeners(&mut reader, &listeners, &gate);
    let data = reader.path("data.folder", "cedargate-data");
    let store = store(&mut reader, &data);
    let policies = reader.optional_path("policies.folder");
    let watch = PolicyWatch {
        watch: reader.boolean("policies.watch", true),
        poll: reader.duration("policies.poll", Duration::from_secs(10)),
    };
    let scim = scim(&mut reader);
    let decision = DecisionConfig {
        cache_entries: reader.number("decision.cache_entries", 200_000, 0, 100_000_000),
        strict_hosts: reader.boolean("decision.strict_hosts", false),
        self_check_every: reader.number("decision.self_check_every", 1_000, 0, u64::MAX),
    };
    let tokens = super::token::token(&mut reader);
    let log = log(&mut reader);
    let settings = reader.finish()?;
    Ok(Config { listeners, data, store, policies, watch, scim, gate, decision, tokens, log, settings })
}

fn listeners(reader: &mut Reader) -> Listeners {
    let usual = Limits::default();
    let gate = Limits {
        requests: 4096,
        handler_deadline: Duration::from_secs(5),
        queue_delay: Duration::from_millis(100),
        ..usual.clone()
    };
    let ops = Limits { connections: 256, requests: 64, ..usual.clone() };
    Listeners {
        front: listener(reader, "front", 8080, &usual),
        gate: listener(reader, "gate", 8181, &gate),
        gate_socket: reader.optional_path("gate.socket"),
        gate_public_url: reader.optional("gate.public_url", public_url, ToString::to_string),
        ops: listener(reader, "ops", 9191, &ops),
    }
}

fn listener(reader: &mut Reader, name: &str, port: u16, limits: &Limits) -> Listener {
    let address = reader.address(&format!("{name}.address"), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let tls = super::tls::tls(reader, name);
    Listener { address: ListenerAddress::Tcp(address), tls, limits: read_limits(reader, name, limits) }
}

fn public_url(raw: &Raw) -> Parsed<PublicUrl> {
    let text = value::text(raw)?;
    PublicUrl::parse(&text).map_err(|wrong| format!("is {text:?}; it {wrong}"))
}

fn read_limits(reader: &mut Reader, name: &str, default: &Limits) -> Limits {
    const GIB: u64 = 1 << 30;
    let key = |limit: &str| format!("{name}.limits.{limit}");
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let least_header = Limits::LEAST_HEADER_BYTES as u64;
    Limits {
        connections: whole(reader.number(&key("connections"), default.connections as u64, 1, 1_000_000)),
        requests: whole(reader.number(&key("requests"), default.requests as u64, 1, 1_000_000)),
        header_bytes: whole(reader.size(&key("header_bytes"), default.header_bytes as u64, least_header, 1 << 20)),
        headers: whole(reader.number(&key("headers"), default.headers as u64, 8, 1000)),
        header_deadline: reader.duration(&key("header_deadline"), default.header_deadline),
        body_bytes: reader.size(&key("body_bytes"), default.body_bytes, 1024, GIB),
        body_memory: reader.size(&key("body_memory"), default.body_memory, 1 << 20, 64 * GIB),
        waiting_bodies: whole(reader.number(&key("waiting_bodies"), default.waiting_bodies as u64, 1, 1_000_000)),
        body_deadline: reader.duration(&key("body_deadline"), default.body_deadline),
        stream_bytes: reader.size(&key("stream_bytes"), default.stream_bytes, 1024, 1024 * GIB),
        handler_deadline: reader.duration(&key("handler_deadline"), default.handler_deadline),
        queue_delay: reader.duration(&key("queue_delay"), default.queue_delay),
        idle: reader.duration(&key("idle"), default.idle),
        write_stall: reader.duration(&key("write_stall"), default.write_stall),
        drain: reader.duration(&key("drain"), default.drain),
        streams: u32::try_from(reader.number(&key("streams"), u64::from(default.streams), 1, 10_000)).unwrap_or(1),
        pending_resets: whole(reader.number(&key("pending_resets"), default.pending_resets as u64, 1, 10_000)),
    }
}

/// What must hold between the listeners: nothing open to the network without a credential, no address twice.
fn check_listeners(reader: &mut Reader, listeners: &Listeners, gate: &GateConfig) {
    let named = [
        ("front.address", &listeners.front.address),
        ("gate.address", &listeners.gate.address),
        ("ops.address", &listeners.ops.address),
    ];
    if let ListenerAddress::Tcp(address) = &listeners.gate.address
        && !address.ip().is_loopback()
        && gate.credentials.is_empty()
    {
        let message = "can be reached from outside this machine, and nothing says who may ask: set \
                       gate.credential_file or gate.credentials, or bind 127.0.0.1 or gate.socket";
        reader.fault("gate.address", message);
    }
    for (index, (key, address)) in named.iter().enumerate() {
        let earlier = named.iter().take(index).find(|(_, other)| other == address && has_fixed_port(address));
        if let Some((other, _)) = earlier {
            reader.fault(key, format!("is the same as {other}; each listener needs its own"));
        }
    }
}

const fn has_fixed_port(address: &ListenerAddress) -> bool {
    match address {
        ListenerAddress::Tcp(address) => address.port() != 0,
        ListenerAddress::Unix(_) => true,
    }
}

fn store(reader: &mut Reader, data: &Path) -> StoreLocation {
    let default = data.to_path_buf();
    let parse = |raw: &Raw| {
        let location = value::text(raw)?;
        match location.split_once("://") {
            // The address is not repeated: it may hold a password.
            Some(("postgres" | "postgresql", _)) => {
                Err("is a PostgreSQL address, which this version cannot use yet; leave it out to use SQLite".to_owned())
            }
            Some((scheme, _)) => {
                Err(format!("has the scheme {scheme}; write the folder of a SQLite ledger or leave it out"))
            }
            None => Ok(PathBuf::from(location)),
        }
    };
    StoreLocation::Sqlite(reader.take("store.location", default, parse, |path| path.display().to_string()))
}

fn scim(reader: &mut Reader) -> ScimConfig {
    let parse = |raw: &Raw| {
        let url = value::text(raw)?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let is_plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte));
        match rest {
            Some(rest) if !rest.starts_with('/') && !rest.is_empty() && is_plain(rest) => {
                Ok(url.trim_end_matches('/').to_owned())
            }
            Some(_) | None => Err(format!("is {url:?}; write a plain address such as https://auth.example.com")),
        }
    };
    let words = [("alias", UsernameChange::Alias), ("reject", UsernameChange::Reject)];
    ScimConfig {
        public_url: reader.optional("scim.public_url", parse, Clone::clone),
        schemas: reader.optional_path("scim.schemas"),
        username_change: reader.choice("scim.username_change", UsernameChange::default(), &words),
        event_count: reader.number("scim.event_count", 100_000, 100, 100_000_000),
        event_days: u32::try_from(reader.number("scim.event_days", 90, 1, 3_650)).unwrap_or(u32::MAX),
    }
}

fn log(reader: &mut Reader) -> LogConfig {
    let default = LogConfig::default();
    let parse = |raw: &Raw| {
        let filter = value::text(raw)?;
        check_filter(&filter).map(|()| filter).map_err(|cause| format!("cannot be used: {cause}"))
    };
    let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("plain", LogFormat::Plain)];
    LogConfig {
        filter: reader.take("log.filter", default.filter, parse, Clone::clone),
        format: reader.choice("log.format", default.format, &formats),
    }
}
