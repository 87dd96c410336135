//! The metrics of TorchServe: families as the configuration has them, and their series.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of metrics are floats for everybody"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::definitions::{Definition, Kind};
use super::line::Line;
use super::text::Page;

/// Most families that handlers may add by reporting them.
const MOST_FAMILIES: usize = 512;

/// Most series of one model: label values are a handler's choice, and memory is the server's.
const MOST_SERIES: usize = 1000;

/// Upper bounds of histograms, those of the original's library.
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Why a measurement of a handler is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no measurement, or its name, type or labels do not fit the metric's.
    Malformed,
    /// No metric of this name is configured.
    Unknown,
    /// The model has too many series, or there are too many metrics.
    TooMany,
}

/// What one series holds.
#[derive(Debug)]
struct Series {
    value: f64,
    /// Observations by bucket, for histograms.
    counts: [u64; BOUNDS.len() + 1],
}

/// One metric.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) definition: Definition,
    series: BTreeMap<Vec<String>, Series>,
}

/// All metrics of TorchServe that a server has.
#[derive(Debug, Default)]
pub(super) struct Families {
    all: Vec<Family>,
    by_name: HashMap<(bool, String), usize>,
    /// Series by model.
    series_of: HashMap<Arc<str>, usize>,
    added: usize,
    adds_unknown: bool,
}

impl Family {
    fn new(definition: Definition) -> Self {
        Self {
            definition,
            series: BTreeMap::new(),
        }
    }

    fn apply(&mut self, labels: Vec<String>, value: f64) {
        let kind = self.definition.kind;
        let series = self.series.entry(labels).or_insert(Series {
            value: 0.0,
            counts: [0; BOUNDS.len() + 1],
        });
        match kind {
            Kind::Counter => series.value += value,
            Kind::Gauge => series.value = value,
            Kind::Histogram => {
                series.value += value;
                series.counts[BOUNDS.partition_point(|bound| *bound < value)] += 1;
            }
        }
    }

    fn render(&self, page: &mut Page) {
        let Definition {
            name, kind, unit, ..
        } = &self.definition;
        let kind_name = kind.as_str();
        let help = format_args!("Torchserve prometheus {kind_name} metric with unit: {unit}");
        page.family(name, kind_name, help);
        for (values, series) in &self.series {
            let names = self.definition.labels.iter().map(String::as_str);
            let labels: Vec<_> = names.zip(values.iter().map(String::as_str)).collect();
            if *kind != Kind::Histogram {
                page.sample(name, "", labels, series.value);
                continue;
            }
            let mut below = 0;
            for (place, count) in series.counts.iter().enumerate() {
                below += count;
                let mut bound = String::new();
                super::text::number(
                    &mut bound,
                    BOUNDS.get(place).copied().unwrap_or(f64::INFINITY),
                );
                let labels = labels.iter().copied().chain([("le", bound.as_str())]);
                page.sample(name, "_bucket", labels, below as f64);
            }
            page.sample(name, "_count", labels.iter().copied(), below as f64);
            page.sample(name, "_sum", labels, series.value);
        }
    }
}

impl Families {
    /// The families of a configuration; `adds_unknown` lets handlers bring their own.
    pub(super) fn new(definitions: Vec<Definition>, adds_unknown: bool) -> Self {
        let mut families = Self {
            adds_unknown,
            ..Self::default()
        };
        for mut definition in definitions {
            if definition.is_model {
                definition.labels.push("Hostname".to_owned());
            }
            if is_name(&definition.name) && definition.labels.iter().all(|it| is_label(it)) {
                families.insert(definition);
            }
        }
        families
    }

    fn insert(&mut self, definition: Definition) {
        let key = (definition.is_model, definition.name.clone());
        let place = self.all.len();
        self.by_name.entry(key).or_insert(place);
        self.all.push(Family::new(definition));
    }

    /// A metric of the server.
    pub(super) fn host(&mut self, name: &str) -> Option<&mut Family> {
        let place = self.by_name.get(&(false, name.to_owned())).copied();
        Some(&mut self.all[place?])
    }

    /// A metric of handlers.
    pub(super) fn model(&mut self, name: &str) -> Option<&mut Family> {
        let place = self.by_name.get(&(true, name.to_owned())).copied();
        Some(&mut self.all[place?])
    }

    /// The metric that a line of a handler belongs to.
    pub(super) fn of_line(&mut self, line: &Line<'_>) -> Result<&Definition, Refusal> {
        let key = (true, line.name.to_owned());
        if !self.by_name.contains_key(&key) {
            if !self.adds_unknown {
                return Err(Refusal::Unknown);
            }
            let kind = line.kind.ok_or(Refusal::Malformed)?;
            let mut labels: Vec<String> = line.labels.iter().map(|it| it.0.to_owned()).collect();
            labels.push("Hostname".to_owned());
            if !is_name(line.name) || !labels.iter().all(|it| is_label(it)) {
                return Err(Refusal::Malformed);
            }
            if self.added >= MOST_FAMILIES {
                return Err(Refusal::TooMany);
            }
            self.added += 1;
            self.insert(Definition {
                name: line.name.to_owned(),
                kind,
                unit: line.unit.to_owned(),
                labels,
                is_model: true,
            });
        }
        let definition = &self.all[self.by_name[&key]].definition;
        if definition.labels.len() != line.labels.len() + 1
            || definition.kind == Kind::Counter && line.value < 0.0
        {
            return Err(Refusal::Malformed);
        }
        Ok(definition)
    }

