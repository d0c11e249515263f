//! Background steps, and droplets that need others: what happened inside guests.

use crate::guests;
use crate::workspace::{Ran, Workspace};

/// Listens on a port and says how often it was started; `serve.py` is its source.
const SERVE: &str = r#"
import http.server, os, sys
count = int(open("/root/starts").read()) + 1 if os.path.exists("/root/starts") else 1
open("/root/starts", "w").write(str(count))
print("VERSION one, start", count, flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
"#;

const SERVICE: &str = r#"
version: 1
project: services
region: nyc3
volumes:
  data: { size: 1GiB }
droplets:
  server:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    source: { path: ./app, into: /opt/app }
    secrets: [TOKEN]
    run:
      - name: serve
        command: |
          echo "the token is $TOKEN"
          cd /mnt/data
          python3 /opt/app/serve.py
        background: true
        ready: { http: "http://localhost:8000/", timeout: 30s }
      - name: ask
        command: |
          python3 -c 'import urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open("http://localhost:8000/").status)'
          echo "asked start $(cat /root/starts)"
"#;

fn apply(workspace: &Workspace) -> Ran {
    let mut command = workspace.command(&["apply", "--yes", "--local"]);
    command.env("TOKEN", "hunter2-is-secret");
    workspace.finish(command)
}

#[test]
fn a_service_outlives_its_session_and_is_only_restarted_when_something_changed() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(SERVICE);
    workspace.write("app/serve.py", SERVE);
    apply(&workspace)
        .expect(0)
        .says("VERSION one, start 1")
        .says("asked start 1");
    // Its log comes back, without what is secret.
    let log = in_last_run(&workspace, "artifacts/services-main-server/serve.log");
    assert!(log.contains("the token is [redacted]"), "{log}");
    assert!(log.contains("\"GET / HTTP/1.1\" 200"), "{log}");

    apply(&workspace).expect(0).says("asked start 1");
    workspace.write("app/serve.py", &SERVE.replace("one", "two"));
    apply(&workspace)
        .expect(0)
        .says("VERSION two, start 2")
        .says("asked start 2");
    workspace.write(
        "dewpoint.yaml",
        &SERVICE.replace("the token is", "the word is"),
    );
    apply(&workspace).expect(0).says("asked start 3");

    // What the manifest no longer has is stopped before the runs.
    let (before, after) = SERVICE.split_once("      - name: serve").expect("the step");
    let (_, after) = after.split_once("      - name: ask").expect("the step");
    let after = after.replace(
        "python3 -c",
        "! grep -l serve.py /proc/[0-9]*/cmdline || exit 9\n          true python3 -c",
    );
    workspace.write(
        "dewpoint.yaml",
        &format!("{before}      - name: ask{after}"),
    );
    apply(&workspace).expect(0).says("asked start 3");

    // It holds the volume, and is stopped before that is taken away.
    workspace.write("dewpoint.yaml", SERVICE);
    apply(&workspace).expect(0).says("asked start 4");
    workspace
        .local(&["destroy", "--yes"])
        .expect(0)
        .says("stop background steps");
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn a_step_that_is_not_ready_says_why() {
    if !guests() {
        return;
    }
    let run = |steps: &str| {
        format!(
            "version: 1\nproject: services\nregion: nyc3\ndroplets:\n  server:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    run:\n{steps}      - {{ name: after, command: echo never }}\n"
        )
    };
    let listen = "python3 -c 'import socket, time; s = socket.socket(); s.setsockopt(1, 15, 1); s.bind((\"\", 8000)); s.listen(); time.sleep(600)'";
    let steps = |steps: &str| run(&steps.replace("LISTEN", listen));

    let workspace = Workspace::with(&run(
        "      - { name: broken, command: \"echo no such model; exit 4\", background: true, ready: { tcp: 8000 } }\n",
    ));
    let ran = workspace.local(&["apply", "--yes"]).expect(3);
    let ran = ran
        .says("broken ended before it was ready: exit status 4")
        .says("no such model");
    assert!(!ran.err.contains("never"), "{}", ran.all());
    assert!(!ran.all().contains("while others ran"), "{}", ran.all());

    workspace.write(
        "dewpoint.yaml",
        &run("      - { name: slow, command: sleep 600, background: true, ready: { tcp: 8000, timeout: 1s } }\n"),
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(3)
        .says("slow was not ready within 1s: nothing listens on port 8000");
    workspace.write(
        "dewpoint.yaml",
        &run("      - { name: slow, command: sleep 600, background: true, ready: { command: \"echo not yet; test -e /root/up\", timeout: 1s } }\n"),
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(3)
        .says("slow was not ready within 1s: not yet");

    // Nor is a longer wait any help while somebody else has the port.
    workspace.write(
        "dewpoint.yaml",
        &steps("      - name: squatter\n        command: |\n          nohup LISTEN >/dev/null 2>&1 &\n          sleep 1\n      - { name: serve, command: sleep 600, background: true, ready: { tcp: 8000, timeout: 1s } }\n"),
    );
    let ran = workspace.local(&["apply", "--yes"]).expect(3);
    let ran = ran.says("serve was not ready within 1s: port 8000 is held by process ");
    let ran = ran.says("end what holds the port in an earlier step");
    assert!(
        !ran.all().contains("longer `ready.timeout`"),
        "{}",
        ran.all()
    );
    workspace.local(&["destroy", "--yes"]).expect(0);

    // Somebody else's listener is not the step's.
    workspace.write(
        "dewpoint.yaml",
        &steps("      - name: squatter\n        command: |\n          nohup LISTEN >/dev/null 2>&1 &\n          sleep 1\n      - { name: serve, command: sleep 600, background: true, ready: { tcp: 8000 } }\n"),
    );
    let ran = workspace.local(&["apply", "--yes"]).expect(3);
    let ran = ran.says("port 8000 is not serve's own: it is held by process ");
    assert!(
        ran.all().contains(": python3 -c import socket"),
        "{}",
        ran.all()
    );

    // What fails while others run is told when they are done.
    workspace.write(
        "dewpoint.yaml",
        &run("      - { name: serve, command: \"echo works; sleep 1; echo breaks; exit 5\", background: true }\n      - { name: wait, command: sleep 2 }\n"),
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(3)
        .says("serve ended while others ran: exit status 5")
        .says("breaks")
        .says("never");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn every_droplet_knows_the_others_before_its_runs() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: names
region: nyc3
droplets:
  server: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
  worker:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    matrix: { python: ["3.11", "3.12"] }
    needs: [server]
    run:
      - name: look
        command: |
          stat -c 'mode %a' /run/dewpoint/inventory.json
          getent hosts server names-main-worker-3.12 worker-3.11 | wc -l | sed 's/^3$/names resolve/'
          grep -c begin /etc/hosts
          cp /run/dewpoint/inventory.json .
        artifacts: [inventory.json]
"#,
    );
    for _ in 0..2 {
        let ran = workspace.local(&["apply", "--yes"]).expect(0);
        let ran = ran.says("mode 644").says("names resolve");
        assert!(!ran.all().contains("| 2\n"), "{}", ran.all());
    }
    let text = in_last_run(
        &workspace,
        "artifacts/names-main-worker-3.11/inventory.json",
    );
    let inventory: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let droplets = inventory["droplets"].as_array().expect("droplets");
    assert_eq!(droplets.len(), 3);
    assert_eq!(droplets[0]["address"], "droplet.server");
    assert_eq!(droplets[0]["host"], "server");
    assert_eq!(droplets[1]["matrix"]["python"], "3.11");
    assert_eq!(droplets[1]["host"], "worker-3.11");
    for (droplet, live) in droplets.iter().zip(by_name(&workspace)) {
        assert_eq!(droplet["name"], live["name"]);
        for (kind, key) in [("public", "public_ipv4"), ("private", "private_ipv4")] {
            let networks = live["networks"]["v4"].as_array().expect("networks");
            let network = networks.iter().find(|network| network["type"] == kind);
            assert_eq!(droplet[key], network.expect(kind)["ip_address"]);
        }
    }
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

fn by_name(workspace: &Workspace) -> Vec<serde_json::Value> {
    let mut droplets = workspace.list("droplets");
    droplets.sort_by_key(|droplet| droplet["name"].to_string());
    droplets
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
