//! Every request the control socket knows: its path, its method, and who may make it.
//!
//! There is no request that is not in [`ROUTES`], and none of them is answered before [`Route::of`] has found it and
//! the peer's role has been held against it. `docs/openapi.json` is held against it by a test.

use callgate_api::Role;
use hyper::Method;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its path.
    pub path: &'static str,
    /// Its method: what changes nothing is GET, or needs a body to ask.
    pub method: Method,
    /// Who may make it: this role, and those above it.
    pub role: Role,
}

const fn get(path: &'static str) -> Route {
    Route { path, method: Method::GET, role: Role::Viewer }
}

const fn post(path: &'static str, role: Role) -> Route {
    Route { path, method: Method::POST, role }
}

/// All of them.
pub static ROUTES: [Route; 28] = [
    get("/v1/version"),
    get("/v1/status"),
    get("/v1/calls"),
    get("/v1/calls/ladder"),
    get("/v1/pinholes"),
    get("/v1/flows"),
    get("/v1/rules"),
    get("/v1/counters"),
    get("/v1/phones"),
    get("/v1/h323/registrations"),
    get("/v1/sip/registrations"),
    get("/v1/events"),
    get("/v1/history"),
    get("/v1/history/totals"),
    get("/v1/history/fraud"),
    get("/v1/blocks"),
    get("/v1/metrics"),
    post("/v1/explain", Role::Viewer),
    post("/v1/block", Role::Operator),
    post("/v1/unblock", Role::Operator),
    post("/v1/flows/kill", Role::Operator),
    post("/v1/calls/end", Role::Operator),
    // Whoever captures listens in.
    post("/v1/capture", Role::Operator),
    post("/v1/capture/take", Role::Operator),
    post("/v1/reload", Role::Admin),
    post("/v1/confirm", Role::Admin),
    post("/v1/rollback", Role::Admin),
    // It reads a file of the caller's choice as the daemon's user.
    post("/v1/diff", Role::Admin),
];

impl Route {
    /// The request of a path.
    pub fn of(path: &str) -> Option<&'static Self> {
        ROUTES.iter().find(|route| route.path == path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use callgate_api::{
        BlockRequest, CaptureRequest, CaptureTake, DiffRequest, ExplainRequest, HangupRequest, ReloadRequest,
        Status, UnblockRequest,
    };
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    const PAGE: &str = include_str!("../../../../docs/api.md");

    fn openapi() -> Value {
        serde_json::from_str(include_str!("../../../../docs/openapi.json")).expect("JSON")
    }

    #[test]
    fn the_description_has_every_request_with_its_method_and_role() {
        let openapi = openapi();
        let paths = openapi["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().expect("methods").iter().map(move |one| (path, one))
            })
            .map(|(path, (method, operation))| {
                let role = operation["x-callgate-role"].as_str().expect("a role");
                (path.clone(), method.to_uppercase(), role.to_owned())
            })
            .collect();
        let known = ROUTES
            .iter()
            .map(|route| (route.path.to_owned(), route.method.to_string(), route.role.name().to_owned()));
        assert_eq!(described, known.collect());
    }

    #[test]
    fn the_manual_has_every_request_with_its_method_and_role() {
        let rows: BTreeSet<String> = PAGE
            .lines()
            .filter(|line| line.contains(" /v1/") && line.starts_with("| `"))
            .filter_map(|line| line.rsplit_once(" | ").map(|(row, _)| row.to_owned()))
            .collect();
        let known: BTreeSet<String> = ROUTES
            .iter()
            .map(|route| format!("| `{} {}` | {}", route.method, route.path, route.role))
            .collect();
        assert_eq!(rows, known);
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        fn walk(value: &Value, whole: &Value, seen: &mut usize) {
            match value {
                Value::Object(fields) => {
                    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').expect("within the document");
                        assert!(whole.pointer(pointer).is_some(), "{reference}");
                        *seen += 1;
                    }
                    fields.values().for_each(|value| walk(value, whole, seen));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, whole, seen)),
                _ => {}
            }
        }
        let openapi = openapi();
        let mut seen = 0;
        walk(&openapi, &openapi, &mut seen);
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn examples_of_bodies_are_read() {
        fn read<T: DeserializeOwned>(openapi: &Value, path: &str) {
            let pointer =
                format!("/paths/{}/post/requestBody/content/application~1json", path.replace('/', "~1"));
            let body = openapi.pointer(&pointer).unwrap_or_else(|| panic!("{path} has a body"));
            let example = body["example"].clone();
            serde_json::from_value::<T>(example).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let openapi = openapi();
        read::<ExplainRequest>(&openapi, "/v1/explain");
        read::<BlockRequest>(&openapi, "/v1/block");
        read::<UnblockRequest>(&openapi, "/v1/unblock");
        read::<CaptureRequest>(&openapi, "/v1/capture");
        read::<CaptureTake>(&openapi, "/v1/capture/take");
        read::<HangupRequest>(&openapi, "/v1/calls/end");
        read::<ReloadRequest>(&openapi, "/v1/reload");
        read::<DiffRequest>(&openapi, "/v1/diff");
    }

    /// What is required is needed to read a status, and nothing else is.
    #[test]
    fn a_status_of_what_is_required_is_one() {
        let openapi = openapi();
        let required = openapi.pointer("/components/schemas/Status/required").and_then(Value::as_array);
        let status = serde_json::json!({
            "version": "0.1.0", "uptime_s": 1, "mode": "enforce", "interfaces": [], "calls": 0, "pinholes": 0,
            "flows": 0, "packets": { "passed": 0, "dropped": 0 },
            "rules": { "file": "a", "loaded_unix": 1, "generation": 1, "count": 1, "last_error": null },
            "alg": { "heartbeat_age_ms": 1, "messages": {}, "refusals": {} },
        });
        let keys: BTreeSet<&str> =
            status.as_object().expect("an object").keys().map(String::as_str).collect();
        let required: BTreeSet<&str> =
            required.expect("a list").iter().map(|key| key.as_str().expect("a name")).collect();
        assert_eq!(keys, required);
        serde_json::from_value::<Status>(status).expect("a status");
    }
}
