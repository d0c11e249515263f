//! What editors make of a manifest: the language server they use for YAML, fed with our schema
//! through the modeline.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::Workspace;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/editor");

/// A folder with the language server, filled once below `target/`; or why there is none.
fn server() -> Result<PathBuf, String> {
    let lock = std::fs::read_to_string(Path::new(SOURCE).join("package-lock.json"))
        .expect("what is to be installed");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor");
    let mark = folder.join("installed.json");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == lock) {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(Path::new(SOURCE).join(name), folder.join(name))
            .map_err(|error| error.to_string())?;
    }
    let output = Command::new("npm")
        .args(["ci", "--silent", "--ignore-scripts"])
        .current_dir(&folder)
        .output()
        .map_err(|error| format!("npm: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    std::fs::write(&mark, lock).map_err(|error| error.to_string())?;
    Ok(folder)
}

#[test]
fn an_editor_explains_completes_and_underlines() {
    let folder = match server() {
        Ok(folder) => folder,
        Err(reason) => {
            eprintln!("NOT RUN: the YAML language server cannot be had: {reason}");
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must ask the language server: {reason}"
            );
            return;
        }
    };
    let workspace = Workspace::new();
    let schema = workspace.run(&["schema"]).expect(0).out;
    workspace.write("dewpoint.schema.json", &schema);
    let manifest = workspace
        .run(&["init", "--project", "demo", "-f", "-"])
        .expect(0)
        .out;
    let modeline = "# yaml-language-server: $schema=dewpoint.schema.json\n";
    workspace.write("dewpoint.yaml", &format!("{modeline}{manifest}"));
    let output = Command::new("node")
        .arg(Path::new(SOURCE).join("drive.mjs"))
        .args([&folder, &workspace.path("dewpoint.yaml")])
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("all answered"), "{said}");
}
