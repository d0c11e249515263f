//! The account under a clock that tests move by hand.

use serde_json::{Value, json};

use super::*;
use crate::local::exchange::{Answer, Refusal, Request, Verb};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvovswfldoSzuT6929HCOXtF0jF3hcf8weEP9vW447F someone";

/// An account in simulated time, as slow as DigitalOcean, whose work always succeeds.
struct Sim {
    account: Account,
    now: Millis,
}

impl Sim {
    fn new() -> Self {
        let config = Config {
            latency: Latency::REALISTIC,
            ..Config::default()
        };
        Self {
            account: Account::new("seed", config),
            now: 1_790_000_000_000,
        }
    }

    fn try_call(&mut self, verb: Verb, path: &str, body: Value) -> Result<Answer, Refusal> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            verb,
            path: path.to_owned(),
            query: query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            body: (!body.is_null()).then_some(body),
            origin: "http://127.0.0.1:1".to_owned(),
        };
        self.account.handle(&request, self.now)
    }

    fn ok(&mut self, verb: Verb, path: &str, body: Value) -> Value {
        let answer = self
            .try_call(verb, path, body)
            .unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"));
        answer.body.unwrap_or_default()
    }

    fn get(&mut self, path: &str) -> Value {
        self.ok(Verb::Get, path, Value::Null)
    }

    fn post(&mut self, path: &str, body: Value) -> Value {
        self.ok(Verb::Post, path, body)
    }

    fn refused(&mut self, verb: Verb, path: &str, body: Value) -> String {
        match self.try_call(verb, path, body) {
            Ok(answer) => panic!("{path}: {answer:?}"),
            Err(refusal) => format!("{} {}", refusal.status, refusal.message),
        }
    }

    /// Lets time pass; jobs end when they are due.
    fn pass(&mut self, seconds: i64) {
        let until = self.now + seconds * 1000;
        loop {
            let next = self
                .account
                .open_jobs()
                .filter(|job| job.due <= until)
                .min_by_key(|job| job.due)
                .map(|job| (job.id, job.due));
            let Some((id, due)) = next else { break };
            self.now = self.now.max(due);
            self.account
                .finish(id, Some(Done { bytes: 50_000_000 }), self.now);
        }
        self.now = until;
        self.account.take_fresh();
    }

    fn droplet(&mut self, name: &str) -> u64 {
        let body = json!({
            "name": name, "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64",
            "tags": ["dewpoint"],
        });
        let answer = self.post("droplets", body);
        answer["droplet"]["id"].as_u64().expect("an id")
    }

    fn volume(&mut self, name: &str) -> String {
        let body = json!({ "name": name, "region": "nyc3", "size_gigabytes": 1 });
        let answer = self.post("volumes", body);
        self.pass(2);
        answer["volume"]["id"].as_str().expect("an id").to_owned()
    }
}

#[test]
fn a_droplet_is_new_then_active_then_has_addresses() {
    let mut sim = Sim::new();
    let id = sim.droplet("web");
    let path = format!("droplets/{id}");
    let shown = sim.get(&path);
    assert_eq!(shown["droplet"]["status"], "new");
    assert_eq!(shown["droplet"]["tags"], json!(["dewpoint"]));
    assert!(shown["droplet"].get("vpc_uuid").is_none());
    sim.pass(40);
    let shown = sim.get(&path);
    assert_eq!(shown["droplet"]["status"], "active");
    assert_eq!(shown["droplet"]["networks"]["v4"], json!([]));
    assert!(shown["droplet"]["vpc_uuid"].is_string());
    sim.pass(2);
    let v4 = &sim.get(&path)["droplet"]["networks"]["v4"];
    assert_eq!(v4[0]["type"], "private");
    assert_eq!(v4[1]["type"], "public");
}

