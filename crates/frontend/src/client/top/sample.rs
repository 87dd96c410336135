//! One look at the metrics, and what two of them say about the time between.

use std::collections::HashMap;
use std::time::Duration;

/// The samples that are needed, and no others.
pub(super) const PAGE: &str = "/metrics?name[]=tserve_requests_total\
    &name[]=tserve_request_duration_seconds_bucket&name[]=tserve_batch_size_sum\
    &name[]=tserve_batch_size_count";

/// A model and its version.
type Key = (String, String);

/// What is known of a version at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
struct Counts {
    requests: f64,
    errors: f64,
    /// Cumulated counts by upper bound in seconds.
    buckets: Vec<(f64, f64)>,
    batches: f64,
    batched: f64,
}

/// All versions at one moment.
#[derive(Debug, Default)]
pub(super) struct Sample(HashMap<Key, Counts>);

/// What two samples say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    pub(super) requests_per_second: Option<f64>,
    pub(super) errors_per_second: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// Mean size of the batches.
    pub(super) batch_size: Option<f64>,
}

impl Sample {
    /// Reads a page of Prometheus text; lines that are something else are left out.
    pub(super) fn read(page: &str) -> Self {
        let mut sample = Self::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            sample.read_line(line);
        }
        sample
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let value: f64 = value.split(' ').next()?.parse().ok()?;
        let labels = read_labels(labels);
        let label = |name: &str| labels.get(name).cloned();
        let key = (label("model")?, label("version")?);
        let counts = self.0.entry(key).or_default();
        match name {
            "tserve_requests_total" => {
                counts.requests += value;
                if ["failed", "rejected", "expired"].contains(&&*label("outcome")?) {
                    counts.errors += value;
                }
            }
            "tserve_request_duration_seconds_bucket" => {
                let bound = label("le")?.parse().ok()?;
                counts.buckets.push((bound, value));
            }
            "tserve_batch_size_sum" => counts.batched = value,
            "tserve_batch_size_count" => counts.batches = value,
            _ => {}
        }
        Some(())
    }

    /// What is to be said of a version; rates need an earlier look, and how long ago it was.
    pub(super) fn figures(
        &self,
        (model, version): (&str, &str),
        before: Option<(&Self, Duration)>,
    ) -> Option<Figures> {
        let key = (model.to_owned(), version.to_owned());
        let now = self.0.get(&key)?;
        let nothing = Counts::default();
        let since = before.map(|(last, elapsed)| {
            let last = last.0.get(&key).unwrap_or(&nothing);
            // A server that was started again begins at zero.
            let last = if last.requests > now.requests {
                &nothing
            } else {
                last
            };
            (last, elapsed.as_secs_f64())
        });
        let last = since.map_or(&nothing, |(last, _)| last);
        let rate = |pick: fn(&Counts) -> f64| {
            let (last, seconds) = since.filter(|(_, seconds)| *seconds > 0.0)?;
            Some((pick(now) - pick(last)).max(0.0) / seconds)
        };
        let buckets = now.between(last);
        let batches = now.batches - last.batches;
        Some(Figures {
            requests_per_second: rate(|it| it.requests),
            errors_per_second: rate(|it| it.errors),
            p50_ms: quantile(&buckets, 0.5),
            p99_ms: quantile(&buckets, 0.99),
            batch_size: (batches > 0.0).then(|| (now.batched - last.batched) / batches),
        })
    }
}

impl Counts {
    /// The buckets of what came after an earlier look.
    fn between(&self, last: &Self) -> Vec<(f64, f64)> {
        let earlier = |bound: f64| {
            let found = last
                .buckets
                .iter()
                .find(|(other, _)| other.total_cmp(&bound).is_eq());
            found.map_or(0.0, |(_, count)| *count)
        };
        let mut buckets: Vec<(f64, f64)> = (self.buckets.iter())
            .map(|(bound, count)| (*bound, count - earlier(*bound)))
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }
}

/// A quantile of cumulated buckets in milliseconds, with even spread within each of them, as
/// Prometheus has it; `None` for nothing.
fn quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = quantile * total;
    let place = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (lower, below) = match place {
        0 => (0.0, 0.0),
        _ => buckets[place - 1],
    };
    let (upper, count) = buckets[place];
    let seconds = if upper.is_finite() {
        lower + (upper - lower) * (rank - below) / (count - below).max(f64::MIN_POSITIVE)
    } else {
        lower
    };
    Some(seconds * 1000.0)
}

/// `a="1",b="x\"y"` by names.
fn read_labels(text: &str) -> HashMap<&str, String> {
    let mut labels = HashMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next() {
                None => return labels,
                Some((place, '"')) => break place,
                Some((_, '\\')) => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => return labels,
                },
                Some((_, letter)) => value.push(letter),
            }
        };
        labels.insert(name.trim_start_matches(','), value);
        rest = &after[end + 1..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(requests: u32, slow: u32) -> Sample {
        Sample::read(&format!(
            "# TYPE tserve_requests_total counter\n\
             tserve_requests_total{{model=\"a\\\"b\",version=\"1\",outcome=\"answered\"}} {requests}\n\
             tserve_requests_total{{outcome=\"failed\",version=\"1\",model=\"a\\\"b\"}} 5.0\n\
             tserve_request_duration_seconds_bucket{{model=\"a\\\"b\",version=\"1\",le=\"0.01\"}} {requests}\n\
             tserve_request_duration_seconds_bucket{{model=\"a\\\"b\",version=\"1\",le=\"0.1\"}} {}\n\
             tserve_request_duration_seconds_bucket{{model=\"a\\\"b\",version=\"1\",le=\"+Inf\"}} {}\n\
             nonsense\nup 1\n",
            requests + slow,
            requests + slow,
        ))
    }

    #[test]
    fn two_looks_make_rates_and_quantiles() {
        let (first, second) = (page(100, 0), page(300, 100));
        let since = Some((&first, Duration::from_secs(2)));
        let figures = second.figures(("a\"b", "1"), since).unwrap();
        assert_eq!(figures.requests_per_second, Some(100.0));
        assert_eq!(figures.errors_per_second, Some(0.0));
        // 200 quick ones and 100 slow ones came in between.
        assert!((figures.p50_ms.unwrap() - 7.5).abs() < 1e-9);
        assert!((figures.p99_ms.unwrap() - 97.3).abs() < 1e-9);
        assert_eq!(figures.batch_size, None);
        assert_eq!(second.figures(("a\"b", "2"), since), None);
        let alone = second.figures(("a\"b", "1"), None).unwrap();
        assert_eq!(alone.requests_per_second, None);
        let restarted = first.figures(("a\"b", "1"), Some((&second, Duration::from_secs(1))));
        assert_eq!(restarted.unwrap().requests_per_second, Some(105.0));
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[(0.1, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(
            quantile(&[(0.1, 0.0), (f64::INFINITY, 3.0)], 0.5),
            Some(100.0)
        );
    }
}
