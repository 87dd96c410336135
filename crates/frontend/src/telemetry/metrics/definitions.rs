//! Which metrics of TorchServe there are: the built-in ones, or those of `metrics_config`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// How values of a metric are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Added up.
    Counter,
    /// The last one counts.
    Gauge,
    /// Sorted by size.
    Histogram,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// As metric lines have it.
    pub(super) fn of_line(text: &str) -> Option<Self> {
        match text.trim() {
            "COUNTER" => Some(Self::Counter),
            "GAUGE" => Some(Self::Gauge),
            "HISTOGRAM" => Some(Self::Histogram),
            _ => None,
        }
    }
}

/// One metric of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) unit: String,
    /// Names of its labels as the file has them; `Hostname` is added to those of models.
    pub(super) labels: Vec<String>,
    /// Whether handlers report it.
    pub(super) is_model: bool,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    ts_metrics: Option<Section>,
    #[serde(default)]
    model_metrics: Option<Section>,
}

type Section = BTreeMap<String, Option<Vec<Entry>>>;

#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    unit: String,
    #[serde(default)]
    dimensions: Option<Vec<String>>,
}

/// The metrics that a server has: those of a file, or the built-in ones.
///
/// # Errors
/// What is wrong with the file; there are no metrics of TorchServe then, as in the original.
pub(super) fn read(file: Option<&Path>) -> Result<Vec<Definition>, String> {
    match file {
        None => parse(include_str!("built_in.yaml")),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            parse(&text)
        }
    }
}

fn parse(text: &str) -> Result<Vec<Definition>, String> {
    let file: File = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    let mut definitions = Vec::new();
    for (section, is_model) in [(file.ts_metrics, false), (file.model_metrics, true)] {
        for (kind, entries) in section.unwrap_or_default() {
            let kind = match kind.as_str() {
                "counter" => Kind::Counter,
                "gauge" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                _ => return Err(format!("{kind} is not counter, gauge or histogram")),
            };
            for entry in entries.unwrap_or_default() {
                if entry.name.is_empty() || entry.unit.is_empty() {
                    return Err(format!("metric \"{}\" lacks a name or a unit", entry.name));
                }
                definitions.push(Definition {
                    name: entry.name,
                    kind,
                    unit: entry.unit,
                    labels: entry.dimensions.unwrap_or_default(),
                    is_model,
                });
            }
        }
    }
    Ok(definitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_metrics_are_those_of_the_original() {
        let all = read(None).unwrap();
        assert_eq!(all.iter().filter(|it| it.is_model).count(), 2);
        assert_eq!(all.len(), 21);
        let load_time = all.iter().find(|it| it.name == "WorkerLoadTime").unwrap();
        assert_eq!(load_time.labels, ["WorkerName", "Level", "Hostname"]);
        assert_eq!(
            (load_time.kind, &load_time.unit[..]),
            (Kind::Gauge, "Milliseconds")
        );
    }

    #[test]
    fn anchors_are_followed_and_gaps_are_errors() {
        let text = "dimensions:\n - &host \"Hostname\"\nmodel_metrics:\n  histogram:\n    - name: A\n      unit: ms\n      dimensions: [*host]\n";
        let all = parse(text).unwrap();
        assert_eq!(
            (all[0].kind, &all[0].labels[..]),
            (Kind::Histogram, &["Hostname".to_owned()][..])
        );
        assert!(parse(&text.replace("unit: ms", "unit: \"\"")).is_err());
        assert!(parse(&text.replace("histogram", "summary")).is_err());
        assert!(parse("[]").is_err());
    }
}
