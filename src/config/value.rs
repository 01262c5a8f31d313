//! How values are written: durations, sizes, addresses, lists. Each parser answers with the sentence that says what to write instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::source::Raw;

/// A parsed value, or what to write instead.
pub(super) type Parsed<T> = Result<T, String>;

pub(super) fn text(raw: &Raw) -> Parsed<String> {
    match raw {
        Raw::Text(text) if text.trim().is_empty() => Err("is empty; write a value or leave it out".to_owned()),
        Raw::Text(text) => Ok(text.clone()),
        Raw::Integer(_) | Raw::Boolean(_) | Raw::List(_) | Raw::Empty | Raw::Other(_) => {
            Err(format!("is {}; write a text in quotes", kind(raw)))
        }
    }
}

pub(super) fn boolean(raw: &Raw) -> Parsed<bool> {
    match raw {
        Raw::Boolean(flag) => Ok(*flag),
        Raw::Text(text) if text == "true" => Ok(true),
        Raw::Text(text) if text == "false" => Ok(false),
        Raw::Text(_) | Raw::Integer(_) | Raw::List(_) | Raw::Empty | Raw::Other(_) => {
            Err(format!("is {}; write true or false", kind(raw)))
        }
    }
}

pub(super) fn number(raw: &Raw, least: u64, most: u64) -> Parsed<u64> {
    let number = match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Text(text) => text.parse().ok(),
        Raw::Boolean(_) | Raw::List(_) | Raw::Empty | Raw::Other(_) => None,
    };
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("is {}; write a whole number from {least} to {most}", kind(raw)))
}

/// `64 KiB`, `1MiB`, `1048576`.
pub(super) fn size(raw: &Raw, least: u64, most: u64) -> Parsed<u64> {
    let bytes = match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Text(text) => with_unit(text, &[("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]),
        Raw::Boolean(_) | Raw::List(_) | Raw::Empty | Raw::Other(_) => None,
    };
    bytes.filter(|bytes| (least..=most).contains(bytes)).ok_or_else(|| {
        format!("is {}; write a size from {} to {}, such as 64KiB", kind(raw), show_size(least), show_size(most))
    })
}

/// `8s`, `500ms`, `2m`, `1h`.
pub(super) fn duration(raw: &Raw, least: Duration, most: Duration) -> Parsed<Duration> {
    let duration = match raw {
        Raw::Text(text) => with_unit(text, &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]),
        Raw::Integer(_) | Raw::Boolean(_) | Raw::List(_) | Raw::Empty | Raw::Other(_) => None,
    };
    duration.map(Duration::from_millis).filter(|duration| (least..=most).contains(duration)).ok_or_else(|| {
        let (least, most) = (show_duration(least), show_duration(most));
        format!("is {}; write a time from {least} to {most}, such as 8s or 500ms", kind(raw))
    })
}

/// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`. Names are not looked up; a lone port does not say who may come in.
pub(super) fn address(raw: &Raw) -> Parsed<SocketAddr> {
    let text = text(raw)?;
    let parsed = match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| {
        format!(
            "is {text:?}; write an IP address and a port, such as 127.0.0.1:8080 (or 0.0.0.0:8080 for every interface)"
        )
    })
}

/// A list of texts; in the environment they are separated by commas.
pub(super) fn texts(raw: &Raw) -> Parsed<Vec<String>> {
    match raw {
        Raw::List(items) => items.iter().map(text).collect(),
        Raw::Text(all) => {
            Ok(all.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
        }
        Raw::Integer(_) | Raw::Boolean(_) | Raw::Empty | Raw::Other(_) => {
            Err(format!("is {}; write a list of texts", kind(raw)))
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(raw: &Raw, choices: &[(&str, T)]) -> Parsed<T> {
    let word = text(raw)?;
    choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("is {word:?}; write one of {}", names.join(", "))
    })
}

pub(super) fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let unit = units.into_iter().find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{milliseconds}ms"), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

/// The known key that was probably meant: the nearest, where it is near.
pub(super) fn did_you_mean<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or("").to_owned();
    known
        .map(|candidate| {
            // The right word in the wrong section is a near miss as well.
            let distance = if last(candidate) == last(key) { 1 } else { edits(key, candidate) };
            (distance, candidate)
        })
        .min()
        .filter(|(distance, _)| *distance <= 1 + key.len() / 6)
        .map(|(_, candidate)| candidate)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Levenshtein's distance.
fn edits(one: &str, two: &str) -> usize {
    let mut row: Vec<usize> = (0..=two.chars().count()).collect();
    for (index, from) in one.chars().enumerate() {
        let (mut diagonal, mut left) = (index, index + 1);
        for (cell, to) in row.iter_mut().skip(1).zip(two.chars()) {
            let above = *cell;
            left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn kind(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) => format!("{text:?}"),
        Raw::Integer(number) => number.to_string(),
        Raw::Boolean(flag) => flag.to_string(),
        Raw::List(_) => "a list".to_owned(),
        Raw::Empty => "a section".to_owned(),
        Raw::Other(name) => format!("a value of the kind {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn sizes_and_durations_read_back_as_they_are_shown() {
        for bytes in [1, 1000, 1024, 65_536, 1 << 30, (1 << 30) + 1] {
            assert_eq!(size(&raw(&show_size(bytes)), 0, u64::MAX), Ok(bytes));
        }
        for milliseconds in [1, 999, 1000, 1500, 60_000, 90_000, 3_600_000] {
            let time = Duration::from_millis(milliseconds);
            assert_eq!(duration(&raw(&show_duration(time)), Duration::ZERO, Duration::MAX), Ok(time));
        }
    }

    #[test]
    fn what_is_not_a_size_or_a_time_is_refused() {
        for bad in ["", "KiB", "-1", "1KB", "1.5MiB", "99999999999GiB", "1 2"] {
            assert!(size(&raw(bad), 0, u64::MAX).is_err(), "{bad}");
        }
        for bad in ["", "8", "s", "-8s", "8 seconds", "1d"] {
            assert!(duration(&raw(bad), Duration::ZERO, Duration::MAX).is_err(), "{bad}");
        }
        let long = "99999999999999999999s";
        assert!(duration(&raw(long), Duration::ZERO, Duration::MAX).is_err());
    }

    #[test]
    fn an_address_names_its_interface() {
        assert_eq!(address(&raw("localhost:80")), Ok("127.0.0.1:80".parse().unwrap()));
        assert!(address(&raw("[::1]:0")).is_ok());
        for bad in [":8080", "8080", "example.com:80", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(address(&raw(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn edits_are_counted_as_levenshtein_does() {
        assert_eq!((edits("kitten", "sitting"), edits("", "abc"), edits("same", "same")), (3, 3, 0));
    }
}
