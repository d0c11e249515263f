//! What a right manifest means.

use super::*;
use crate::manifest::schema::{AfterRun, AfterRunWord, Firewall, FirewallWord, ImageSource};
use crate::units::{Gib, Seconds};

/// Everything that is supported now, in one manifest.
pub(super) const FULL: &str = r#"
version: 1
project: ollama-eval
environment: main
region: nyc3
ttl: 4h
limits: { droplets: 10, cost_per_hour: 2.00, sizes: ["s-*", "c-*"] }
protect: [volume.models, snapshot.base, "droplet.many[2]", "droplet.grid[python=3.12,os=deb]", firewall, ssh_key]
variables:
  ref: { default: main, description: "commit, branch or tag" }
  model: { default: "llama3.2:1b" }
  n: { default: 3 }
  half: { default: 0.5 }
  flaky: { default: true }
  unused:
ssh:
  user: root
  key: agent
  allow_from: ["0.0.0.0/0", "::/0"]
  host_key: accept-new
firewall:
  inbound:
    - { protocol: tcp, ports: "8000", from: ["203.0.113.0/24"] }
    - { protocol: udp, ports: 8000-9000, from: ["::/0"] }
    - { protocol: icmp, from: ["0.0.0.0/0"] }
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-2vcpu-4gb
    provision:
      - name: system packages
        run: |
          echo "${HOME} $${var.ref} $$"
      - copy: { from: ./requirements.txt, to: /opt/app/requirements.txt }
      - name: python packages
        run: python3 -m venv /opt/venv
        env: { PIP_NO_INPUT: "1" }
        timeout: 20m
    keep: 2
    regions: [nyc3]
  layer:
    from: { snapshot: base }
    size: s-2vcpu-4gb
  of-an-id: { from: 12345, size: s-1vcpu-1gb }
volumes:
  models: { size: 50GiB, filesystem: xfs, scope: project }
  scratch: { size: 1 GiB, scope: environment }
droplets:
  runner:
    image: { snapshot: layer }
    size: s-4vcpu-8gb
    volumes:
      - { volume: models, mount: /mnt/models }
      - { volume: scratch, mount: /mnt/scratch, access: exclusive }
    source: { git: "https://github.com/acme/app.git", ref: "${var.ref}", into: /opt/app }
    env: { OLLAMA_MODELS: /mnt/models, MODEL: "${var.model}" }
    secrets: [HF_TOKEN]
    tags: [blue, "team:ml"]
    run:
      - name: tests
        command: make test
        timeout: 30m
        retries: 1
        allow_failure: "${var.flaky}"
        when: once
        artifacts: [report.xml, "logs/**"]
    after_run: destroy_on_success
  many: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: "${var.n}", source: { path: ".." } }
  grid:
    image: "${var.n}"
    size: s-1vcpu-1gb
    matrix: { python: ["3.11", "3.12"], os: [deb, rpm] }
    after_run: destroy
"#;

#[test]
fn every_supported_key_is_read() {
    let manifest = loaded(FULL);
    assert_eq!(manifest.ttl, Seconds(14_400));
    let step = &manifest.droplets["runner"].run[0];
    assert!(step.allow_failure);
    assert_eq!(manifest.droplets["many"].count, Some(3));
    assert_eq!(manifest.droplets["grid"].image, ImageSource::Id(3));
    assert_eq!(
        manifest.droplets["runner"].after_run,
        AfterRun::Word(AfterRunWord::DestroyOnSuccess)
    );
    assert_eq!(manifest.volumes["scratch"].size, Some(Gib(1)));
    assert_eq!(manifest.variables["half"].default.as_deref(), Some("0.5"));
    let matrix: Vec<&String> = manifest.droplets["grid"].matrix.keys().collect();
    assert_eq!(matrix, ["python", "os"]);
}

#[test]
fn only_references_to_variables_are_replaced() {
    let manifest = loaded(FULL);
    let provision = &manifest.snapshots["base"].provision[0];
    assert_eq!(
        provision.run.as_deref(),
        Some("echo \"${HOME} ${var.ref} $$\"\n")
    );
}

#[test]
fn the_last_value_of_a_variable_wins_and_is_not_read_again() {
    let inputs = with_variables(&[("ref", "one"), ("ref", "${var.model}"), ("model", "3.10")]);
    let manifest = loaded_with(FULL, &inputs);
    let droplet = &manifest.droplets["runner"];
    let reference = droplet
        .source
        .as_ref()
        .and_then(|source| source.reference.as_deref());
    assert_eq!(reference, Some("${var.model}"));
    assert_eq!(droplet.env["MODEL"], "3.10");
}

