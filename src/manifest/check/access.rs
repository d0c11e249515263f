//! `ssh` and `firewall`.

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{Firewall, InboundRule, Manifest, Protocol, Ssh};
use super::super::wording::shown;
use super::not_blank;

/// DigitalOcean allows 50 rules in a firewall; SSH, what the environment does among itself and all
/// outbound take their share.
const MOST_INBOUND_RULES: usize = 40;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    let path = Path::of("ssh");
    let ssh = &manifest.ssh;
    let is_user = ssh
        .user
        .starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && ssh
            .user
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c))
        && ssh.user.len() <= 32;
    if !is_user {
        report.value(
            &path.then("user"),
            Problem::new(
                Kind::BadName,
                format!("`{}` cannot be the name of a user", shown(&ssh.user)),
            )
            .help("write the image's user, such as `root`"),
        );
    }
    not_blank(&path.then("key"), "`key`", &ssh.key, report);
    if ssh.allow_from.is_empty() && !report.is_touched(&path.then("allow_from")) {
        report.value(
            &path.then("allow_from"),
            Problem::new(
                Kind::BadValue,
                "with an empty `allow_from` nobody could log in, dewpoint neither",
            )
            .help("name the networks that may reach port 22, such as `203.0.113.0/24`"),
        );
    }
    match &manifest.firewall {
        Firewall::Word(_) => {
            if ssh.allow_from != Ssh::default().allow_from {
                report.two_keys(
                    &path.then("allow_from"),
                    &Path::of("firewall"),
                    Problem::new(
                        Kind::ExactlyOne,
                        "`allow_from` has no effect without a firewall",
                    )
                    .help("remove `firewall: none`, or remove `allow_from`"),
                );
            }
        }
        Firewall::Rules(rules) => {
            let path = Path::of("firewall").then("inbound");
            if rules.inbound.len() > MOST_INBOUND_RULES {
                report.value(
                    &path,
                    Problem::new(
                        Kind::TooMany,
                        format!(
                            "{} rules are more than the {MOST_INBOUND_RULES} a firewall can have beside dewpoint's own",
                            rules.inbound.len()
                        ),
                    )
                    .help("put several networks into the `from` of one rule"),
                );
            }
            for (index, rule) in rules.inbound.iter().enumerate() {
                check_rule(&path.then(index), rule, report);
            }
        }
    }
}

fn check_rule(path: &Path, rule: &InboundRule, report: &mut Report) {
    let ports = path.then("ports");
    match (rule.protocol, rule.ports.as_deref()) {
        (Protocol::Icmp, Some(_)) => report.key(
            &ports,
            Problem::new(Kind::BadValue, "icmp has no ports").help("remove `ports`"),
        ),
        (Protocol::Icmp, None) => {}
        (Protocol::Tcp | Protocol::Udp, Some(text)) => {
            if !are_ports(text) {
                report.value(
                    &ports,
                    Problem::new(Kind::BadValue, format!("`{}` is not a port", shown(text))).help(
                        "write a port from 1 to 65535, a range such as `\"8000-9000\"`, or `all`",
                    ),
                );
            }
        }
        (Protocol::Tcp | Protocol::Udp, None) => {
            if !report.is_touched(path) {
                report.key_labelled(
                    path,
                    "`ports` is missing here",
                    Problem::new(Kind::MissingKey, format!("`{path}` has no `ports`"))
                        .help("add `ports: \"8000\"`, a range, or `all`"),
                );
            }
        }
    }
    let from = path.then("from");
    if rule.from.is_empty() && !report.is_touched(&from) {
        report.value(
            &from,
            Problem::new(Kind::BadValue, "a rule for nobody has no effect")
                .help("name networks such as `203.0.113.0/24`, or remove the rule"),
        );
    }
}

fn are_ports(text: &str) -> bool {
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0 && text.bytes().all(|b| b.is_ascii_digit()))
    };
    match text.split_once('-') {
        None => text == "all" || port(text).is_some(),
        Some((first, last)) => {
            matches!((port(first), port(last)), (Some(first), Some(last)) if first <= last)
        }
    }
}
