//! What OpenSSH's own client is told, so that it is as strict as this one: the key that must answer,
//! and the key that logs in. Pure, but for [`write_private`].

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

/// How the host is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostCheck {
    /// It must show the key that stands under this name in the file of known hosts.
    Pinned {
        /// The name.
        alias: String,
    },
    /// What it shows first is noted under this name, and holds from then on.
    AcceptNew {
        /// The name.
        alias: String,
    },
}

/// How OpenSSH logs in to a droplet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its address on the network.
    pub address: IpAddr,
    /// The port of its SSH server.
    pub port: u16,
    /// The user who logs in.
    pub user: String,
    /// How it is checked.
    pub check: HostCheck,
    /// The file of known hosts.
    pub known_hosts: Utf8PathBuf,
    /// The private key; or the public one, when an agent holds the private one.
    pub identity: Utf8PathBuf,
}

impl Login {
    /// Options as in `ssh_config`, each with its value. Those of the command line win over what
    /// stands in the user's own configuration.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let (alias, strict) = match &self.check {
            HostCheck::Pinned { alias } => (alias, "yes"),
            HostCheck::AcceptNew { alias } => (alias, "accept-new"),
        };
        let mut options = vec![
            ("HostName", self.address.to_string()),
            ("Port", self.port.to_string()),
            ("User", self.user.clone()),
            ("HostKeyAlias", alias.clone()),
            ("UserKnownHostsFile", quoted(&self.known_hosts)),
            ("GlobalKnownHostsFile", "/dev/null".to_owned()),
            ("StrictHostKeyChecking", strict.to_owned()),
            ("CheckHostIP", "no".to_owned()),
            ("VerifyHostKeyDNS", "no".to_owned()),
            ("UpdateHostKeys", "no".to_owned()),
            ("IdentityFile", quoted(&self.identity)),
            ("IdentitiesOnly", "yes".to_owned()),
            ("PreferredAuthentications", "publickey".to_owned()),
            // A connection of another droplet that had this address would be shared, unchecked.
            ("ControlPath", "none".to_owned()),
        ];
        if matches!(self.check, HostCheck::Pinned { .. }) {
            options.push(("HostKeyAlgorithms", "ssh-ed25519".to_owned()));
        }
        options
    }

    /// The options as arguments of `ssh` and `scp`.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        self.options()
            .into_iter()
            .flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")])
            .collect()
    }

    /// The options as a block of `ssh_config`; `names` are what the host is called there.
    #[must_use]
    pub fn block(&self, names: &[&str]) -> String {
        let mut text = format!("Host {}\n", names.join(" "));
        for (name, value) in self.options() {
            text.push_str("    ");
            text.push_str(name);
            text.push(' ');
            text.push_str(&value);
            text.push('\n');
        }
        text
    }
}

/// A path as a value in `ssh_config`: whole, and without anything that is expanded.
fn quoted(path: &Utf8Path) -> String {
    let plain = path
        .as_str()
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    format!("\"{plain}\"")
}

/// A line of a file of known hosts.
#[must_use]
pub fn known_host(alias: &str, public_line: &str) -> String {
    let key: Vec<&str> = public_line.split_whitespace().take(2).collect();
    format!("{alias} {}\n", key.join(" "))
}

/// Writes a file for its owner alone: whole or not at all, and never through a link.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Utf8Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Utf8Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_is_told_to_be_strict() {
        let login = Login {
            address: "203.0.113.7".parse().expect("an address"),
            port: 22,
            user: "root".to_owned(),
            check: HostCheck::Pinned {
                alias: "dewpoint-app-main".to_owned(),
            },
            known_hosts: "/home/a b/100%/known_hosts".into(),
            identity: "/home/a b/key".into(),
        };
        insta::assert_snapshot!(login.block(&["app-main-box", "droplet.box"]), @r#"
        Host app-main-box droplet.box
            HostName 203.0.113.7
            Port 22
            User root
            HostKeyAlias dewpoint-app-main
            UserKnownHostsFile "/home/a b/100%%/known_hosts"
            GlobalKnownHostsFile /dev/null
            StrictHostKeyChecking yes
            CheckHostIP no
            VerifyHostKeyDNS no
            UpdateHostKeys no
            IdentityFile "/home/a b/key"
            IdentitiesOnly yes
            PreferredAuthentications publickey
            ControlPath none
            HostKeyAlgorithms ssh-ed25519
        "#);
        let arguments = login.arguments();
        assert_eq!(arguments[0], "-o");
        assert!(arguments.contains(&"StrictHostKeyChecking=yes".to_owned()));
        assert_eq!(
            known_host("dewpoint-app-main", "ssh-ed25519 AAAA app-main"),
            "dewpoint-app-main ssh-ed25519 AAAA\n"
        );
    }
}
