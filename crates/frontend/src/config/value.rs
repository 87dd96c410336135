//! Text to value: the parsers that the keys share. Each failure completes the sentence
//! `<key>: "<text>" ...`.

use std::path::PathBuf;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::{Address, StartupModel, StartupModels};

/// A value, or the rest of the sentence that says what is wrong with the text.
pub(super) type Parsed<T> = Result<T, String>;

/// Largest value of the original's 32-bit settings.
pub(super) const INT_MAX: u64 = i32::MAX as u64;

/// `true` or `false` in any case.
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!("is not true or false{}", blank_hint(text)))
    }
}

/// A decimal number without blanks, within `least..=most`.
pub(super) fn whole(text: &str, least: u64, most: u64) -> Parsed<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u64>() {
        Ok(value) if is_decimal && (least..=most).contains(&value) => Ok(value),
        _ => Err(format!(
            "is not a whole number from {least} to {most}{}",
            blank_hint(text)
        )),
    }
}

/// [`whole`] for a 32-bit field; `most` fits by contract.
pub(super) fn whole_u32(text: &str, least: u32, most: u32) -> Parsed<u32> {
    whole(text, least.into(), most.into()).map(|value| value as u32)
}

/// A number of seconds, at least one.
pub(super) fn seconds(text: &str) -> Parsed<Duration> {
    whole(text, 1, INT_MAX)
        .map(Duration::from_secs)
        .map_err(|problem| problem.replace("whole number", "whole number of seconds"))
}

/// A port; 0 lets the kernel choose.
pub(super) fn port(text: &str) -> Parsed<u16> {
    whole(text, 0, u16::MAX.into()).map(|value| value as u16)
}

/// A host name or address, without a port.
pub(super) fn host(text: &str) -> Parsed<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let is_host = !bare.is_empty()
        && !bare.contains(['/', '[', ']'])
        && !bare.contains(char::is_whitespace)
        && (!bare.contains(':') || bare.parse::<std::net::Ipv6Addr>().is_ok());
    if is_host {
        Ok(bare.to_owned())
    } else {
        Err("is not a host: write a name or an address, and the port under its own key".to_owned())
    }
}

/// A number of milliseconds.
pub(super) fn milliseconds(text: &str, least: u64) -> Parsed<Duration> {
    whole(text, least, i64::MAX as u64).map(Duration::from_millis)
}

/// Text, or nothing when it is empty.
#[expect(
    clippy::unnecessary_wraps,
    reason = "one shape for every parser of a key"
)]
pub(super) fn optional_text(text: &str) -> Parsed<Option<String>> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// A path made absolute against the working directory, or nothing when it is empty.
pub(super) fn optional_path(text: &str) -> Parsed<Option<PathBuf>> {
    if text.is_empty() {
        return Ok(None);
    }
    std::path::absolute(text)
        .map(Some)
        .map_err(|error| format!("is not a usable path: {error}"))
}

/// A value for a response header.
pub(super) fn header_value(text: &str) -> Parsed<Option<String>> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        optional_text(text)
    } else {
        Err("is not a header value: only printable ASCII characters are allowed".to_owned())
    }
}

/// A pattern that has to match a whole text.
pub(super) fn full_match(pattern: &str, ignore_case: bool) -> Parsed<Regex> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .case_insensitive(ignore_case)
        .dot_matches_new_line(true)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "is too large a regular expression".to_owned(),
            _ => "is not a regular expression (look-around and back-references are not supported)"
                .to_owned(),
        })
}

/// Patterns separated by commas.
pub(super) fn url_patterns(text: &str) -> Parsed<Vec<Regex>> {
    text.split(',')
        .filter(|pattern| !pattern.is_empty())
        .map(|pattern| full_match(pattern, true))
        .collect()
}

/// `http://host[:port]`, `https://host[:port]` or `unix:/path`; the ports stand in for a missing
/// one.
pub(super) fn address(text: &str, plain_port: u16, tls_port: u16) -> Parsed<Address> {
    const FORM: &str =
        "is not an address: write http://host:port, https://host:port or unix:/absolute/path";
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("unix:") {
        let path = &text["unix:".len()..];
        return if path.starts_with('/') && path.len() > 1 {
            Ok(Address::Unix(PathBuf::from(path)))
        } else {
            Err(FORM.to_owned())
        };
    }
    let (tls, authority) = if lower.starts_with("http://") {
        (false, &text["http://".len()..])
    } else if lower.starts_with("https://") {
        (true, &text["https://".len()..])
    } else {
        return Err(FORM.to_owned());
    };
    let (host, after) = match authority.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .filter(|(host, _)| host.parse::<std::net::Ipv6Addr>().is_ok())
            .ok_or(FORM)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_host = !host.is_empty() && !host.contains(['/', ' ', '?', '#', '@']);
    let port = match after.strip_prefix(':') {
        _ if !is_host => return Err(FORM.to_owned()),
        Some(digits) => port(digits)
            .map_err(|_| format!("has the invalid port \"{digits}\" (0 to {})", u16::MAX))?,
        None if after.is_empty() && tls => tls_port,
        None if after.is_empty() => plain_port,
        None => return Err(FORM.to_owned()),
    };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
        tls,
    })
}

