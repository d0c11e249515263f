//! Droplets: nothing twice, nothing lost.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::server::{
    Reply, Seen, Server, action, client_of, droplet, not_found, ok, page_of, quick, refuse,
};
use crate::cloud::{CloudError, DropletImage, NewDroplets};
use crate::secret::Secret;

fn new(names: &[&str]) -> NewDroplets {
    NewDroplets {
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: DropletImage::Slug("ubuntu-24-04-x64".to_owned()),
        tags: vec!["dewpoint".to_owned(), "dewpoint:p:e".to_owned()],
        ssh_key: "aa:bb".to_owned(),
        user_data: Some(Secret::new("#cloud-config\n".to_owned())),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        env_tag: "dewpoint:p:e".to_owned(),
    }
}

/// Droplets that exist, each ready once it was listed that often.
#[derive(Default)]
struct Cloud {
    droplets: Vec<(u64, String, u32)>,
    next: u64,
    /// Lists in which new droplets are missing.
    lag: u32,
}

impl Cloud {
    fn make(&mut self, seen: &Seen) -> Vec<Value> {
        let names: Vec<String> = match seen.body["names"].as_array() {
            Some(names) => names
                .iter()
                .map(|n| n.as_str().expect("text").to_owned())
                .collect(),
            None => vec![seen.body["name"].as_str().expect("text").to_owned()],
        };
        names
            .into_iter()
            .map(|name| {
                self.next += 1;
                self.droplets.push((self.next, name.clone(), 2));
                droplet(self.next, &name, false)
            })
            .collect()
    }

    fn list(&mut self, seen: &Seen) -> Reply {
        if self.lag > 0 {
            self.lag -= 1;
            return page_of(seen, "droplets", &[]);
        }
        let all: Vec<Value> = self
            .droplets
            .iter_mut()
            .map(|(id, name, looks)| {
                *looks = looks.saturating_sub(1);
                droplet(*id, name, *looks == 0)
            })
            .collect();
        page_of(seen, "droplets", &all)
    }

    /// Lists, gets and deletes; creates are the test's.
    fn answer(&mut self, seen: &Seen) -> Reply {
        if seen.line() == "GET /v2/droplets" {
            return self.list(seen);
        }
        let id: u64 = seen
            .path
            .strip_prefix("/v2/droplets/")
            .and_then(|id| id.parse().ok())
            .unwrap_or_else(|| panic!("unexpected {}", seen.line()));
        let at = self.droplets.iter().position(|(known, ..)| *known == id);
        match (seen.method.as_str(), at) {
            (_, None) => not_found(),
            ("GET", Some(at)) => ok(json!({ "droplet": droplet(id, &self.droplets[at].1, false) })),
            (_, Some(at)) => {
                self.droplets.remove(at);
                Reply::Empty(204)
            }
        }
    }
}

fn accepted(made: Vec<Value>) -> Reply {
    let links = json!({ "actions": [{ "id": 77, "rel": "create", "href": "/v2/actions/77" }] });
    match <[Value; 1]>::try_from(made) {
        Ok([one]) => Reply::Json(202, json!({ "droplet": one, "links": links })),
        Err(many) => Reply::Json(202, json!({ "droplets": many, "links": links })),
    }
}

/// A server whose creates are answered by `create`, called with how many came before.
async fn cloud(
    create: impl Fn(&mut Cloud, &Seen, usize) -> Reply + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Cloud>>) {
    let state = Arc::new(Mutex::new(Cloud::default()));
    let creates = Mutex::new(0);
    let server = Server::start({
        let state = Arc::clone(&state);
        move |seen| {
            let mut state = state.lock().expect("no panic");
            if seen.line() == "POST /v2/droplets" {
                let mut creates = creates.lock().expect("no panic");
                *creates += 1;
                return create(&mut state, seen, *creates - 1);
            }
            state.answer(seen)
        }
    })
    .await;
    (server, state)
}

