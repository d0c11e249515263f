//! What `doctor` found, line by line.

use std::fmt::Write as _;

use serde::Serialize;

use super::fold::fold_at;
use super::style::Palette;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Good,
    /// Not there, and only some uses need it.
    Lacking,
    /// Broken: what needs it will fail.
    Bad,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `git`.
    pub subject: String,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    /// It is as it should be.
    #[must_use]
    pub fn good(subject: &str, found: impl Into<String>) -> Self {
        Self::new(subject, Health::Good, found, None)
    }

    /// It is not there, and only some uses need it.
    #[must_use]
    pub fn lacking(subject: &str, found: impl Into<String>, mend: &str) -> Self {
        Self::new(subject, Health::Lacking, found, Some(mend))
    }

    /// It is broken.
    #[must_use]
    pub fn bad(subject: &str, found: impl Into<String>, mend: &str) -> Self {
        Self::new(subject, Health::Bad, found, Some(mend))
    }

    fn new(subject: &str, health: Health, found: impl Into<String>, mend: Option<&str>) -> Self {
        Self {
            subject: subject.to_owned(),
            health,
            found: found.into(),
            mend: mend.map(str::to_owned),
        }
    }
}

/// The findings as a list, and what they come to; on a terminal of this width, what is too long for a
/// line goes on below where it began.
#[must_use]
pub fn render(findings: &[Finding], palette: Palette, width: Option<usize>) -> String {
    palette.screen(render_of(findings, palette, width))
}

fn render_of(findings: &[Finding], palette: Palette, screen: Option<usize>) -> String {
    let mut out = String::new();
    let width = findings.iter().map(|f| f.subject.chars().count()).max();
    let width = width.unwrap_or(0);
    for finding in findings {
        let sign = match finding.health {
            Health::Good => palette.good("ok  "),
            Health::Lacking => palette.changed("--  "),
            Health::Bad => palette.bad("FAIL"),
        };
        let pad = width - finding.subject.chars().count();
        let mut text = format!(
            "{sign}  {}{:pad$}  {}\n",
            palette.strong(&finding.subject),
            "",
            finding.found
        );
        if let Some(mend) = &finding.mend {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "      {:width$}  {mend}", "");
        }
        out.push_str(&match screen {
            Some(screen) => fold_at(&text, screen, width + 8),
            None => text,
        });
    }
    let bad = findings.iter().filter(|f| f.health == Health::Bad).count();
    let _ = match bad {
        0 => writeln!(out, "\nNothing is broken."),
        1 => writeln!(out, "\n1 thing is broken: see FAIL above."),
        bad => writeln!(out, "\n{bad} things are broken: see FAIL above."),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_goes_on_below_where_it_began() {
        let findings = [
            Finding::good(
                "local cloud",
                "droplets can be real guests here; every public image is the root of this machine (Debian GNU/Linux 12 (bookworm))",
            ),
            Finding::lacking(
                "SSH agent",
                "no SSH agent answers: Environment variable `SSH_AUTH_SOCK` not found",
                "only `ssh.key: agent` needs one",
            ),
            Finding::lacking(
                "token",
                "there is none; `--local` works without",
                "export DIGITALOCEAN_TOKEN=...: make one at https://cloud.digitalocean.com/account/api/tokens",
            ),
        ];
        insta::assert_snapshot!(render(&findings, Palette::PLAIN, Some(80)), @r"
        ok    local cloud  droplets can be real guests here; every public image is the
                           root of this machine (Debian GNU/Linux 12 (bookworm))
        --    SSH agent    no SSH agent answers: Environment variable `SSH_AUTH_SOCK`
                           not found
                           only `ssh.key: agent` needs one
        --    token        there is none; `--local` works without
                           export DIGITALOCEAN_TOKEN=...: make one at
                           https://cloud.digitalocean.com/account/api/tokens

        Nothing is broken.
        ");
        insta::assert_snapshot!(render(&findings, Palette::PLAIN, Some(160)), @r"
        ok    local cloud  droplets can be real guests here; every public image is the root of this machine (Debian GNU/Linux 12 (bookworm))
        --    SSH agent    no SSH agent answers: Environment variable `SSH_AUTH_SOCK` not found
                           only `ssh.key: agent` needs one
        --    token        there is none; `--local` works without
                           export DIGITALOCEAN_TOKEN=...: make one at https://cloud.digitalocean.com/account/api/tokens

        Nothing is broken.
        ");
    }

    #[test]
    fn findings_line_up() {
        let findings = [
            Finding::good("manifest", "dewpoint.yaml: project demo"),
            Finding::lacking("SSH agent", "none", "start one with `ssh-agent`"),
            Finding::bad("token", "DigitalOcean refuses it", "make a new one"),
        ];
        insta::assert_snapshot!(render(&findings, Palette::PLAIN, None));
        let fine = render(&findings[..2], Palette::PLAIN, None);
        assert!(fine.ends_with("\n\nNothing is broken.\n"), "{fine}");
    }
}
