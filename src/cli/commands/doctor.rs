//! `doctor`: whether all is there that the other commands need, and how to mend what is not.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::cli::args::{Doctor, ListFormat};
use crate::cli::context::{Context, Loaded};
use crate::cli::endpoint::{self, blocking, local_folder};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::print;
use crate::cloud::checkup;
use crate::guest::{UserKey, open_key};
use crate::local::seam::{Tier, ways_out};
use crate::local::tiers::{machines_lack, probe};
use crate::manifest::Manifest;
use crate::report::doctor::{Finding, Health, render};

const NEW_TOKEN: &str =
    "export DIGITALOCEAN_TOKEN=...: make one at https://cloud.digitalocean.com/account/api/tokens";
const SCOPES: &str = "give the token the scopes droplet, image, block_storage, ssh_key, tag, firewall and their actions, and read on account, regions, sizes";

/// Looks at everything, changes nothing; with a token, reads the account.
///
/// # Errors
/// When the findings cannot be written.
pub async fn run(context: &Context, options: &Doctor) -> miette::Result<Exit> {
    let (loaded, mut findings) = manifest(context);
    let wanted = loaded.as_ref().map(|loaded| &loaded.manifest);
    findings.push(git(wanted));
    findings.push(ssh());
    findings.push(agent(wanted).await);
    findings.push(local(context).await);
    findings.extend(machines(context));
    findings.extend(cloud(context).await);
    if options.format == ListFormat::Json {
        let document = json!({ "findings": findings });
        let mut text = serde_json::to_string_pretty(&document).expect("plain data");
        text.push('\n');
        print(&text)?;
    } else {
        let terminal = context.terminal;
        let width = terminal.out_folds.then_some(terminal.width());
        print(&render(&findings, terminal.out, width))?;
    }
    let is_broken = findings.iter().any(|f| f.health == Health::Bad);
    Ok(if is_broken {
        Exit::Error
    } else {
        Exit::Success
    })
}

fn manifest(context: &Context) -> (Option<Loaded>, Vec<Finding>) {
    let subject = "manifest";
    let file = &context.global.file;
    let loaded = match context.load() {
        Ok(loaded) => loaded,
        Err(report) => {
            let is_missing = matches!(report.downcast_ref(), Some(CliError::NoManifest { .. }));
            let finding = if is_missing {
                let mend = "`dewpoint init` writes one; `-f FILE` names another";
                Finding::lacking(subject, format!("there is no {file}"), mend)
            } else {
                let mend = "`dewpoint validate` shows where";
                Finding::bad(subject, format!("{file}: {report}"), mend)
            };
            return (None, vec![finding]);
        }
    };
    let manifest = &loaded.manifest;
    let found = format!(
        "{}: project {}, environment {}",
        loaded.name, manifest.project, manifest.environment
    );
    let mut findings = vec![Finding::good(subject, found)];
    if let Err(error) = loaded.state() {
        let mend = "journals, keys and locks lie there: make it writable";
        findings.push(Finding::bad(".dewpoint", in_one_line(&error), mend));
    }
    (Some(loaded), findings)
}

fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// The first line a program prints when it is asked for its version.
fn version(program: &str, option: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(option)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    // OpenSSH says it on standard error.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| crate::seemly::line(line))
}

fn git(manifest: Option<&Manifest>) -> Finding {
    let subject = "git";
    if let Some(version) = version("git", "--version") {
        return Finding::good(subject, version);
    }
    let needed = manifest.is_some_and(|manifest| {
        manifest.droplets.values().any(|droplet| {
            let source = droplet.source.as_ref();
            source.is_some_and(|source| source.git.is_some())
        })
    });
    let mend = "install git: a `source` with `git` is fetched with it, and `diff` reads revisions";
    if needed {
        Finding::bad(
            subject,
            "not found, and the manifest has a `source` with `git`",
            mend,
        )
    } else {
        Finding::lacking(subject, "not found", mend)
    }
}

fn ssh() -> Finding {
    let subject = "OpenSSH";
    match version("ssh", "-V") {
        Some(version) => Finding::good(subject, version),
        None => Finding::lacking(
            subject,
            "not found",
            "only `dewpoint ssh`, `forward` and `ssh-config` need it: install openssh-client",
        ),
    }
}

async fn agent(manifest: Option<&Manifest>) -> Finding {
    let subject = "SSH agent";
    let error = match open_key(&UserKey::Agent).await {
        Ok(identity) => {
            return Finding::good(subject, format!("has {}", identity.sha256_fingerprint()));
        }
        Err(error) => error,
    };
    let needed = manifest.is_some_and(|manifest| manifest.ssh.key == "agent");
    if needed {
        let mend = "the manifest has `ssh.key: agent`: start one, and `ssh-add` an ed25519 key";
        Finding::bad(subject, in_one_line(&error), mend)
    } else {
        let mend = "only `ssh.key: agent` needs one";
        Finding::lacking(subject, in_one_line(&error), mend)
    }
}