#[test]
fn one_event_at_a_time() {
    let mut sim = Sim::new();
    let id = sim.droplet("web");
    let actions = format!("droplets/{id}/actions");
    let off = json!({ "type": "power_off" });
    let pending = "422 Droplet already has a pending event.";
    assert_eq!(sim.refused(Verb::Post, &actions, off.clone()), pending);
    sim.pass(60);
    sim.post(&actions, off.clone());
    assert_eq!(sim.refused(Verb::Post, &actions, off.clone()), pending);
    let droplet = format!("droplets/{id}");
    assert_eq!(sim.refused(Verb::Delete, &droplet, Value::Null), pending);
    sim.pass(60);
    assert_eq!(sim.get(&droplet)["droplet"]["status"], "off");
    assert_eq!(
        sim.refused(Verb::Post, &actions, off),
        "422 Droplet is already powered off"
    );
    let wrong = json!({ "type": "explode" });
    assert_eq!(
        sim.refused(Verb::Post, &actions, wrong),
        "404 The specified action type is not available."
    );
}

#[test]
fn a_new_key_is_unknown_to_creates_for_a_while() {
    let mut sim = Sim::new();
    let made = sim.post("account/keys", json!({ "name": "k", "public_key": KEY }));
    let id = &made["ssh_key"]["id"];
    assert_eq!(
        made["ssh_key"]["fingerprint"],
        "7d:17:eb:a6:d5:f6:e0:82:f1:58:18:72:d4:60:4d:d1"
    );
    let create = json!({
        "name": "web", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "ssh_keys": [id],
    });
    assert_eq!(
        sim.refused(Verb::Post, "droplets", create.clone()),
        format!("422 {id} are invalid key identifiers for Droplet creation.")
    );
    sim.pass(9);
    sim.post("droplets", create);
    assert_eq!(
        sim.refused(
            Verb::Post,
            "account/keys",
            json!({ "name": "l", "public_key": KEY })
        ),
        "422 SSH Key is already in use on your account"
    );
}

#[test]
fn delete_strips_tags_at_once_and_volumes_stay_for_a_while() {
    let mut sim = Sim::new();
    let id = sim.droplet("web");
    sim.pass(60);
    let volume = sim.volume("data");
    let attach = json!({ "type": "attach", "droplet_id": id, "region": "nyc3" });
    sim.post(&format!("volumes/{volume}/actions"), attach.clone());
    sim.pass(5);
    assert_eq!(
        sim.refused(Verb::Post, &format!("volumes/{volume}/actions"), attach),
        "422 This volume is already attached"
    );
    let droplet = format!("droplets/{id}");
    let volume = format!("volumes/{volume}");
    sim.ok(Verb::Delete, &droplet, Value::Null);
    let shown = sim.get(&droplet);
    assert_eq!(shown["droplet"]["status"], "active");
    assert_eq!(shown["droplet"]["tags"], json!([]));
    sim.pass(9);
    assert!(
        sim.refused(Verb::Get, &droplet, Value::Null)
            .starts_with("404")
    );
    assert_eq!(
        sim.refused(Verb::Delete, &volume, Value::Null),
        "409 attached volume cannot be deleted"
    );
    sim.pass(10);
    sim.ok(Verb::Delete, &volume, Value::Null);
    sim.pass(1);
    assert!(
        sim.refused(Verb::Get, &volume, Value::Null)
            .starts_with("404")
    );
}

#[test]
fn a_snapshot_is_found_by_its_droplet_and_listed_late() {
    let mut sim = Sim::new();
    let id = sim.droplet("builder");
    sim.pass(60);
    let action = json!({ "type": "snapshot", "name": "base-1" });
    let asked = sim.post(&format!("droplets/{id}/actions"), action);
    assert_eq!(asked["action"]["resource_id"], id);
    let list = format!("droplets/{id}/snapshots");
    sim.pass(43);
    assert_eq!(sim.get(&list)["meta"]["total"], 0);
    sim.pass(5);
    let listed = sim.get(&list);
    assert_eq!(listed["snapshots"][0]["name"], "base-1");
    assert_eq!(
        listed["snapshots"][0]["created_at"],
        asked["action"]["started_at"]
    );
    let image = listed["snapshots"][0]["id"].as_u64().expect("an id");
    let shown = sim.get(&format!("images/{image}"));
    assert_eq!(shown["image"]["min_disk_size"], 25);
    assert_eq!(shown["image"]["size_gigabytes"], 2.44);
    let delete = format!("images/{image}");
    sim.ok(Verb::Delete, &delete, Value::Null);
    assert_eq!(
        sim.refused(Verb::Delete, &delete, Value::Null),
        "422 Can not delete an already deleted image."
    );
    assert!(
        sim.refused(Verb::Get, &delete, Value::Null)
            .starts_with("404")
    );
}

