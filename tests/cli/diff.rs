//! `diff`: files and git revisions, without a cloud.

use std::process::Command;

use crate::workspace::Workspace;

const OLD: &str = "\
version: 1
project: shop
region: nyc3
variables: { ref: { default: main }, token: {} }
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - copy: { from: ./tools, to: /opt/tools }
      - run: echo ${var.token}
droplets:
  web: { image: { snapshot: base }, size: s-1vcpu-1gb }
";

/// Runs git in a workspace, as nobody's configuration would have it.
fn git(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = isolated(Command::new("git"))
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(workspace.path("."))
        .output()
        .expect("git runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "git {arguments:?}: {said}");
    said
}

fn isolated(mut command: Command) -> Command {
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("GIT_DIR");
    command
}

fn commit(workspace: &Workspace, message: &str) {
    git(workspace, &["add", "-A"]);
    git(workspace, &["commit", "-q", "-m", message]);
}

/// A repository with two commits on `main`, and one on `side` that left after the first.
fn repository() -> Workspace {
    let workspace = Workspace::new();
    git(&workspace, &["init", "-q", "-b", "main"]);
    workspace.write(".gitignore", "/ci/tools/secret\n/cloud\n/cache\n/.cache\n");
    workspace.write("ci/dewpoint.yaml", OLD);
    workspace.write("ci/tools/count", "wc -w\n");
    commit(&workspace, "first");
    git(&workspace, &["branch", "side"]);
    workspace.write("ci/tools/count", "wc -l\n");
    commit(&workspace, "a tool");
    workspace
}

const MANIFEST: &[&str] = &["--", "ci/dewpoint.yaml"];

#[test]
fn revisions_are_compared_with_what_they_copy() {
    let workspace = repository();
    let diff = |arguments: &[&str]| {
        let mut all = vec!["diff", "--detailed-exitcode"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(MANIFEST);
        workspace.run(&all)
    };
    // Two revisions, as a range, from the one to the other, and from where they met.
    for arguments in [&["main~1..main"][..], &["main~1", "main"], &["side...main"]] {
        diff(arguments)
            .expect(2)
            .says("snapshot.base is built anew")
            .says("~ file ./tools/count differs")
            .says("droplet.web must be replaced");
    }
    diff(&["main...side"]).expect(0).says("No changes.");
    // A revision and the working tree; what git does not know is said to be so.
    diff(&["main"]).expect(0).says("No changes.");
    workspace.write("ci/tools/new", "x\n");
    workspace.write("ci/tools/secret", "x\n");
    diff(&["HEAD"])
        .expect(2)
        .says("+ file ./tools/new is new (not in git: on this machine alone)")
        .says("+ file ./tools/secret is new (not in git: on this machine alone)");
    std::fs::remove_file(workspace.path("ci/tools/new")).expect("removed");
    std::fs::remove_file(workspace.path("ci/tools/secret")).expect("removed");
    // Modes count; also with a path of its own, from another folder, and with -f.
    use std::os::unix::fs::PermissionsExt as _;
    let tool = workspace.path("ci/tools/count");
    std::fs::set_permissions(tool, std::fs::Permissions::from_mode(0o755)).expect("set");
    let mut command = workspace.command(&["diff", "HEAD:ci/dewpoint.yaml", "dewpoint.yaml"]);
    command.current_dir(workspace.path("ci"));
    workspace
        .finish(command)
        .expect(0)
        .says("~ file ./tools/count differs in its kind or mode");
    workspace
        .run(&["diff", "HEAD", "-f", "ci/dewpoint.yaml"])
        .expect(0)
        .says("differs in its kind or mode");
}

#[test]
fn a_manifest_that_was_not_there_and_one_that_is_gone() {
    let workspace = repository();
    git(&workspace, &["rm", "-rq", "ci"]);
    commit(&workspace, "gone");
    let diff = |range: &str| workspace.run(&["diff", range, "--", "ci/dewpoint.yaml"]);
    diff("main..main~1")
        .expect(0)
        .says("nothing -> main~1:ci/dewpoint.yaml")
        .says("snapshot.base will be created");
    diff("main~1..main")
        .expect(1)
        .says("there is no manifest at main:ci/dewpoint.yaml")
        .says("dewpoint destroy");
}

#[test]
fn what_is_named_is_a_file_or_a_revision_and_never_guessed() {
    let workspace = repository();
    workspace.write("main", OLD);
    workspace
        .run(&["diff", "main", "-f", "ci/dewpoint.yaml"])
        .expect(1)
        .says("`main` is both a file and a git revision")
        .says("./main");
    workspace
        .run(&["diff", "./main", "ci/dewpoint.yaml"])
        .expect(0)
        .says("./main: what is to be copied from ./tools is not there");
    workspace
        .run(&["diff", "main", "--", "ci/dewpoint.yaml"])
        .expect(0)
        .says("No changes.");
    workspace
        .run(&["diff", "nowhere", "--", "ci/dewpoint.yaml"])
        .expect(1)
        .says("`nowhere` is neither a file nor a git revision");
    workspace.run(&["diff", "--", "-x", "y"]).expect(1);
}

#[test]
fn problems_say_which_side_they_are_on_and_variables_go_to_both() {
    let workspace = Workspace::new();
    workspace.write("old.yaml", OLD);
    workspace.write("tools/count", "x\n");
    workspace.write(
        "bad.yaml",
        "version: 1\nproject: shop\nregion: nyc3\ndroplet: {}\n",
    );
    workspace.write("worse.yaml", "version: 1\n");
    workspace
        .run(&["diff", "old.yaml", "bad.yaml"])
        .expect(1)
        .says("bad.yaml (NEW)")
        .says("droplets");
    workspace
        .run(&["diff", "worse.yaml", "bad.yaml"])
        .expect(1)
        .says("worse.yaml (OLD)")
        .says("bad.yaml (NEW)");
    // A variable without a value stays as it is written, where that can be.
    workspace.write(
        "new.yaml",
        &OLD.replace("echo ${var.token}", "echo new ${var.token}"),
    );
    workspace
        .run(&["diff", "old.yaml", "new.yaml"])
        .expect(0)
        .says("+ echo new ${var.token}");
    workspace
        .run(&["diff", "old.yaml", "new.yaml", "--var", "token=t1"])
        .expect(0)
        .says("+ echo new t1");
    workspace
        .run(&["diff", "old.yaml", "new.yaml", "--var", "tokn=t1"])
        .expect(1)
        .says("`tokn`");
    workspace.write(
        "sized.yaml",
        &OLD.replace(
            "size: s-1vcpu-1gb }",
            "size: s-1vcpu-1gb, count: \"${var.token}\" }",
        ),
    );
    workspace
        .run(&["diff", "old.yaml", "sized.yaml"])
        .expect(1)
        .says("the variable `token` has no value");
}

/// The recipes of the README, as they stand there.
#[test]
fn git_shows_differences_by_the_recipes_of_the_readme() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))
        .expect("the README");
    let line = |begin: &str| {
        let found = readme.lines().find(|line| line.trim().starts_with(begin));
        found
            .unwrap_or_else(|| panic!("no `{begin}`"))
            .trim()
            .to_owned()
    };
    let workspace = repository();
    workspace.write("ci/dewpoint.yaml", &OLD.replace("web:", "www:"));
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_dewpoint"))
        .parent()
        .expect("a folder")
        .to_owned();
    let shell = |script: &str| {
        let mut path = vec![folder.clone()];
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").expect("a path"),
        ));
        let mut command = isolated(workspace.command(&[]));
        command.env("PATH", std::env::join_paths(path).expect("paths"));
        let program = std::mem::replace(&mut command, Command::new("sh"));
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .args(["-ec", script])
            .current_dir(workspace.path("."));
        workspace.finish(command)
    };
    shell(&line("git config difftool.dewpoint.cmd")).expect(0);
    shell("git difftool -y -t dewpoint main -- ci/dewpoint.yaml")
        .expect(0)
        .says("# droplet.web will be destroyed")
        .says("# droplet.www will be created")
        .says("copied files are those of");
    shell(&line("git config diff.dewpoint.textconv")).expect(0);
    shell(&line("echo 'dewpoint.yaml diff=dewpoint'")).expect(0);
    shell("git --no-pager diff main -- ci/dewpoint.yaml")
        .expect(0)
        .says("-  # droplet.web will be created")
        .says("+  # droplet.www will be created");
}

