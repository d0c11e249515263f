//! `run`: source and run steps on droplets that are up, and nothing else.

use crate::guests;
use crate::workspace::Workspace;

const FLEET: &str = r#"
version: 1
project: again
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    source: { path: ./app }
    run:
      - name: words
        command: cat words.txt
      - name: judge
        command: echo "judged on $DEWPOINT_DROPLET"; test ! -e fail
        artifacts: [words.txt]
      - name: first
        command: echo the first time
        when: once
"#;

#[test]
fn run_syncs_and_runs_and_does_nothing_else() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(FLEET);
    workspace.write("app/words.txt", "one\n");
    // Where nothing was made there is no key either; that is not what is missing.
    workspace
        .local(&["ssh", "droplet.box[1]"])
        .expect(1)
        .says("droplet.box[1] is not up")
        .says("make it with `dewpoint apply --local`");
    workspace
        .local(&["ssh-config"])
        .expect(0)
        .says("# no droplet of the environment is up");
    workspace
        .local(&["run", "droplet.box"])
        .expect(1)
        .says("droplet.box[1]: it is not up")
        .says("dewpoint apply");
    workspace.local(&["apply", "--yes"]).expect(0);
    let before = workspace.list("droplets");

    // What changed is brought over, every step of every instance runs, nothing of the cloud changes.
    let calls = workspace.requests().len();
    workspace.write("app/words.txt", "two\n");
    let ran = workspace
        .local(&["run", "droplet.box[*]"])
        .expect(0)
        .says("judged on again-main-box\n")
        .says("judged on again-main-box-2")
        .says("| two");
    assert!(!ran.err.contains("| one"), "{}", ran.all());
    assert!(!ran.err.contains("the first time"), "{}", ran.all());
    for request in &workspace.requests()[calls..] {
        assert_eq!(request["method"], "GET", "{request}");
    }
    assert_eq!(workspace.list("droplets"), before);

    // One instance, one step; one that is named runs also when it has run once.
    let ran = workspace
        .local(&["run", "droplet.box[2]", "first"])
        .expect(0)
        .says("the first time");
    assert!(!ran.all().contains("judged"), "{}", ran.all());
    assert!(!ran.all().contains("droplet.box[1]"), "{}", ran.all());

    // The tests' fault is 3, and the log is named.
    workspace.write("app/fail", "");
    workspace
        .local(&["run", "droplet.box[1]", "judge"])
        .expect(3)
        .says("FAILED")
        .says("dewpoint run");

    workspace
        .local(&["run", "box-2"])
        .expect(1)
        .says("did you mean `droplet.box[2]`?");
    workspace
        .local(&["run", "droplet.bix"])
        .expect(1)
        .says("`droplet.bix` names no droplet of the manifest")
        .says("droplet.box");
    workspace
        .local(&["run", "droplet.box", "juge"])
        .expect(1)
        .says("has no run step `juge`")
        .says("`judge`");

    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_save_runs_again_until_ctrl_c() {
    if !crate::guests() {
        return;
    }
    let workspace = Workspace::with(
        "version: 1\nproject: saves\nregion: nyc3\ndroplets:\n  box:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    source: { path: src }\n    run: [{ name: say, command: cat word.txt }]\n",
    );
    workspace.write("src/word.txt", "first\n");
    // Nothing is up, and nothing is made for it.
    workspace.local(&["test", "--watch"]).expect(1);
    workspace.local(&["apply", "--yes"]).expect(0);
    let mut running = crate::workspace::Running::start(&workspace, &["test", "--watch"]);
    running.until("| first");
    running.until("waiting for a save");
    workspace.write("src/word.txt", "second\n");
    running.until("| second");
    running.until("waiting for a save");
    // A slip in the manifest is told, and mended by the next save.
    let manifest = workspace.read("dewpoint.yaml");
    workspace.write(
        "dewpoint.yaml",
        &manifest.replace("cat word.txt", "cat word.txt\n    nonsense: 1"),
    );
    running.until("dewpoint::manifest");
    running.until("waiting for a save");
    workspace.write(
        "dewpoint.yaml",
        &manifest.replace("cat", "sed s/second/third/"),
    );
    running.until("| third");
    running.until("waiting for a save");
    let process = rustix::process::Pid::from_raw(running.pid()).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("signalled");
    let (code, _) = running.end();
    assert_eq!(code, Some(0));
    // It stands as it stood.
    assert_eq!(workspace.names("droplets"), ["saves-main-box"]);
    workspace.local(&["destroy", "--yes"]).expect(0);
}
