//! What a newcomer meets first: init, validate, schema, and the ways to go wrong.

use crate::workspace::{Asking, Workspace};

#[test]
fn init_writes_a_manifest_that_validates_and_never_overwrites() {
    let workspace = Workspace::new();
    let said = workspace.run(&["init", "--project", "demo"]).expect(0);
    for line in said.err.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    said.says("dewpoint plan --local");
    workspace
        .run(&["validate"])
        .expect(0)
        .says("dewpoint.yaml is valid: demo / main");
    let before = workspace.read("dewpoint.yaml");
    workspace
        .run(&["init"])
        .expect(1)
        .says("dewpoint.yaml is there already");
    assert_eq!(workspace.read("dewpoint.yaml"), before);
    workspace
        .run(&["init", "--project", "Not A Name", "-f", "other.yaml"])
        .expect(1);
    assert!(!workspace.path("other.yaml").exists());
}

#[test]
fn the_checked_in_schema_is_what_the_program_prints() {
    let workspace = Workspace::new();
    let checked_in = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/schemas/manifest.schema.json"
    ))
    .expect("the schema");
    assert!(
        workspace.run(&["schema"]).expect(0).out == checked_in,
        "run: dewpoint schema > schemas/manifest.schema.json"
    );
    let schema = workspace.run(&["schema", "plan"]).expect(0).out;
    assert!(
        schema == include_str!("../../schemas/plan.schema.json"),
        "run: dewpoint schema plan > schemas/plan.schema.json"
    );
}

#[test]
fn the_examples_are_valid() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).expect("examples") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        // Pipelines are no manifests, and the policy goes with any: tests of their own run them.
        if !entry.path().join("dewpoint.yaml").exists() {
            assert!(name == "ci" || name == "policy", "{name:?} has no manifest");
            continue;
        }
        let workspace = Workspace::example(&name.to_string_lossy());
        workspace.run(&["validate"]).expect(0);
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn the_manifest_in_the_readme_is_valid() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))
        .expect("the README");
    let (_, rest) = readme.split_once("```yaml\n").expect("a manifest");
    let (manifest, _) = rest.split_once("```").expect("its end");
    let workspace = Workspace::with(manifest);
    workspace.write("requirements.txt", "");
    workspace.run(&["validate"]).expect(0);
}

#[test]
fn what_is_missing_is_said_with_the_way_on() {
    let workspace = Workspace::new();
    workspace
        .run(&["validate"])
        .expect(1)
        .says("there is no manifest at dewpoint.yaml")
        .says("dewpoint init");
    workspace.run(&["init", "--project", "demo"]).expect(0);
    workspace
        .run(&["plan"])
        .expect(1)
        .says("DIGITALOCEAN_TOKEN")
        .says("--local");
    workspace
        .run(&["apply"])
        .expect(1)
        .says("no terminal")
        .says("--yes");
    workspace.run(&["aply"]).expect(1).says("apply");
    workspace
        .run(&["validate", "--var", "nonsense"])
        .expect(1)
        .says("NAME=VALUE");
    for (name, value) in [
        ("DIGITALOCEAN_API_URL", "http://api.example.com"),
        ("DEWPOINT_CLOUD", "moon"),
    ] {
        let output = workspace
            .command(&["plan"])
            .env("DIGITALOCEAN_TOKEN", "dop_v1_not_to_be_seen")
            .env(name, value)
            .output()
            .expect("the binary runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            err.contains(name) && !err.contains("not_to_be_seen"),
            "{err}"
        );
    }
}