#[test]
fn a_create_can_fail_after_it_was_accepted() {
    let mut sim = Sim::new();
    let body = json!({
        "name": "web", "size": "s-1vcpu-1gb", "image": "debian-12-x64",
        "user_data": "#cloud-config\n# \u{1f40b}\n",
    });
    let made = sim.post("droplets", body);
    sim.pass(60);
    let droplet = format!("droplets/{}", made["droplet"]["id"]);
    assert!(
        sim.refused(Verb::Get, &droplet, Value::Null)
            .starts_with("404")
    );
    let action = format!("actions/{}", made["links"]["actions"][0]["id"]);
    assert_eq!(sim.get(&action)["action"]["status"], "errored");
}

#[test]
fn what_is_open_is_done_again_after_a_restart() {
    let mut sim = Sim::new();
    let active = sim.droplet("active");
    sim.pass(60);
    let text = {
        sim.droplet("booting");
        let snapshot = json!({ "type": "snapshot", "name": "cut" });
        sim.post(&format!("droplets/{active}/actions"), snapshot);
        serde_json::to_string(&sim.account).expect("plain values")
    };
    let mut account: Account = serde_json::from_str(&text).expect("what was written");
    account.configure(Config::default());
    account.resume(sim.now);
    let kinds: Vec<JobKind> = account
        .take_fresh()
        .iter()
        .filter_map(|job| account.job(*job))
        .map(|job| job.kind.clone())
        .collect();
    let booting = active + 1;
    assert_eq!(
        kinds,
        [
            JobKind::Create { droplet: booting },
            JobKind::Revive { droplet: active }
        ]
    );
    let snapshot = account
        .actions
        .values()
        .find(|action| action.kind == "snapshot");
    assert_eq!(
        snapshot.map(|action| action.status),
        Some(ActionStatus::Errored)
    );
}

