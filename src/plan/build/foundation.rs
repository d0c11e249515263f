//! What every droplet needs first: the key, the tags, the firewall.

use std::collections::BTreeSet;

use super::{Draft, because};
use crate::address::Address;
use crate::desired::Desired;
use crate::plan::change::{Action, Cause};
use crate::plan::compare::{firewall, made, ssh_key};
use crate::plan::error::{Refusal, RefusalKind};
use crate::plan::step::{FirewallRef, StepKind};

/// Why something goes at the end of a test.
const TEST: &str = "`test` empties the environment when it is done";

impl<'a> Draft<'a> {
    /// Registers the key.
    pub fn draw_key(&mut self, desired: &'a Desired, verdict: &ssh_key::Verdict<'a>) {
        let address = Address::SshKey;
        let name = self.scope.environment_name();
        let key = &desired.ssh_key;
        match verdict.found {
            Some(found) => {
                if self.empties() && verdict.ours {
                    let reasons = because(Cause::Command, TEST);
                    self.change(
                        &address,
                        &name,
                        Some(found.id.to_string()),
                        Action::Delete,
                        reasons,
                        Vec::new(),
                    );
                } else {
                    let reasons = if verdict.ours {
                        Vec::new()
                    } else {
                        because(
                            Cause::Manifest,
                            format!(
                                "the account has it as `{}`: it is used, and never deleted",
                                found.name
                            ),
                        )
                    };
                    self.change(
                        &address,
                        &found.name,
                        Some(found.id.to_string()),
                        Action::Keep,
                        reasons,
                        Vec::new(),
                    );
                }
            }
            None if !verdict.wanted => {}
            None => {
                let step = self.step(
                    &address,
                    StepKind::CreateSshKey {
                        name: name.clone(),
                        public_key: key.public_key.clone(),
                        fingerprint: key.fingerprint.clone(),
                    },
                );
                self.key = Some(step);
                self.foundations
                    .push((step, "a droplet is made with the environment's key"));
                if !self.empties() {
                    let fields = vec![made("fingerprint", &key.fingerprint)];
                    self.change(&address, &name, None, Action::Create, Vec::new(), fields);
                }
            }
        }
        for older in &verdict.older {
            self.change(
                &address,
                &older.name,
                Some(older.id.to_string()),
                Action::Delete,
                because(Cause::Leftover, "an earlier key of this environment"),
                Vec::new(),
            );
            self.step(
                &address,
                StepKind::DeleteSshKey {
                    name: older.name.clone(),
                    fingerprint: older.fingerprint.clone(),
                    forget_private_key: false,
                },
            );
        }
    }

    /// Makes the tags that later steps name and that nothing bears yet.
    pub fn draw_tags(&mut self, named: &BTreeSet<String>) {
        let mut missing: BTreeSet<&String> = named.iter().collect();
        let borne = self
            .live
            .droplets
            .iter()
            .map(|droplet| &droplet.tags)
            .chain(self.live.volumes.iter().map(|volume| &volume.tags))
            .chain(self.live.images.iter().map(|image| &image.tags));
        for tag in borne.flatten() {
            if missing.is_empty() {
                return;
            }
            missing.remove(tag);
        }
        if missing.is_empty() {
            return;
        }
        let names = missing.into_iter().cloned().collect();
        let step = self.step(&Address::Firewall, StepKind::CreateTags { names });
        self.tags = Some(step);
        self.foundations
            .push((step, "a droplet bears its tags from the start"));
    }

    /// Makes or updates the firewall.
    pub fn draw_firewall(&mut self, verdict: &firewall::Verdict<'a>) {
        let address = Address::Firewall;
        let tags_first = "a firewall can only name tags that exist";
        let covers = "a droplet is covered by its firewall from the start";
        match verdict {
            firewall::Verdict::Nothing => {}
            firewall::Verdict::Create(spec) => {
                let step = self.step(
                    &address,
                    StepKind::CreateFirewall {
                        spec: (*spec).clone().into(),
                    },
                );
                if let Some(tags) = self.tags {
                    self.graph.needs(tags, step, tags_first);
                }
                self.firewall = Some(step);
                self.foundations.push((step, covers));
                if !self.empties() {
                    let fields = firewall::described(spec);
                    self.change(
                        &address,
                        &spec.name,
                        None,
                        Action::Create,
                        Vec::new(),
                        fields,
                    );
                }
            }
            firewall::Verdict::Update(spec, live, fields) => {
                let step = self.step(
                    &address,
                    StepKind::UpdateFirewall {
                        id: live.id.clone(),
                        spec: (*spec).clone().into(),
                    },
                );
                if let Some(tags) = self.tags {
                    self.graph.needs(tags, step, tags_first);
                }
                self.firewall = Some(step);
                self.foundations.push((step, covers));
                let (action, reasons) = if self.empties() {
                    (Action::Delete, because(Cause::Command, TEST))
                } else {
                    (
                        Action::Update,
                        because(Cause::Manifest, "its rules are not those of the manifest"),
                    )
                };
                self.change(
                    &address,
                    &spec.name,
                    Some(live.id.clone()),
                    action,
                    reasons,
                    fields.clone(),
                );
            }
            firewall::Verdict::Keep(spec, live) => {
                let (action, reasons) = if self.empties() {
                    (Action::Delete, because(Cause::Command, TEST))
                } else {
                    (Action::Keep, Vec::new())
                };
                self.change(
                    &address,
                    &spec.name,
                    Some(live.id.clone()),
                    action,
                    reasons,
                    Vec::new(),
                );
            }
            firewall::Verdict::Delete(live) => {
                let reasons = because(Cause::Manifest, "the manifest says `firewall: none`");
                self.change(
                    &address,
                    &live.name,
                    Some(live.id.clone()),
                    Action::Delete,
                    reasons,
                    Vec::new(),
                );
                self.step(
                    &address,
                    StepKind::DeleteFirewall {
                        firewall: FirewallRef::Known(live.id.clone()),
                        name: live.name.clone(),
                    },
                );
            }
            firewall::Verdict::Taken(live) => self.refusals.push(Refusal {
                address: Some(address),
                kind: RefusalKind::NameTaken,
                reason: format!(
                    "a firewall `{}` that covers {} exists",
                    live.name,
                    live.tags.join(", ")
                ),
                help:
                    "rename the project or the environment: together they are the firewall's name"
                        .to_owned(),
            }),
        }
    }

    /// The tag of the environment, which the firewall names.
    pub fn firewall_tags(&self, verdict: &firewall::Verdict<'_>) -> Vec<String> {
        match verdict {
            firewall::Verdict::Create(spec) | firewall::Verdict::Update(spec, ..) => {
                spec.tags.clone()
            }
            _ => Vec::new(),
        }
    }
}