#[test]
fn the_manifest_can_come_over_standard_input() {
    use std::io::Write as _;
    let workspace = Workspace::new();
    let mut child = workspace
        .command(&["validate", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(b"version: 1\nproject: piped\nregion: nyc3\n")
        .expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("piped / main"));
}

#[test]
fn texts_for_shells_and_readers_are_made_from_the_arguments() {
    let workspace = Workspace::new();
    assert!(
        workspace
            .run(&["completions", "bash"])
            .expect(0)
            .out
            .contains("_dewpoint()")
    );
    assert!(
        workspace
            .run(&["man"])
            .expect(0)
            .out
            .contains(".TH dewpoint")
    );
    workspace
        .run(&["--version"])
        .expect(0)
        .says("dewpoint 0.1.0");
    insta::assert_snapshot!(workspace.run(&["--help"]).expect(0).out);
}

#[test]
fn what_is_missing_on_this_side_is_told_at_once_and_before_any_call() {
    let workspace = Workspace::with(
        r#"
version: 1
project: gone
region: nyc3
ssh: { key: keys/id_ed25519 }
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - copy: { from: ./setup, to: /opt/setup }
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    source: { path: ./app }
"#,
    );
    for arguments in [
        &["validate"][..],
        &["plan", "--local"],
        &["apply", "--local", "--yes"],
        &["test", "--local"],
    ] {
        let ran = workspace
            .run(arguments)
            .expect(1)
            .says("dewpoint.yaml has 3 problems")
            .says("there is no file ")
            .says("there is no file or folder ")
            .says("there is no folder ");
        assert!(!ran.all().contains("/./"), "{}", ran.all());
    }
    assert!(!workspace.path("cloud").exists(), "the cloud was started");

    // A folder is no key, and a file no source.
    workspace.write("keys/id_ed25519/x", "");
    workspace.write("setup", "");
    workspace.write("app", "");
    workspace
        .run(&["validate"])
        .expect(1)
        .says("dewpoint.yaml has 2 problems")
        .says("is not a file")
        .says("is not a folder");
}

#[test]
fn a_fault_of_what_was_given_is_not_blamed_on_the_manifest() {
    let workspace = Workspace::with("version: 1\nproject: app\nregion: nyc3\n");
    for arguments in [
        &["validate", "--env", "PR 1"][..],
        &["validate", "--var", "reff=x"],
    ] {
        workspace
            .run(arguments)
            .expect(1)
            .says("the values given beside dewpoint.yaml have 1 problem");
    }
}

#[test]
fn init_asks_again_until_the_name_can_be_one() {
    let workspace = Workspace::new();
    let mut asking = Asking::start_elsewhere(&workspace, &["init"]);
    for wrong in ["Not A Name", "9lives"] {
        asking.pass("Name of the project [");
        asking.answer(wrong);
        // One word of what is said: a screen may break it between any two.
        asking.pass("`a-z`");
    }
    assert!(!workspace.path("dewpoint.yaml").exists());
    asking.pass("Name of the project [");
    asking.answer("demo");
    let (code, seen) = asking.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("Wrote dewpoint.yaml"), "{seen}");
    assert!(
        workspace.read("dewpoint.yaml").contains("project: demo"),
        "the last answer counts"
    );
    workspace.run(&["validate"]).expect(0);
}

#[test]
fn init_takes_what_it_offers_when_nothing_is_said() {
    // An empty line, and a terminal that says no more (Ctrl-D).
    for answer in ["\n", "\x04"] {
        let workspace = Workspace::new();
        let mut asking = Asking::start_elsewhere(&workspace, &["init"]);
        asking.until("]: ");
        let offered = asking
            .seen()
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(name, _)| name.to_owned())
            .expect("a name is offered");
        asking.write(answer);
        let (code, seen) = asking.end();
        assert_eq!(code, Some(0), "{seen}");
        let manifest = workspace.read("dewpoint.yaml");
        assert!(
            manifest.contains(&format!("project: {offered}\n")),
            "{offered}: {manifest}"
        );
    }
}

#[test]
fn init_finds_the_language_and_the_repository() {
    let workspace = Workspace::new();
    workspace.write("requirements.txt", "pytest\n");
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git")
            .args(arguments)
            .current_dir(workspace.path("."))
            .status();
        assert!(status.expect("git runs").success());
    };
    git(&["init", "--quiet"]);
    let remote = "https://someone:hunter2@git.example.com/acme/words.git";
    git(&["remote", "add", "origin", remote]);
    let ran = workspace
        .run(&["init", "--project", "words"])
        .expect(0)
        .says("a project in Python with pytest")
        .says("git.example.com/acme/words.git");
    let text = workspace.read("dewpoint.yaml");
    assert!(text.contains("-m pytest --junitxml=report.xml"), "{text}");
    assert!(
        text.contains("# git: https://git.example.com/acme/words.git\n"),
        "{text}"
    );
    assert!(!text.contains("hunter2") && !ran.all().contains("hunter2"));
    workspace.run(&["validate"]).expect(0);
}

