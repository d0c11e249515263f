//! Which request goes where.

use serde_json::{Map, Value, json};

use super::Account;
use crate::digest::Digest;
use crate::local::catalog::{REGIONS, SIZES};
use crate::local::exchange::{Answer, Millis, Refusal, Request, Verb};

impl Account {
    /// Does what a request asks for, and answers.
    ///
    /// # Errors
    /// What the API would refuse, in its words; nothing has changed then.
    pub fn handle(&mut self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        use Verb::{Delete, Get, Post, Put};
        self.settle(now);
        let segments: Vec<&str> = request
            .path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        let wrong = || Err(Refusal::method_not_allowed());
        match *segments.as_slice() {
            ["account"] => match request.verb {
                Get => Ok(self.show_account()),
                _ => wrong(),
            },
            ["regions"] => match request.verb {
                Get => {
                    let all = REGIONS.iter().map(super::catalog::Region::json).collect();
                    Self::page(request, "regions", all)
                }
                _ => wrong(),
            },
            ["sizes"] => match request.verb {
                Get => {
                    let all = SIZES.iter().map(super::catalog::Size::json).collect();
                    Self::page(request, "sizes", all)
                }
                _ => wrong(),
            },
            ["account", "keys"] => match request.verb {
                Get => self.list_keys(request, now),
                Post => self.create_key(request.object()?, now),
                _ => wrong(),
            },
            ["account", "keys", key] => match request.verb {
                Get => self.show_key(key),
                Put => self.rename_key(key, request.object()?),
                Delete => self.delete_key(key),
                _ => wrong(),
            },
            ["actions"] => match request.verb {
                Get => self.list_actions(request, |_| true),
                _ => wrong(),
            },
            ["actions", id] => match request.verb {
                Get => self.show_action(id, |_| true),
                _ => wrong(),
            },
            ["tags"] => match request.verb {
                Get => self.list_tags(request),
                Post => self.create_tag(request.object()?, now),
                _ => wrong(),
            },
            ["tags", tag] => match request.verb {
                Get => self.show_tag(tag),
                Delete => self.delete_tag(tag),
                _ => wrong(),
            },
            ["tags", tag, "resources"] => match request.verb {
                Post => self.tag_resources(tag, request.object()?, true),
                Delete => self.tag_resources(tag, request.object()?, false),
                _ => wrong(),
            },
            ["droplets"] => match request.verb {
                Get => self.list_droplets(request, now),
                Post => self.create_droplets(request.object()?, now),
                Delete => self.delete_droplets_by_tag(request, now),
                _ => wrong(),
            },
            ["droplets", "actions"] => match request.verb {
                Post => self.act_on_tag(request, now),
                _ => wrong(),
            },
            ["droplets", id, ref rest @ ..] => self.droplet_routes(request, id, rest, now),
            ["images"] => match request.verb {
                Get => self.list_images(request, now),
                Post => Err(Refusal::unprocessable(
                    "the local cloud cannot import images from a URL",
                )),
                _ => wrong(),
            },
            ["images", id] => match request.verb {
                Get => self.show_image(id),
                Put => self.rename_image(id, request.object()?),
                Delete => self.delete_image(id),
                _ => wrong(),
            },
            ["images", id, "actions"] => {
                let image = self.image(id)?.id;
                match request.verb {
                    Get => self.list_actions(request, |action| action.image == Some(image)),
                    Post => self.act_on_image(image, request.object()?, now),
                    _ => wrong(),
                }
            }
            ["images", id, "actions", action] => {
                let image = self.image(id)?.id;
                match request.verb {
                    Get => self.show_action(action, |action| action.image == Some(image)),
                    _ => wrong(),
                }
            }
            ["snapshots"] => match request.verb {
                Get => self.list_snapshots(request, now),
                _ => wrong(),
            },
            ["snapshots", id] => match request.verb {
                Get => self.show_snapshot(id),
                Delete => self.delete_snapshot(id),
                _ => wrong(),
            },
            ["volumes"] => match request.verb {
                Get => self.list_volumes(request),
                Post => self.create_volume(request.object()?, now),
                Delete => self.delete_volume_by_name(request, now),
                _ => wrong(),
            },
            ["volumes", "actions"] => match request.verb {
                Post => self.act_on_volume_by_name(request.object()?, now),
                _ => wrong(),
            },
            ["volumes", "snapshots", id] => match request.verb {
                Get => self.show_volume_snapshot(id),
                Delete => self.delete_volume_snapshot(id),
                _ => wrong(),
            },
            ["volumes", id, ref rest @ ..] => self.volume_routes(request, id, rest, now),
            ["firewalls"] => match request.verb {
                Get => self.list_firewalls(request, now),
                Post => self.create_firewall(request.object()?, now),
                _ => wrong(),
            },
            ["firewalls", id] => match request.verb {
                Get => self.show_firewall(id, now),
                Put => self.replace_firewall(id, request.object()?, now),
                Delete => self.delete_firewall(id),
                _ => wrong(),
            },
            ["firewalls", id, part @ ("droplets" | "tags" | "rules")] => match request.verb {
                Post => self.change_firewall(id, part, request.object()?, true, now),
                Delete => self.change_firewall(id, part, request.object()?, false, now),
                _ => wrong(),
            },
            ["vpcs"] => match request.verb {
                Get => self.list_vpcs(request),
                Post => self.create_vpc(request.object()?, now),
                _ => wrong(),
            },
            ["vpcs", id] => match request.verb {
                Get => self.show_vpc(id),
                Put => self.update_vpc(id, request.object()?),
                Delete => self.delete_vpc(id, now),
                _ => wrong(),
            },
            ["vpcs", id, "members"] => match request.verb {
                Get => self.list_vpc_members(request, id, now),
                _ => wrong(),
            },
            _ => Err(Refusal::not_found()),
        }
    }