/// `load_models` and `--models`: `all`, `none`, or `[name=]location` separated by commas.
pub(super) fn startup_models(text: &str) -> Parsed<StartupModels> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("all") {
        return Ok(StartupModels::All);
    }
    // The original's documentation gives `standalone` as the word for "no models".
    if text.is_empty() || text.eq_ignore_ascii_case("standalone") {
        return Ok(StartupModels::None);
    }
    let mut models = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        // A `=` after a scheme belongs to the URL's query.
        let (name, location) = match entry.split_once('=') {
            Some((name, location)) if !name.contains("://") => (name.trim(), location.trim()),
            _ => ("", entry),
        };
        if location.is_empty() {
            return Err(format!("names no archive for model \"{name}\""));
        }
        models.push(StartupModel {
            name: (!name.is_empty()).then(|| name.to_owned()),
            location: location.to_owned(),
        });
    }
    Ok(StartupModels::List(models))
}

fn blank_hint(text: &str) -> &'static str {
    if text.ends_with([' ', '\t']) {
        " (remove the blank at the end)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_strict() {
        assert_eq!(whole("100", 1, 100), Ok(100));
        assert_eq!(whole("+7", 1, 100), Ok(7));
        for bad in [
            "", "abc", "1.5", "-1", "0", "101", " 5", "0x10", "1_000", "++1", "1e3",
        ] {
            let problem = whole(bad, 1, 100).unwrap_err();
            assert_eq!(problem, "is not a whole number from 1 to 100", "{bad}");
        }
        assert!(
            whole("5 ", 1, 9)
                .unwrap_err()
                .ends_with("(remove the blank at the end)")
        );
        assert!(whole("99999999999999999999", 0, u64::MAX).is_err());
    }

    #[test]
    fn only_true_and_false_are_booleans() {
        assert_eq!(boolean("TRUE"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        for bad in ["yes", "1", "", "true "] {
            assert!(boolean(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_every_form_are_read() {
        let tcp = |host: &str, port, tls| {
            Ok(Address::Tcp {
                host: host.to_owned(),
                port,
                tls,
            })
        };
        assert_eq!(
            address("http://127.0.0.1:0", 80, 443),
            tcp("127.0.0.1", 0, false)
        );
        assert_eq!(address("HTTPS://host", 80, 443), tcp("host", 443, true));
        assert_eq!(address("http://host", 8081, 8444), tcp("host", 8081, false));
        assert_eq!(address("http://[::1]:9", 80, 443), tcp("::1", 9, false));
        assert_eq!(
            address("unix:/tmp/a.sock", 80, 443),
            Ok(Address::Unix("/tmp/a.sock".into()))
        );
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for bad in [
            "",
            "127.0.0.1:80",
            "http://",
            "http://:80",
            "http://h/",
            "http://h:1/x",
            "unix:rel",
            "unix:/",
            "ftp://h",
            "http://[::1",
            "http://[x]:1",
            "http://a:b:1",
            "http://a b",
        ] {
            assert!(address(bad, 80, 443).is_err(), "{bad}");
        }
        let problem = address("http://h:70000", 80, 443).unwrap_err();
        assert_eq!(problem, "has the invalid port \"70000\" (0 to 65535)");
    }

    #[test]
    fn model_lists_lose_their_blanks_and_urls_keep_their_query() {
        let model = |name: Option<&str>, location: &str| StartupModel {
            name: name.map(str::to_owned),
            location: location.to_owned(),
        };
        assert_eq!(
            startup_models("a=a.mar, b = b.mar ,,c.mar,https://h/d.mar?x=1,e=https://h/e?y=2"),
            Ok(StartupModels::List(vec![
                model(Some("a"), "a.mar"),
                model(Some("b"), "b.mar"),
                model(None, "c.mar"),
                model(None, "https://h/d.mar?x=1"),
                model(Some("e"), "https://h/e?y=2"),
            ]))
        );
        assert_eq!(startup_models(" ALL "), Ok(StartupModels::All));
        assert_eq!(startup_models("standalone"), Ok(StartupModels::None));
        assert_eq!(startup_models(""), Ok(StartupModels::None));
        assert!(startup_models("a=").is_err());
    }

    #[test]
    fn patterns_match_the_whole_text_only() {
        let patterns = url_patterns(r"http(s)?://h/.*,file://.*").unwrap();
        assert!(patterns[0].is_match("HTTPS://h/x"));
        assert!(!patterns[0].is_match("xhttps://h/x"));
        assert_eq!(patterns.len(), 2);
        assert!(full_match("(?=a)", false).is_err());
        assert!(full_match("(", false).is_err());
    }
}
