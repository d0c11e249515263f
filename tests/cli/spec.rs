//! Every request that was sent and every answer that was given, against the official specification.

use crate::guests;
use crate::workspace::Workspace;

#[path = "../support/openapi.rs"]
mod openapi;

#[test]
fn a_whole_cycle_keeps_to_the_official_specification() {
    let Some(spec) = openapi::OpenApi::load() else {
        return;
    };
    let workspace = Workspace::example("quickstart");
    if guests() {
        workspace.local(&["test"]).expect(0);
    }
    workspace.write(
        "more.yaml",
        "version: 1\nproject: more\nregion: nyc3\nvolumes: { v: { size: 1GiB } }\ndroplets: { a: { image: debian-12-x64, size: s-1vcpu-1gb, count: 2 } }\n",
    );
    workspace
        .local(&["apply", "--yes", "-f", "more.yaml"])
        .expect(0);
    workspace
        .local(&["destroy", "--project", "--yes", "-f", "more.yaml"])
        .expect(0);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    let requests = workspace.requests();
    assert!(requests.len() > 30, "{}", requests.len());
    let mut problems = Vec::new();
    for request in requests.iter().filter(|request| {
        request["path"]
            .as_str()
            .is_some_and(|path| path.starts_with("/v2/"))
    }) {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        let body = |name: &str| Some(&request[name]).filter(|body| !body.is_null());
        let status = u16::try_from(request["status"].as_u64().unwrap_or(0)).unwrap_or(0);
        let query: Vec<(String, String)> =
            serde_json::from_value(request["query"].clone()).expect("a query");
        let (method, path) = (text("method"), text("path"));
        for problem in spec
            .check_request(method, path, &query, body("request"))
            .into_iter()
            .chain(spec.check_response(method, path, status, body("answer")))
        {
            problems.push(format!("{method} {path} -> {status}: {problem}"));
        }
    }
    problems.sort();
    problems.dedup();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