    /// Counts a measurement of a handler.
    pub(super) fn apply_line(
        &mut self,
        model: &Arc<str>,
        line: &Line<'_>,
        host: &str,
    ) -> Result<(), Refusal> {
        self.of_line(line)?;
        let place = self.by_name[&(true, line.name.to_owned())];
        let family = &mut self.all[place];
        let values = line.labels.iter().map(|it| it.1);
        let values: Vec<String> = values.chain([host]).map(str::to_owned).collect();
        if !family.series.contains_key(&values) {
            let count = self.series_of.entry(Arc::clone(model)).or_default();
            if *count >= MOST_SERIES {
                return Err(Refusal::TooMany);
            }
            *count += 1;
        }
        family.apply(values, line.value);
        Ok(())
    }

    /// Adds families with their samples to a page.
    pub(super) fn render(&self, page: &mut Page, shows: impl Fn(&Definition) -> bool) {
        for family in self.all.iter().filter(|it| shows(&it.definition)) {
            family.render(page);
        }
    }
}

impl Family {
    /// Sets a gauge, or adds to a counter. Values that do not fit the labels are left out.
    pub(super) fn record(&mut self, labels: &[&str], value: f64) {
        if labels.len() == self.definition.labels.len() {
            self.apply(labels.iter().map(|&it| it.to_owned()).collect(), value);
        }
    }

    /// Sets what the server has counted itself.
    pub(super) fn set(&mut self, labels: &[&str], value: f64) {
        if labels.len() == self.definition.labels.len() {
            let labels: Vec<String> = labels.iter().map(|&it| it.to_owned()).collect();
            self.series.remove(&labels);
            self.apply(labels, value);
        }
    }
}

fn is_name(text: &str) -> bool {
    is_label(&text.replace(':', "_"))
}

fn is_label(text: &str) -> bool {
    text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && text
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || it == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families(adds_unknown: bool) -> Families {
        let metric = |name: &str, kind, labels: &[&str]| Definition {
            name: name.to_owned(),
            kind,
            unit: "ms".to_owned(),
            labels: labels.iter().map(|&it| it.to_owned()).collect(),
            is_model: true,
        };
        let known = vec![
            metric("Known", Kind::Counter, &["ModelName"]),
            metric("Sizes", Kind::Histogram, &[]),
        ];
        Families::new(known, adds_unknown)
    }

    fn apply(families: &mut Families, text: &str) -> Result<(), Refusal> {
        let line = Line::parse(text).ok_or(Refusal::Malformed)?;
        families.apply_line(&"m".into(), &line, "vm")
    }

    fn shown(families: &Families) -> String {
        let mut page = Page::default();
        families.render(&mut page, |_| true);
        page.finish()
    }

    #[test]
    fn values_go_where_the_configuration_says() {
        let mut families = families(false);
        for _ in 0..2 {
            apply(&mut families, "Known.x:2|#Any:m|#type:GAUGE|#hostname:h,1").unwrap();
            apply(&mut families, "Sizes.x:7|#|#type:HISTOGRAM|#hostname:h,1").unwrap();
        }
        let text = shown(&families);
        assert!(
            text.contains("Known{ModelName=\"m\",Hostname=\"vm\",} 4.0\n"),
            "{text}"
        );
        assert!(
            text.contains("Sizes_bucket{Hostname=\"vm\",le=\"5.0\",} 0.0\n"),
            "{text}"
        );
        assert!(
            text.contains("Sizes_bucket{Hostname=\"vm\",le=\"7.5\",} 2.0\n"),
            "{text}"
        );
        assert!(
            text.contains("Sizes_sum{Hostname=\"vm\",} 14.0\n"),
            "{text}"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut families = families(false);
        for (text, refusal) in [
            ("New.x:2|#a:b|#type:GAUGE|#hostname:h,1", Refusal::Unknown),
            ("Known.x:2|#a:b,c:d|#hostname:h,1", Refusal::Malformed),
            ("Known.x:-2|#a:b|#hostname:h,1", Refusal::Malformed),
        ] {
            assert_eq!(apply(&mut families, text), Err(refusal), "{text}");
        }
    }

    #[test]
    fn a_handler_can_fill_neither_memory_nor_the_page() {
        let mut families = families(true);
        for number in 0..2 * MOST_FAMILIES {
            let text = format!("New{number}.x:2|#a:b|#type:GAUGE|#hostname:h,1");
            let _ = apply(&mut families, &text);
        }
        assert_eq!(families.all.len(), MOST_FAMILIES + 2);
        for number in 0..2 * MOST_SERIES {
            let text = format!("Known.x:2|#a:{number}|#type:GAUGE|#hostname:h,1");
            let _ = apply(&mut families, &text);
        }
        assert_eq!(families.series_of["m"], MOST_SERIES);
        let bad = "N\u{e9}w.x:2|#a:b|#type:GAUGE|#hostname:h,1";
        assert_eq!(apply(&mut families, bad), Err(Refusal::Malformed));
    }
}
