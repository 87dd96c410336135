//! The `models` property: settings per model and version, written as JSON.

use std::time::Duration;

use serde_json::{Map, Value};

use super::ModelOverrides;
use super::value::Parsed;

/// Reads `{"name": {"version": {"minWorkers": 1, ...}}}`. Settings that cannot be used are left
/// unset and described in `warnings`; text that is not such an object is an error.
pub(super) fn parse(
    text: &str,
    warnings: &mut Vec<String>,
) -> Parsed<Vec<(String, String, ModelOverrides)>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let models: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("is not a JSON object: {error}"))?;
    let mut all = Vec::new();
    for (name, versions) in models {
        let Value::Object(versions) = versions else {
            return Err(format!("has no object of versions for model \"{name}\""));
        };
        for (version, settings) in versions {
            let Value::Object(settings) = settings else {
                return Err(format!(
                    "has no object of settings for version {version} of model \"{name}\""
                ));
            };
            let mut overrides = ModelOverrides::default();
            for (key, value) in &settings {
                if let Err(problem) = set(&mut overrides, key, value) {
                    warnings.push(format!(
                        "model {name}:{version}, parameter {key}: {problem}"
                    ));
                }
            }
            all.push((name.clone(), version, overrides));
        }
    }
    Ok(all)
}

fn set(overrides: &mut ModelOverrides, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "minWorkers" => overrides.min_workers = count(value)?,
        "maxWorkers" => overrides.max_workers = count(value)?,
        "batchSize" => overrides.batch_size = count(value)?,
        "maxBatchDelay" => {
            overrides.max_batch_delay = count(value)?.map(|it| Duration::from_millis(it.into()));
        }
        "responseTimeout" => {
            overrides.response_timeout = count(value)?.map(|it| Duration::from_secs(it.into()));
        }
        "startupTimeout" => {
            overrides.startup_timeout = count(value)?.map(|it| Duration::from_secs(it.into()));
        }
        "runtimeType" => match value {
            Value::String(name) => overrides.runtime = Some(name.clone()),
            _ => return Err(format!("{value} is not a text; it is ignored")),
        },
        // Written by the original's snapshots and examples; they have no effect there either.
        "defaultVersion" | "marName" => {}
        _ => return Err("there is no such parameter; it is ignored".to_owned()),
    }
    Ok(())
}

/// A whole number, also one written as text; zero and less mean "not set".
fn count(value: &Value) -> Result<Option<u32>, String> {
    const MOST: i64 = i32::MAX as i64;
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse::<i64>().ok(),
        _ => None,
    };
    match number {
        Some(number) if number <= 0 => Ok(None),
        Some(number @ 1..=MOST) => Ok(u32::try_from(number).ok()),
        _ => Err(format!(
            "{value} is not a whole number from 1 to {MOST}; it is ignored"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_settings_are_read_and_zero_means_unset() {
        let mut warnings = Vec::new();
        let text = r#"{"toy":{"2.1":{"minWorkers":1,"maxWorkers":"2","batchSize":8,
            "maxBatchDelay":25,"responseTimeout":30,"startupTimeout":0,"runtimeType":"python",
            "defaultVersion":true,"marName":"toy.mar"}}}"#;
        let all = parse(text, &mut warnings).unwrap();
        let (name, version, toy) = &all[0];
        assert_eq!((name.as_str(), version.as_str()), ("toy", "2.1"));
        assert_eq!((toy.min_workers, toy.max_workers), (Some(1), Some(2)));
        assert_eq!(toy.max_batch_delay, Some(Duration::from_millis(25)));
        assert_eq!(toy.response_timeout, Some(Duration::from_secs(30)));
        assert_eq!(toy.startup_timeout, None);
        assert_eq!(toy.runtime.as_deref(), Some("python"));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn an_unusable_setting_is_left_unset_and_named() {
        let mut warnings = Vec::new();
        let text = r#"{"toy":{"1.0":{"batchSize":[3],"minWorkers":"x","nonsense":1}}}"#;
        let all = parse(text, &mut warnings).unwrap();
        assert_eq!(all[0].2, ModelOverrides::default());
        assert_eq!(warnings.len(), 3);
        assert!(warnings[0].starts_with("model toy:1.0, parameter batchSize: [3] is not"));
    }

    #[test]
    fn text_of_another_shape_is_an_error() {
        for bad in ["{", "[]", "3", r#"{"a":1}"#, r#"{"a":{"1.0":2}}"#] {
            assert!(parse(bad, &mut Vec::new()).is_err(), "{bad}");
        }
        assert_eq!(parse("  ", &mut Vec::new()), Ok(Vec::new()));
    }
}
