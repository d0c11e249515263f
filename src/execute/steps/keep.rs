//! Droplets that a failure kept from being destroyed.

use camino::Utf8Path;
use jiff::Timestamp;

use super::Steps;
use crate::execute::error::StepError;
use crate::guest::quote;
use crate::live::ownership::{expires_tag, is_expires_tag};
use crate::plan::step::{DropletRef, TaggedResource};
use crate::units::Seconds;

/// The note when the droplet is not there, so that nothing had to be done.
pub const NOT_KEPT: &str = "not needed";
/// The port SSH uses when nothing is said.
const SSH_PORT: u16 = 22;

impl Steps {
    /// Gives a droplet that is still there its deadline, and says until when it is kept and how one
    /// logs in to it.
    pub(super) async fn keep_droplet(
        &self,
        droplet: &DropletRef,
        keep: Option<Seconds>,
        tag: &str,
    ) -> Result<String, StepError> {
        let name = droplet.name();
        let Ok(known) = self.droplet(droplet) else {
            return Ok(NOT_KEPT.to_owned());
        };
        if self.outputs.is_destroyed(name) {
            return Ok(NOT_KEPT.to_owned());
        }
        let client = &self.settings.client;
        let found = client.find_droplets(tag, name).await?;
        let Some(live) = found.into_iter().find(|found| found.id == known.id) else {
            return Ok(NOT_KEPT.to_owned());
        };
        let mut words = Vec::new();
        if let Some(keep) = keep {
            let lease = i64::try_from(keep.0).unwrap_or(i64::MAX);
            let until = Timestamp::now().as_second().saturating_add(lease);
            let new = expires_tag(until);
            let old: Vec<String> = live
                .tags
                .iter()
                .filter(|tag| is_expires_tag(tag) && **tag != new)
                .cloned()
                .collect();
            let id = live.id.to_string();
            client.create_tag(&new).await?;
            client
                .add_tags(TaggedResource::Droplet, &id, std::slice::from_ref(&new))
                .await?;
            client
                .remove_tags(TaggedResource::Droplet, &id, &old)
                .await?;
            for tag in old {
                client.delete_tag_if_empty(&tag).await?;
            }
            let shown = Timestamp::from_second(until).map_or_else(
                |_| tag.to_owned(),
                |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            );
            words.push(format!("kept for {keep}, until {shown}"));
        } else {
            words.push("kept".to_owned());
        }
        if let Some(address) = live.public_ipv4 {
            let user = self
                .sessions
                .login(name)
                .map_or("root", |login| login.user.as_str());
            let key = self.settings.generated_key.as_deref();
            let port = self.settings.ssh_port;
            words.push(ssh(user, &address.to_string(), port, key));
        }
        let note = words.join("; ");
        Ok(note)
    }
}

/// The command that logs in.
fn ssh(user: &str, address: &str, port: u16, key: Option<&Utf8Path>) -> String {
    let mut command = "ssh".to_owned();
    if let Some(key) = key {
        command.push_str(&format!(" -i {}", quote(key.as_str())));
    }
    if port != SSH_PORT {
        command.push_str(&format!(" -p {port}"));
    }
    format!("log in with `{command} {user}@{address}`")
}

#[cfg(test)]
mod tests {
    use super::ssh;

    #[test]
    fn the_way_in_can_be_pasted() {
        assert_eq!(
            ssh("root", "203.0.113.7", 22, None),
            "log in with `ssh root@203.0.113.7`"
        );
        assert_eq!(
            ssh("root", "127.0.0.9", 2222, Some("/a b/key".into())),
            "log in with `ssh -i '/a b/key' -p 2222 root@127.0.0.9`"
        );
    }
}
