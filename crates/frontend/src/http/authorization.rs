//! Which token a request needs: by its route, and by its listener where there is no route.
//!
//! Runs before a body is read, so that nobody without a token can make the server hold one.

use super::Connector;
use super::answer::Surface;
use super::head::HeadView;
use super::platform;
use super::routes::Api;
use super::target::Target;
use crate::error::Error;
use crate::service::Scope;

/// The first `Authorization` header.
pub(super) fn header<'a>(head: &HeadView<'a>) -> Option<&'a [u8]> {
    head.headers()
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value)
}

/// Lets a request in.
///
/// # Errors
/// [`Error::InvalidKey`] when it lacks the token it needs.
pub(super) fn check(surface: &Surface, head: &HeadView<'_>) -> Result<(), Error> {
    let tokens = &surface.services.tokens;
    if !tokens.is_on() {
        return Ok(());
    }
    let target = Target::parse(head.target()).ok();
    let path = target.as_ref().and_then(Target::path);
    let route = platform::find(surface, head.method(), path);
    match needed(surface.connector, route.map(|(route, _)| route.api).ok()) {
        Some(scope) => tokens.authorize(scope, header(head)),
        None => Ok(()),
    }
}

/// What a request has to be allowed to do that goes to a route of this API, if to any; `None` when
/// everybody may.
fn needed(connector: Connector, api: Option<Api>) -> Option<Scope> {
    match api {
        Some(api) if api != Api::Nowhere => of_route(api),
        _ => match (connector.inference, connector.management) {
            (true, true) => Some(Scope::Any),
            (true, false) => Some(Scope::Inference),
            (false, true) => Some(Scope::Management),
            (false, false) => None,
        },
    }
}

fn of_route(api: Api) -> Option<Scope> {
    match api {
        // `/token` checks its own key; descriptions, probes and metrics are for everybody.
        Api::Every | Api::Models | Api::Metrics | Api::Tokens => None,
        Api::Inference | Api::OpenInference | Api::Nowhere => Some(Scope::Inference),
        Api::Management => Some(Scope::Management),
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes;
    use super::*;

    fn needed(connector: Connector, method: &str, target: &str) -> Option<Scope> {
        let target = Target::parse(target).ok();
        let path = target.as_ref().and_then(Target::path);
        let found = routes::find(connector, method, path);
        super::needed(connector, found.map(|(route, _)| route.api).ok())
    }

    #[test]
    fn the_listener_decides_where_it_serves_one_api() {
        for (connector, scope) in [
            (Connector::INFERENCE, Some(Scope::Inference)),
            (Connector::MANAGEMENT, Some(Scope::Management)),
            (Connector::METRICS, None),
        ] {
            let at = |method, target| needed(connector, method, target);
            for target in ["/nothing", "/ping%zz", "*", "/models/m/1.0", "//"] {
                assert_eq!(at("DELETE", target), scope, "{connector:?} {target}");
            }
            assert_eq!(at("OPTIONS", "/"), None);
            assert_eq!(at("GET", "/readyz"), None);
        }
        assert_eq!(
            needed(Connector::INFERENCE, "GET", "/token"),
            Some(Scope::Inference)
        );
        assert_eq!(
            needed(Connector::INFERENCE, "GET", "/ping"),
            Some(Scope::Inference)
        );
        assert_eq!(
            needed(Connector::INFERENCE, "GET", "/api-description"),
            None
        );
        assert_eq!(needed(Connector::MANAGEMENT, "GET", "/token?type=x"), None);
        for target in ["/models/tokenizer", "/models/m?x=/token", "/token/x"] {
            let scope = needed(Connector::MANAGEMENT, "GET", target);
            assert_eq!(scope, Some(Scope::Management), "{target}");
        }
    }

    #[test]
    fn the_path_decides_on_a_shared_listener() {
        for (method, target, scope) in [
            ("POST", "/predictions/m", Some(Scope::Inference)),
            ("POST", "/models/m/invoke", Some(Scope::Inference)),
            ("GET", "/ping", Some(Scope::Inference)),
            ("GET", "/models", Some(Scope::Management)),
            ("PUT", "/models/m", Some(Scope::Management)),
            ("PUT", "/models/m/1.0/set-default", Some(Scope::Management)),
            ("GET", "/models/m/1.0", Some(Scope::Any)),
            ("PATCH", "/models/m", Some(Scope::Any)),
            ("GET", "/nothing", Some(Scope::Any)),
            ("GET", "/token", None),
            ("GET", "/metrics", None),
            ("GET", "/api-description", None),
        ] {
            let needs = needed(Connector::COMBINED, method, target);
            assert_eq!(needs, scope, "{method} {target}");
        }
    }
}