const CREATE: &str = "POST /v2/droplets";

#[tokio::test]
async fn ten_droplets_are_one_call_and_one_poll() {
    let (server, _) = cloud(|cloud, seen, _| accepted(cloud.make(seen))).await;
    let names: Vec<String> = (0..10).map(|n| format!("p-e-w-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let client = server.client();
    let made = client.create_droplets(&new(&names)).await.expect("ten");
    assert_eq!(made.len(), 10);
    assert!(
        made.iter()
            .all(|d| d.public_ipv4 == Some([127, 0, 0, 9].into()))
    );
    assert_eq!(client.calls(), 3, "one create and two looks");
    let body = &server.seen()[0].body;
    assert_eq!(body["names"].as_array().map(Vec::len), Some(10));
    assert_eq!(body["user_data"], "#cloud-config\n");
    let error = client.create_droplets(&new(&[])).await.expect_err("none");
    assert!(matches!(error, CloudError::BatchSize(0)));
}

#[tokio::test]
async fn many_creates_wait_on_one_poll() {
    let (server, _) = cloud(|cloud, seen, _| accepted(cloud.make(seen))).await;
    let client = server.client();
    let all = (0..40).map(|n| {
        let client = client.clone();
        async move { client.create_droplets(&new(&[&format!("p-e-w-{n}")])).await }
    });
    let made = futures_util::future::try_join_all(all)
        .await
        .expect("all of them");
    assert_eq!(made.len(), 40);
    assert_eq!(server.count(CREATE), 40);
    // Each for itself would look twice.
    let looks = server.count("GET /v2/droplets");
    assert!(looks < 80, "{looks}");
}

#[tokio::test]
async fn what_follows_a_lost_answer_never_says_that_nothing_was_made() {
    for look in [403, 200] {
        let creates = Mutex::new(0);
        let server = Server::start(move |seen| {
            let mut creates = creates.lock().expect("no panic");
            match seen.method.as_str() {
                "POST" => {
                    *creates += 1;
                    match *creates {
                        1 => Reply::Broken,
                        _ => refuse(422, "unprocessable_entity", "over the limit"),
                    }
                }
                _ if look == 200 => page_of(seen, "droplets", &[]),
                _ => refuse(look, "forbidden", "no"),
            }
        })
        .await;
        let error = server.client().create_droplets(&new(&["p-e-a"])).await;
        let error = error.expect_err("it cannot be told");
        assert!(error.is_outcome_unknown() && !error.is_final(), "{error}");
    }
    // Accepted, and then nobody may look: it is there all the same.
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => accepted(vec![droplet(1, "p-e-a", false)]),
        _ if seen.path == "/v2/droplets" => page_of(seen, "droplets", &[]),
        _ => refuse(403, "forbidden", "no"),
    })
    .await;
    let error = server.client().create_droplets(&new(&["p-e-a"])).await;
    let error = error.expect_err("it cannot be seen");
    assert!(matches!(error, CloudError::PollFailed { .. }), "{error}");
    assert!(!error.is_final());
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_found_and_not_made_again() {
    for lag in [0, 3] {
        let (server, state) = cloud(move |cloud, seen, _| {
            cloud.make(seen);
            cloud.lag = lag;
            Reply::Broken
        })
        .await;
        let made = server
            .client()
            .create_droplets(&new(&["p-e-a"]))
            .await
            .expect("found");
        assert_eq!(made.iter().map(|d| d.id).collect::<Vec<_>>(), [1]);
        assert_eq!(server.count(CREATE), 1);
        assert_eq!(state.lock().expect("no panic").droplets.len(), 1);
    }
}

#[tokio::test]
async fn a_create_that_never_arrived_is_made_after_a_look() {
    let (server, _) = cloud(|cloud, seen, before| match before {
        0 => Reply::With(504, vec![], "<html>timeout</html>".to_owned()),
        _ => accepted(cloud.make(seen)),
    })
    .await;
    let made = server
        .client()
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect("made");
    assert_eq!(made.len(), 1);
    assert_eq!(server.count(CREATE), 2);
}

#[tokio::test]
async fn of_a_half_carried_out_create_only_the_rest_is_asked_for() {
    let (server, state) = cloud(|cloud, seen, before| {
        let mut made = cloud.make(seen);
        if before == 0 {
            cloud.droplets.truncate(1);
            made.truncate(1);
            return refuse(503, "service_unavailable", "busy");
        }
        accepted(made)
    })
    .await;
    let made = server
        .client()
        .create_droplets(&new(&["p-e-a", "p-e-b"]))
        .await
        .expect("both");
    assert_eq!(made.len(), 2);
    assert_eq!(
        server
            .seen()
            .iter()
            .filter(|s| s.line() == CREATE)
            .nth(1)
            .map(|s| s.body["name"].clone()),
        Some(json!("p-e-b"))
    );
    assert_eq!(state.lock().expect("no panic").droplets.len(), 2);
}

#[tokio::test]
async fn of_two_droplets_of_one_name_the_oldest_stays() {
    let (server, state) = cloud(|cloud, seen, before| {
        let made = cloud.make(seen);
        if before == 0 {
            // Long enough to be missed by every look of the window.
            cloud.lag = 1_000;
            return Reply::Broken;
        }
        cloud.lag = 0;
        accepted(made)
    })
    .await;
    let made = server
        .client()
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect("one");
    assert_eq!(made.iter().map(|d| d.id).collect::<Vec<_>>(), [1]);
    let left: Vec<u64> = state
        .lock()
        .expect("no panic")
        .droplets
        .iter()
        .map(|d| d.0)
        .collect();
    assert_eq!(left, [1]);
}

#[tokio::test]
async fn asked_again_a_create_finds_what_it_made() {
    let (server, _) = cloud(|cloud, seen, _| accepted(cloud.make(seen))).await;
    let client = server.client();
    let first = client
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect("made");
    let second = client
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect("found");
    assert_eq!(first, second);
    assert_eq!(server.count(CREATE), 1);
}

#[tokio::test]
async fn a_new_key_that_is_not_known_yet_is_waited_for_and_nothing_else() {
    let unknown = "42 are invalid key identifiers for Droplet creation.";
    let (server, _) = cloud(move |cloud, seen, before| match before {
        0..3 => refuse(422, "unprocessable_entity", unknown),
        _ => accepted(cloud.make(seen)),
    })
    .await;
    server
        .client()
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect("made at last");
    assert_eq!(server.count(CREATE), 4);

    let (server, _) = cloud(|_, _, _| {
        refuse(
            422,
            "unprocessable_entity",
            "Size is not available in this region.",
        )
    })
    .await;
    let error = server
        .client()
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect_err("final");
    assert!(error.is_unprocessable());
    assert_eq!(server.count(CREATE), 1);

    let (server, _) = cloud(move |_, _, _| refuse(422, "unprocessable_entity", unknown)).await;
    let mut timing = quick();
    timing.key_lag = std::time::Duration::from_millis(20);
    let error = client_of(&server.url, timing)
        .create_droplets(&new(&["p-e-a"]))
        .await;
    assert!(
        error
            .expect_err("never known")
            .to_string()
            .contains("invalid key identifiers")
    );
}

#[tokio::test]
async fn an_accepted_droplet_that_is_given_up_is_told_as_vanished() {
    let server = Server::start(|seen| match seen.line().as_str() {
        CREATE => accepted(vec![droplet(5, "p-e-a", false)]),
        "GET /v2/droplets" => page_of(seen, "droplets", &[]),
        "GET /v2/actions/77" => ok(action(77, "errored")),
        _ => not_found(),
    })
    .await;
    let error = server
        .client()
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect_err("gone");
    assert!(
        matches!(error, CloudError::Vanished { id: 5, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_404_after_create_is_no_failure_while_the_action_runs() {
    let looks = Mutex::new(0);
    let server = Server::start(move |seen| match seen.line().as_str() {
        CREATE => accepted(vec![droplet(5, "p-e-a", false)]),
        "GET /v2/droplets" => page_of(seen, "droplets", &[]),
        "GET /v2/actions/77" => ok(action(77, "in-progress")),
        _ => {
            let mut looks = looks.lock().expect("no panic");
            *looks += 1;
            if *looks < 5 {
                not_found()
            } else {
                ok(json!({ "droplet": droplet(5, "p-e-a", true) }))
            }
        }
    })
    .await;
    let made = server
        .client()
        .create_droplets(&new(&["p-e-a"]))
        .await
        .expect("late");
    assert_eq!(made[0].id, 5);
}

#[tokio::test]
async fn a_destroyed_droplet_is_waited_for_until_it_is_gone() {
    let state = Arc::new(Mutex::new(
        (0..12)
            .map(|id| (id, 0))
            .collect::<std::collections::BTreeMap<u64, u32>>(),
    ));
    let server = Server::start({
        let state = Arc::clone(&state);
        move |seen| {
            let mut state = state.lock().expect("no panic");
            if seen.line() == "GET /v2/droplets" {
                // Each look lets the deleted ones age; after three they are gone.
                state.retain(|_, age| {
                    *age += u32::from(*age > 0);
                    *age < 4
                });
                let all: Vec<Value> = state.keys().map(|id| droplet(*id, "x", true)).collect();
                return page_of(seen, "droplets", &all);
            }
            let id: u64 = seen.path["/v2/droplets/".len()..]
                .parse()
                .expect("a number");
            let Some(age) = state.get_mut(&id) else {
                return not_found();
            };
            if seen.method == "DELETE" {
                *age = 1;
                return Reply::Empty(204);
            }
            *age += 1;
            ok(json!({ "droplet": droplet(id, "x", true) }))
        }
    })
    .await;
    let client = server.client();
    futures_util::future::try_join_all((0..12).map(|id| client.destroy_droplet(id)))
        .await
        .expect("all gone");
    assert!(state.lock().expect("no panic").is_empty());
    client.destroy_droplet(3).await.expect("gone already");
}

#[tokio::test]
async fn a_delete_behind_a_pending_event_waits() {
    let deletes = Mutex::new(0);
    let server = Server::start(move |seen| {
        let mut deletes = deletes.lock().expect("no panic");
        if seen.method == "GET" {
            return not_found();
        }
        *deletes += 1;
        match *deletes {
            1 | 2 => refuse(
                422,
                "unprocessable_entity",
                "Droplet already has a pending event.",
            ),
            _ => Reply::Empty(204),
        }
    })
    .await;
    server.client().destroy_droplet(7).await.expect("gone");
    assert_eq!(server.count("DELETE /v2/droplets/7"), 3);
}

#[tokio::test]
async fn power_is_off_when_the_droplet_says_so() {
    let server = Server::start(|seen| {
        let mut off = droplet(7, "p-e-a", true);
        off["status"] = json!("off");
        match seen.method.as_str() {
            "POST" => refuse(
                422,
                "unprocessable_entity",
                "Droplet is already powered off",
            ),
            _ => ok(json!({ "droplet": off })),
        }
    })
    .await;
    let client = server.client();
    client.shutdown_droplet(7).await.expect("off already");
    client.power_off_droplet(7).await.expect("off already");
    assert!(
        client
            .wait_droplet_off(7, std::time::Duration::from_secs(5))
            .await
            .expect("an answer")
    );

    let server = Server::start(|_| ok(json!({ "droplet": droplet(7, "p-e-a", true) }))).await;
    let soon = std::time::Duration::from_millis(10);
    assert!(
        !server
            .client()
            .wait_droplet_off(7, soon)
            .await
            .expect("an answer")
    );
}
