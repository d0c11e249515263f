//! Every request the client can make, as a value: no I/O here, so that paths, queries and bodies
//! are held against the API's specification without a network.

use std::fmt;

use serde_json::{Value, json};

use super::droplets::{DropletImage, NewDroplets};
use crate::live::FirewallRule;
use crate::plan::step::{FirewallSpec, TaggedResource, VolumeSpec};
use crate::units::Gib;

/// A call of the API. Closed: what is not here is never sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is one documented call; its fields are its parameters"
)]
pub enum Call {
    Account,
    Regions,
    Sizes,
    SshKeys,
    SshKey {
        fingerprint: String,
    },
    CreateSshKey {
        name: String,
        public_key: String,
    },
    DeleteSshKey {
        id: u64,
    },
    Tags,
    Tag {
        name: String,
    },
    CreateTag {
        name: String,
    },
    DeleteTag {
        name: String,
    },
    TagResource {
        tag: String,
        resource: TaggedResource,
        id: String,
    },
    UntagResource {
        tag: String,
        resource: TaggedResource,
        id: String,
    },
    Firewalls,
    CreateFirewall(FirewallSpec),
    UpdateFirewall {
        id: String,
        spec: FirewallSpec,
    },
    DeleteFirewall {
        id: String,
    },
    Volumes,
    VolumesNamed {
        name: String,
        region: String,
    },
    Volume {
        id: String,
    },
    CreateVolume(VolumeSpec),
    CopyVolume {
        spec: VolumeSpec,
        snapshot: String,
    },
    DeleteVolume {
        id: String,
    },
    AttachVolume {
        id: String,
        droplet: u64,
        region: String,
    },
    DetachVolume {
        id: String,
        droplet: u64,
        region: String,
    },
    VolumeSnapshots,
    SnapshotsOfVolume {
        id: String,
    },
    SnapshotVolume {
        id: String,
        name: String,
        tags: Vec<String>,
    },
    DeleteVolumeSnapshot {
        id: String,
    },
    ResizeVolume {
        id: String,
        region: String,
        size: Gib,
    },
    Droplets,
    DropletsTagged {
        tag: String,
    },
    Droplet {
        id: u64,
    },
    /// The names are those of the call: a retry may name fewer than were asked for.
    CreateDroplets {
        new: Box<NewDroplets>,
        names: Vec<String>,
    },
    DeleteDroplet {
        id: u64,
    },
    ShutDownDroplet {
        id: u64,
    },
    PowerOffDroplet {
        id: u64,
    },
    SnapshotDroplet {
        id: u64,
        name: String,
    },
    DropletActions {
        id: u64,
    },
    DropletSnapshots {
        id: u64,
    },
    PrivateImages,
    Distributions,
    PublicImage {
        slug: String,
    },
    Image {
        id: u64,
    },
    DeleteImage {
        id: u64,
    },
    TransferImage {
        id: u64,
        region: String,
    },
    ImageActions {
        id: u64,
    },
    Actions,
    Action {
        id: u64,
    },
}

/// HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are HTTP's")]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Which of the API's rate limits a call counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of the token: whoever exceeds it slows the whole client.
    Token,
    /// Listing SSH keys: 10 per 60 s of its own, which slows nothing else.
    KeyList,
    /// Snapshots of a volume: one per 10 minutes of each, which is told and not waited for.
    VolumeSnapshot,
}

/// A request, ready to be sent.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path, from `/v2`.
    pub path: String,
    /// Its query.
    pub query: Vec<(String, String)>,
    /// Its JSON body. May hold user data, so it is in no `Debug` output.
    pub body: Option<Value>,
    /// Whether it may be sent again when nobody knows what became of it.
    pub repeatable: bool,
    /// The rate limit it counts against.
    pub limit: Limit,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

/// The most items of a page.
pub const PER_PAGE: u64 = 200;

impl Request {
    fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            repeatable: method != Method::Post,
            limit: Limit::Token,
        }
    }

    fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path.into())
    }

    fn list(path: impl Into<String>) -> Self {
        Self::get(path).with("per_page", PER_PAGE)
    }

    fn delete(path: String) -> Self {
        Self::new(Method::Delete, path)
    }

    fn post(path: impl Into<String>, body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Method::Post, path.into())
        }
    }

    fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.query.push((key.to_owned(), value.to_string()));
        self
    }

    /// Whether it makes droplets: after an interrupt none is made any more.
    pub fn makes_droplets(&self) -> bool {
        self.method == Method::Post && self.path == "/v2/droplets"
    }

    /// The same list, another page of it. The first page needs no number.
    #[must_use]
    pub fn page(&self, number: u64) -> Self {
        self.clone().with("page", number)
    }

    /// What errors call it: method and path.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.method.as_str(), self.path)
    }
}

