use std::net::TcpListener;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::server::Server;
use crate::digest::Digest;
use crate::guest::{Began, Look, Probe, RemoteCommand, Session, Start, Stream, Watch};
use crate::secret::Secret;

fn command(name: &str, script: &str) -> RemoteCommand {
    RemoteCommand::new(name, script.to_owned())
}

fn definition(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

async fn start(session: &Session, command: &RemoteCommand, version: &str) -> Began {
    let start = Start {
        command,
        definition: &definition(version),
        source: None,
        anew: false,
    };
    session.start_background(&start).await.expect("started")
}

/// Looks until it is no longer this; the last look, and the log.
async fn until(
    session: &Session,
    watch: &mut Watch,
    probe: &Probe,
    is_over: impl Fn(&Look) -> bool,
) -> (Look, Vec<String>) {
    let mut lines = Vec::new();
    let since = Instant::now();
    loop {
        let mut sink = |_: Stream, line: &str| lines.push(line.to_owned());
        let look = watch.look(session, probe, &mut sink).await.expect("seen");
        if is_over(&look) || since.elapsed() > Duration::from_secs(30) {
            watch.finish(&mut |_: Stream, line: &str| lines.push(line.to_owned()));
            return (look, lines);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

const LISTEN: &str = "echo \"$GREETING $TOKEN\"\nexec python3 -c '
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((\"127.0.0.1\", int(sys.argv[1]))); s.listen(); print(\"listens\", flush=True); time.sleep(600)' ";

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("bound").port()
}

#[tokio::test]
async fn a_step_runs_on_is_left_alone_and_is_stopped_with_all_it_started() {
    let server = Server::start().await;
    let session = server.session().await;
    let port = free_port();
    let mut serve = command("serve", &format!("sleep 601 & \n{LISTEN}{port}"));
    serve.env = vec![("GREETING".to_owned(), "it's $HOME".to_owned())];
    serve.secrets = vec![("TOKEN".to_owned(), Secret::new("s3cret".to_owned()))];
    assert_eq!(start(&session, &serve, "1").await, Began::Started);
    let mut watch = Watch::new("serve", true);
    let ready = |look: &Look| *look == Look::Ready;
    let (look, lines) = until(&session, &mut watch, &Probe::Port(port), ready).await;
    assert_eq!(look, Look::Ready);
    assert_eq!(lines, ["it's $HOME s3cret", "listens"]);

    // Another connection finds it as it is.
    drop(session);
    let session = server.session().await;
    assert_eq!(start(&session, &serve, "1").await, Began::LeftAlone);
    let standing = session
        .background_standing("serve", 1_000)
        .await
        .expect("asked")
        .expect("known");
    assert!(standing.is_running && standing.status.is_none());
    assert_eq!(standing.log, b"it's $HOME s3cret\nlistens\n");
    assert_eq!(start(&session, &serve, "2").await, Began::Restarted);
    let mut watch = Watch::new("serve", true);
    let (look, _) = until(&session, &mut watch, &Probe::Port(port), ready).await;
    assert_eq!(look, Look::Ready);
    // Nothing that was handed over lies on the droplet but what the step itself says.
    let held = std::process::Command::new("grep")
        .args(["-rl", "s3cret", server.home.as_str()])
        .output()
        .expect("grep runs");
    let held = String::from_utf8_lossy(&held.stdout).into_owned();
    assert!(held.lines().all(|path| path.contains("/log")), "{held}");

    let kept = ["serve".into()];
    let stopped = session.stop_background(&kept).await.expect("stopped");
    assert_eq!(stopped, Vec::<String>::new());
    let stopped = session.stop_background(&[]).await.expect("stopped");
    assert_eq!(stopped, ["serve"]);
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let (look, _) = until(&session, &mut watch, &Probe::Alive, |_| true).await;
    assert!(matches!(look, Look::Ended { .. }), "{look:?}");
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_not_the_steps() {
    let server = Server::start().await;
    let session = server.session().await;
    let other = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = other.local_addr().expect("bound").port();
    start(&session, &command("idle", "sleep 602"), "1").await;
    let mut watch = Watch::new("idle", true);
    let is_taken = |look: &Look| matches!(look, Look::PortTaken { .. });
    let (look, _) = until(&session, &mut watch, &Probe::Port(port), is_taken).await;
    let Look::PortTaken { port: held, by } = look else {
        panic!("{look:?}");
    };
    assert_eq!(held, port);
    let me = format!("process {}: ", std::process::id());
    assert!(by.starts_with(&me), "{by}");
    drop(other);
    let (look, _) = until(&session, &mut watch, &Probe::Port(port), |_| true).await;
    assert_eq!(
        look,
        Look::NotReady(format!("nothing listens on port {port}"))
    );
    session.stop_background(&[]).await.expect("stopped");
}

#[tokio::test]
async fn what_ends_early_tells_its_status_and_last_words() {
    let server = Server::start().await;
    let session = server.session().await;
    start(
        &session,
        &command("broken", "echo on; echo no such file >&2; exit 3"),
        "1",
    )
    .await;
    let mut watch = Watch::new("broken", true);
    let is_over = |look: &Look| matches!(look, Look::Ended { .. });
    let (look, lines) = until(&session, &mut watch, &Probe::Port(1), is_over).await;
    assert_eq!(
        look,
        Look::Ended {
            status: Some(3),
            port_taken_by: None
        }
    );
    assert_eq!(lines, ["on", "no such file"]);
    // It is started anew, although nothing changed.
    let again = command("broken", "exec sleep 603");
    assert_eq!(start(&session, &again, "1").await, Began::Started);
    session.stop_background(&[]).await.expect("stopped");
    let mut nowhere = command("nowhere", "true");
    nowhere.cwd = Some("/nowhere at all".to_owned());
    let start = Start {
        command: &nowhere,
        definition: &definition("1"),
        source: None,
        anew: false,
    };
    let error = session
        .start_background(&start)
        .await
        .expect_err("no folder");
    assert!(error.to_string().contains("/nowhere at all"), "{error}");
}

#[tokio::test]
async fn an_address_must_answer_with_a_success_of_the_steps_own() {
    let server = Server::start().await;
    let session = server.session().await;
    let port = free_port();
    let folder = server.folder("site");
    let mut serve = command(
        "web",
        &format!("trap '' TERM\nexec python3 -m http.server --bind 127.0.0.1 {port}"),
    );
    serve.cwd = Some(folder.to_string());
    start(&session, &serve, "1").await;
    let probe = |page: &str| Probe::Address {
        url: format!("http://127.0.0.1:{port}/{page}"),
        own_port: Some(port),
    };
    let mut watch = Watch::new("web", true);
    let ready = |look: &Look| *look == Look::Ready;
    let (look, _) = until(&session, &mut watch, &probe(""), ready).await;
    assert_eq!(look, Look::Ready);
    let (look, _) = until(&session, &mut watch, &probe("missing"), |_| true).await;
    let Look::NotReady(why) = look else {
        panic!("{look:?}");
    };
    assert!(why.contains("404"), "{why}");
    session.stop_background(&[]).await.expect("stopped");
}

#[tokio::test]
async fn another_file_of_the_source_starts_a_step_anew() {
    let server = Server::start().await;
    let session = server.session().await;
    let (from, into) = (server.folder("from"), server.folder("into"));
    std::fs::write(from.join("app"), "one").expect("written");
    let mut serve = command("serve", "exec sleep 604");
    serve.cwd = Some(into.to_string());
    let definition = definition("1");
    let begin = |anew| Start {
        command: &serve,
        definition: &definition,
        source: Some(into.as_str()),
        anew,
    };
    let began = async |anew| {
        session
            .start_background(&begin(anew))
            .await
            .expect("started")
    };
    let sync = async || {
        crate::guest::sync_path(&session, &from, into.as_str())
            .await
            .expect("synced")
    };
    sync().await;
    assert_eq!(began(false).await, Began::Started);
    sync().await;
    assert_eq!(began(false).await, Began::LeftAlone);
    std::fs::write(from.join("app"), "two").expect("written");
    sync().await;
    assert_eq!(began(false).await, Began::Restarted);
    assert_eq!(began(false).await, Began::LeftAlone);
    assert_eq!(began(true).await, Began::Restarted);
    session.stop_background(&[]).await.expect("stopped");
}
