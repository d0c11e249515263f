//! `examples/ci`: the pipelines are what a runner would take, every dewpoint command in them is one,
//! and `comment.py` keeps one comment for each environment, against a small GitHub and GitLab.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use clap::Parser as _;
use dewpoint::cli::args::Cli;
use serde_json::{Value, json};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/ci")
        .join(name)
}

fn pipeline(name: &str) -> Value {
    let text = std::fs::read_to_string(example(name)).expect("the example");
    serde_yaml::from_str(&text).expect("YAML")
}

/// Scripts of a pipeline: what stands under these keys, wherever.
fn scripts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("run" | "script" | "before_script", Value::String(text)) => {
                        found.push(text.clone());
                    }
                    ("run" | "script" | "before_script", Value::Array(lines)) => {
                        let lines = lines.iter().map(|line| line.as_str().expect("text"));
                        found.extend(lines.map(str::to_owned));
                    }
                    _ => scripts(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| scripts(item, found)),
        _ => {}
    }
}

/// The dewpoint commands of a line of a script, as words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let words = shlex::split(line).unwrap_or_else(|| panic!("not a command: {line}"));
    let is_end =
        |word: &String| matches!(word.as_str(), "|" | "||" | "&&" | ";" | ">" | ">>" | "<");
    words
        .split(is_end)
        .map(|words| words.strip_prefix(&["exec".to_owned()]).unwrap_or(words))
        .filter(|words| words.first().is_some_and(|word| word == "dewpoint"))
        .map(<[String]>::to_vec)
        .collect()
}

#[test]
fn every_command_in_the_pipelines_is_one() {
    for (name, least) in [("github.yml", 6), ("gitlab.yml", 6)] {
        let mut found = Vec::new();
        scripts(&pipeline(name), &mut found);
        let commands: Vec<Vec<String>> = found
            .iter()
            .flat_map(|script| script.lines())
            .flat_map(commands)
            .collect();
        assert!(commands.len() >= least, "{name}: {commands:?}");
        for word in ["diff", "plan", "test", "destroy", "sweep"] {
            assert!(
                commands.iter().any(|command| command[1] == word),
                "{name}: {word}"
            );
        }
        for command in commands {
            if let Err(error) = Cli::try_parse_from(&command) {
                panic!("{name}: `{}`: {error}", command.join(" "));
            }
        }
        // What is signalled must be dewpoint, and what changes something must not ask.
        let text = found.join("\n");
        assert!(text.contains("exec dewpoint test"));
        assert!(text.contains("exec dewpoint sweep --yes") && text.contains("dewpoint sweep >"));
        assert!(text.contains("cargo install --locked --git \"$DEWPOINT_GIT\""));
    }
}

#[test]
fn the_workflow_asks_for_little_and_names_known_actions() {
    let workflow = pipeline("github.yml");
    assert_eq!(workflow["permissions"], json!({}));
    let jobs = workflow["jobs"].as_object().expect("jobs");
    for (name, job) in jobs {
        let comments = matches!(name.as_str(), "diff" | "plan");
        let wanted = match name.as_str() {
            "sweep" => json!({}),
            _ if comments => json!({ "contents": "read", "pull-requests": "write" }),
            _ => json!({ "contents": "read" }),
        };
        assert_eq!(job["permissions"], wanted, "{name}");
        assert!(job["concurrency"]["group"].is_string(), "{name}");
        let steps = job["steps"].as_array().expect("steps");
        let uses = steps.iter().filter_map(|step| step["uses"].as_str());
        for action in uses {
            let known = [
                "actions/checkout@v4",
                "actions/cache@v4",
                "actions/upload-artifact@v4",
            ];
            assert!(known.contains(&action), "{name}: {action}");
        }
        for step in steps {
            let Some(run) = step["run"].as_str() else {
                continue;
            };
            // What others write is handed over as variables, never put into a script.
            assert!(!run.contains("${{"), "{name}: {run}");
            // The account's token is there where the account is needed, and nowhere else.
            let needs = run
                .lines()
                .flat_map(commands)
                .any(|command| command[1] != "diff");
            assert_eq!(
                step["env"]["DIGITALOCEAN_TOKEN"].is_string(),
                needs,
                "{name}: {run}"
            );
        }
    }
    // Jobs of one environment wait for each other.
    assert_eq!(jobs["plan"]["concurrency"], jobs["destroy"]["concurrency"]);
    for job in ["test", "destroy", "plan", "sweep"] {
        assert_eq!(
            jobs[job]["concurrency"]["cancel-in-progress"], false,
            "{job}"
        );
    }
    let gitlab = pipeline("gitlab.yml");
    assert_eq!(
        gitlab["plan"]["resource_group"],
        gitlab["destroy"]["resource_group"]
    );
    assert_eq!(gitlab["plan"]["environment"]["on_stop"], "destroy");
    assert!(gitlab["test"]["artifacts"]["reports"]["junit"].is_string());
}

