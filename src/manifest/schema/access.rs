//! Who may come in: `ssh` and `firewall`.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How dewpoint logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// The user to log in as.
    #[serde(default = "default_user")]
    #[schemars(extend("examples" = ["root", "ubuntu"]))]
    pub user: String,
    /// `generated` (one ed25519 pair per environment), `agent`, or a private key's path.
    #[serde(default = "default_key")]
    #[schemars(extend("examples" = ["generated", "agent", "~/.ssh/id_ed25519"]))]
    pub key: String,
    /// Networks that may reach port 22.
    #[serde(default = "everywhere")]
    #[schemars(with = "Vec<String>")]
    #[schemars(extend("examples" = [["203.0.113.0/24"]]))]
    pub allow_from: Vec<IpNet>,
    /// How host keys are checked: `derived` (pinned before the droplet exists), or `accept-new` for images that ignore cloud-init.
    #[serde(default)]
    #[schemars(extend("examples" = ["derived", "accept-new"]))]
    pub host_key: HostKeyPolicy,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            user: default_user(),
            key: default_key(),
            allow_from: everywhere(),
            host_key: HostKeyPolicy::Derived,
        }
    }
}

fn default_user() -> String {
    "root".to_owned()
}

fn default_key() -> String {
    "generated".to_owned()
}

fn everywhere() -> Vec<IpNet> {
    ["0.0.0.0/0", "::/0"]
        .map(|net| net.parse().expect("a network literal"))
        .to_vec()
}

/// How host keys are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyPolicy {
    /// Derived from the SSH key, given to the droplet, pinned.
    #[default]
    Derived,
    /// Whatever the droplet shows first.
    AcceptNew,
}

/// The environment's firewall: `none`, or rules added to the default ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Firewall {
    /// `none`: no firewall at all.
    Word(FirewallWord),
    /// Rules on top of SSH and what the environment does among itself.
    Rules(FirewallRules),
}

impl Default for Firewall {
    fn default() -> Self {
        Self::Rules(FirewallRules::default())
    }
}

/// The word that opts out of the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirewallWord {
    /// No firewall.
    None,
}

/// Rules on top of the default ones (SSH as `ssh.allow_from` says, everything inside the environment, all outbound).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallRules {
    /// What may come in beside SSH.
    #[serde(default)]
    #[schemars(extend("examples" = [[{ "protocol": "tcp", "ports": "8000", "from": ["203.0.113.0/24"] }]]))]
    pub inbound: Vec<InboundRule>,
}

/// One rule for what may come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InboundRule {
    /// The protocol.
    #[schemars(extend("examples" = ["tcp", "icmp"]))]
    pub protocol: Protocol,
    /// `"8000"`, `"8000-9000"` or `"all"`; not for icmp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["8000", "8000-9000", "all"]))]
    pub ports: Option<String>,
    /// Networks that may come in.
    #[schemars(with = "Vec<String>")]
    #[schemars(extend("examples" = [["203.0.113.0/24"]]))]
    pub from: Vec<IpNet>,
}

/// A protocol of a firewall rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
}