    fn droplet_routes(
        &mut self,
        request: &Request,
        id: &str,
        rest: &[&str],
        now: Millis,
    ) -> Result<Answer, Refusal> {
        use Verb::{Delete, Get, Post};
        let droplet = self.droplet(id)?.id;
        let of =
            |action: &super::Action| action.droplet == Some(droplet) && action.volume.is_none();
        let wrong = || Err(Refusal::method_not_allowed());
        match (rest, request.verb) {
            ([], Get) => self.show_droplet(droplet, now),
            ([], Delete) => self.delete_droplet(droplet, now),
            (["actions"], Get) => self.list_actions(request, of),
            (["actions"], Post) => self.act_on_droplet(droplet, request.object()?, now),
            (["actions", action], Get) => self.show_action(action, of),
            (["snapshots"], Get) => self.list_droplet_snapshots(request, droplet, now),
            (["firewalls"], Get) => self.list_droplet_firewalls(request, droplet, now),
            (["backups"], Get) => Self::page(request, "backups", Vec::new()),
            (["kernels"], Get) => Self::page(request, "kernels", Vec::new()),
            (["neighbors"], Get) => Self::page(request, "droplets", Vec::new()),
            (
                []
                | ["actions" | "snapshots" | "firewalls" | "backups" | "kernels" | "neighbors"]
                | ["actions", _],
                _,
            ) => wrong(),
            _ => Err(Refusal::not_found()),
        }
    }

    fn volume_routes(
        &mut self,
        request: &Request,
        id: &str,
        rest: &[&str],
        now: Millis,
    ) -> Result<Answer, Refusal> {
        use Verb::{Delete, Get, Post};
        let volume = self.volume(id)?.id.clone();
        let of = |action: &super::Action| action.volume.as_ref() == Some(&volume);
        match (rest, request.verb) {
            ([], Get) => self.show_volume(&volume),
            ([], Delete) => self.delete_volume(&volume, now),
            (["actions"], Get) => self.list_actions(request, of),
            (["actions"], Post) => self.act_on_volume(&volume, request.object()?, now),
            (["actions", action], Get) => self.show_action(action, of),
            (["snapshots"], Get) => self.list_volume_snapshots(request, &volume),
            (["snapshots"], Post) => self.snapshot_volume(&volume, request.object()?, now),
            ([] | ["actions" | "snapshots"] | ["actions", _], _) => {
                Err(Refusal::method_not_allowed())
            }
            _ => Err(Refusal::not_found()),
        }
    }

    fn show_account(&self) -> Answer {
        // Each local cloud is an account of its own.
        let team = Digest::of_bytes(format!("{} team", self.seed).as_bytes());
        Answer::ok(json!({ "account": {
            "droplet_limit": self.config.droplet_limit,
            "floating_ip_limit": 3,
            "reserved_ip_limit": 3,
            "volume_limit": self.config.volume_limit,
            "email": "local@dewpoint.invalid",
            "name": "Local cloud",
            "uuid": "b6f089dbf6d9156cace5f3c78dc9851d957381ef",
            "email_verified": true,
            "status": "active",
            "status_message": "",
            "team": { "uuid": &team.as_str()[..40], "name": "Local" },
        }}))
    }
}

/// A one-key object.
pub(super) fn keyed(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}
