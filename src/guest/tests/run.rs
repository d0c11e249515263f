use std::time::Duration;

use tokio::sync::mpsc;

use crate::guest::{Ended, GuestError, RemoteCommand, Session, Stream};
use crate::secret::Secret;

use super::server::Server;

async fn run(
    session: &Session,
    command: &RemoteCommand,
) -> (Result<Ended, GuestError>, Vec<String>) {
    let mut lines = Vec::new();
    let ended = session
        .run(command, &mut |stream, line: &str| {
            let sign = if stream == Stream::Out { '>' } else { '!' };
            lines.push(format!("{sign} {line}"));
        })
        .await;
    (ended, lines)
}

fn script(text: &str) -> RemoteCommand {
    RemoteCommand::new("unit tests", text.to_owned())
}

#[tokio::test]
async fn exit_codes_signals_and_streams_come_as_they_are() {
    let server = Server::start().await;
    let session = server.session().await;
    let (ended, lines) = run(&session, &script("echo one; false | true; echo never")).await;
    assert_eq!(
        (ended.expect("ran"), lines),
        (Ended::Exit(1), vec!["> one".to_owned()])
    );
    let (ended, lines) = run(
        &session,
        &script("cat; echo oops >&2; printf part; exit 255"),
    )
    .await;
    let mut lines = lines;
    lines.sort();
    assert_eq!(ended.expect("ran"), Ended::Exit(255));
    assert_eq!(lines, ["! oops", "> part"]);
    let (ended, _) = run(&session, &script("kill -9 $$")).await;
    assert_eq!(ended.expect("ran"), Ended::Signal("KILL".to_owned()));
    // A run can be interrupted by itself: its signals are not ignored.
    let (ended, _) = run(
        &session,
        &script("python3 -c 'import os, signal; os.kill(os.getpid(), signal.SIGINT)' 2>/dev/null"),
    )
    .await;
    assert_eq!(ended.expect("ran"), Ended::Exit(130));
}

#[tokio::test]
async fn environment_folder_and_script_need_no_quoting() {
    let server = Server::start().await;
    let session = server.session().await;
    let folder = server.folder("it's a \"folder\" $HOME");
    let mut command = script(
        "pwd\nprintf '%s|%s\\n' \"$ODD\" \"$TOKEN\"\ntr '\\0' ' ' </proc/$$/cmdline | grep -c s3cre[t] || :\n",
    );
    command.cwd = Some(folder.to_string());
    command.env = vec![("ODD".to_owned(), "a'b\"c $x `y` \\ \u{e4}\nz".to_owned())];
    command.secrets = vec![("TOKEN".to_owned(), Secret::new("s3cret".to_owned()))];
    let (ended, lines) = run(&session, &command).await;
    assert_eq!(ended.expect("ran"), Ended::Exit(0));
    let expected = format!("> {folder}\n> a'b\"c $x `y` \\ \u{e4}\n> z|s3cret\n> 0");
    assert_eq!(lines.join("\n"), expected);
    assert!(!format!("{command:?}").contains("s3cret"));

    command.cwd = Some("/nowhere at all".to_owned());
    let (ended, lines) = run(&session, &command).await;
    assert_eq!(ended.expect("ran"), Ended::Exit(125));
    assert_eq!(lines, ["! dewpoint: there is no folder /nowhere at all"]);
    command.env = vec![("A B".to_owned(), String::new())];
    let (ended, _) = run(&session, &command).await;
    assert!(matches!(ended, Err(GuestError::BadVariable { .. })));
}

#[tokio::test]
async fn much_output_arrives_whole_and_a_large_script_runs() {
    let server = Server::start().await;
    let session = server.session().await;
    let padding = format!("# {}\n", "x".repeat(78)).repeat(4000);
    let text = format!("{padding}seq 1 200000");
    let (ended, lines) = run(&session, &script(&text)).await;
    assert_eq!(ended.expect("ran"), Ended::Exit(0));
    assert_eq!(lines.len(), 200_000);
    assert_eq!(lines.last().map(String::as_str), Some("> 200000"));
}

/// Whether the process of this number runs.
fn is_up(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn until_gone(pid: &str) {
    while is_up(pid) {
        tokio::task::yield_now().await;
    }
}

/// A script whose child ignores TERM, in a session of its own; both say their numbers.
const STUBBORN: &str =
    "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' &\necho $$\nwait\n";

#[tokio::test]
async fn a_timeout_ends_the_whole_tree() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut command = script(STUBBORN);
    command.timeout = Some(Duration::from_millis(300));
    let (ended, lines) = run(&session, &command).await;
    assert_eq!(ended.expect("ran"), Ended::TimedOut);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        until_gone(&line[2..]).await;
    }
    assert!(!session.is_closed());
}

#[tokio::test]
async fn an_interrupted_or_cut_off_run_leaves_nothing() {
    let server = Server::start().await;
    for cut in [false, true] {
        let session = server.session().await;
        let (says, mut heard) = mpsc::unbounded_channel();
        let running = tokio::spawn({
            let session = session.clone();
            async move {
                let command = script("echo $$; sleep 1000");
                session
                    .run(&command, &mut move |_, line: &str| {
                        says.send(line.to_owned()).expect("heard")
                    })
                    .await
            }
        });
        let pid = heard.recv().await.expect("it starts");
        assert!(is_up(&pid));
        if cut {
            server.cut.cancel();
            let error = running.await.expect("no panic").expect_err("cut off");
            assert!(error.is_connection_lost(), "{error:?}");
        } else {
            running.abort();
            assert!(running.await.expect_err("aborted").is_cancelled());
        }
        until_gone(&pid).await;
        while server.left_in_tmp() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_a_finished_script_left_in_the_background_goes_on_and_holds_nothing_up() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut command = script("sleep 1000 &\necho $!");
    command.timeout = Some(Duration::from_secs(60));
    let (ended, lines) = run(&session, &command).await;
    assert_eq!(ended.expect("ran"), Ended::Exit(0));
    let pid = &lines[0][2..];
    while server.left_in_tmp() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(is_up(pid), "it was not ended");
    let (code, _) = session
        .exec_capture(&format!("kill {pid}"))
        .await
        .expect("runs");
    assert_eq!(code, 0);
}

#[tokio::test]
async fn many_runs_share_one_connection() {
    let server = Server::start().await;
    let session = server.session().await;
    let runs = (0..20).map(|number| {
        let session = session.clone();
        async move { run(&session, &script(&format!("echo {number}; exit {number}"))).await }
    });
    for (number, (ended, lines)) in futures_util::future::join_all(runs)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(
            ended.expect("ran"),
            Ended::Exit(i32::try_from(number).expect("small"))
        );
        assert_eq!(lines, [format!("> {number}")]);
    }
    assert_eq!(server.logins.load(std::sync::atomic::Ordering::SeqCst), 1);
}