#[test]
fn a_given_environment_replaces_the_manifests_own() {
    let inputs = Inputs {
        environment: Some("pr-123".to_owned()),
        ..Inputs::default()
    };
    assert_eq!(loaded_with(FULL, &inputs).environment, "pr-123");
}

#[test]
fn the_shortest_manifest_has_the_documented_defaults() {
    let manifest = loaded(HEAD);
    assert_eq!(manifest.environment, "main");
    assert_eq!(manifest.ttl, Seconds(43_200));
    assert_eq!(manifest.ssh.user, "root");
    assert_eq!(manifest.ssh.key, "generated");
    assert_eq!(manifest.ssh.allow_from.len(), 2);
    assert_eq!(manifest.firewall, Firewall::default());
}

#[test]
fn blank_blocks_are_as_if_they_were_not_there() {
    let blank = "limits:\nprotect:\nvariables:\nssh:\nfirewall:\nsnapshots:\nvolumes:\ndroplets:\n";
    assert_eq!(loaded(&format!("{HEAD}{blank}")), loaded(HEAD));
    let manifest = loaded(&format!("{HEAD}firewall: none\n"));
    assert_eq!(manifest.firewall, Firewall::Word(FirewallWord::None));
}

#[test]
fn merged_maps_keep_the_order_of_keys_and_their_own_values() {
    let text = format!(
        "{HEAD}droplets:\n  a: &a\n    <<: &b {{ size: s, matrix: {{ z: [\"1\"], a: [\"2\"] }} }}\n    image: x\n  c:\n    <<: *a\n    size: t\n"
    );
    let manifest = loaded(&text);
    let droplet = &manifest.droplets["c"];
    assert_eq!(
        (droplet.size.as_str(), &droplet.image),
        ("t", &ImageSource::Slug("x".to_owned()))
    );
    let keys: Vec<&String> = droplet.matrix.keys().collect();
    assert_eq!(keys, ["z", "a"]);
}

#[test]
fn a_reference_to_what_had_to_be_dropped_is_not_dangling() {
    let text = format!(
        "{HEAD}snapshots:\n  base: nothing\nvolumes: 5\ndroplets:\n  d: {{ image: {{ snapshot: base }}, size: y, volumes: [{{ volume: v, mount: /mnt/v }}] }}\n"
    );
    assert_eq!(codes(&text), ["wrong_type", "wrong_type"]);
}

#[test]
fn a_near_miss_explains_its_missing_twin_and_its_value_is_still_checked() {
    let text = format!("{HEAD}droplets:\n  d: {{ image: x, sze: 3.10 }}\n");
    assert_eq!(codes(&text), ["unknown_key", "wrong_type"]);
}

#[test]
fn one_unknown_variable_is_one_problem() {
    let text = format!(
        "{HEAD}droplets:\n  d: {{ image: x, size: \"${{var.a}}\", count: \"${{var.b}}\", after_run: \"${{var.c}}\" }}\n"
    );
    assert_eq!(
        codes(&text),
        ["unknown_variable", "unknown_variable", "unknown_variable"]
    );
}

#[test]
fn problems_stand_where_they_are_in_bytes() {
    let text =
        "version: 1\nproject: app # 日本語\nregion: nyc3\nvariables:\n  \"é\": { defalt: a }\n";
    let errors = try_load(text, &Inputs::default()).expect_err("errors");
    let places: Vec<&str> = errors
        .problems()
        .iter()
        .flat_map(Problem::places)
        .map(|place| &text[place])
        .collect();
    assert_eq!(places, ["\"é\"", "defalt"]);
}

#[test]
fn a_variable_may_be_given_in_capitals() {
    let text = "version: 1\nproject: app\nregion: ${var.my-region}\nvariables: { my-region: { default: nyc3 }, ref: { default: a }, REF: { default: b } }\nssh: { key: \"./${var.ref}/${var.REF}\" }\n";
    let region_and_key = |ambient: &[(&str, &str)]| {
        let inputs = Inputs {
            ambient: ambient
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Inputs::default()
        };
        let manifest = loaded_with(text, &inputs);
        (manifest.region, manifest.ssh.key)
    };
    let is = |region: &str, key: &str| (region.to_owned(), key.to_owned());
    assert_eq!(
        region_and_key(&[("MY_REGION", "sfo3")]),
        is("sfo3", "./a/b")
    );
    assert_eq!(
        region_and_key(&[("my-region", "ams3"), ("MY_REGION", "sfo3")]),
        is("ams3", "./a/b")
    );
    assert_eq!(
        region_and_key(&[("REF", "x"), ("OTHER", "y")]),
        is("nyc3", "./a/x")
    );
}

