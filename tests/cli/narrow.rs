//! `--target`, `--replace` and `--only-destroy`.

use crate::workspace::Workspace;

const MANIFEST: &str = r#"
version: 1
project: part
region: nyc3
protect: [droplet.kept]
volumes:
  scratch: { size: 1GiB, scope: environment }
  data: { size: 1GiB }
droplets:
  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
  kept: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

#[test]
fn a_plan_is_narrowed_and_things_are_made_anew() {
    let workspace = Workspace::with(MANIFEST);
    workspace.up(&["--without-guests"]);

    // A part, said so loudly, and then the rest.
    workspace
        .local(&["apply", "--yes", "--target", "droplet.web"])
        .expect(0)
        .says("NOT THE WHOLE PLAN: it is narrowed to its targets and what they need (`--target`): droplet.web")
        .says("LEFT OUT: 3 to add (volume.data, volume.scratch, droplet.kept)");
    assert_eq!(workspace.names("droplets"), ["part-main-web"]);
    assert!(workspace.names("volumes").is_empty());
    workspace
        .local(&["plan", "--target", "droplet.wbe"])
        .expect(1)
        .says("`droplet.wbe` names nothing of the manifest or the environment")
        .says("the nearest there are: droplet.web");
    let picture = workspace
        .local(&["graph", "--target", "volume.data"])
        .expect(0)
        .says("NOT THE WHOLE PLAN");
    assert!(
        picture.out.contains("volume.data") && !picture.out.contains("volume.scratch"),
        "{}",
        picture.all()
    );
    // A narrowed plan is saved and carried out like any other, and cannot be narrowed then.
    workspace
        .local(&["plan", "--target", "volume.*", "--out", "plan.json"])
        .expect(0);
    workspace
        .local(&["apply", "plan.json", "--target", "droplet.web"])
        .expect(1)
        .says("--target");
    workspace
        .local(&["apply", "plan.json"])
        .expect(0)
        .says("NOT THE WHOLE PLAN");
    assert_eq!(workspace.names("volumes").len(), 2);
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");

    // Anew: only what may go.
    let ids = |workspace: &Workspace, kind: &str| {
        let list = workspace.list(kind);
        list.iter()
            .map(|item| (item["name"].to_string(), item["id"].to_string()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (droplets, volumes) = (ids(&workspace, "droplets"), ids(&workspace, "volumes"));
    workspace
        .local(&["apply", "--yes", "--replace", "volume.data"])
        .expect(1)
        .says("dewpoint::plan::not_replaced");
    workspace
        .local(&["apply", "--yes", "--replace", "droplet.kept"])
        .expect(1)
        .says("it would be replaced, and `protect` lists `droplet.kept`")
        .says("--unprotect droplet.kept");
    assert_eq!(ids(&workspace, "droplets"), droplets);
    workspace
        .local(&[
            "apply",
            "--yes",
            "--replace",
            "droplet.web",
            "--replace",
            "volume.scratch",
        ])
        .expect(0)
        .says("must be replaced: destroyed, then created")
        .says("`--replace` asks for it");
    let (now_droplets, now_volumes) = (ids(&workspace, "droplets"), ids(&workspace, "volumes"));
    let moved = |before: &std::collections::BTreeMap<String, String>,
                 now: &std::collections::BTreeMap<String, String>| {
        let moved = now
            .iter()
            .filter(|(name, id)| before.get(*name) != Some(id));
        moved.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(moved(&droplets, &now_droplets), ["\"part-main-web\""]);
    assert_eq!(moved(&volumes, &now_volumes), ["\"part-main-scratch\""]);

    // What has left the manifest goes, and nothing new comes.
    workspace.write("dewpoint.yaml", &MANIFEST.replace("  web:", "  new:"));
    workspace
        .local(&["apply", "--yes", "--only-destroy"])
        .expect(0)
        .says("LEFT OUT: 1 to add (droplet.new)");
    assert_eq!(workspace.names("droplets"), ["part-main-kept"]);

    // `protect` holds a destroy up as a whole.
    workspace
        .local(&["destroy", "--yes", "--project"])
        .expect(1)
        .says("it would be destroyed, and `protect` lists `droplet.kept`");
    assert_eq!(workspace.names("volumes").len(), 2);
    workspace
        .local(&[
            "destroy",
            "--yes",
            "--project",
            "--unprotect",
            "droplet.kept",
        ])
        .expect(0);
    workspace.assert_empty();
}