const TOKEN: &str = "token-that-nobody-may-see";

#[derive(Debug, Default)]
struct State {
    /// Id, author, body.
    comments: Vec<(u64, String, String)>,
    /// Method and path of each request that writes.
    writes: Vec<(String, String)>,
    reads: u32,
    /// Status and body of every answer, instead of the real one.
    fails: Option<(u16, String)>,
}

/// A small GitHub and GitLab.
struct Forge {
    _runtime: tokio::runtime::Runtime,
    url: String,
    state: Arc<Mutex<State>>,
}

impl Forge {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let state = Arc::new(Mutex::new(State::default()));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::clone(&state);
        let app = axum::Router::new().fallback(move |request: Request| {
            let state = Arc::clone(&shared);
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.expect("a body");
                answer(&mut state.lock().expect("no panic"), &head, &body)
            }
        });
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            _runtime: runtime,
            url,
            state,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Writes since the last look.
    fn writes(&self) -> Vec<String> {
        let writes = std::mem::take(&mut self.state().writes);
        writes
            .into_iter()
            .map(|(method, path)| format!("{method} {path}"))
            .collect()
    }

    fn comment(&self, service: &str, body: &str) -> (Option<i32>, String) {
        let mut child = Command::new("python3")
            .arg("-I")
            .arg(example("comment.py"))
            .args([service, "7"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GITHUB_TOKEN", TOKEN)
            .env("GITHUB_API_URL", &self.url)
            .env("GITHUB_REPOSITORY", "acme/shop")
            .env("GITLAB_TOKEN", TOKEN)
            .env("CI_API_V4_URL", format!("{}/api/v4", self.url))
            .env("CI_PROJECT_ID", "acme/shop")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(body.as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("text");
        assert!(!said.contains(TOKEN), "{said}");
        assert!(!said.contains("Traceback"), "{said}");
        (output.status.code(), said)
    }
}

fn answer(state: &mut State, head: &axum::http::request::Parts, body: &Bytes) -> Response {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let path = head.uri.path();
    let gitlab = path.starts_with("/api/v4/");
    let authorised = if gitlab {
        header("private-token") == Some(TOKEN)
    } else {
        header("authorization") == Some(&format!("Bearer {TOKEN}"))
    };
    let json = |status: u16, value: Value| {
        let status = StatusCode::from_u16(status).expect("a status");
        (status, axum::Json(value)).into_response()
    };
    if !authorised || head.uri.to_string().contains(TOKEN) {
        return json(401, json!({ "message": "Bad credentials" }));
    }
    if let Some((status, text)) = &state.fails {
        let status = StatusCode::from_u16(*status).expect("a status");
        let headers = [("location", "http://127.0.0.1:1/elsewhere")];
        return (status, headers, text.clone()).into_response();
    }
    let method = head.method.as_str();
    if method != "GET" {
        state.writes.push((method.to_owned(), path.to_owned()));
    }
    let text = || {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        // As a browser would send it, and as it may come back.
        body["body"].as_str().expect("a body").replace('\n', "\r\n")
    };
    let shown = |(id, author, body): &(u64, String, String)| {
        json!({
            "id": id, "body": body, "html_url": format!("https://forge.example/{id}"),
            "user": { "login": author }, "author": { "id": if author == "github-actions[bot]" { 1 } else { 2 } },
        })
    };
    let list = [
        "/repos/acme/shop/issues/7/comments",
        "/api/v4/projects/acme%2Fshop/merge_requests/7/notes",
    ];
    let one = if gitlab {
        path.strip_prefix("/api/v4/projects/acme%2Fshop/merge_requests/7/notes/")
    } else {
        path.strip_prefix("/repos/acme/shop/issues/comments/")
    };
    match (method, one.and_then(|id| id.parse::<u64>().ok())) {
        ("GET", None) if path == "/api/v4/user" => json(200, json!({ "id": 1 })),
        ("GET", None) if list.contains(&path) => {
            state.reads += 1;
            let query: BTreeMap<&str, usize> = head
                .uri
                .query()
                .unwrap_or_default()
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key, value.parse().expect("a number")))
                .collect();
            let (size, page) = (query["per_page"], query["page"]);
            let comments = state.comments.iter().skip(size * (page - 1)).take(size);
            json(200, comments.map(shown).collect())
        }
        ("POST", None) if list.contains(&path) => {
            let id = state.comments.len() as u64 + 1;
            let comment = (id, "github-actions[bot]".to_owned(), text());
            let answer = shown(&comment);
            state.comments.push(comment);
            json(201, answer)
        }
        ("PATCH" | "PUT", Some(id)) if (method == "PUT") == gitlab => {
            let body = text();
            match state.comments.iter_mut().find(|comment| comment.0 == id) {
                Some(comment) => {
                    comment.2 = body;
                    json(200, shown(comment))
                }
                None => json(404, json!({ "message": "Not Found" })),
            }
        }
        _ => json(404, json!({ "message": "Not Found" })),
    }
}