/// Prices are those that a plan has seen last on the same cloud; without any it is said what is missing.
#[test]
fn costs_before_and_after_go_by_the_prices_a_plan_has_seen() {
    let manifest = OLD.replace("      - copy: { from: ./tools, to: /opt/tools }\n", "");
    let manifest = manifest.replace("token: {}", "token: { default: t }");
    let workspace = Workspace::with(&manifest);
    workspace.write(
        "new.yaml",
        &manifest.replace("size: s-1vcpu-1gb }", "size: s-2vcpu-4gb, count: 2 }"),
    );
    let diff = || {
        workspace
            .local(&["diff", "dewpoint.yaml", "new.yaml"])
            .expect(0)
    };
    let unknown =
        diff().says("prices of droplets are unknown: a `dewpoint plan` keeps those of its cloud");
    assert!(!unknown.out.contains("/h"), "{}", unknown.all());
    workspace.local(&["plan"]).expect(0);
    diff()
        .says("while all droplets are up    $0.0089/h -> $0.0714/h (+$0.0625)")
        .says("of that, droplets that stay  $6.00/month -> $48.00/month (+$42.00)")
        .says("prices of droplets as of 20");
    // Those of another cloud are not its own.
    workspace
        .run(&["diff", "dewpoint.yaml", "new.yaml"])
        .expect(0)
        .says("prices of droplets are unknown")
        .says("with `--local`, both it and `dewpoint diff` go by the local cloud's");
}
