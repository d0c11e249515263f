//! The local cloud as a process: what it answers, and what it survives.

#[path = "support/local_cloud.rs"]
mod local_cloud;
#[path = "support/openapi.rs"]
mod openapi;

use camino::Utf8Path;
use dewpoint::local::service::{self, UpOptions};
use local_cloud::{Cloud, wait_until};
use openapi::OpenApi;
use serde_json::{Value, json};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvovswfldoSzuT6929HCOXtF0jF3hcf8weEP9vW447F someone";

/// A cloud whose every answer is held against the official document.
struct Held {
    cloud: Cloud,
    spec: Option<OpenApi>,
}

impl Held {
    fn call(&self, method: &str, target: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.cloud.call(method, target, body.as_ref());
        if let Some(spec) = &self.spec {
            let path = target.split('?').next().unwrap_or(target);
            let mut documented = answer.body.clone();
            // The one place where the service departs from the document, and we with it: links to
            // actions are relative.
            if let Some(links) = documented
                .as_mut()
                .and_then(|body| body.pointer_mut("/links/actions"))
                .and_then(Value::as_array_mut)
            {
                for link in links {
                    let relative = link["href"].as_str().expect("a link").to_owned();
                    link["href"] = json!(format!("https://api.digitalocean.com{relative}"));
                }
            }
            let problems = spec.check_response(method, path, answer.status, documented.as_ref());
            assert_eq!(problems, Vec::<String>::new(), "{method} {target}");
        }
        (answer.status, answer.body.unwrap_or_default())
    }

