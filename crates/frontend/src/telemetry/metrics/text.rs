//! Prometheus's text format, version 0.0.4, as the original writes it.
//!
//! A client library does not fit here: the original prints families without samples, a comma after
//! the last label and counters without `_total`, and the figures of requests are atomics of ours.

use std::collections::HashSet;
use std::fmt::{Display, Write as _};

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    /// Names of the samples that are wanted; empty for all.
    wanted: HashSet<String>,
    /// Where the family that is being written begins, and whether it has a sample yet.
    family: Option<(usize, bool)>,
}

impl Page {
    /// A page with samples of these names only; of all when there is none.
    pub fn new(wanted: impl IntoIterator<Item = String>) -> Self {
        Self {
            wanted: wanted.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Begins a family.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: impl Display) {
        self.end_family();
        self.family = Some((self.text.len(), false));
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample of the family; `suffix` is what follows the family's name.
    pub(super) fn sample<'a>(
        &mut self,
        name: &str,
        suffix: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        value: f64,
    ) {
        if !self.wanted.is_empty() && !self.wanted.contains(&*[name, suffix].concat()) {
            return;
        }
        if let Some((_, has_samples)) = &mut self.family {
            *has_samples = true;
        }
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut is_first = true;
        for (label, value) in labels {
            self.text.push(if is_first { '{' } else { ',' });
            is_first = false;
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        if !is_first {
            self.text.push_str(",}");
        }
        self.text.push(' ');
        number(&mut self.text, value);
        self.text.push('\n');
    }

    /// The finished text.
    pub fn finish(mut self) -> String {
        self.end_family();
        self.text
    }

    /// Takes a family back of which nothing is wanted.
    fn end_family(&mut self) {
        if let Some((start, false)) = self.family.take()
            && !self.wanted.is_empty()
        {
            self.text.truncate(start);
        }
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}

/// A number as Java prints it, as far as it matters: with a point, infinities by name.
pub(super) fn number(text: &mut String, value: f64) {
    if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let _ = write!(text, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(wanted: &[&str]) -> String {
        let mut page = Page::new(wanted.iter().map(|&it| it.to_owned()));
        page.family("a", "counter", "counts");
        page.sample("a", "", [("x", "1\"\n\\"), ("y", "é")], 3.0);
        page.family("empty", "gauge", "none");
        page.family("h", "histogram", "sorts");
        page.sample("h", "_bucket", [("le", "+Inf")], 1e21);
        page.sample("h", "_sum", [], f64::INFINITY);
        page.finish()
    }

    #[test]
    fn everything_is_there_unless_names_are_asked_for() {
        assert_eq!(
            page(&[]),
            "# HELP a counts\n# TYPE a counter\na{x=\"1\\\"\\n\\\\\",y=\"é\",} 3.0\n\
             # HELP empty none\n# TYPE empty gauge\n\
             # HELP h sorts\n# TYPE h histogram\nh_bucket{le=\"+Inf\",} 1e21\nh_sum +Inf\n"
        );
        assert_eq!(
            page(&["h_sum"]),
            "# HELP h sorts\n# TYPE h histogram\nh_sum +Inf\n"
        );
        assert_eq!(page(&["nothing"]), "");
    }
}
