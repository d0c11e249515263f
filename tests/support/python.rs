//! A Python with packages in it, made once below `target/`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python with what `tests/<name>/requirements.txt` lists; or why there is none.
pub fn python(name: &str) -> Result<PathBuf, String> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
        .join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("the requirements");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join("bin/python");
    // Tests run side by side: the first that needs it makes it, the others wait.
    let lock = std::fs::File::create(folder.with_extension("lock"));
    let lock = lock.map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
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
