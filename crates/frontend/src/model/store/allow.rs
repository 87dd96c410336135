//! What `allowed_urls` allows.

use std::path::Path;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use regex::Regex;
use url::Url;

use super::address::Permit;

/// The operator's patterns, and what follows from them.
#[derive(Debug, Clone)]
pub(super) struct AllowedUrls {
    patterns: Arc<[Regex]>,
    allow_private: bool,
}

impl AllowedUrls {
    /// `patterns` have to match a URL as a whole.
    pub(super) fn new(patterns: &[Regex], allow_private: bool) -> Self {
        Self {
            patterns: patterns.into(),
            allow_private,
        }
    }

    /// Whether a URL may be fetched: as it was written, and as it will be understood, which differ
    /// when it holds encoded dots, backslashes and the like.
    pub(super) fn allows(&self, url: &str) -> bool {
        self.matches(url) && Url::parse(url).is_ok_and(|parsed| self.allows_parsed(&parsed))
    }

    /// The same for a URL that nobody wrote: the target of a redirect.
    pub(super) fn allows_parsed(&self, url: &Url) -> bool {
        let text = url.as_str();
        // Patterns may be written either way: `a%20b`, `a b`.
        self.matches(text)
            || percent_decode_str(text)
                .decode_utf8()
                .is_ok_and(|decoded| self.matches(&decoded))
    }

    /// Whether a file or folder outside the store may be used: as if it were a `file` URL.
    pub(super) fn allows_path(&self, path: &Path) -> bool {
        self.matches(&format!("file://{}", path.display()))
            || Url::from_file_path(path).is_ok_and(|url| self.matches(url.as_str()))
    }

    /// Which addresses the host of a URL may have. One that a pattern names may have any; others
    /// may be private ones unless the configuration, or the way there, forbids it.
    pub(super) fn permit(&self, url: &Url, is_sent_by_public: bool) -> Permit {
        let is_named = self.names_host(url);
        Permit {
            private: is_named || (self.allow_private && !is_sent_by_public),
            special: is_named,
        }
    }

    /// Whether the host is spelled out in a pattern that matches the URL.
    fn names_host(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        let host = host.to_ascii_lowercase();
        self.patterns
            .iter()
            .filter(|pattern| whole_match(pattern, url.as_str()))
            .any(|pattern| {
                let text = pattern.as_str().replace('\\', "").to_ascii_lowercase();
                text.match_indices(&host).any(|(start, _)| {
                    let before = text[..start].chars().next_back();
                    let after = text[start + host.len()..].chars().next();
                    let continues = |c: char| c.is_ascii_alphanumeric() || c == '-';
                    !before.is_some_and(|c| continues(c) || c == '.')
                        && !after.is_some_and(continues)
                })
            })
    }

    fn matches(&self, text: &str) -> bool {
        self.patterns.iter().any(|it| whole_match(it, text))
    }
}

fn whole_match(pattern: &Regex, text: &str) -> bool {
    pattern.find(text).is_some_and(|it| it.len() == text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(patterns: &[&str]) -> AllowedUrls {
        let compile = |pattern: &&str| Regex::new(&format!("(?i)^(?:{pattern})$")).unwrap();
        AllowedUrls::new(&patterns.iter().map(compile).collect::<Vec<_>>(), true)
    }

    #[test]
    fn a_url_has_to_be_allowed_as_it_will_be_understood() {
        let store = allowed(&["file:///models/.*", "https://good\\.test/.*"]);
        for url in [
            "file:///models/a.mar",
            "file:///models/a b.mar",
            "file:///models/a%20b.mar",
            "HTTPS://GOOD.test/x.mar?y=z",
            "https://good.test/a%2Fb.mar",
        ] {
            assert!(store.allows(url), "{url}");
        }
        for url in [
            "file:///models/%2e%2e/secret.mar",
            "file:///models/.%2E/secret.mar",
            "https://good.test\\@evil.test/x.mar",
            "https://good.test.evil.test/x.mar",
            "https://good.test@evil.test/x.mar",
            "https://GOOD.test:999/x.mar",
            "https:/models/x.mar",
        ] {
            assert!(!store.allows(url), "{url}");
        }
        assert!(store.allows_path(Path::new("/models/a b")));
        assert!(!store.allows_path(Path::new("/etc")));
    }

    #[test]
    fn private_hosts_are_for_those_who_name_them_or_come_from_inside() {
        let permit = |store: &AllowedUrls, url: &str, is_sent_by_public| {
            let permit = store.permit(&Url::parse(url).unwrap(), is_sent_by_public);
            (permit.private, permit.special)
        };
        let (here, there) = ("http://intern/x.mar", "http://other/x.mar");
        let mut store = allowed(&["http://intern/.*", "http://.*"]);
        for is_sent_by_public in [false, true] {
            assert_eq!(permit(&store, here, is_sent_by_public), (true, true));
        }
        assert_eq!(permit(&store, there, false), (true, false));
        assert_eq!(permit(&store, there, true), (false, false));
        store.allow_private = false;
        assert_eq!(permit(&store, there, false), (false, false));
        assert_eq!(permit(&store, here, false), (true, true));
    }

    #[test]
    fn only_a_host_that_is_spelled_out_is_named() {
        let named = |pattern: &str, url: &str| {
            allowed(&["http(s)?://.*", pattern]).names_host(&Url::parse(url).unwrap())
        };
        for (pattern, url) in [
            (
                r"http://169\.254\.169\.254/.*",
                "http://169.254.169.254/x.mar",
            ),
            ("http://10.0.0.5.*", "http://10.0.0.5/x.mar"),
            ("http://(a|store.corp)(:80)?/.*", "http://store.CORP/x.mar"),
            (r"http://\[::1\]:.*", "http://[::1]:8080/x.mar"),
        ] {
            assert!(named(pattern, url), "{pattern} {url}");
        }
        for (pattern, url) in [
            ("ftp://x", "http://169.254.169.254/x.mar"),
            ("http://10.0.0.50/.*", "http://10.0.0.5/x.mar"),
            ("http://10.0.0.50/.*", "http://0.0.0.50/x.mar"),
            ("http://127.0.0.1.*", "http://127.0.0.1.evil.test/x.mar"),
            ("http://store.corp/.*|http://.*", "http://corp/x.mar"),
        ] {
            assert!(!named(pattern, url), "{pattern} {url}");
        }
    }
}
