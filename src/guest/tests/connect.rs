use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::guest::connect::connect_with;
use crate::guest::{GuestError, HostKeyPin, Session, UserKey, generate_key_file, open_key};

use super::server::Server;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_wrong_host_key_ends_it_at_once_and_names_both() {
    let server = Server::start().await;
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Ve0sN9m0PSx0nMqCBMHnxRUxVvvtIUTVeqBcr5gYB";
    let pin = HostKeyPin::Pinned(other.to_owned());
    let error = Session::connect(&server.target(), &server.identity, &pin, PATIENCE)
        .await
        .expect_err("refused");
    let GuestError::WrongHostKey { expected, seen, .. } = &error else {
        panic!("{error:?}")
    };
    assert_ne!(expected, seen);
    assert_eq!(
        server.logins.load(Ordering::SeqCst),
        0,
        "nothing may be sent"
    );
}

#[tokio::test]
async fn a_key_that_arrives_late_is_waited_for_and_a_foreign_one_told_apart() {
    let server = Server::start_refusing(1).await;
    let session = server.session().await;
    assert_eq!(server.logins.load(Ordering::SeqCst), 2);
    assert_eq!(
        session
            .exec_capture("echo $((1 + 1)); exit 3")
            .await
            .expect("runs"),
        (3, "2\n".to_owned())
    );

    let foreign = generate_key_file(&server.home.join("foreign"), "foreign").expect("made");
    let foreign = open_key(&UserKey::File(foreign.private))
        .await
        .expect("opens");
    let pin = HostKeyPin::Pinned(server.host_key.clone());
    let error = connect_with(&server.target(), &foreign, &pin, PATIENCE, Duration::ZERO)
        .await
        .expect_err("refused");
    assert!(matches!(error, GuestError::KeyRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_says_why() {
    let server = Server::start().await;
    let mut target = server.target();
    // Bound and dropped: nobody listens there now.
    target.port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("bound")
        .port();
    let error = Session::connect(
        &target,
        &server.identity,
        &HostKeyPin::AcceptNew,
        Duration::from_millis(300),
    )
    .await
    .expect_err("nobody listens");
    let cause = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(matches!(error, GuestError::Unreachable { .. }), "{error:?}");
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test]
async fn without_a_pin_the_key_that_was_shown_can_be_asked_for() {
    let server = Server::start().await;
    let session = Session::connect(
        &server.target(),
        &server.identity,
        &HostKeyPin::AcceptNew,
        PATIENCE,
    )
    .await
    .expect("connects");
    assert_eq!(session.host_key(), server.host_key);
    session.close().await;
    let error = session.exec_capture("true").await.expect_err("closed");
    assert!(error.is_connection_lost(), "{error:?}");
}
