//! The gate's settings: who may ask, in which dialect, and how their questions are read.

use std::path::Path;

use super::reader::Reader;
use super::source::Raw;
use super::value::{self, Parsed};
use crate::domain::Channel;
use crate::gate::credentials::{CallerSource, Credential, Dialect, GateConfig, Manner, Network};
use crate::http::header::HeaderName;
use crate::token::SharedToken;

/// A shorter token can be guessed.
const SHORTEST_TOKEN: usize = 32;

/// Everything below `gate` that is not the listener's.
pub(super) fn gate(reader: &mut Reader) -> GateConfig {
    let manner = manner(reader, "gate", &Manner::default());
    let strip = |raw: &Raw| value::texts(raw)?.iter().map(|name| header(name)).collect();
    let shown = |names: &Vec<HeaderName>| names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    let strip_headers = reader.take("gate.strip_headers", Vec::new(), strip, shown);
    let mut credentials: Vec<Credential> = (0..reader.parts("gate.credentials"))
        .filter_map(|index| credential(reader, &format!("gate.credentials.{index}"), &manner))
        .collect();
    let tokens = tokens(reader, "gate.credential_file");
    if !tokens.is_empty() {
        let (name, manner) = ("gate.credential_file".to_owned(), manner.clone());
        credentials.push(Credential { tokens, manner, ..nothing(name) });
    }
    GateConfig { credentials, manner, strip_headers }
}

fn nothing(name: String) -> Credential {
    Credential {
        name,
        tokens: Vec::new(),
        certificate: None,
        socket_user: None,
        addresses: Vec::new(),
        dialects: Vec::new(),
        manner: Manner::default(),
    }
}

fn credential(reader: &mut Reader, key: &str, default: &Manner) -> Option<Credential> {
    let dialect = |raw: &Raw| words(raw, Dialect::parse, &Dialect::ALL.map(Dialect::name).join(", "));
    let shown = |dialects: &Vec<Dialect>| dialects.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    let network = |raw: &Raw| words(raw, |word| Some((word.to_owned(), Network::parse(word)?)), "10.0.0.0/8, ::1");
    let shown_networks = |networks: &Vec<(String, Network)>| {
        networks.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(", ")
    };
    let user =
        |raw: &Raw| value::number(raw, 0, u64::from(u32::MAX)).map(|user| u32::try_from(user).unwrap_or(u32::MAX));

    let name = reader.required(&format!("{key}.name"), value::text, Clone::clone);
    let file = format!("{key}.token_file");
    let has_file = reader.has(&file);
    let credential = Credential {
        tokens: tokens(reader, &file),
        certificate: reader.optional(&format!("{key}.certificate"), value::text, Clone::clone),
        socket_user: reader.optional(&format!("{key}.socket_user"), user, ToString::to_string),
        addresses: reader
            .take(&format!("{key}.addresses"), Vec::new(), network, shown_networks)
            .into_iter()
            .map(|(_, network)| network)
            .collect(),
        dialects: reader.take(&format!("{key}.dialects"), Vec::new(), dialect, shown),
        manner: manner(reader, key, default),
        ..nothing(name?)
    };
    // A file that cannot be read is a fault of its own; without its tokens the credential must not count.
    if !credential.proves_something() && !has_file {
        reader.fault(key, "asks for no proof; set token_file, certificate, socket_user or addresses");
    }
    Some(credential)
}

fn manner(reader: &mut Reader, key: &str, default: &Manner) -> Manner {
    let source = |raw: &Raw| {
        let known = "authorization, principal, jwt-metadata, consumer, header:NAME";
        let sources = words(raw, CallerSource::parse, known)?;
        if sources.is_empty() { Err(format!("is empty; write some of {known}")) } else { Ok(sources) }
    };
    let word = |source: &CallerSource| match source {
        CallerSource::Authorization => "authorization".to_owned(),
        CallerSource::Header(name) => format!("header:{name}"),
        CallerSource::Principal => "principal".to_owned(),
        CallerSource::JwtMetadata => "jwt-metadata".to_owned(),
        CallerSource::Consumer => "consumer".to_owned(),
    };
    let shown = |sources: &Vec<CallerSource>| sources.iter().map(word).collect::<Vec<_>>().join(", ");
    Manner {
        channel: reader.choice(
            &format!("{key}.channel"),
            default.channel,
            &[("api", Channel::Api), ("dashboard", Channel::Dashboard)],
        ),
        caller: reader.take(&format!("{key}.caller"), default.caller.clone(), source, shown),
        explain: reader.boolean(&format!("{key}.explain"), default.explain),
    }
}

fn words<T>(raw: &Raw, parse: impl Fn(&str) -> Option<T>, known: &str) -> Parsed<Vec<T>> {
    value::texts(raw)?
        .iter()
        .map(|word| parse(word).ok_or_else(|| format!("holds {word:?}; write some of {known}")))
        .collect()
}

fn header(name: &str) -> Parsed<HeaderName> {
    name.parse().map_err(|_| format!("holds {name:?}, which is not the name of a header"))
}

/// The tokens in the file that a setting names, one a line, any of which will do; none where it names none.
fn tokens(reader: &mut Reader, key: &str) -> Vec<SharedToken> {
    let Some(path) = reader.optional_path(key) else { return Vec::new() };
    read_tokens(&path).unwrap_or_else(|message| {
        reader.fault(key, message);
        Vec::new()
    })
}

fn read_tokens(path: &Path) -> Result<Vec<SharedToken>, String> {
    let text = std::fs::read_to_string(path).map_err(|cause| format!("{} cannot be read: {cause}", path.display()))?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(format!("{} is empty; write a token into it", path.display()));
    }
    if lines.iter().any(|line| line.len() < SHORTEST_TOKEN) {
        return Err(format!(
            "{} has a token of fewer than {SHORTEST_TOKEN} characters; write a longer, random one",
            path.display()
        ));
    }
    Ok(lines.into_iter().map(SharedToken::new).collect())
}
