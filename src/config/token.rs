//! `token`: whose tokens are believed, and whom tokens and certificates name.

use std::time::Duration;

use super::reader::Reader;
use super::source::Raw;
use super::value;
use crate::token::{ALGORITHMS, IssuerConfig, KeyPlace, NamedBy, PrincipalRule, TokenConfig};

pub(super) fn token(reader: &mut Reader) -> TokenConfig {
    TokenConfig {
        issuers: (0..reader.parts("token.issuers")).filter_map(|index| issuer(reader, index)).collect(),
        principals: (0..reader.parts("token.principals")).filter_map(|index| principal(reader, index)).collect(),
    }
}

fn issuer(reader: &mut Reader, index: usize) -> Option<IssuerConfig> {
    let part = format!("token.issuers.{index}");
    let key = |name: &str| format!("{part}.{name}");
    let algorithms = |raw: &Raw| {
        let list = some(raw)?;
        match list.iter().find(|name| !ALGORITHMS.contains(&name.as_str())) {
            Some(name) => Err(format!("names {name}; write some of {}", ALGORITHMS.join(", "))),
            None => Ok(list),
        }
    };
    let joined = |list: &Vec<String>| list.join(", ");
    let name = reader.required(&key("issuer"), value::text, Clone::clone);
    let audiences = reader.required(&key("audiences"), some, joined);
    let algorithms = reader.required(&key("algorithms"), algorithms, joined);
    let claim = reader.text(&key("subject"), "sub");
    let person = named_by(reader, &part);
    let types = reader.take(&key("types"), vec!["JWT".to_owned(), "at+jwt".to_owned()], some, joined);
    let longest_life = time(reader, &key("longest_life"), Duration::from_secs(24 * 3600));
    let keys = keys(reader, &part);
    Some(IssuerConfig {
        issuer: name?,
        audiences: audiences?,
        algorithms: algorithms?,
        keys: keys?,
        claim,
        person: person?,
        types,
        longest_life,
    })
}

fn keys(reader: &mut Reader, part: &str) -> Option<KeyPlace> {
    let key = |name: &str| format!("{part}.{name}");
    let file = reader.optional_path(&key("jwks_file"));
    let url = reader.optional(&key("jwks_url"), key_address, Clone::clone);
    let authorities = reader.optional_path(&key("jwks_authorities"));
    let refresh = time(reader, &key("jwks_refresh"), Duration::from_secs(300));
    let longest_stale = time(reader, &key("jwks_longest_stale"), Duration::from_secs(4 * 3600));
    match (file, url) {
        (Some(file), None) => Some(KeyPlace::File(file)),
        (None, Some(url)) => Some(KeyPlace::Url { url, authorities, refresh, longest_stale }),
        (Some(_), Some(_)) | (None, None) => {
            reader.fault(part, "needs its keys from one place: jwks_file or jwks_url");
            None
        }
    }
}

fn principal(reader: &mut Reader, index: usize) -> Option<PrincipalRule> {
    let part = format!("token.principals.{index}");
    let prefix = reader.required(&format!("{part}.prefix"), value::text, Clone::clone);
    let by = named_by(reader, &part);
    Some(PrincipalRule { prefix: prefix?, by: by? })
}

/// `person`, and `connection` where that is `external_id`.
fn named_by(reader: &mut Reader, part: &str) -> Option<NamedBy> {
    let words = [("username", 0), ("id", 1), ("external_id", 2)];
    let word = reader.choice(&format!("{part}.person"), 0, &words);
    let connection = reader.optional(&format!("{part}.connection"), value::text, Clone::clone);
    match (word, connection) {
        (0, None) => Some(NamedBy::Username),
        (1, None) => Some(NamedBy::Id),
        (2, Some(connection)) => Some(NamedBy::ExternalId { connection: connection.into() }),
        (2, None) => {
            let message = "is external_id, which belongs to one connection; set connection to its id \
                           (`cedargate connection list`)";
            reader.fault(&format!("{part}.person"), message);
            None
        }
        (_, _) => {
            reader.fault(
                &format!("{part}.connection"),
                "says whose externalId is meant; set person = \"external_id\" as well",
            );
            None
        }
    }
}

fn some(raw: &Raw) -> value::Parsed<Vec<String>> {
    let list = value::texts(raw)?;
    if list.is_empty() { Err("is empty; write at least one".to_owned()) } else { Ok(list) }
}

/// From a second to thirty days.
fn time(reader: &mut Reader, key: &str, default: Duration) -> Duration {
    let parse = |raw: &Raw| value::duration(raw, Duration::from_secs(1), Duration::from_secs(30 * 24 * 3600));
    reader.take(key, default, parse, |duration| value::show_duration(*duration))
}

/// `https` anywhere, `http` to this machine: keys must not be forged on the way.
fn key_address(raw: &Raw) -> value::Parsed<String> {
    let url = value::text(raw)?;
    let host = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        host.map_or(authority, |(host, _)| host).to_owned()
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"@#\\\"".contains(&byte));
    let good = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => plain(rest) && !host(rest).is_empty(),
        (None, Some(rest)) => plain(rest) && ["localhost", "127.0.0.1", "[::1]"].contains(&host(rest).as_str()),
        (None, None) => false,
    };
    if good {
        Ok(url)
    } else {
        Err("is not an https address (or an http address of this machine: localhost, 127.0.0.1, [::1]) without user \
             and fragment; keys must not be forged on the way"
            .to_owned())
    }
}
