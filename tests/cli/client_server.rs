//! The client-server example: a server that others need, reached by name.

use crate::guests;
use crate::workspace::Workspace;

#[test]
fn a_client_tests_a_server_on_another_droplet() {
    if !guests() {
        return;
    }
    let workspace = Workspace::example("client-server");
    let ran = workspace.local(&["test"]).expect(0);
    let ran = ran.says("Ran 4 tests").says("OK");
    let at = |text: &str| {
        ran.err
            .find(text)
            .unwrap_or_else(|| panic!("`{text}` is missing:\n{}", ran.all()))
    };
    let (ready, asked) = (
        at("ok droplet.server run fill"),
        at("> droplet.client run tests"),
    );
    let (tested, stopped) = (
        at("ok droplet.client run tests"),
        at("ok droplet.server stop background steps"),
    );
    assert!(ready < asked && tested < stopped, "{}", ran.all());
    workspace.assert_empty();

    // What the server saw: the client, at the address the cloud says it has.
    let log = in_last_run(&workspace, "artifacts/client-server-main-server/serve.log");
    assert!(log.contains("listening on port 8000"), "{log}");
    assert!(log.contains("\"PUT /key HTTP/1.1\" 200"), "{log}");
    let from: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("/key"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        from.iter().all(|address| address.starts_with("10.")),
        "{log}"
    );
    let report = in_last_run(&workspace, "artifacts/client-server-main-client/report.txt");
    assert!(report.contains("Ran 4 tests"), "{report}");

    // On droplets that stay, the server is left alone when only the client changes.
    workspace.local(&["apply", "--yes"]).expect(0).says("OK");
    let tests = workspace.read("client/test_server.py");
    workspace.write(
        "client/test_server.py",
        &tests.replace("b\"hello\"", "b\"goodbye\""),
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(3)
        .says("runs on, nothing changed")
        .says("b'hello' != b'goodbye'");
    let server = workspace.read("server/serve.py");
    workspace.write("server/serve.py", &format!("raise SystemExit(7)\n{server}"));
    let broken = workspace
        .local(&["apply", "--yes"])
        .expect(3)
        .says("serve ended before it was ready: exit status 7");
    assert!(
        !broken.err.contains("> droplet.client run tests"),
        "{}",
        broken.all()
    );
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

fn in_last_run(workspace: &Workspace, name: &str) -> String {
    // Names of runs sort by time.
    let last = std::fs::read_dir(workspace.path(".dewpoint/runs"))
        .expect("runs")
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a run");
    let path = last.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
