//! What the descriptions list.

use super::*;

fn operations(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
            found.push(format!("{method} {path} {id} {statuses:?}").replace('"', ""));
        }
    }
    found.sort();
    found
}

#[test]
fn the_inference_listener_lists_what_the_original_lists_and_health() {
    assert_eq!(
        operations(&server(Connector::INFERENCE)),
        [
            "get /api-description api-description [200, 500]",
            "get /livez livez [200]",
            "get /metrics metrics [200, 500]",
            "get /ping ping [200, 500]",
            "get /readyz readyz [200, 404, 503]",
            "get /startupz startupz [200, 503]",
            "get /v1/models v1_models [200]",
            "get /v1/models/{model_name} v1_model_ready [200, 404, 503]",
            "options / apiDescription [200, 500]",
            "post /predictions/{model_name} predictions [200, 404, 500, 503]",
            "post /predictions/{model_name}/{model_version} version_predictions [200, 404, 500, 503]",
            "post /v1/models/{model_name}:predict v1_predictions [200, 404, 500, 503]",
            "post /v2/models/{model_name}/infer v2_predictions [200, 404, 500, 503]",
        ]
    );
}

#[test]
fn a_model_of_the_management_api_lists_its_operations() {
    let document = management("m");
    assert_eq!(document["info"]["title"], "RESTful Management API for: m");
    let listed = operations(&document);
    assert_eq!(listed.len(), 7);
    assert!(
        listed.contains(
            &"put /models/{model_name} setAutoScale [200, 202, 206, 400, 404, 409, 500, 507]"
                .to_owned()
        )
    );
    let parameters = &document["paths"]["/models/{model_name}"]["put"]["parameters"];
    assert_eq!(parameters[0]["name"], "model_name");
    assert_eq!(parameters[1]["schema"]["default"], 1);
}

#[test]
fn a_model_of_the_inference_api_lists_three_paths() {
    assert_eq!(
        operations(&prediction("m", None)),
        [
            "post /predictions/m m [200, 404, 500, 503]",
            "post /v1/models/m:predict v1_m [200, 404, 500, 503]",
            "post /v2/models/m/infer v2_m [200, 404, 500, 503]",
        ]
    );
}
