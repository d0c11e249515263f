//! What a droplet is told at its first boot, as text.

use std::fmt::Write as _;

/// Version of the text: part of what tells whether a droplet was given what the manifest asks for
/// today. Raise it when the text changes in a way that a droplet must be made anew for.
pub const VERSION: u32 = 1;

/// A `#cloud-config` that gives the droplet its host key. ASCII only: others made creates fail
/// after they were accepted.
///
/// `ssh_deletekeys` removes the keys that came with the image; with `ssh_keys` only the given
/// type is written and none is generated (cloud-init's `cc_ssh`). The private key is the one
/// secret that ever stands in user data, and is worth nothing once the environment is gone.
#[must_use]
pub fn user_data(host_private_openssh: &str, host_public_line: &str) -> String {
    let mut text =
        String::from("#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n");
    for line in host_private_openssh.trim_end().lines() {
        let _ = writeln!(text, "    {}", line.trim_end());
    }
    // An OpenSSH public line is base64 and a comment; quoting keeps whatever the comment holds a scalar.
    let public: String = host_public_line
        .trim()
        .chars()
        .filter(|c| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\'))
        .collect();
    let _ = writeln!(text, "  ed25519_public: \"{public}\"");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_cloud_init_reads() {
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\naC1rZXk=\n-----END OPENSSH PRIVATE KEY-----\n";
        let text = user_data(private, "ssh-ed25519 AAAA h\u{f6}st: \"app\"\n");
        insta::assert_snapshot!(text, @r#"
        #cloud-config
        ssh_deletekeys: true
        ssh_keys:
          ed25519_private: |
            -----BEGIN OPENSSH PRIVATE KEY-----
            b3BlbnNz
            aC1rZXk=
            -----END OPENSSH PRIVATE KEY-----
          ed25519_public: "ssh-ed25519 AAAA hst: app"
        "#);
        let value: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
        assert_eq!(value["ssh_keys"]["ed25519_private"].as_str(), Some(private));
        assert!(text.is_ascii());
    }
}
