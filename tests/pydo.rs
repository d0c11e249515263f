//! DigitalOcean's own Python client drives the local cloud, unmodified, so that our client and our
//! cloud are not merely wrong together.

#[path = "support/local_cloud.rs"]
mod local_cloud;

use std::path::{Path, PathBuf};
use std::process::Command;

use local_cloud::Cloud;

/// A Python with the client in it, made once below `target/`; or why there is none.
fn python() -> Result<PathBuf, String> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pydo/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("the requirements");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pydo");
    let python = folder.join("bin/python");
    let mark = folder.join("installed.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("no reason given");
        Err(format!(
            "{} {}: {last}",
            program.display(),
            arguments.join(" ")
        ))
    };
    let folder = folder.to_str().ok_or("the target folder is not UTF-8")?;
    let list = requirements.to_str().ok_or("the repository is not UTF-8")?;
    run(Path::new("python3"), &["-m", "venv", "--clear", folder])?;
    run(
        &python,
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            list,
        ],
    )?;
    std::fs::write(&mark, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

#[test]
fn the_official_client_drives_the_local_cloud() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must run the official client: {reason}"
            );
            println!("NOT RUN: the official Python client cannot be had: {reason}");
            return;
        }
    };
    let mut cloud = Cloud::stopped();
    // With guests, where they can be: this is the whole way through.
    cloud.without_guests = false;
    cloud.up();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pydo/drive.py");
    let output = Command::new(python)
        .arg(script)
        .env("DIGITALOCEAN_API_URL", &cloud.endpoint.url)
        .env("DIGITALOCEAN_TOKEN", cloud.endpoint.token.expose())
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = std::fs::read_to_string(cloud.dir().join("cloud.log")).unwrap_or_default();
    println!("{said}");
    assert!(output.status.success(), "{said}\n{errors}\n{log}");
    assert!(said.contains("all deleted"), "{said}");
}
