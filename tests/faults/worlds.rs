//! Manifests, and what stands before each: between them they have every kind of step that asks the
//! API for something.

use dewpoint::plan::Goal;

/// What is done, and on top of what.
pub struct World {
    pub name: &'static str,
    /// Manifests that were applied before.
    pub before: &'static [&'static str],
    pub manifest: &'static str,
    pub goal: Goal,
    /// Whether its run steps fail.
    pub fails: bool,
    /// Whether its droplets are guests; else what works over SSH is left out.
    pub guests: bool,
    /// Kinds of step that are looked at here, each at its first step.
    pub kinds: &'static [&'static str],
}

const BUILD: &str = r#"
version: 1
project: shop
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    regions: [nyc3, ams3]
    provision: [{ name: marker, run: "true" }]
volumes:
  models: { size: 1GiB }
droplets:
  keeper:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: models, mount: /mnt/models }]
"#;

const CHANGE: &str = r#"
version: 1
project: shop
region: nyc3
firewall: { inbound: [{ protocol: tcp, ports: "8000", from: ["0.0.0.0/0"] }] }
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision: [{ name: marker, run: "false || true" }]
volumes:
  models: { size: 2GiB }
droplets:
  keeper:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: models, mount: /mnt/models }]
"#;

const PLAIN: &str = r#"
version: 1
project: shop
region: nyc3
droplets:
  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2 }
"#;

const TAGGED: &str = r#"
version: 1
project: shop
region: nyc3
droplets:
  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2, tags: [blue] }
"#;

const FILL: &str = r#"
version: 1
project: shop
region: nyc3
volumes:
  data:
    size: 1GiB
    populate:
      image: ubuntu-24-04-x64
      size: s-1vcpu-1gb
      run: [{ name: words, command: "true" }]
droplets:
  copy:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
    run: [{ name: read, command: "true" }]
    after_run: destroy
"#;

const KEPT: &str = r#"
version: 1
project: shop
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run: [{ name: tests, command: "false" }]
    after_run: { keep: 30m }
"#;

const BUILD_IN_GUESTS: &str = r#"
version: 1
project: shop
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision: [{ name: marker, run: "true" }]
droplets:
  keeper: { image: { snapshot: base }, size: s-1vcpu-1gb }
"#;

const RUN_IN_GUESTS: &str = r#"
version: 1
project: shop
region: nyc3
volumes:
  data: { size: 1GiB }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    source: { path: ./app, into: /opt/app }
    run:
      - { name: serve, command: "exec sleep 1000", background: true }
      - { name: tests, command: "cat hello >report.txt", artifacts: [report.txt] }
    after_run: destroy
"#;

/// What works over SSH, from nothing: their accounts cannot be put back.
pub const IN_GUESTS: [World; 2] = [
    World {
        name: "build, in guests",
        before: &[],
        manifest: BUILD_IN_GUESTS,
        goal: Goal::Apply,
        fails: false,
        guests: true,
        kinds: &["connect", "provision", "power_off"],
    },
    World {
        name: "test, in guests",
        before: &[],
        manifest: RUN_IN_GUESTS,
        goal: Goal::Test,
        fails: false,
        guests: true,
        kinds: &[
            "mount",
            "prepare",
            "sync",
            "run",
            "collect",
            "stop_background",
            "unmount",
        ],
    },
];

/// The examples, from nothing.
pub const EXAMPLES: [World; 2] = [
    World {
        name: "quickstart",
        before: &[],
        manifest: include_str!("../../examples/quickstart/dewpoint.yaml"),
        goal: Goal::Apply,
        fails: false,
        guests: false,
        kinds: &[],
    },
    World {
        name: "shared-volume",
        before: &[],
        manifest: include_str!("../../examples/shared-volume/dewpoint.yaml"),
        goal: Goal::Apply,
        fails: false,
        guests: false,
        kinds: &[],
    },
];

/// All others.
pub const WORLDS: [World; 8] = [
    World {
        name: "build",
        before: &[],
        manifest: BUILD,
        goal: Goal::Apply,
        fails: false,
        guests: false,
        kinds: &[
            "create_ssh_key",
            "create_tags",
            "create_firewall",
            "create_volume",
            "create_droplets",
            "take_snapshot",
            "tag_snapshot",
            "transfer",
            "attach",
            "gather",
        ],
    },
    World {
        name: "change",
        before: &[BUILD],
        manifest: CHANGE,
        goal: Goal::Apply,
        fails: false,
        guests: false,
        kinds: &[
            "update_firewall",
            "resize_volume",
            "prune",
            "detach",
            "destroy_droplet",
        ],
    },
    World {
        name: "tag",
        before: &[PLAIN],
        manifest: TAGGED,
        goal: Goal::Apply,
        fails: false,
        guests: false,
        kinds: &["update_tags"],
    },
    World {
        name: "clone",
        before: &[],
        manifest: FILL,
        goal: Goal::Apply,
        fails: false,
        guests: false,
        kinds: &[
            "tag_volume",
            "snapshot_volume",
            "clone_volume",
            "delete_volume",
        ],
    },
    World {
        name: "keep",
        before: &[],
        manifest: KEPT,
        goal: Goal::Apply,
        fails: true,
        guests: false,
        kinds: &["keep_droplet"],
    },
    World {
        name: "test",
        before: &[],
        manifest: PLAIN,
        goal: Goal::Test,
        fails: false,
        guests: false,
        kinds: &["create_droplets", "destroy_droplet"],
    },
    World {
        name: "destroy --project",
        before: &[FILL, BUILD],
        manifest: BUILD,
        goal: Goal::DestroyProject,
        fails: false,
        guests: false,
        kinds: &[
            "delete_firewall",
            "delete_ssh_key",
            "delete_tags",
            "delete_volume",
            "delete_volume_snapshot",
            "prune",
            "destroy_droplet",
        ],
    },
    World {
        name: "sweep",
        before: &[PLAIN],
        manifest: PLAIN,
        goal: Goal::Sweep,
        fails: false,
        guests: false,
        kinds: &[
            "destroy_droplet",
            "delete_firewall",
            "delete_ssh_key",
            "delete_tags",
        ],
    },
];
