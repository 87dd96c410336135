//! What the text of a location says: its scheme, the name of its file, a name for its model.

use super::checksum::without_pin;
use super::cloud::is_cloud_scheme;

/// The name that a model loaded at start gets when nothing else names it: the file name without
/// its extension, with `_` for everything but ASCII letters, digits and `_`.
pub fn derived_name(location: &str) -> String {
    let name = without_pin(location).trim_end_matches('/');
    let mut name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    if (name.contains(".mar") || name.contains(".model"))
        && let Some((stem, _)) = name.rsplit_once('.')
    {
        name = stem;
    }
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// What the scheme of a location means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Fetched, or refused.
    Fetched,
    /// Fetched where that is allowed, else a name in the store.
    Cloud,
    /// A name in the store.
    None,
}

pub(super) fn scheme(place: &str) -> Scheme {
    let Some((scheme, _)) = place.split_once("://") else {
        return Scheme::None;
    };
    let fetched = ["http", "https", "file"];
    if fetched
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        Scheme::Fetched
    } else if is_cloud_scheme(scheme) {
        Scheme::Cloud
    } else {
        Scheme::None
    }
}

/// Whether a location holds two dots in a row, also when they are encoded.
pub(super) fn has_dots(place: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(place).collect::<Vec<_>>();
    decoded.windows(2).any(|pair| pair == b"..")
}

/// The last path segment; `None` when there is none that could be a file name.
pub(super) fn base_name(place: &str) -> Option<&str> {
    let path = if scheme(place) == Scheme::None {
        place.trim_end_matches('/')
    } else {
        let (_, rest) = place.split_once("://")?;
        let rest = rest.split(['?', '#']).next()?;
        // Without a slash there is only a host.
        &rest[rest.find('/')?..]
    };
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let is_usable =
        !matches!(name, "" | ".") && !name.contains(|c: char| c.is_control() || c == '\\');
    is_usable.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_derived_from_locations() {
        for (location, name) in [
            ("garbage.mar", "garbage"),
            ("/x/y/my-model.v2.mar", "my_model_v2"),
            ("m.model", "m"),
            ("a-b.tar.gz", "a_b_tar_gz"),
            ("dir/", "dir"),
            ("a-b.tar.gz#sha256:00", "a_b_tar_gz"),
            ("_x.mar", "_x"),
            ("ünï.mar", "_n_"),
        ] {
            assert_eq!(derived_name(location), name, "{location}");
        }
    }

    #[test]
    fn dots_are_found_however_they_are_written() {
        for place in ["../x", "a..b", "%2e%2e/x", ".%2E/x", "http://h/a%2f..%2fx"] {
            assert!(has_dots(place), "{place}");
        }
        for place in ["a.b.c", "./x", "%2e/x", "%252e%252e/x"] {
            assert!(!has_dots(place), "{place}");
        }
    }
}
