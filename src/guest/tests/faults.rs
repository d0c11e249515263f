//! What an SSH connection can meet: each is told apart, and none takes memory without end.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::guest::{Ended, GuestError, HostKeyPin, RemoteCommand, Session, Stream};

use super::server::Server;

/// An error with its causes, on one line.
fn everything(error: &GuestError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Somebody who takes connections and then does as `treat` says; the port.
async fn somebody<F: Future<Output = ()> + Send + 'static>(
    treat: impl Fn(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("bound");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    port
}

/// Keeps a connection open and says nothing.
async fn keep(stream: TcpStream) {
    let _open = stream;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn whoever_answers_wrongly_is_told_by_what_they_do() {
    let server = Server::start().await;
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .and_then(|listener| listener.local_addr())
        .expect("bound")
        .port();
    let silent = somebody(keep).await;
    let leaves = somebody(|stream| async { drop(stream) }).await;
    let web = somebody(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    // What never ends must not be kept: it is all before the greeting of an SSH server.
    let babbler = somebody(|mut stream| async move {
        let noise = vec![b'x'; 64 * 1024];
        while stream.write_all(&noise).await.is_ok() {}
    })
    .await;
    // Greets as SSH does, then says nothing.
    let stuck = somebody(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-stuck\r\n").await;
        keep(stream).await;
    })
    .await;
    let good = HostKeyPin::Pinned(server.host_key.clone());
    let other = HostKeyPin::Pinned(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Ve0sN9m0PSx0nMqCBMHnxRUxVvvtIUTVeqBcr5gYB"
            .to_owned(),
    );
    for (who, port, pin, says) in [
        ("refused", nobody, &good, "Connection refused"),
        ("silent", silent, &good, "no SSH server has spoken on it"),
        ("leaves", leaves, &good, "did not answer SSH"),
        ("web", web, &good, "did not answer SSH"),
        ("babbler", babbler, &good, "did not answer SSH"),
        ("stuck", stuck, &good, "no SSH server has spoken on it"),
        ("wrong key", server.port, &other, "WRONG HOST KEY"),
    ] {
        let mut target = server.target();
        target.port = port;
        let patience = Duration::from_millis(400);
        let error = Session::connect(&target, &server.identity, pin, patience)
            .await
            .expect_err(who);
        let text = everything(&error);
        assert!(text.contains(says), "{who}: {text}");
        let is_wrong_key = matches!(error, GuestError::WrongHostKey { .. });
        assert_eq!(is_wrong_key, who == "wrong key", "{text}");
        assert!(
            is_wrong_key || matches!(error, GuestError::Unreachable { .. }),
            "{who}: {error:?}"
        );
    }
    assert_eq!(server.logins.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// What came of a script: how it ended, how many lines it said and of how many bytes, and the
/// longest of them.
async fn flooded(session: &Session, script: &str) -> (Ended, usize, usize, usize) {
    let (mut lines, mut bytes, mut longest) = (0, 0, 0);
    let command = RemoteCommand::new("flood", script.to_owned());
    let ended = session
        .run(&command, &mut |_: Stream, line: &str| {
            lines += 1;
            bytes += line.len();
            longest = longest.max(line.len());
        })
        .await
        .expect("ran");
    (ended, lines, bytes, longest)
}

#[tokio::test]
async fn whatever_comes_out_comes_whole_in_pieces_that_fit_and_with_the_exit_code() {
    const PIECE: usize = 16 * 1024;
    const MIB: usize = 1024 * 1024;
    let server = Server::start().await;
    let session = server.session().await;
    // Without an end of a line.
    let (ended, lines, bytes, longest) =
        flooded(&session, "head -c 16777216 /dev/zero | tr '\\0' x; exit 7").await;
    assert_eq!(
        (ended, lines, bytes, longest),
        (Ended::Exit(7), 16 * MIB / PIECE, 16 * MIB, PIECE)
    );
    // Of nothing but ends of lines.
    let (ended, lines, bytes, _) = flooded(
        &session,
        "head -c 2097152 /dev/zero | tr '\\0' '\\n'; exit 8",
    )
    .await;
    assert_eq!((ended, lines, bytes), (Ended::Exit(8), 2 * MIB, 0));
    // Every byte there is, and none of them ends it early.
    let all: String = (0..=255).map(|byte| format!("\\\\{byte:03o}")).collect();
    let script = format!("for i in $(seq 64); do printf '%b' \"$(echo '{all}')\"; done; exit 9")
        .replace("\\\\", "\\");
    let (ended, lines, bytes, longest) = flooded(&session, &script).await;
    assert_eq!(ended, Ended::Exit(9));
    // Each round has one line feed and one return, both of which end a line.
    assert_eq!(lines, 64 * 2 + 1);
    assert!(bytes >= 64 * 254 && longest <= PIECE, "{bytes} {longest}");
    assert!(!session.is_closed());
}

#[tokio::test]
async fn a_connection_that_only_looks_alive_ends_as_lost() {
    let server = Server::start().await;
    let session = server.session().await;
    let (says, mut heard) = mpsc::unbounded_channel();
    let running = tokio::spawn({
        let session = session.clone();
        async move {
            let command = RemoteCommand::new("long", "echo begun; sleep 1000".to_owned());
            session
                .run(&command, &mut move |_, line: &str| {
                    says.send(line.to_owned()).expect("heard");
                })
                .await
        }
    });
    assert_eq!(heard.recv().await.as_deref(), Some("begun"));
    // Nothing comes through any more, in either direction, and nobody says so.
    server.freeze();
    tokio::time::pause();
    let error = running.await.expect("no panic").expect_err("lost");
    tokio::time::resume();
    assert!(error.is_connection_lost(), "{error:?}");
    assert_eq!(
        everything(&error),
        "the connection to droplet.runner was lost while running `long`"
    );
    assert!(session.is_closed());
}

#[tokio::test]
async fn a_restart_is_told_by_the_age_of_the_first_process() {
    let server = Server::start().await;
    let session = server.session().await;
    let age = crate::guest::time_since_boot(&session)
        .await
        .expect("asked")
        .expect("told");
    let up: f64 = std::fs::read_to_string("/proc/uptime")
        .expect("read")
        .split(' ')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .expect("a number");
    assert!(age <= Duration::from_secs_f64(up), "{age:?} of {up}");
    // Where it cannot be told, nothing is made up.
    let bin = server.folder("bin");
    let cat = bin.join("cat");
    std::fs::write(&cat, "#!/bin/sh\nexit 1\n").expect("written");
    std::fs::set_permissions(&cat, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("set");
    let path = format!("{bin}:{}", std::env::var("PATH").expect("set"));
    *server.path.lock().expect("unpoisoned") = Some(path);
    assert_eq!(
        crate::guest::time_since_boot(&session)
            .await
            .expect("asked"),
        None
    );
}