#[test]
fn all_man_pages_come_in_one_go() {
    let workspace = Workspace::new();
    std::fs::create_dir(workspace.path("man")).expect("a folder");
    workspace.run(&["man", "--all", "man"]).expect(0);
    for page in ["dewpoint", "dewpoint-apply", "dewpoint-local-up"] {
        let text = workspace.read(&format!("man/{page}.1"));
        assert!(text.contains(".TH"), "{page}: {text}");
    }
    workspace
        .run(&["man", "--all", "nowhere"])
        .expect(1)
        .says("cannot write nowhere");
}

#[test]
fn a_shell_is_offered_what_there_is() {
    let workspace = Workspace::with(
        "version: 1\nproject: shop\nregion: nyc3\nvolumes:\n  models: { size: 1GiB }\ndroplets:\n  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2 }\n",
    );
    std::fs::create_dir_all(workspace.path(".dewpoint/locks")).expect("made");
    workspace.write(".dewpoint/locks/shop-pr-7.lock", "");
    workspace.write(".dewpoint/locks/other-main.lock", "");
    let offered = |words: &[&str]| {
        let mut command = workspace.command(&["--", "dewpoint"]);
        // As fish asks: a candidate a line, what it is after a tabulator.
        command.args(words).env("DEWPOINT_COMPLETE", "fish");
        let ran = workspace.finish(command).expect(0);
        let lines = ran
            .out
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let droplets = ["droplet.web[*]", "droplet.web[1]", "droplet.web[2]"];
    let mut run = offered(&["run", "dro"]);
    run.sort();
    assert_eq!(run, droplets);
    let targets = offered(&["plan", "--target", ""]);
    for address in droplets
        .iter()
        .chain(&["volume.models", "firewall", "ssh_key"])
    {
        assert!(
            targets.contains(&(*address).to_owned()),
            "{address}: {targets:?}"
        );
    }
    let mut environments = offered(&["plan", "--env", ""]);
    environments.sort();
    assert_eq!(environments, ["main", "pr-7"]);
    assert!(
        offered(&["explain", "dewpoint::cli::no_"]).contains(&"dewpoint::cli::no_run".to_owned())
    );
    assert_eq!(
        offered(&["-f", "nowhere.yaml", "run", "dro"]),
        Vec::<String>::new()
    );
    // Commands and options as ever.
    assert!(offered(&["app"]).contains(&"apply".to_owned()));
}

#[test]
fn without_a_command_it_says_what_there_is() {
    let workspace = Workspace::new();
    let said = workspace.run(&[]).expect(1);
    assert_eq!(said.out, "");
    assert!(!said.err.starts_with("error"), "{}", said.all());
    said.says("Usage: dewpoint [OPTIONS] <COMMAND>")
        .says("  init         Write a commented starter manifest");
    // Newcomers ask for help in both ways.
    let help = workspace
        .run(&["help", "plan"])
        .expect(0)
        .says("Show what apply would do")
        .says("--max-cost <AMOUNT>");
    assert_eq!(help.out, workspace.run(&["plan", "--help"]).expect(0).out);
    workspace
        .run(&["help", "local", "up"])
        .expect(0)
        .says("--droplet-limit <N>");
    // What `tail -f` and others have taught is told apart.
    workspace
        .run(&["logs", "-f"])
        .expect(1)
        .says("tip: `--follow` follows a run");
    let said = workspace.run(&["local"]).expect(1);
    said.says("Usage: dewpoint local [OPTIONS] <COMMAND>")
        .says("  up      Start the local cloud");
}