/// Every place of a manifest that holds no other, and the manifest with a variable without a value there.
fn with_each_unset(value: &serde_yaml::Value) -> Vec<(String, serde_yaml::Value)> {
    use serde_yaml::Value;
    let unset = || Value::String("${var.nothing}".to_owned());
    match value {
        Value::Mapping(map) => map
            .iter()
            .filter(|(key, _)| key.as_str() != Some("variables"))
            .flat_map(|(key, inner)| {
                with_each_unset(inner)
                    .into_iter()
                    .map(move |(path, inner)| {
                        let mut map = map.clone();
                        map.insert(key.clone(), inner);
                        let key = key.as_str().expect("a key is text");
                        (format!("{key}.{path}"), Value::Mapping(map))
                    })
            })
            .collect(),
        Value::Sequence(items) => (0..items.len())
            .flat_map(|index| {
                let inner = with_each_unset(&items[index]).into_iter();
                inner.map(move |(path, inner)| {
                    let mut items = items.clone();
                    items[index] = inner;
                    (format!("{index}.{path}"), Value::Sequence(items))
                })
            })
            .collect(),
        _ => vec![(String::new(), unset())],
    }
}

#[test]
fn who_looks_needs_a_value_only_where_it_decides_what_is_looked_at() {
    let full = FULL.replace("  unused:\n", "  nothing:\n");
    let root: serde_yaml::Value = serde_yaml::from_str(&full).expect("YAML");
    let inputs = Inputs {
        unset: Unset::Spared,
        ..Inputs::default()
    };
    let mut needed = Vec::new();
    let mut count = 0;
    let whole = loaded(FULL);
    let things = |manifest: &Manifest| {
        let Manifest {
            snapshots,
            volumes,
            droplets,
            ..
        } = manifest;
        (snapshots.len(), volumes.len(), droplets.len())
    };
    for (path, root) in with_each_unset(&root) {
        let text = serde_yaml::to_string(&root).expect("YAML");
        count += 1;
        match try_load(&text, &inputs) {
            Ok(manifest) => {
                assert_eq!(unset(&manifest, &inputs), ["nothing"], "{path}");
                // Nothing that has an address is left out.
                assert_eq!(things(&manifest), things(&whole), "{path}");
            }
            Err(errors) => {
                for problem in errors.problems() {
                    let code = problem.kind().code();
                    assert!(
                        code.ends_with("no_variable_value"),
                        "{path}: {}",
                        render(&errors)
                    );
                }
                needed.push(path.trim_end_matches('.').to_owned());
            }
        }
    }
    assert!(count > 80, "{count} places");
    insta::assert_snapshot!(needed.join("\n"), @r"
    project
    environment
    region
    protect.0
    protect.1
    protect.2
    protect.3
    protect.4
    protect.5
    ssh.user
    ssh.key
    ssh.host_key
    volumes.models.scope
    volumes.scratch.scope
    droplets.many.count
    droplets.grid.matrix.python.0
    droplets.grid.matrix.python.1
    droplets.grid.matrix.os.0
    droplets.grid.matrix.os.1
    ");
}

#[test]
fn what_looks_takes_a_volume_away_with_care_when_values_are_missing() {
    let text = format!(
        "{HEAD}variables: {{ x: }}\nvolumes: {{ data: {{ size: 1GiB }} }}\ndroplets:\n  box:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    count: ${{var.x}}\n    volumes: [{{ volume: data, mount: \"/mnt/${{var.x}}\" }}]\n    run: [{{ name: a, command: b, background: \"${{var.x}}\", artifacts: [c] }}]\n"
    );
    let inputs = Inputs {
        unset: Unset::Spared,
        ..Inputs::default()
    };
    let manifest = loaded_with(&text, &inputs);
    let scope = crate::desired::scope(&manifest);
    let (name, droplet) = scope.droplets.first_key_value().expect("one");
    assert_eq!(name, "app-main-box");
    // By its device, and after what may be running has ended.
    assert!(droplet.mounts.is_empty() && droplet.has_background);

    // An environment that is given needs none of the manifest's.
    let text = format!("{HEAD}environment: \"${{var.x}}\"\nvariables: {{ x: }}\n");
    assert!(try_load(&text, &inputs).is_err());
    let given = Inputs {
        environment: Some("b".to_owned()),
        ..inputs
    };
    assert_eq!(loaded_with(&text, &given).environment, "b");
}
