//! What becomes of droplets after their runs.

use crate::guests;
use crate::workspace::Workspace;

#[test]
fn a_droplet_that_goes_after_a_success_stays_after_a_failure() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: after
region: nyc3
volumes:
  data: { size: 1GiB }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run:
      - { name: serve, command: "cd /mnt/data; sleep 600", background: true }
      - { name: tests, command: "test -e /mnt/data/fixed" }
    after_run: destroy_on_success
"#,
    );
    workspace.local(&["apply", "--yes"]).expect(3);
    assert_eq!(workspace.names("droplets"), ["after-main-box"]);
    let text = workspace.read("dewpoint.yaml");
    workspace.write(
        "dewpoint.yaml",
        &text.replace("test -e /mnt/data/fixed", "true"),
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("runs on, nothing changed")
        .says("ok droplet.box stop background steps");
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}
