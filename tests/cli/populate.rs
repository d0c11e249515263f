//! Volumes that are filled.

use crate::guests;
use crate::workspace::Workspace;

const MANIFEST: &str = r#"
version: 1
project: fill
region: nyc3
volumes:
  data:
    size: 1GiB
    populate:
      image: ubuntu-24-04-x64
      size: s-1vcpu-1gb
      run: [{ name: words, command: "COMMAND" }]
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: read, command: "echo read: $(cat /mnt/data/words)" }]
    after_run: destroy
  copy:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
    run: [{ name: read, command: "echo copied: $(cat /mnt/data/words)" }]
    after_run: destroy
"#;

/// No tag is there that says how volumes were filled and that no volume bears.
fn assert_no_tag_is_left(workspace: &Workspace) {
    let borne = filled_with(workspace);
    for tag in workspace.list("tags") {
        let name = tag["name"].as_str().expect("a name");
        let is_left = name.starts_with("dewpoint-populat") && !borne.iter().any(|tag| tag == name);
        assert!(!is_left, "{name} is left; the volume bears {borne:?}");
    }
}

/// The tags of the volume that say what it was filled with.
fn filled_with(workspace: &Workspace) -> Vec<String> {
    let volumes = workspace.list("volumes");
    let tags = volumes[0]["tags"].as_array().expect("tags");
    tags.iter()
        .filter_map(|tag| tag.as_str())
        .filter(|tag| tag.starts_with("dewpoint-populat"))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn a_volume_is_filled_once_and_again_when_what_fills_it_changes() {
    if !guests() {
        return;
    }
    let workspace = Workspace::new();
    let write = |command: &str| {
        workspace.write("dewpoint.yaml", &MANIFEST.replace("COMMAND", command));
    };
    // What fails is not recorded, and nobody uses what is half filled.
    write("echo half >/mnt/volume/words; false");
    let failed = workspace.local(&["apply", "--yes"]).expect(1);
    assert!(!failed.err.contains("| read:"), "{}", failed.all());
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(filled_with(&workspace), Vec::<String>::new());
    assert_no_tag_is_left(&workspace);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(2)
        .says("its `populate` has not succeeded yet");

    write("echo one >>/mnt/volume/words");
    let first = workspace.local(&["apply", "--yes"]).expect(0);
    first.says("read: half one").says("copied: half one");
    let one = filled_with(&workspace);
    assert_eq!(one.len(), 1, "{one:?}");
    assert!(one[0].starts_with("dewpoint-populated:"), "{one:?}");
    assert_no_tag_is_left(&workspace);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());

    // Once for each digest: names do not count.
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    let again = workspace.local(&["apply", "--yes"]).expect(0);
    assert!(!again.err.contains("provision"), "{}", again.all());
    again.says("read: half one");

    // It fails over what is there: that stays as usable as the failure left it, but nobody takes it
    // for what either manifest asks for.
    write("echo two >>/mnt/volume/words; false");
    workspace
        .local(&["apply", "--yes"])
        .expect(1)
        .says("its `populate` changed");
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    let tags = filled_with(&workspace);
    assert!(tags.contains(&one[0]) && tags.len() == 2, "{tags:?}");
    assert_no_tag_is_left(&workspace);
    write("echo one >>/mnt/volume/words");
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(2)
        .says("an earlier run that filled it anew broke off");

    write("echo three >/mnt/volume/words");
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("read: three")
        .says("copied: three");
    let tags = filled_with(&workspace);
    assert!(tags.len() == 1 && tags[0] != one[0], "{tags:?}");
    assert_no_tag_is_left(&workspace);
    workspace
        .local(&["sweep"])
        .expect(0)
        .says("Nothing to sweep.");
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");

    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}