async fn local(context: &Context) -> Finding {
    let subject = "local cloud";
    let Ok(folder) = local_folder(&context.global) else {
        let mend = "set HOME, or name a folder with `--local-dir`";
        return Finding::lacking(subject, "there is no folder for its state", mend);
    };
    let found = blocking(move || {
        // The nearest folder that is there already: nothing is made only to look.
        let at = folder.ancestors().find(|folder| folder.is_dir());
        Ok(probe(at.unwrap_or("/".into())))
    });
    match found.await {
        Ok(probe) if probe.tier == Tier::Namespaces => {
            let base = probe
                .base
                .map(|base| format!("; every public image is {base}"));
            Finding::good(
                subject,
                format!(
                    "droplets can be real guests here{}",
                    base.unwrap_or_default()
                ),
            )
        }
        Ok(probe) => Finding::lacking(
            subject,
            "only the API: plans and fleets work, logging in does not",
            &probe.reasons.join("; "),
        ),
        Err(error) => Finding::lacking(subject, error.to_string(), "run it on Linux, as root"),
    }
}

/// Whether the local cloud can do machines: nothing, where there is no folder for it at all.
fn machines(context: &Context) -> Option<Finding> {
    let subject = "machines";
    let folder = local_folder(&context.global).ok()?;
    let missing = machines_lack(&folder);
    if missing.is_empty() {
        let found = "droplets can be machines of QEMU here, on request (`local up --guests vm`)";
        return Some(Finding::good(subject, found));
    }
    let what: Vec<&str> = missing
        .iter()
        .map(|missing| missing.what.as_str())
        .collect();
    let found = format!(
        "only `local up --guests vm` needs them: {} is missing",
        what.join(", ")
    );
    Some(Finding::lacking(subject, found, &ways_out(&missing)))
}

async fn cloud(context: &Context) -> Vec<Finding> {
    let subject = "token";
    let is_local = context.global.is_local();
    if matches!(is_local, Ok(true)) {
        return vec![Finding::good(
            subject,
            "none is needed with the local cloud",
        )];
    }
    let cloud = match endpoint::open(&context.global).await {
        Ok(cloud) => cloud,
        Err(report) if matches!(report.downcast_ref(), Some(CliError::NoToken)) => {
            let found = "there is none; `--local` works without";
            return vec![Finding::lacking(subject, found, NEW_TOKEN)];
        }
        Err(report) => return vec![Finding::bad(subject, report.to_string(), NEW_TOKEN)],
    };
    let checkup = match checkup(&cloud.client).await {
        Ok(checkup) => checkup,
        Err(error) => {
            let help = miette::Diagnostic::help(&error).map(|help| help.to_string());
            let mend = help.unwrap_or_else(|| NEW_TOKEN.to_owned());
            return vec![Finding::bad(subject, in_one_line(&error), &mend)];
        }
    };
    let place = &cloud.endpoint;
    let mut findings = Vec::new();
    let account = &checkup.account;
    findings.push(if account.status == "active" {
        Finding::good(subject, format!("{place} takes it; the account is active"))
    } else {
        let found = format!("the account at {place} is {}", account.status);
        Finding::bad(
            subject,
            found,
            "look at it on https://cloud.digitalocean.com",
        )
    });
    let blocked: Vec<String> = checkup
        .kinds
        .iter()
        .filter_map(|(kind, read)| Some(format!("{kind} ({})", in_one_line(read.as_ref().err()?))))
        .collect();
    findings.push(if blocked.is_empty() {
        let counts = checkup
            .kinds
            .iter()
            .filter_map(|(kind, read)| Some(format!("{} {kind}", read.as_ref().ok()?)));
        let counts: Vec<String> = counts.collect();
        Finding::good("scopes", format!("it may read all: {}", counts.join(", ")))
    } else {
        let found = format!("it cannot read {}", blocked.join("; "));
        Finding::bad("scopes", found, SCOPES)
    });
    let droplets = checkup
        .kinds
        .iter()
        .find_map(|(kind, read)| match (*kind, read) {
            ("droplets", Ok(count)) => Some(*count as u64),
            _ => None,
        });
    if let Some(droplets) = droplets.filter(|_| account.droplet_limit > 0) {
        let limit = u64::from(account.droplet_limit);
        let found = format!("{droplets} of {limit} droplets are in use");
        findings.push(if droplets < limit {
            Finding::good("limit", found)
        } else {
            let mend =
                "destroy what is not needed (`dewpoint sweep` looks), or ask for a higher limit";
            Finding::bad("limit", found, mend)
        });
    }
    findings
}