impl Call {
    /// The request that makes this call.
    #[must_use]
    pub fn request(&self) -> Request {
        match self {
            Self::Account => Request::get("/v2/account"),
            Self::Regions => Request::list("/v2/regions"),
            Self::Sizes => Request::list("/v2/sizes"),
            Self::SshKeys => Request {
                limit: Limit::KeyList,
                ..Request::list("/v2/account/keys")
            },
            Self::SshKey { fingerprint } => {
                Request::get(format!("/v2/account/keys/{}", segment(fingerprint)))
            }
            Self::CreateSshKey { name, public_key } => Request::post(
                "/v2/account/keys",
                json!({ "name": name, "public_key": public_key }),
            ),
            Self::DeleteSshKey { id } => Request::delete(format!("/v2/account/keys/{id}")),
            Self::Tags => Request::list("/v2/tags"),
            Self::Tag { name } => Request::get(format!("/v2/tags/{}", segment(name))),
            // Tagging and making a tag that exists change nothing: safe to repeat.
            Self::CreateTag { name } => Request {
                repeatable: true,
                ..Request::post("/v2/tags", json!({ "name": name }))
            },
            Self::DeleteTag { name } => Request::delete(format!("/v2/tags/{}", segment(name))),
            Self::TagResource { tag, resource, id } => Request {
                repeatable: true,
                ..Request::post(tag_resources(tag), tagged(*resource, id))
            },
            Self::UntagResource { tag, resource, id } => Request {
                body: Some(tagged(*resource, id)),
                ..Request::delete(tag_resources(tag))
            },
            Self::Firewalls => Request::list("/v2/firewalls"),
            Self::CreateFirewall(spec) => Request::post("/v2/firewalls", firewall(spec)),
            Self::UpdateFirewall { id, spec } => Request {
                body: Some(firewall(spec)),
                ..Request::new(Method::Put, format!("/v2/firewalls/{}", segment(id)))
            },
            Self::DeleteFirewall { id } => {
                Request::delete(format!("/v2/firewalls/{}", segment(id)))
            }
            Self::Volumes => Request::list("/v2/volumes"),
            Self::VolumesNamed { name, region } => Request::list("/v2/volumes")
                .with("name", name)
                .with("region", region),
            Self::Volume { id } => Request::get(format!("/v2/volumes/{}", segment(id))),
            Self::CreateVolume(spec) => Request::post(
                "/v2/volumes",
                // Raw: a volume made with a file system is mounted by the image at its first
                // attach, in a race with our own mount.
                json!({
                    "name": spec.name,
                    "region": spec.region,
                    "size_gigabytes": spec.size.0,
                    "tags": spec.tags,
                }),
            ),
            Self::CopyVolume { spec, snapshot } => Request::post(
                "/v2/volumes",
                json!({
                    "name": spec.name,
                    "region": spec.region,
                    "size_gigabytes": spec.size.0,
                    "snapshot_id": snapshot,
                    "tags": spec.tags,
                }),
            ),
            Self::VolumeSnapshots => Request::list("/v2/snapshots").with("resource_type", "volume"),
            Self::SnapshotsOfVolume { id } => {
                Request::list(format!("/v2/volumes/{}/snapshots", segment(id)))
            }
            Self::SnapshotVolume { id, name, tags } => Request {
                limit: Limit::VolumeSnapshot,
                ..Request::post(
                    format!("/v2/volumes/{}/snapshots", segment(id)),
                    json!({ "name": name, "tags": tags }),
                )
            },
            Self::DeleteVolumeSnapshot { id } => {
                Request::delete(format!("/v2/snapshots/{}", segment(id)))
            }
            Self::DeleteVolume { id } => Request::delete(format!("/v2/volumes/{}", segment(id))),
            Self::AttachVolume {
                id,
                droplet,
                region,
            } => Request::post(volume_actions(id), attachment("attach", *droplet, region)),
            Self::DetachVolume {
                id,
                droplet,
                region,
            } => Request::post(volume_actions(id), attachment("detach", *droplet, region)),
            Self::ResizeVolume { id, region, size } => Request::post(
                volume_actions(id),
                json!({ "type": "resize", "size_gigabytes": size.0, "region": region }),
            ),
            Self::Droplets => Request::list("/v2/droplets"),
            Self::DropletsTagged { tag } => Request::list("/v2/droplets").with("tag_name", tag),
            Self::Droplet { id } => Request::get(format!("/v2/droplets/{id}")),
            Self::CreateDroplets { new, names } => {
                Request::post("/v2/droplets", new_droplets(new, names))
            }
            Self::DeleteDroplet { id } => Request::delete(format!("/v2/droplets/{id}")),
            Self::ShutDownDroplet { id } => {
                Request::post(droplet_actions(*id), json!({ "type": "shutdown" }))
            }
            Self::PowerOffDroplet { id } => {
                Request::post(droplet_actions(*id), json!({ "type": "power_off" }))
            }
            Self::SnapshotDroplet { id, name } => Request::post(
                droplet_actions(*id),
                json!({ "type": "snapshot", "name": name }),
            ),
            Self::DropletActions { id } => Request::list(droplet_actions(*id)),
            Self::DropletSnapshots { id } => Request::list(format!("/v2/droplets/{id}/snapshots")),
            Self::PrivateImages => Request::list("/v2/images").with("private", true),
            Self::Distributions => Request::list("/v2/images").with("type", "distribution"),
            Self::PublicImage { slug } => Request::get(format!("/v2/images/{}", segment(slug))),
            Self::Image { id } => Request::get(format!("/v2/images/{id}")),
            Self::DeleteImage { id } => Request::delete(format!("/v2/images/{id}")),
            Self::TransferImage { id, region } => Request::post(
                format!("/v2/images/{id}/actions"),
                json!({ "type": "transfer", "region": region }),
            ),
            // Not documented to come in pages: the first one has the latest.
            Self::ImageActions { id } => Request::get(format!("/v2/images/{id}/actions")),
            Self::Actions => Request::list("/v2/actions"),
            Self::Action { id } => Request::get(format!("/v2/actions/{id}")),
        }
    }
}

