//! A history in a store in memory.

use super::*;
use crate::execute::history;
use crate::plan::Goal;

const OLD: &str = "01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q";

fn by() -> By {
    By {
        who: "ann".to_owned(),
        machine: "laptop".to_owned(),
    }
}

/// A folder with runs, and a team's history.
struct Lab {
    _folder: tempfile::TempDir,
    runs: Utf8PathBuf,
    store: Store,
    team: Team,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
        let store = Store::in_memory();
        Self {
            _folder: folder,
            runs,
            team: Team::new(store.clone(), "shop"),
            store,
        }
    }

    fn run(&self, id: &str, environment: &str, how: How) -> PastRun {
        let folder = self.runs.join(id);
        std::fs::create_dir_all(&folder).expect("made");
        let journal = format!(
            r#"{{"seq":0,"at":"2026-08-01T00:00:00Z","elapsed_ms":0,"event":"run_started","run":"{id}","project":"shop","environment":"{environment}","goal":"apply","steps":1,"expected_seconds":3}}"#
        );
        std::fs::write(folder.join("journal.jsonl"), journal + "\n").expect("written");
        PastRun {
            goal: Some(Goal::Apply),
            how,
            environment: environment.to_owned(),
            ..history::read(&self.runs, id, |_, _| false)
        }
    }

    async fn push(&self, run: &PastRun) {
        let stop = CancellationToken::new();
        let pushed = self.team.push(run, &by(), &stop).await.expect("sent");
        assert!(pushed.is_there);
    }

    /// What is listed, a line each.
    async fn list(&self, environment: Option<&str>, most: usize) -> Vec<String> {
        self.list_at(environment, most, Timestamp::now()).await
    }

    async fn list_at(&self, environment: Option<&str>, most: usize, now: Timestamp) -> Vec<String> {
        let runs = self.team.list(environment, most, now).await;
        let line = |run: PastRun| format!("{} {}", run.environment, run.how.words());
        runs.expect("listed").into_iter().map(line).collect()
    }

    async fn names(&self, folder: &str) -> usize {
        let listed = self.store.list(&["history", "shop", folder]).await;
        listed.expect("listed").len()
    }
}

fn new_id() -> String {
    ulid::Ulid::generate().to_string()
}

#[tokio::test]
async fn a_run_is_seen_from_its_beginning_to_its_end() {
    let lab = Lab::new();
    let run = lab.run(&new_id(), "main", How::RunFailed);
    let sent = lab.team.beat(&run, &by(), None).await.expect("sent");
    assert_eq!(lab.list(None, 9).await, ["main running"]);
    // What it has said so far can be fetched; as long as it says nothing more, nothing is sent.
    let elsewhere = Lab::new();
    lab.team
        .fetch(&run.id, &elsewhere.runs)
        .await
        .expect("there");
    let partial = [
        "history",
        "shop",
        "runs",
        &format!("{}.partial.tar.gz", run.id),
    ]
    .map(str::to_owned);
    let partial: Vec<&str> = partial.iter().map(String::as_str).collect();
    lab.store.remove(&partial).await.expect("removed");
    let again = lab.team.beat(&run, &by(), sent).await.expect("sent");
    assert_eq!((again, lab.names("runs").await), (sent, 0));
    std::fs::write(run.folder.join("x.log"), "more\n").expect("written");
    lab.team.beat(&run, &by(), sent).await.expect("sent");
    assert_eq!(lab.names("runs").await, 1);
    // One that gives no sign of life has been killed, whatever it last said.
    let later = Timestamp::now().checked_add(jiff::SignedDuration::from_mins(6));
    assert_eq!(
        lab.list_at(None, 9, later.expect("a time")).await,
        ["main interrupted"]
    );

    lab.push(&run).await;
    assert_eq!(lab.list(None, 9).await, ["main a run step failed"]);
    assert_eq!((lab.names("index").await, lab.names("runs").await), (1, 1));
    // A sign of life that was under way arrives late.
    lab.team.beat(&run, &by(), None).await.expect("sent");
    assert_eq!(lab.list(None, 9).await, ["main a run step failed"]);
    lab.team
        .fetch(&run.id, &elsewhere.runs)
        .await
        .expect("there");
    let back = history::read(&elsewhere.runs, &run.id, |_, _| false);
    assert_eq!(
        (back.project.as_str(), back.goal),
        ("shop", Some(Goal::Apply))
    );
    assert!(elsewhere.runs.join(&run.id).join("x.log").exists());
    // Fetched again, it is what is there now, and nothing lies beside it.
    std::fs::remove_file(run.folder.join("x.log")).expect("removed");
    lab.push(&run).await;
    lab.team
        .fetch(&run.id, &elsewhere.runs)
        .await
        .expect("there");
    assert!(!elsewhere.runs.join(&run.id).join("x.log").exists());
    assert_eq!(std::fs::read_dir(&elsewhere.runs).expect("read").count(), 1);
}

