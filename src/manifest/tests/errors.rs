//! Each error as its reader sees it.

use super::*;

/// One test a case: the snapshot bears the test's name.
macro_rules! cases {
    ($($name:ident: $text:expr;)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(stringify!($name), rendered(&$text));
            }
        )*
    };
}

fn head(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

cases! {
    // The text itself.
    empty_file: "";
    only_comments: "# nothing yet\n\n---\n";
    not_a_map: "- version: 1\n";
    tab_in_the_second_line: "version: 1\n\tproject: x\nregion: nyc3\n";
    tab_in_indentation: "version: 1\nssh:\n\tuser: root\n";
    unclosed_bracket: "version: 1\nprotect: [volume.a\nproject: app\n";
    colon_in_plain_text: head("droplets:\n  a:\n    image: ubuntu: 24\n");
    second_document: head("---\nversion: 1\n");
    unknown_anchor: head("ssh: *common\n");
    alias_in_its_own_anchor: "a: &a\n  b: *a\n";
    yaml_tag: head("ttl: !env TTL\n");
    key_that_is_a_list: "? [a, b]\n: 1\n";
    key_that_is_a_number: head("droplets:\n  a: { image: x, size: y, env: { 8: one } }\n");
    merge_of_text: head("ssh:\n  <<: root\n");
    nul_in_text: "version: 1\nproject: app\nregion: \"nyc\\0\"\n";

    // Keys and kinds.
    unknown_key_near: head("droplets:\n  tests:\n    image: ubuntu-24-04-x64\n    sise: s-1vcpu-1gb\n");
    unknown_key_far: head("snapshots:\n  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, flavour: mild }\n");
    duplicate_key: head("volumes:\n  data: { size: 5GiB }\n  logs: { size: 1GiB }\n  data: { size: 9GiB }\n");
    missing_at_the_top: "version: 1\nproject: app\n";
    missing_in_a_block: head("droplets:\n  tests:\n    size: s-1vcpu-1gb\n");
    missing_in_an_item: head("firewall:\n  inbound:\n    - ports: \"80\"\n      protocol: tcp\n");
    blank_where_text_is_due: "version: 1\nproject:\nregion: ~\nenvironment: null\n";
    comma_in_plain_text: head("variables: { ref: { default: main, description: commit, branch or tag } }\n");
    blank_item: head("protect: [~]\n");
    number_where_text_is_due: head("droplets:\n  a:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    matrix: { python: [3.10, 1e3] }\n    source: { git: https://example.com/a.git, ref: 12e03 }\n    env: { DEBUG: true, PORT: 0x1F }\n");
    text_where_a_number_is_due: head("droplets:\n  a: { image: x, size: y, count: \"3\" }\n  b: { image: x, size: y, count: three }\n  c: { image: x, size: y, count: -1 }\n  d: { image: x, size: y, count: 1.5 }\n");
    text_where_a_list_is_due: head("droplets:\n  a: { image: x, size: y, tags: blue, run: make test }\n");
    list_where_a_map_is_due: head("droplets:\n  - image: x\n    size: y\n");
    yes_where_true_is_due: head("droplets:\n  a:\n    image: x\n    size: y\n    run:\n      - { name: t, command: make, allow_failure: yes }\n");
    item_of_the_wrong_kind: head("droplets:\n  a: { image: x, size: y, run: [make test, make lint], volumes: [data] }\n");
    word_near: head("volumes:\n  data: { size: 5GiB, filesystem: ext5, scope: projekt }\n");
    word_far: head("droplets:\n  a: { image: x, size: y, after_run: explode }\nfirewall: off\n");
    bad_durations: head("ttl: 5\nsnapshots:\n  a:\n    from: x\n    size: y\n    provision:\n      - { run: make, timeout: 1.5h }\n      - { run: make, timeout: 30m1h }\n      - { run: make, timeout: 10 minutes }\n");
    bad_sizes: head("volumes:\n  a: { size: 50GB }\n  b: { size: 50 }\n  c: { size: 0GiB }\n  d: { size: 99999GiB }\n");
    bad_networks: head("ssh: { allow_from: [\"10.0.0.300/8\", \"10.0.0.1\", anywhere] }\nfirewall:\n  inbound:\n    - { protocol: tcp, ports: \"80\", from: [\"::/129\"] }\n");
    bad_ports: head("firewall:\n  inbound:\n    - { protocol: tcp, ports: \"0\", from: [\"0.0.0.0/0\"] }\n    - { protocol: udp, ports: \"9000-8000\", from: [\"0.0.0.0/0\"] }\n    - { protocol: tcp, ports: http, from: [\"0.0.0.0/0\"] }\n    - { protocol: tcp, from: [\"0.0.0.0/0\"] }\n    - { protocol: icmp, ports: \"8\", from: [\"0.0.0.0/0\"] }\n    - { protocol: tcp, ports: \"22\", from: [] }\n");
    bad_limits: head("limits: { droplets: 0, cost_per_hour: free, sizes: [\"s-[\"] }\n");
    unknown_version: "version: 2\nproject: app\nregion: nyc3\n";

    // Names and paths.
    bad_names: "version: 1\nproject: My Project\nenvironment: feature/login\nregion: New York\nsnapshots:\n  Base_Image: { from: Ubuntu, size: y }\nvariables:\n  1st: { default: a }\n";
    names_too_long: "version: 1\nproject: a-project-of-twenty\nenvironment: a-branch-with-quite-a-long-name\nregion: nyc3\nsnapshots:\n  base: { from: x, size: y }\nvolumes:\n  models-and-datasets: { size: 5GiB, scope: environment }\ndroplets:\n  integration: { image: x, size: y, count: 10 }\n";
    names_that_become_one: head("droplets:\n  worker: { image: x, size: y, count: 2 }\n  worker-2: { image: x, size: y }\n");
    environment_names: head("droplets:\n  a:\n    image: x\n    size: y\n    env: { 1ST: a, DEWPOINT_ENV: b, TOKEN: c }\n    secrets: [TOKEN, \"HF-TOKEN\", KEY, KEY]\n");
    tags_of_a_droplet: head("droplets:\n  a: { image: x, size: y, tags: [\"my tag\", \"dewpoint:app\", blue, blue] }\n");
    paths_on_a_droplet: head("volumes:\n  a: { size: 1GiB }\n  b: { size: 1GiB }\n  c: { size: 1GiB }\ndroplets:\n  d:\n    image: x\n    size: y\n    volumes:\n      - { volume: a, mount: mnt/a }\n      - { volume: b, mount: /mnt/b }\n      - { volume: c, mount: /mnt/b/ }\n      - { volume: b, mount: /etc }\n    source: { path: ., into: /opt/../etc }\n");
    paths_on_this_side: head("snapshots:\n  a:\n    from: x\n    size: y\n    provision:\n      - copy: { from: /etc/passwd, to: /opt/passwd }\n      - copy: { from: ./app, to: opt/app }\n");
    artifacts_outside: head("droplets:\n  a:\n    image: x\n    size: y\n    run:\n      - name: t\n        command: make\n        artifacts: [/etc/passwd, ../report.xml, \"logs/[\", \"logs/**\"]\n");

    // What excludes what.
    exactly_one_of: head("snapshots:\n  a:\n    from: x\n    size: y\n    provision:\n      - { name: nothing }\n      - { run: make, copy: { from: ./a, to: /opt/a } }\nvolumes:\n  v: {}\ndroplets:\n  d: { image: x, size: y, count: 2, matrix: { k: [a] }, source: { git: https://example.com/a.git, path: . } }\n");
    doubled: head("droplets:\n  d:\n    image: x\n    size: y\n    matrix: { k: [a, b, a], K: [c] }\n    run:\n      - { name: tests, command: make }\n      - { name: tests, command: make again }\n");
    without_effect: head("firewall: none\nssh: { allow_from: [\"10.0.0.0/8\"] }\nsnapshots:\n  a:\n    from: x\n    size: y\n    provision:\n      - { copy: { from: ./a, to: /opt/a }, env: { A: b }, timeout: 5m }\ndroplets:\n  d:\n    image: x\n    size: y\n    source: { path: ., ref: main }\n    run:\n      - { name: a, command: make, ready: { tcp: 80 } }\n      - { name: b, command: make, background: true, timeout: 5m, when: once }\n");
    ready_that_cannot_be: head("droplets:\n  d:\n    image: x\n    size: y\n    run:\n      - { name: a, command: make, background: true, ready: { tcp: 80, http: \"http://localhost\" } }\n      - { name: b, command: make, background: true, ready: { timeout: 5s } }\n      - { name: c, command: make, background: true, ready: { tcp: 0 } }\n      - { name: d, command: make, background: true, ready: { http: \"localhost:80\" } }\n      - { name: e, command: make, background: true, ready: { command: \" \" } }\n");
    numbers_out_of_range: head("droplets:\n  d:\n    image: x\n    size: y\n    count: 99999999999\n    run:\n      - { name: a, command: make, background: true, ready: { tcp: 99999 } }\n      - { name: b, command: make, retries: -1 }\n");
    units_of_others: head("ttl: 4 hours\nvolumes:\n  a: { size: 5GB }\n  b: { size: 2 TB }\n  c: { size: 20TiB }\n");
    a_password_in_an_address: head("droplets:\n  d: { image: x, size: y, source: { git: \"https://me:hunter2@example.com/a.git\" } }\n");
    copies_in_another_region: head("snapshots:\n  a: { from: x, size: y, regions: [sfo3] }\n");

    // References.
    dangling: head("protect: [volume.modles, snapshot.other, bucket.a, \"droplet.d[3]\"]\nsnapshots:\n  base: { from: { snapshot: bse }, size: y }\nvolumes:\n  models: { size: 5GiB }\ndroplets:\n  d:\n    image: { snapshot: golden }\n    size: y\n    count: 2\n  e: { image: base, size: y, volumes: [{ volume: model, mount: /mnt/m }] }\n");
    cycle_of_three: head("snapshots:\n  a: { from: { snapshot: b }, size: y }\n  b: { from: { snapshot: c }, size: y }\n  c: { from: { snapshot: a }, size: y }\n");
    needs_in_a_circle: head("droplets:\n  a: { image: x, size: y, needs: [b] }\n  b: { image: x, size: y, needs: [d, c] }\n  c: { image: x, size: y, needs: [a, d, d] }\n  d: { image: x, size: y, needs: [d, e] }\n");
    cycle_of_one: head("snapshots:\n  a: { from: { snapshot: a }, size: y }\n");

    // Variables.
    variables_without_value: head("variables:\n  ref:\n  model: { default: small }\ndroplets:\n  d:\n    image: x\n    size: y\n    source: { git: https://example.com/a.git, ref: \"${var.ref}\" }\n    env: { MODEL: \"pre-${var.modle}\", OTHER: \"${var.zzz}\" }\n");
    variables_written_wrongly: head("variables:\n  a: { default: \"${var.b}\" }\n  b: { default: 3.10 }\ndroplets:\n  d: { image: x, size: y, env: { A: \"${var.}\", B: \"${var.b\", C: \"${var.b:-c}\" } }\n");
    variables_of_the_wrong_kind: head("variables:\n  n: { default: many }\n  yes: { default: 1 }\ndroplets:\n  d:\n    image: x\n    size: y\n    count: \"${var.n}\"\n    run:\n      - { name: t, command: make, allow_failure: \"${var.yes}\", timeout: \"${var.n}\" }\n");
    script_with_unknown_variable: head("variables: { a: { default: b } }\nsnapshots:\n  s:\n    from: x\n    size: y\n    provision:\n      - run: |\n          set -e\n          echo \"${HOME} $${var.x} é ${var.b} ${var.a}\"\n");

    names_volumes_have_and_had: head("volumes:\n  a: { size: 5GiB, was: b }\n  b: { size: 5GiB, was: Not A Name }\n  c: { existing: Old Data, scope: environment, was: d }\n");

    // Volumes that are filled and copied.
    populate_of_nothing: head("snapshots:\n  s: { from: x, size: y }\nvolumes:\n  v:\n    size: 5GiB\n    populate: { image: { snapshot: t }, size: \"\", run: [] }\n  w:\n    existing: old\n    populate: { image: { snapshot: s }, size: y, run: [{ command: \" \" }] }\n");
    clones_of_what_is_kept: head("volumes:\n  v: { size: 5GiB }\n  o: { existing: old }\ndroplets:\n  a: { image: x, size: y, run: [{ name: t, command: make }], volumes: [{ volume: v, mount: /mnt/v }] }\n  b: { image: x, size: y, after_run: destroy, volumes: [{ volume: v, mount: /mnt/v }] }\n  c: { image: x, size: y, count: 3, volumes: [{ volume: v, mount: /mnt/v, access: clone }, { volume: o, mount: /mnt/o, access: clone }] }\n");
    clones_in_a_circle: head("volumes:\n  v: { size: 5GiB }\ndroplets:\n  fill: { image: x, size: y, needs: [use], after_run: destroy, run: [{ name: t, command: make }], volumes: [{ volume: v, mount: /mnt/v }] }\n  use: { image: x, size: y, volumes: [{ volume: v, mount: /mnt/v, access: clone }] }\n");
    turns_with_nothing_to_do: head("volumes:\n  v: { size: 5GiB }\n  w: { size: 5GiB }\ndroplets:\n  a: { image: x, size: y, run: [{ name: t, command: make }], volumes: [{ volume: v, mount: /mnt/v }] }\n  b: { image: x, size: y, volumes: [{ volume: v, mount: /mnt/v }] }\n  c: { image: x, size: y, count: 3, volumes: [{ volume: w, mount: /mnt/w }], run: [{ name: s, command: serve, background: true }] }\n");

    // Places.
    after_text_that_is_not_ascii: "version: 1\nproject: app # 日本語\nregion: nyc3\nvariables:\n  é: { default: ünïcödé, descripton: \"日本\" }\ndroplets: { tests: { image: x, size: y, env: { A: \"日本語 ${var.ab}\" } } }\n";
    through_a_merge: head("snapshots:\n  a: &common\n    from: x\n    size: y\n    provision: [{ run: 5 }]\n  b:\n    <<: *common\n    keep: 0\n");
    too_many_droplets: head("droplets:\n  a: { image: x, size: y, count: 10001 }\n  b: { image: x, size: y, count: 0 }\n");
}

#[test]
fn not_utf8() {
    let errors = load(
        "dewpoint.yaml",
        b"version: 1\nproject: \xff\n",
        &Inputs::default(),
    );
    insta::assert_snapshot!(render(&errors.expect_err("an error")));
}

#[test]
fn utf16() {
    let errors = load("dewpoint.yaml", b"\xff\xfev\0e\0r\0", &Inputs::default());
    insta::assert_snapshot!(render(&errors.expect_err("an error")));
}

#[test]
fn ten_megabytes() {
    let bytes = "a: b # padding\n".repeat(10 * 1024 * 1024 / 15);
    let errors = load("dewpoint.yaml", bytes.as_bytes(), &Inputs::default());
    insta::assert_snapshot!(render(&errors.expect_err("an error")));
}

#[test]
fn a_value_for_an_unknown_variable() {
    let text = head("variables: { model: { default: small } }\n");
    insta::assert_snapshot!(rendered_with(&text, &with_variables(&[("modle", "big")])));
}

#[test]
fn a_given_environment_with_a_bad_name() {
    let inputs = Inputs {
        environment: Some("Feature/Login".to_owned()),
        ..Inputs::default()
    };
    insta::assert_snapshot!(rendered_with(HEAD, &inputs));
}

#[test]
fn thirteen_faults_are_told_in_one_run() {
    let text = "version: 1\nproject: App\nregin: nyc3\nttl: soon\nssh: { allow_from: [here] }\nsnapshots:\n  base: { from: { snapshot: basis }, size: s, provison: [] }\nvolumes:\n  data: { size: 5GB }\n  data: { size: 5GiB }\ndroplets:\n  d:\n    image: { snapshot: base }\n    size: 3.10\n    count: many\n    after_run: destory\n    volumes: [{ volume: dta, mount: mnt }]\n";
    assert_eq!(
        codes(text),
        [
            "bad_name",
            "unknown_key",
            "bad_value",
            "bad_value",
            "dangling",
            "unknown_key",
            "bad_value",
            "duplicate_key",
            "wrong_type",
            "wrong_type",
            "bad_value",
            "dangling",
            "bad_path",
        ]
    );
}

#[test]
fn after_fifty_problems_it_is_enough() {
    let steps = "      - { nme: a, comand: b }\n".repeat(100);
    let text = head(&format!(
        "droplets:\n  d:\n    image: x\n    size: y\n    run:\n{steps}"
    ));
    let errors = try_load(&text, &Inputs::default()).expect_err("errors");
    assert_eq!(errors.problems().len(), 50);
    assert!(errors.has_more());
    assert_eq!(
        errors.to_string(),
        "dewpoint.yaml has more than 50 problems"
    );
}

#[test]
fn a_mark_at_the_beginning_moves_no_place() {
    let marked = |text: &str| {
        load(
            "dewpoint.yaml",
            format!("\u{feff}{text}").as_bytes(),
            &Inputs::default(),
        )
    };
    assert_eq!(marked(HEAD).ok(), Some(loaded(HEAD)));
    let text = head("regoin: x\n");
    let errors = marked(&text).expect_err("an error");
    assert_eq!(render(&errors), rendered(&text));
}

#[test]
fn paths_of_this_side_are_placed_where_they_stand() {
    let text = head(
        "ssh: { key: keys/id }\nsnapshots:\n  base:\n    from: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    provision:\n      - copy: { from: ./a, to: /a }\ndroplets:\n  d:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    source: { path: ./nothere }\n",
    );
    let paths = local_paths(&loaded(&text));
    let found = paths
        .into_iter()
        .map(|path| {
            let message = format!("there is no {}", path.path);
            (path, message, "make it".to_owned())
        })
        .collect();
    let errors = unusable("dewpoint.yaml", text.as_bytes(), found).expect("problems");
    let places: Vec<&str> = errors
        .problems()
        .iter()
        .flat_map(super::super::error::Problem::places)
        .map(|place| &text[place])
        .collect();
    assert_eq!(places, ["keys/id", "./a", "./nothere"]);
    assert!(unusable("dewpoint.yaml", text.as_bytes(), Vec::new()).is_none());
}
