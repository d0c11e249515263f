//! DigitalOcean's own Python client drives the local cloud, unmodified, so that our client and our
//! cloud are not merely wrong together.

#[path = "support/local_cloud.rs"]
mod local_cloud;
#[path = "support/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;

use local_cloud::Cloud;

#[test]
fn the_official_client_drives_the_local_cloud() {
    let python = match python::python("pydo") {
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