#[tokio::test]
async fn the_newest_are_listed_first_however_old_the_rest_is() {
    let lab = Lab::new();
    lab.push(&lab.run(OLD, "old", How::Failed)).await;
    for (environment, how) in [("main", How::Succeeded), ("pr-1", How::Interrupted)] {
        lab.push(&lab.run(&new_id(), environment, how)).await;
    }
    let all = lab.list(None, 9).await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[2], "old failed");
    assert_eq!(lab.list(Some("main"), 9).await, ["main succeeded"]);
    assert_eq!(lab.list(Some("old"), 1).await, ["old failed"]);
    assert_eq!(lab.list(None, 1).await.len(), 1);
    assert_eq!(lab.list(Some("none"), 9).await.len(), 0);
}

#[tokio::test]
async fn what_others_put_there_is_told_and_stops_nothing() {
    let lab = Lab::new();
    lab.push(&lab.run(&new_id(), "main", How::Succeeded)).await;
    let (newer, broken) = (new_id(), new_id());
    for name in [
        format!("{newer}_2_all-new"),
        "..".to_owned(),
        "nonsense".to_owned(),
    ] {
        let written = lab
            .store
            .write(&["history", "shop", "index", &name], Bytes::new())
            .await;
        written.expect("written");
    }
    let runs = lab
        .team
        .list(None, 9, Timestamp::now())
        .await
        .expect("listed");
    assert_eq!(runs.len(), 2);
    let of_newer = runs.iter().find(|run| run.id == newer).expect("listed");
    let problem = of_newer.problem.as_deref().expect("a problem");
    assert!(problem.contains("in format 2"), "{problem}");

    let error = lab
        .team
        .fetch(&newer, &lab.runs)
        .await
        .expect_err("not there");
    assert!(matches!(error, TeamError::NotStored { .. }), "{error}");
    let bundle = ["history", "shop", "runs", &format!("{broken}.tar.gz")].map(str::to_owned);
    let bundle: Vec<&str> = bundle.iter().map(String::as_str).collect();
    lab.store
        .write(&bundle, Bytes::from("no archive"))
        .await
        .expect("written");
    let before = std::fs::read_dir(&lab.runs).expect("read").count();
    let error = lab
        .team
        .fetch(&broken, &lab.runs)
        .await
        .expect_err("broken");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert_eq!(std::fs::read_dir(&lab.runs).expect("read").count(), before);
}

#[tokio::test]
async fn who_is_asked_to_stop_lists_nothing_that_is_not_there() {
    let lab = Lab::new();
    let stop = CancellationToken::new();
    stop.cancel();
    let run = lab.run(&new_id(), "main", How::Succeeded);
    let pushed = lab.team.push(&run, &by(), &stop).await.expect("no fault");
    assert!(!pushed.is_there);
    assert_eq!((lab.names("index").await, lab.names("runs").await), (0, 0));
}

#[test]
fn without_a_name_it_is_a_number() {
    let of = |names: &[&str]| this(names.iter().map(|name| (*name).to_owned())).who;
    assert_eq!(of(&["", "ann", "bob"]), "ann");
    assert!(of(&[""]).starts_with("user-"));
}