    fn get(&self, target: &str) -> Value {
        let (status, body) = self.call("GET", target, None);
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    fn post(&self, target: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", target, Some(body));
        assert!((200..300).contains(&status), "{target}: {status} {answer}");
        answer
    }

    fn delete(&self, target: &str) {
        let (status, answer) = self.call("DELETE", target, None);
        assert_eq!(status, 204, "{target}: {answer}");
    }

    /// Waits for an action to end well.
    fn done(&self, action: &Value) {
        let id = action["action"]["id"].as_u64().expect("an action");
        let path = format!("/v2/actions/{id}");
        wait_until("an action completes", || {
            self.get(&path)["action"]["status"] == "completed"
        });
    }

    fn droplet(&self, name: &str) -> u64 {
        let body = json!({
            "name": name, "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64",
            "tags": ["dewpoint"],
        });
        let id = self.post("/v2/droplets", body)["droplet"]["id"]
            .as_u64()
            .expect("an id");
        self.active(id);
        id
    }

    fn active(&self, id: u64) {
        wait_until("a droplet is active", || {
            let shown = self.get(&format!("/v2/droplets/{id}"));
            shown["droplet"]["status"] == "active"
                && shown["droplet"]["networks"]["v4"]
                    .as_array()
                    .is_some_and(|v4| !v4.is_empty())
        });
    }
}

fn held() -> Held {
    Held {
        cloud: Cloud::without_guests(),
        spec: OpenApi::load(),
    }
}

#[test]
fn every_answer_is_as_documented() {
    let held = held();
    for list in [
        "/v2/account",
        "/v2/regions",
        "/v2/sizes?per_page=200",
        "/v2/images",
        "/v2/images/ubuntu-24-04-x64",
        "/v2/account/keys",
        "/v2/droplets",
        "/v2/volumes",
        "/v2/snapshots",
        "/v2/firewalls",
        "/v2/tags",
        "/v2/vpcs",
        "/v2/actions",
    ] {
        held.get(list);
    }
    let key = held.post(
        "/v2/account/keys",
        json!({ "name": "k", "public_key": KEY }),
    );
    let key = format!("/v2/account/keys/{}", key["ssh_key"]["id"]);
    held.get(&key);
    held.call("PUT", &key, Some(json!({ "name": "other" })));
    held.post("/v2/tags", json!({ "name": "dewpoint" }));
    held.get("/v2/tags/dewpoint");

    let rule = json!({ "protocol": "tcp", "ports": "22", "sources": { "addresses": ["::/0"] } });
    let firewall = json!({ "name": "fw", "inbound_rules": [rule], "tags": ["dewpoint"] });
    let made = held.post("/v2/firewalls", firewall.clone());
    let path = format!(
        "/v2/firewalls/{}",
        made["firewall"]["id"].as_str().expect("an id")
    );
    held.get(&path);
    held.call("PUT", &path, Some(firewall));
    held.post(
        &format!("{path}/rules"),
        json!({ "outbound_rules": [
            { "protocol": "icmp", "ports": "0", "destinations": { "addresses": ["0.0.0.0/0"] } },
        ]}),
    );

    let id = held.droplet("web");
    let droplet = format!("/v2/droplets/{id}");
    held.get("/v2/droplets?tag_name=dewpoint&per_page=200");
    held.get("/v2/droplets?name=WEB");
    held.get(&format!("{droplet}/firewalls"));
    let vpc = held.get(&droplet)["droplet"]["vpc_uuid"].clone();
    if let Some(vpc) = vpc.as_str() {
        held.get(&format!("/v2/vpcs/{vpc}"));
        held.get(&format!("/v2/vpcs/{vpc}/members"));
    }
    let twice = json!({ "names": ["a", "b"], "size": "s-1vcpu-1gb", "image": "debian-12-x64" });
    let two = held.post("/v2/droplets", twice);
    for one in two["droplets"].as_array().expect("two") {
        held.active(one["id"].as_u64().expect("an id"));
        held.delete(&format!("/v2/droplets/{}", one["id"]));
    }

    let volume = json!({
        "name": "data", "region": "nyc3", "size_gigabytes": 1, "tags": ["dewpoint"],
        "filesystem_type": "ext4",
    });
    let made = held.post("/v2/volumes", volume.clone());
    assert_eq!(made["volume"]["filesystem_type"], "ext4");
    assert_eq!(held.call("POST", "/v2/volumes", Some(volume)).0, 409);
    let volume = made["volume"]["id"].as_str().expect("an id").to_owned();
    let volume = format!("/v2/volumes/{volume}");
    held.get(&volume);
    held.get("/v2/volumes?name=data&region=nyc3");
    let act = |body: Value| held.done(&held.post(&format!("{volume}/actions"), body));
    act(json!({ "type": "attach", "droplet_id": id, "region": "nyc3" }));
    assert_eq!(held.call("DELETE", &volume, None).0, 409);
    act(json!({ "type": "resize", "size_gigabytes": 2, "region": "nyc3" }));
    act(json!({ "type": "detach", "droplet_id": id, "region": "nyc3" }));
    held.get(&format!("{volume}/actions"));
    held.post(&format!("{volume}/snapshots"), json!({ "name": "data-1" }));
    let listed = held.get(&format!("{volume}/snapshots"));
    held.get("/v2/snapshots?resource_type=volume");
    let snapshot = listed["snapshots"][0]["id"].as_str().expect("an id");
    held.get(&format!("/v2/volumes/snapshots/{snapshot}"));
    held.delete(&format!("/v2/volumes/snapshots/{snapshot}"));
    held.delete(&volume);

    let act = |body: Value| held.done(&held.post(&format!("{droplet}/actions"), body));
    act(json!({ "type": "shutdown" }));
    act(json!({ "type": "resize", "size": "s-1vcpu-2gb", "disk": false }));
    act(json!({ "type": "snapshot", "name": "base-1" }));
    wait_until("the snapshot is listed", || {
        held.get(&format!("{droplet}/snapshots"))["meta"]["total"] == 1
    });
    let listed = held.get("/v2/snapshots?resource_type=droplet");
    let image = listed["snapshots"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    held.post(
        "/v2/tags/dewpoint/resources",
        json!({ "resources": [
            { "resource_id": image, "resource_type": "image" },
        ]}),
    );
    let tagged = held.get("/v2/images?private=true&tag_name=dewpoint");
    assert_eq!(tagged["images"][0]["name"], "base-1");
    let image = format!("/v2/images/{image}");
    held.get(&image);
    held.done(&held.post(
        &format!("{image}/actions"),
        json!({ "type": "transfer", "region": "sfo3" }),
    ));
    assert_eq!(
        held.get(&image)["image"]["regions"],
        json!(["nyc3", "sfo3"])
    );
    act(json!({ "type": "power_on" }));
    held.get(&format!("{droplet}/actions"));
    held.get("/v2/actions?per_page=2&page=2");
    held.delete(&image);
    assert_eq!(held.call("DELETE", &image, None).0, 422);
    held.delete(&path);
    held.delete(&droplet);
    wait_until("the droplet is gone", || {
        held.call("GET", &droplet, None).0 == 404
    });
    held.delete(&key);
    held.delete("/v2/tags/dewpoint");
}

#[test]
fn only_who_has_the_token_and_the_right_name_is_let_in() {
    let cloud = Cloud::without_guests();
    let shown = cloud
        .raw("GET /v2/account HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer no\r\n");
    assert_eq!(shown.status, 401);
    assert_eq!(shown.body.expect("a body")["id"], "unauthorized");
    let shown = cloud
        .raw("GET /v2/account HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(shown.status, 403);
    let shown = cloud.call("GET", "/v2/nonsense", None);
    assert_eq!(
        (shown.status, &shown.body.expect("a body")["id"]),
        (404, &json!("not_found"))
    );
    let shown = cloud.call("DELETE", "/v2/sizes", None);
    assert_eq!(shown.status, 405);
    assert!(
        shown.head.contains("ratelimit-remaining: "),
        "{}",
        shown.head
    );
    let shown = cloud.raw("POST /v2/tags HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 1\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(shown.status, 400);
}

#[test]
fn no_path_answers_a_page_in_a_browser_or_whoever_has_no_token() {
    let cloud = Cloud::without_guests();
    let status = |line: &str, host: &str, rest: &str| {
        cloud
            .raw(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n{rest}"))
            .status
    };
    for line in [
        "GET /",
        "GET /v2/account",
        "GET /v2/droplets",
        "POST /v2/droplets",
        "DELETE /v2/droplets/1",
        "PUT /v2/firewalls/1",
        "OPTIONS /v2/account",
        "GET /_local/status",
        "GET /_local/requests",
        "GET /_local/faults",
        "POST /_local/faults",
        "DELETE /_local/faults",
        "GET /%5flocal/status",
        "GET /nonsense",
    ] {
        // A name that a page's own server has let point here: the browser sends what the page likes.
        for host in [
            "evil.example",
            "evil.example:{port}",
            "127.0.0.1",
            "127.0.0.1.evil.example:{port}",
            "localhost.evil.example:{port}",
            "[::1]:{port}",
            "0.0.0.0:{port}",
        ] {
            let shown = status(line, host, "Authorization: Bearer {token}\r\n");
            assert_eq!(shown, 403, "{line} as {host}");
        }
        for rest in [
            "",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer {token}x\r\n",
            "Authorization: Basic {token}\r\n",
            "Authorization: {token}\r\n",
            "Cookie: token={token}\r\nX-Authorization: Bearer {token}\r\n",
        ] {
            assert_eq!(
                status(line, "127.0.0.1:{port}", rest),
                401,
                "{line} with {rest:?}"
            );
        }
    }
    // Nothing of it was done, nor noted.
    let shown = cloud.call("GET", "/_local/requests", None);
    assert_eq!(shown.body.expect("a body")["requests"], json!([]));
    // It listens on loopback alone.
    let port: u16 = cloud
        .endpoint
        .url
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("read");
    let wanted = format!(":{port:04X}");
    let listening: Vec<&str> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.len() > 3 && fields[1].ends_with(&wanted) && fields[3] == "0A")
                .then(|| fields[1])
        })
        .collect();
    assert_eq!(listening, [format!("0100007F{wanted}")]);
    let wide = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    assert!(!wide.contains(&format!("{wanted} 0000")), "{wide}");
}

#[test]
fn all_of_it_survives_a_kill() {
    let mut held = held();
    let id = held.droplet("web");
    let pid = held.cloud.endpoint.pid;
    let before = held.cloud.endpoint.clone();
    held.cloud.kill();
    held.cloud.up();
    let after = held.cloud.endpoint.clone();
    assert_ne!(after.pid, pid);
    assert_eq!(after.token, before.token);
    assert_eq!(after.ssh_port, before.ssh_port);
    held.active(id);
    held.delete(&format!("/v2/droplets/{id}"));
    held.cloud.down();
    held.cloud.up();
    wait_until("what was asked for is done after a restart", || {
        held.call("GET", &format!("/v2/droplets/{id}"), None).0 == 404
    });
}

#[test]
fn faults_come_when_they_are_asked_for() {
    let held = held();
    let cloud = &held.cloud;
    let fault = |rule: Value| {
        assert_eq!(
            cloud.call("POST", "/_local/faults", Some(&rule)).status,
            204
        );
    };
    let body = json!({
        "name": "web", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "user_data": "#!/bin/sh",
    });
    // Lost after it was done: there is one droplet.
    fault(json!({ "method": "POST", "path": "/v2/droplets", "fault": "reset_after" }));
    assert!(
        cloud
            .try_call("POST", "/v2/droplets", Some(&body))
            .is_none()
    );
    assert_eq!(held.get("/v2/droplets")["meta"]["total"], 1);
    // Lost before: still one.
    fault(json!({ "method": "POST", "path": "/v2/droplets", "fault": "reset_before" }));
    assert!(
        cloud
            .try_call("POST", "/v2/droplets", Some(&body))
            .is_none()
    );
    assert_eq!(held.get("/v2/droplets")["meta"]["total"], 1);
    fault(
        json!({ "path": "/v2/account", "fault": { "status": { "code": 503, "retry_after": 7 } } }),
    );
    let shown = cloud.call("GET", "/v2/account", None);
    assert_eq!(shown.status, 503);
    assert!(shown.head.contains("retry-after: 7"), "{}", shown.head);
    assert_eq!(cloud.call("GET", "/v2/account", None).status, 200);
    fault(
        json!({ "path": "/v2/droplets", "method": "POST", "fault": { "action": { "errored": true } } }),
    );
    let made = held.post("/v2/droplets", body);
    let action = format!("/v2/actions/{}", made["links"]["actions"][0]["id"]);
    wait_until("the create fails", || {
        held.get(&action)["action"]["status"] == "errored"
    });
    let droplet = format!("/v2/droplets/{}", made["droplet"]["id"]);
    assert_eq!(held.call("GET", &droplet, None).0, 404);
    assert_eq!(cloud.call("DELETE", "/_local/faults", None).status, 204);
    let log = cloud
        .call("GET", "/_local/requests", None)
        .body
        .expect("a log");
    let first = &log["requests"][0];
    assert_eq!(
        (&first["status"], &first["path"]),
        (&json!(0), &json!("/v2/droplets"))
    );
    assert_eq!(first["request"]["user_data"], "[redacted]");
}

#[test]
fn two_who_come_at_once_find_the_same_service() {
    let cloud = Cloud::stopped();
    let options = cloud.options();
    let pids: Vec<u32> = std::thread::scope(|scope| {
        let come = || service::up(&cloud.dir(), &options).expect("a service").pid;
        let all: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
        all.into_iter()
            .map(|one| one.join().expect("a pid"))
            .collect()
    });
    assert!(pids.windows(2).all(|pair| pair[0] == pair[1]), "{pids:?}");
    assert!(service::reset(&cloud.dir()).expect("a reset"));
    assert!(!cloud.dir().exists());
    assert_eq!(service::connect(&cloud.dir()).expect("a look"), None);
    assert!(!service::reset(&cloud.dir()).expect("nothing to do"));
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    std::fs::write(dir.join("thesis.txt"), "years of work").expect("a file");
    let refused = service::up(dir, &UpOptions::default()).expect_err("a refusal");
    assert!(
        refused
            .to_string()
            .ends_with("is not a local cloud's state folder")
    );
    assert!(service::reset(dir).is_err());
    assert!(dir.join("thesis.txt").exists());
    assert!(!service::down(dir).expect("nothing to do"));
}

#[test]
fn an_idle_service_ends_by_itself_and_keeps_its_state() {
    let mut cloud = Cloud::stopped();
    cloud.idle_seconds = 1;
    cloud.up();
    let tag = json!({ "name": "kept" });
    assert_eq!(cloud.call("POST", "/v2/tags", Some(&tag)).status, 201);
    let pid = cloud.endpoint.pid;
    wait_until("the service ends", || {
        !cloud.dir().join("endpoint.json").exists()
    });
    cloud.idle_seconds = 60;
    cloud.up();
    assert_ne!(cloud.endpoint.pid, pid);
    assert_eq!(cloud.call("GET", "/v2/tags/kept", None).status, 200);
}
