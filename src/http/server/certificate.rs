//! The names in a client certificate and its last moment, once the handshake has verified it. Verifies nothing itself.

use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::http::ClientCertificate;

/// Its names and its end; `None` for what is no certificate. Wildcards name nobody and are left out.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    Some(ClientCertificate {
        uris: parsed.valid_uri_names().map(str::to_owned).collect(),
        dns_names: parsed.valid_dns_names().filter(|name| !name.contains('*')).map(str::to_owned).collect(),
        subject: subject(parsed.subject()).unwrap_or_default(),
        not_after: not_after(certificate)?,
    })
}

/// The end of a certificate's validity (RFC 5280 section 4.1): the sixth part of what is signed, or the fifth where the
/// version is left out.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let (mut signed, _) = element(outer, SEQUENCE)?;
    if let Some((_version, rest)) = element(signed, VERSION) {
        signed = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        // Serial number, algorithm, issuer.
        (_, signed) = element(signed, tag)?;
    }
    let (validity, _) = element(signed, SEQUENCE)?;
    let (_begin, end) = time(validity)?;
    let (end, _) = time(end)?;
    Some(end)
}

/// A moment in UTC in milliseconds since 1970, to its last millisecond, and what follows it (RFC 5280 section 4.1.2.5).
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest) = match element(der, GENERALIZED_TIME) {
        Some((text, rest)) => (std::str::from_utf8(text).ok()?.to_owned(), rest),
        None => {
            let (text, rest) = element(der, UTC_TIME)?;
            let text = std::str::from_utf8(text).ok()?;
            let century = if text.get(..2)? < "50" { "20" } else { "19" };
            (format!("{century}{text}"), rest)
        }
    };
    let moment = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some((moment.as_millisecond() + 999, rest))
}

/// A distinguished name without its outer tag, as RFC 4514 section 2 writes it: the last part first. `None` where
/// a value is no text.
fn subject(mut der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (set, rest) = element(der, SET)?;
        der = rest;
        let mut set = set;
        let mut together = Vec::new();
        while !set.is_empty() {
            let (pair, rest) = element(set, SEQUENCE)?;
            set = rest;
            let (kind, value) = element(pair, OBJECT_IDENTIFIER)?;
            together.push(format!("{}={}", attribute(kind), escaped(text(value)?)));
        }
        parts.push(together.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

const SET: u8 = 0x31;
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The contents of a DER element of this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(one, rest)| (usize::from(*one), rest))?,
        0x82 => {
            let ([high, low], rest) = rest.split_first_chunk::<2>()?;
            (usize::from(*high) << 8 | usize::from(*low), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// UTF8String, PrintableString and IA5String; the older kinds are not read.
fn text(value: &[u8]) -> Option<&str> {
    let tag = *value.first()?;
    if !matches!(tag, 0x0c | 0x13 | 0x16) {
        return None;
    }
    let (bytes, rest) = element(value, tag)?;
    if rest.is_empty() { std::str::from_utf8(bytes).ok() } else { None }
}

/// RFC 4514 section 3 names; any other type by its dotted number.
fn attribute(identifier: &[u8]) -> String {
    match identifier {
        [0x55, 0x04, 0x03] => "CN".into(),
        [0x55, 0x04, 0x06] => "C".into(),
        [0x55, 0x04, 0x07] => "L".into(),
        [0x55, 0x04, 0x08] => "ST".into(),
        [0x55, 0x04, 0x09] => "STREET".into(),
        [0x55, 0x04, 0x0a] => "O".into(),
        [0x55, 0x04, 0x0b] => "OU".into(),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC".into(),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID".into(),
        other => dotted(other),
    }
}

fn dotted(identifier: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in identifier {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first.to_string());
                number -= first * 40;
            }
            numbers.push(number.to_string());
            number = 0;
        }
    }
    numbers.join(".")
}

/// RFC 4514 section 2.4.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, character) in value.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=')
            || (character == '#' && at == 0)
            || (character == ' ' && (at == 0 || at == last));
        if special {
            text.push('\\');
        }
        if character == '\0' { text.push_str("\\00") } else { text.push(character) }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_read_as_they_stand_there() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
        params.distinguished_name.push(DnType::CommonName, "gate way");
        params.subject_alt_names = vec![
            SanType::URI("spiffe://example.com/gateway".try_into().unwrap()),
            SanType::DnsName("gateway.example.com".try_into().unwrap()),
            SanType::DnsName("*.example.com".try_into().unwrap()),
        ];
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = names(certificate.der()).unwrap();
        assert_eq!(names.uris, ["spiffe://example.com/gateway"]);
        assert_eq!(names.dns_names, ["gateway.example.com"]);
        assert_eq!(names.subject, r"CN=gate way,O=Example\, Inc.");
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        let end = |year: i32| {
            let mut params = CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, 2, 28);
            names(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap().not_after
        };
        // Up to 2049 in two digits, from 2050 on in four.
        assert_eq!(end(2030), 1_898_467_200_999);
        assert_eq!(end(2060), 2_845_152_000_999);
        let utc =
            |text: &str| time(&[&[0x17, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()).map(|at| at.0);
        assert_eq!(utc("700101000000Z"), Some(999));
        for wrong in ["7001010000Z", "700101000000", "701301000000Z", "\u{e9}00101000000Z", ""] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_name_reads_as_none() {
        for der in [&[0x31][..], &[0x31, 0x05, 0x30], &[0x30, 0x00], &[0x31, 0x84, 1, 1, 1, 1], &[0x31, 0x02, 0x30, 9]]
        {
            assert_eq!(subject(der), None, "{der:x?}");
        }
        assert_eq!(subject(&[]).as_deref(), Some(""));
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_none());
    }

    #[test]
    fn types_without_a_name_are_dotted_and_specials_escaped() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01]), "1.2.840.113549.1.9.1");
        assert_eq!(escaped("#a=b #"), r"\#a\=b #");
        assert_eq!(escaped(" a\0 "), r"\ a\00\ ");
    }
}
