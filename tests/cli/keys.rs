//! Keys of the manifest that no other test takes all the way: what they come to on the cloud and in
//! guests.

use serde_json::json;

use crate::guests;
use crate::workspace::Workspace;

const MANIFEST: &str = r#"
version: 1
project: keys
environment: staging
region: sfo3
ttl: 3h
limits: { droplets: 2, cost_per_hour: 0.05, sizes: ["s-*"] }
variables:
  given: { default: no, description: by a flag }
  filed: { default: no }
  ambient: { default: no }
  count: { default: 1 }
ssh:
  user: root
  key: my-key
  allow_from: ["127.0.0.0/8"]
  host_key: accept-new
firewall:
  inbound:
    - { protocol: tcp, ports: "8000-8100", from: ["203.0.113.0/24"] }
    - { protocol: icmp, from: ["0.0.0.0/0"] }
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - name: with a variable
        run: echo "$WORD" >/opt/word
        env: { WORD: "built ${var.given}" }
        timeout: 1m
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    count: "${var.count}"
    source: { git: ./repo }
    env: { FILED: "${var.filed}", AMBIENT: "${var.ambient}", PLAIN: "$${var.given}" }
    tags: [team-red, "cost:low"]
    run:
      - name: look
        command: |
          echo "$(cat /opt/word), $FILED, $AMBIENT, $PLAIN, in $PWD with $(cat file)"
"#;

#[test]
fn access_variables_limits_and_tags_are_what_the_manifest_says() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(MANIFEST);
    let path = |name: &str| workspace.path(name).to_str().expect("UTF-8").to_owned();
    let key = path("my-key");
    program(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", &key],
    );
    workspace.write("repo/file", "what is committed");
    let repo = path("repo");
    program("git", &["-C", &repo, "init", "--quiet", "-b", "main"]);
    program("git", &["-C", &repo, "add", "file"]);
    let me = ["-c", "user.name=a", "-c", "user.email=a@b"];
    program(
        "git",
        &[&["-C", &repo][..], &me, &["commit", "--quiet", "-m", "x"]].concat(),
    );
    workspace.write("values.yaml", "filed: from a file\ngiven: overruled\n");
    let apply = |more: &[&str]| {
        let given = ["--var-file", "values.yaml", "--var", "given=by hand"];
        let words = [&["apply", "--yes", "--local"][..], &given, more].concat();
        let mut command = workspace.command(&words);
        command.env("DEWPOINT_VAR_AMBIENT", "from around");
        workspace.finish(command)
    };
    let before = jiff::Timestamp::now().as_second();
    apply(&[])
        .expect(0)
        .says("built by hand, from a file, from around, ${var.given}, in /opt/repo with what is committed");

    let droplet = &workspace.list("droplets")[0];
    assert_eq!(droplet["name"], "keys-staging-box");
    assert_eq!(droplet["region"]["slug"], "sfo3");
    let tags: Vec<&str> = droplet["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .filter_map(|tag| tag.as_str())
        .collect();
    for tag in ["team-red", "cost:low", "dewpoint:keys:staging"] {
        assert!(tags.contains(&tag), "{tags:?}");
    }
    let expiry = tags
        .iter()
        .find_map(|tag| tag.strip_prefix("dewpoint-expires:"));
    let expiry: i64 = expiry.expect("an expiry").parse().expect("seconds");
    let ttl = 3 * 3_600;
    let after = jiff::Timestamp::now().as_second();
    assert!((before + ttl..=after + ttl).contains(&expiry), "{expiry}");

    let ours = workspace.read("my-key.pub");
    let (kind_and_key, _) = ours.trim().rsplit_once(' ').expect("a comment");
    let registered = &workspace.list("ssh_keys")[0]["public_key"];
    assert!(
        registered
            .as_str()
            .expect("a key")
            .starts_with(kind_and_key)
    );
    let rules = workspace.list("firewalls")[0]["inbound_rules"].clone();
    let rules = rules.as_array().expect("rules");
    let has = |protocol: &str, ports: &str, from: &str| {
        rules.iter().any(|rule| {
            rule["protocol"] == protocol
                && (ports.is_empty() || rule["ports"] == ports)
                && rule["sources"]["addresses"] == json!([from])
        })
    };
    assert!(has("tcp", "22", "127.0.0.0/8"), "{rules:?}");
    assert!(has("tcp", "8000-8100", "203.0.113.0/24"), "{rules:?}");
    assert!(has("icmp", "", "0.0.0.0/0"), "{rules:?}");

    // Each limit is its own refusal, and nothing is made.
    for (from, to, says) in [
        ("", "", "limits.droplets"),
        (
            "cost_per_hour: 0.05",
            "cost_per_hour: 0.005",
            "limits.cost_per_hour",
        ),
        ("sizes: [\"s-*\"]", "sizes: [\"c-*\"]", "limits.sizes"),
    ] {
        workspace.write("dewpoint.yaml", &MANIFEST.replace(from, to));
        let more: &[&str] = if from.is_empty() {
            &["--var", "count=3"]
        } else {
            &[]
        };
        let refused = apply(more).expect(1).says("dewpoint::plan::limits");
        assert!(refused.all().contains(says), "{}", refused.all());
        assert_eq!(workspace.names("droplets"), ["keys-staging-box"]);
    }
    // Opted out of, the firewall goes; what it was to let in has no effect then, and is refused.
    let (head, tail) = MANIFEST.split_once("firewall:\n").expect("the firewall");
    let (_, tail) = tail.split_once("snapshots:\n").expect("snapshots");
    let open = format!("{head}firewall: none\nsnapshots:\n{tail}");
    workspace.write("dewpoint.yaml", &open);
    apply(&[]).expect(1).says("`allow_from` has no effect");
    let open = open.replace("  allow_from: [\"127.0.0.0/8\"]\n", "");
    workspace.write("dewpoint.yaml", &open);
    apply(&[]).expect(0);
    assert_eq!(workspace.names("firewalls"), Vec::<String>::new());
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    // Tags of the user's own words may be somebody else's, too: they stay.
    assert_eq!(workspace.names("tags"), ["cost:low", "team-red"]);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("ssh_keys"), Vec::<String>::new());
}

fn program(name: &str, arguments: &[&str]) {
    let status = std::process::Command::new(name).args(arguments).status();
    assert!(status.expect("it runs").success(), "{name} {arguments:?}");
}