fn plan(environment: &str, text: &str) -> String {
    format!(
        "<!-- dewpoint:plan:shop:{environment} -->\n### dewpoint: shop / {environment}\n\n{text}\n"
    )
}

fn keeps_one_comment_for_each_environment(service: &str, update: &str) {
    let forge = Forge::start();
    let said = |result: (Option<i32>, String), words: &str| {
        assert_eq!(result.0, Some(0), "{}", result.1);
        assert!(result.1.contains(words), "{}", result.1);
    };
    // People talk, more than one page of it; one quotes the plan, one pretends to be it.
    for number in 0..130 {
        let body = match number {
            3 => format!("> {}", plan("pr-7", "Plan: 1 to add")),
            5 => plan("pr-7", "all is well, merge it"),
            _ => format!("comment {number}"),
        };
        let comment = (number + 1, "somebody".to_owned(), body);
        forge.state().comments.push(comment);
    }
    let nothing = plan("pr-7", "**No changes.** Every apply: 1 run.");
    said(forge.comment(service, &nothing), "no comment is made");
    let unchanged = "<!-- dewpoint:diff:shop:main -->\n### dewpoint: shop / main: no changes\n\nFrom `a` to `b`.\n";
    said(forge.comment(service, unchanged), "no comment is made");
    assert_eq!(forge.writes(), Vec::<String>::new());

    let add = plan("pr-7", "**Plan:** 1 to add\n\n| a | b |\n");
    said(forge.comment(service, &add), "made");
    assert_eq!(forge.writes().len(), 1);
    let reads = forge.state().reads;
    said(forge.comment(service, &add), "says the same");
    assert_eq!(forge.writes(), Vec::<String>::new());
    assert_eq!(
        forge.state().reads,
        reads + 2,
        "it stands on the second page"
    );

    said(
        forge.comment(service, &plan("pr-7", "**Plan:** 2 to add")),
        "updated",
    );
    assert_eq!(forge.writes(), [update.to_owned()]);
    // Another environment, and the diff of the same one, have their own.
    said(
        forge.comment(service, &plan("pr-71", "**Plan:** 3 to add")),
        "made",
    );
    let diff = "<!-- dewpoint:diff:shop:pr-7 -->\n### dewpoint: shop / pr-7: 1 destroyed\n";
    said(forge.comment(service, diff), "made");
    assert_eq!(forge.writes().len(), 2);
    // One that is there says when nothing changes any more.
    said(forge.comment(service, &nothing), "updated");
    assert_eq!(forge.writes(), [update.to_owned()]);
    let state = forge.state();
    assert_eq!(state.comments.len(), 133);
    assert!(state.comments[130].2.contains("No changes."));
    assert!(state.comments[5].2.contains("all is well"));
}

#[test]
fn github_has_one_comment_for_each_environment() {
    keeps_one_comment_for_each_environment("github", "PATCH /repos/acme/shop/issues/comments/131");
}

#[test]
fn gitlab_has_one_comment_for_each_environment() {
    keeps_one_comment_for_each_environment(
        "gitlab",
        "PUT /api/v4/projects/acme%2Fshop/merge_requests/7/notes/131",
    );
}

#[test]
fn what_goes_wrong_is_said_without_the_token() {
    let forge = Forge::start();
    let add = plan("pr-7", "**Plan:** 1 to add");
    for (status, text, said) in [
        (
            403,
            r#"{"message": "Resource not accessible by integration"}"#,
            "403: Resource not accessible by integration",
        ),
        (500, "<html>", "was answered with 500"),
        (302, "", "was answered with 302"),
        (200, "not JSON", "failed"),
        (200, r#"{"message": "no list"}"#, "an answer has no"),
        (
            422,
            &format!(r#"{{"message": "bad {TOKEN}"}}"#),
            "422: bad ***",
        ),
    ] {
        forge.state().fails = Some((status, text.to_owned()));
        for service in ["github", "gitlab"] {
            let (code, all) = forge.comment(service, &add);
            assert_eq!(code, Some(1), "{status}: {all}");
            let said_so = all.contains(said) || all.contains("was not answered with a list");
            assert!(
                said_so && all.starts_with("comment.py: "),
                "{status}: {all}"
            );
        }
    }
    forge.state().fails = None;
    let (code, all) = forge.comment("github", "### no marker\n");
    assert_eq!(code, Some(1), "{all}");
    assert!(all.contains("is no marker"), "{all}");
    assert_eq!(forge.writes(), Vec::<String>::new());
}
