//! A secret is seen by the command alone.

use std::path::Path;

use crate::guests;
use crate::workspace::Workspace;

const MANIFEST: &str = r#"
version: 1
project: hush
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    secrets: [API_KEY]
    run:
      - name: use it
        command: |
          test "$(printf %s "$API_KEY" | sha256sum | cut -d' ' -f1)" = "$EXPECTED"
          echo "the key is [$API_KEY]"
          printf 'half: %s' "${API_KEY%?????}"; sleep 0.2; printf '%s\n' "${API_KEY#"${API_KEY%?????}"}"
          case "$(tr '\0' ' ' </proc/1/environ)" in *"$API_KEY"*) echo 'process 1 has it'; exit 1;; esac
          case "$(cat /proc/[0-9]*/cmdline | tr '\0' ' ')" in *"$API_KEY"*) echo 'an argument is it'; exit 1;; esac
      - name: fail with it
        command: echo "no luck with $API_KEY" >&2; exit 9
        allow_failure: true
"#;

const SECRET: &str = "s3cr3t-4d1f-value-that-must-not-be-seen";

#[test]
fn a_secret_reaches_the_command_and_nothing_else() {
    if !guests() {
        return;
    }
    let digest = dewpoint::digest::Digest::of_bytes(SECRET.as_bytes());
    let workspace = Workspace::with(&MANIFEST.replace(
        "    secrets: [API_KEY]",
        &format!("    env: {{ EXPECTED: \"{digest}\" }}\n    secrets: [API_KEY]"),
    ));
    workspace
        .local(&["apply", "--yes"])
        .expect(1)
        .says("API_KEY");
    for arguments in [
        &["apply", "--yes", "--local", "-vv"][..],
        &["apply", "--yes", "--local", "--log-format", "json"],
        &["plan", "--local", "--format", "json"],
    ] {
        let output = workspace
            .command(arguments)
            .env("API_KEY", SECRET)
            .env("DEWPOINT_LOG", "trace")
            .output()
            .expect("the binary runs");
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{out}{err}");
        assert!(!out.contains(SECRET) && !err.contains(SECRET), "{out}{err}");
        let (_, token) = workspace.endpoint();
        assert!(!out.contains(&token) && !err.contains(&token), "{out}{err}");
        assert!(!err.contains("PRIVATE KEY"), "{err}");
    }
    let (_, token) = workspace.endpoint();
    let mut seen = 0;
    grep(&workspace.path(".dewpoint/runs"), &mut |path, text| {
        seen += 1;
        for secret in [SECRET, token.as_str(), "PRIVATE KEY"] {
            assert!(!text.contains(secret), "{}", path.display());
        }
    });
    assert!(seen > 3, "there are files to look through");
    let log = serde_json::to_string(&workspace.requests()).expect("JSON");
    assert!(!log.contains(SECRET) && !log.contains("PRIVATE KEY"));
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

fn grep(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            grep(&path, look);
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            look(&path, &String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn an_artifact_that_holds_a_secret_is_told_by_their_names() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: told
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    secrets: [API_KEY]
    run:
      - name: keep it
        command: env >env.txt; echo fine >fine.txt
        artifacts: [env.txt, fine.txt]
"#,
    );
    let output = workspace
        .command(&["test", "--local"])
        .env("API_KEY", SECRET)
        .output()
        .expect("the binary runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert!(!err.contains(SECRET), "{err}");
    assert!(
        err.contains(
            "the artifact `env.txt` of told-main-box holds the value of the secret API_KEY"
        ),
        "{err}"
    );
    assert!(!err.contains("fine.txt` of"), "{err}");
}