fn tag_resources(tag: &str) -> String {
    format!("/v2/tags/{}/resources", segment(tag))
}

fn volume_actions(id: &str) -> String {
    format!("/v2/volumes/{}/actions", segment(id))
}

fn droplet_actions(id: u64) -> String {
    format!("/v2/droplets/{id}/actions")
}

fn attachment(kind: &str, droplet: u64, region: &str) -> Value {
    json!({ "type": kind, "droplet_id": droplet, "region": region })
}

fn tagged(resource: TaggedResource, id: &str) -> Value {
    let kind = match resource {
        TaggedResource::Droplet => "droplet",
        TaggedResource::Volume => "volume",
        TaggedResource::Image => "image",
    };
    json!({ "resources": [{ "resource_id": id, "resource_type": kind }] })
}

fn new_droplets(new: &NewDroplets, names: &[String]) -> Value {
    let image = match &new.image {
        DropletImage::Slug(slug) => json!(slug),
        DropletImage::Id(id) => json!(id),
    };
    let mut body = json!({
        "region": new.region,
        "size": new.size,
        "image": image,
        "tags": new.tags,
        "ssh_keys": [new.ssh_key],
        // Both install packages at first boot, in a race for the package manager's lock.
        "monitoring": false,
        "with_droplet_agent": false,
    });
    match names {
        [name] => body["name"] = json!(name),
        _ => body["names"] = json!(names),
    }
    if let Some(user_data) = &new.user_data {
        // Exposed because this is the body that carries it to the droplet.
        body["user_data"] = json!(user_data.expose());
    }
    body
}

/// The whole firewall: what a `PUT` leaves out is emptied.
fn firewall(spec: &FirewallSpec) -> Value {
    let rules = |rules: &[FirewallRule], side: &str| -> Vec<Value> {
        rules
            .iter()
            .map(|rule| {
                let mut peers = json!({});
                // An empty list of addresses is refused, so what is empty is left out.
                if !rule.addresses.is_empty() {
                    peers["addresses"] = json!(rule.addresses);
                }
                if !rule.tags.is_empty() {
                    peers["tags"] = json!(rule.tags);
                }
                json!({ "protocol": rule.protocol, "ports": rule.ports, side: peers })
            })
            .collect()
    };
    json!({
        "name": spec.name,
        "inbound_rules": rules(&spec.inbound, "sources"),
        "outbound_rules": rules(&spec.outbound, "destinations"),
        "tags": spec.tags,
        "droplet_ids": [],
    })
}

/// One segment of a path. `:` may stand as it is; anything that could end the segment may not.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // `..` would climb out of the path, and so would its escaped form: neither names anything.
    if out.bytes().all(|b| b == b'.') {
        out.replace('.', "%252E")
    } else {
        out
    }
}
