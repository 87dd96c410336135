//! Paths find their rows, with the quirks of the original.

use super::*;

fn outcome(connector: Connector, method: &str, target: &str) -> String {
    let target = Target::parse(target).unwrap();
    match find(connector, method, target.path()) {
        Ok((row, captures)) => {
            let name = row.documentation.map_or("-", |docs| docs.operation_id);
            let mut text = name.to_owned();
            for part in [captures.model, captures.version].into_iter().flatten() {
                text.push(' ');
                text.push_str(part);
            }
            if !captures.rest.is_empty() {
                text.push_str(" +");
                text.push_str(captures.rest);
            }
            text
        }
        Err(error) => error.code().http().to_string(),
    }
}

#[test]
fn inference_paths() {
    let at = |method, target| outcome(Connector::INFERENCE, method, target);
    for (method, target, expected) in [
        ("OPTIONS", "/", "apiDescription"),
        ("GET", "/", "405"),
        ("GET", "//", "405"),
        ("BREW", "/ping", "ping"),
        ("GET", "/ping/any/thing", "ping"),
        ("GET", "/api-description/", "api-description"),
        ("GET", "/api-description/x", "404"),
        ("FOO", "/predictions/m", "predictions m"),
        ("GET", "/predictions/m/", "predictions m"),
        ("GET", "/predictions/m/1.0", "version_predictions m 1.0"),
        ("GET", "/predictions/m/1.0/a/seg%20b/", "- m 1.0 +a/seg b"),
        ("GET", "/predictions%2Fm", "predictions m"),
        ("POST", "/predictions/", "404"),
        ("GET", "//predictions/m", "404"),
        ("GET", "http://h/ping", "404"),
        ("OPTIONS", "*", "404"),
        ("POST", "/explanations/m/2", "- m 2"),
        ("POST", "/explanations", "404"),
        ("POST", "/invocations", "-"),
        ("POST", "/invocations/x", "404"),
        ("POST", "/models/m/invoke", "- m"),
        ("POST", "/m/predict", "- m"),
        ("POST", "/m/1/predict", "- m 1"),
        ("POST", "/v1/models/m:predict", "v1_predictions m"),
        ("POST", "/v1/models/m:predictxyz", "v1_predictions m"),
        ("POST", "/v1/models/m:explain", "- m"),
        ("POST", "/v1/models/m:explain:predict", "v1_predictions m"),
        ("GET", "/v1/models/m", "v1_model_ready m"),
        ("POST", "/v2/models/m:x/infer", "v2_predictions m"),
        ("POST", "/v2/models/m/explain", "- m"),
        ("GET", "/v2/models/m", "404"),
        ("GET", "/v2", "404"),
        ("GET", "/models", "404"),
        ("GET", "/metrics", "404"),
        ("GET", "/nothing", "404"),
    ] {
        assert_eq!(at(method, target), expected, "{method} {target}");
    }
}

#[test]
fn management_paths() {
    let at = |method, target| outcome(Connector::MANAGEMENT, method, target);
    for (method, target, expected) in [
        ("GET", "/models/", "listModels"),
        ("POST", "/models", "registerModel"),
        ("OPTIONS", "/models", "405"),
        ("HEAD", "/models", "405"),
        ("GET", "/models/m", "describeModel m"),
        ("PUT", "/models/m/2", "version_setAutoScale m 2"),
        ("DELETE", "/models/m", "unregisterModel m"),
        ("PATCH", "/models/m", "405"),
        ("OPTIONS", "/models/m/2", "- m 2"),
        ("PUT", "/models/m/2/set-default", "setDefault m 2"),
        ("GET", "/models/m/2/set-default", "- m 2"),
        ("POST", "/models/m/2/set-default", "405"),
        ("GET", "/models/m/2/x", "404"),
        ("PUT", "/other/m/2/set-default", "404"),
        ("GET", "/v1/models/m:x", "- m"),
        ("POST", "/v1/models/m", "405"),
        ("POST", "/predictions/m", "404"),
        ("GET", "/ping", "404"),
        ("OPTIONS", "/", "apiDescription"),
    ] {
        assert_eq!(at(method, target), expected, "{method} {target}");
    }
}

#[test]
fn a_shared_listener_serves_both_and_hides_versions() {
    let shared = Connector::COMBINED;
    assert_eq!(outcome(shared, "POST", "/predictions/m"), "predictions m");
    assert_eq!(outcome(shared, "GET", "/models"), "listModels");
    assert_eq!(outcome(shared, "GET", "/models/m"), "describeModel m");
    assert_eq!(outcome(shared, "GET", "/models/m/1.0"), "- m 1.0");
    assert_eq!(
        outcome(shared, "PUT", "/models/m/1.0/set-default"),
        "setDefault m 1.0"
    );
    assert_eq!(outcome(shared, "GET", "/metrics"), "metrics");
    let without = Connector {
        metrics: false,
        ..shared
    };
    assert_eq!(outcome(without, "GET", "/metrics"), "404");
}

#[test]
fn the_metrics_listener_serves_metrics_only() {
    let at = |target| outcome(Connector::METRICS, "GET", target);
    assert_eq!(at("/metrics/x"), "metrics");
    assert_eq!(at("/ping"), "404");
    assert_eq!(at("/models"), "404");
    assert_eq!(at("/"), "405");
}