#[test]
fn a_droplet_that_starts_again_takes_no_volume_that_is_just_let_go_of() {
    let mut sim = Sim::new();
    let droplet = sim.droplet("web");
    let volume = sim.volume("data");
    sim.pass(60);
    let attach = json!({ "type": "attach", "droplet_id": droplet });
    sim.post(&format!("volumes/{volume}/actions"), attach);
    sim.pass(60);
    let restarted = |account: &Account, now| {
        let text = serde_json::to_string(account).expect("plain values");
        let mut account: Account = serde_json::from_str(&text).expect("what was written");
        account.configure(Config::default());
        account.resume(now);
        let fresh = account.take_fresh();
        let effects = fresh.into_iter().map(|job| account.effect(job));
        effects
            .filter_map(|effect| match effect {
                Effect::Boot(start) => Some(start.volumes.len()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(restarted(&sim.account, sim.now), [1]);
    let detach = json!({ "type": "detach", "droplet_id": droplet });
    sim.post(&format!("volumes/{volume}/actions"), detach);
    assert_eq!(restarted(&sim.account, sim.now), [0]);
}

#[test]
fn addresses_of_droplets_that_live_together_differ() {
    let mut sim = Sim::new();
    for batch in 0..12 {
        let names: Vec<String> = (0..10).map(|at| format!("d{batch}-{at}")).collect();
        let body = json!({ "names": names, "size": "s-1vcpu-1gb", "image": "debian-12-x64" });
        let made = sim.post("droplets", body);
        assert_eq!(made["droplets"].as_array().map(Vec::len), Some(10));
        assert_eq!(made["links"]["actions"].as_array().map(Vec::len), Some(10));
    }
    let addresses: BTreeSet<Ipv4Addr> = sim.account.droplets.values().map(|d| d.address).collect();
    assert_eq!(addresses.len(), 120);
    assert!(addresses.iter().all(|address| address.is_loopback()));
    let one = json!({ "name": "one-more", "size": "s-1vcpu-1gb", "image": "debian-12-x64" });
    assert_eq!(
        sim.refused(Verb::Post, "droplets", one),
        "422 creating this/these droplet(s) will exceed your droplet limit"
    );
}

#[test]
fn pages_link_to_each_other() {
    let mut sim = Sim::new();
    for number in 0..5 {
        sim.post("tags", json!({ "name": format!("tag:{number}") }));
    }
    let page = sim.get("tags?page=2&per_page=2");
    assert_eq!(page["meta"]["total"], 5);
    assert_eq!(page["tags"][0]["name"], "tag:2");
    let next = "http://127.0.0.1:1/v2/tags?page=3&per_page=2";
    assert_eq!(page["links"]["pages"]["next"], next);
    assert_eq!(page["links"]["pages"]["last"], next);
    assert_eq!(sim.get("tags")["links"], json!({}));
}

#[test]
fn tags_are_counted_with_phantoms_and_come_off_everything() {
    let mut sim = Sim::new();
    let id = sim.droplet("web");
    let resources = json!({ "resources": [{ "resource_id": "7", "resource_type": "droplet" }] });
    sim.post("tags/dewpoint/resources", resources.clone());
    let shown = sim.get("tags/dewpoint");
    assert_eq!(shown["tag"]["resources"]["droplets"]["count"], 2);
    assert!(
        sim.refused(Verb::Post, "tags/none/resources", resources)
            .starts_with("404")
    );
    assert!(
        sim.refused(Verb::Get, "tags/DEWPOINT", Value::Null)
            .starts_with("404")
    );
    let bad = sim.try_call(Verb::Post, "tags", json!({ "name": "a.b" }));
    assert_eq!(bad.map(|answer| answer.status), Ok(400));
    sim.ok(Verb::Delete, "tags/dewpoint", Value::Null);
    assert_eq!(
        sim.get(&format!("droplets/{id}"))["droplet"]["tags"],
        json!([])
    );
}

#[test]
fn firewalls_are_checked_and_wait_for_their_droplets() {
    let mut sim = Sim::new();
    let rule = json!({ "protocol": "tcp", "ports": 22, "sources": { "addresses": ["0.0.0.0/0"] } });
    let body = json!({ "name": "fw", "inbound_rules": [rule], "tags": ["dewpoint"] });
    assert_eq!(
        sim.refused(Verb::Post, "firewalls", body.clone()),
        "422 tag dewpoint does not exist"
    );
    sim.droplet("web");
    let made = sim.post("firewalls", body.clone());
    assert_eq!(made["firewall"]["status"], "waiting");
    assert_eq!(made["firewall"]["inbound_rules"][0]["ports"], "22");
    assert_eq!(made["firewall"]["inbound_rules"][0]["action"], "allow");
    assert_eq!(
        sim.refused(Verb::Post, "firewalls", body),
        "409 duplicate name"
    );
    let path = format!(
        "firewalls/{}",
        made["firewall"]["id"].as_str().expect("an id")
    );
    sim.pass(15);
    assert_eq!(sim.get(&path)["firewall"]["status"], "succeeded");
    let empty = json!({ "name": "other" });
    assert_eq!(
        sim.refused(Verb::Post, "firewalls", empty),
        "422 must have at least one rule"
    );
}

#[test]
fn volume_names_are_unique_and_snapshots_are_rare() {
    let mut sim = Sim::new();
    let id = sim.volume("data");
    let again = json!({ "name": "data", "region": "nyc3", "size_gigabytes": 1 });
    assert!(sim.refused(Verb::Post, "volumes", again).starts_with("409"));
    let snapshots = format!("volumes/{id}/snapshots");
    sim.post(&snapshots, json!({ "name": "one" }));
    sim.pass(2);
    assert_eq!(
        sim.refused(Verb::Post, &snapshots, json!({ "name": "two" })),
        "429 failed to create snapshot: this operation is rate-limited - one request per 10m0s"
    );
    sim.pass(600);
    sim.post(&snapshots, json!({ "name": "two" }));
    let actions = format!("volumes/{id}/actions");
    let shrink = json!({ "type": "resize", "size_gigabytes": 1 });
    assert!(sim.refused(Verb::Post, &actions, shrink).starts_with("422"));
    sim.post(&actions, json!({ "type": "resize", "size_gigabytes": 3 }));
    sim.pass(5);
    assert_eq!(
        sim.get(&format!("volumes/{id}"))["volume"]["size_gigabytes"],
        3
    );
}
