//! Every request the client can make, held against the official OpenAPI document.

#[path = "support/openapi.rs"]
mod openapi;

use dewpoint::cloud::request::Call;
use dewpoint::cloud::{DropletImage, NewDroplets};
use dewpoint::live::FirewallRule;
use dewpoint::plan::step::{FirewallSpec, TaggedResource, VolumeSpec};
use dewpoint::secret::Secret;
use dewpoint::units::Gib;

/// One line a call, with examples of it. The `match` has no wildcard: a new call does not compile
/// until it stands here, and a line without a fitting example fails.
macro_rules! every_call {
    ($($pattern:pat => [$($example:expr),+ $(,)?]),+ $(,)?) => {
        fn examples() -> Vec<Call> {
            let exhaustive = |call: &Call| match call { $($pattern => ()),+ };
            let mut all = Vec::new();
            $({
                let examples = vec![$($example),+];
                for example in &examples {
                    exhaustive(example);
                    assert!(
                        matches!(example, $pattern),
                        "{example:?} stands on the line of {}", stringify!($pattern)
                    );
                }
                all.extend(examples);
            })+
            all
        }
    };
}

const FINGERPRINT: &str = "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa";
const UUID: &str = "506f78a4-e098-11e5-ad9f-000f53306ae1";
const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Jl1k1pYk2Zb8e7o3Yz9aD0o8mYb0sQ6y0aJmYf3aF dewpoint";

fn text(text: &str) -> String {
    text.to_owned()
}

fn tags() -> Vec<String> {
    [
        "dewpoint",
        "dewpoint:eval",
        "dewpoint:eval:pr-1",
        "dewpoint-spec:0123456789ab",
        "dewpoint-expires:1790000000",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn rule(protocol: &str, ports: &str, addresses: &[&str], tags: &[&str]) -> FirewallRule {
    FirewallRule {
        protocol: text(protocol),
        ports: text(ports),
        addresses: addresses.iter().map(|a| text(a)).collect(),
        tags: tags.iter().map(|t| text(t)).collect(),
    }
}

fn firewall() -> FirewallSpec {
    FirewallSpec {
        name: text("eval-pr-1"),
        inbound: vec![
            rule("tcp", "22", &["0.0.0.0/0", "::/0"], &[]),
            rule("tcp", "8000-9000", &["203.0.113.7"], &[]),
            rule("tcp", "0", &[], &["dewpoint:eval:pr-1"]),
            rule("udp", "0", &["10.0.0.0/8"], &["dewpoint:eval:pr-1"]),
            rule("icmp", "0", &[], &["dewpoint:eval:pr-1"]),
        ],
        outbound: ["tcp", "udp", "icmp"]
            .map(|protocol| rule(protocol, "0", &["0.0.0.0/0", "::/0"], &[]))
            .to_vec(),
        tags: vec![text("dewpoint:eval:pr-1")],
    }
}

fn create(image: DropletImage, user_data: bool, names: &[&str]) -> Call {
    let names: Vec<String> = names.iter().map(|n| text(n)).collect();
    Call::CreateDroplets {
        new: Box::new(NewDroplets {
            region: text("nyc3"),
            size: text("s-1vcpu-1gb"),
            image,
            tags: tags(),
            ssh_key: text(FINGERPRINT),
            user_data: user_data.then(|| Secret::new(text("#cloud-config\n"))),
            names: names.clone(),
            env_tag: text("dewpoint:eval:pr-1"),
        }),
        names,
    }
}

every_call! {
    Call::Account => [Call::Account],
    Call::Regions => [Call::Regions],
    Call::Sizes => [Call::Sizes],
    Call::SshKeys => [Call::SshKeys],
    Call::SshKey { .. } => [Call::SshKey { fingerprint: text(FINGERPRINT) }],
    Call::CreateSshKey { .. } => [
        Call::CreateSshKey { name: text("eval-pr-1"), public_key: text(PUBLIC_KEY) },
    ],
    Call::DeleteSshKey { .. } => [Call::DeleteSshKey { id: 512_189 }],
    Call::Tags => [Call::Tags],
    Call::Tag { .. } => [Call::Tag { name: text("dewpoint:eval:pr-1") }],
    Call::CreateTag { .. } => [
        Call::CreateTag { name: text("dewpoint:eval:pr-1") },
        Call::CreateTag { name: text("dewpoint-spec:0123456789ab") },
    ],
    Call::DeleteTag { .. } => [Call::DeleteTag { name: text("dewpoint") }],
    Call::TagResource { .. } => [
        Call::TagResource { tag: text("dewpoint"), resource: TaggedResource::Droplet, id: text("3164444") },
        Call::TagResource { tag: text("dewpoint"), resource: TaggedResource::Volume, id: text(UUID) },
        Call::TagResource { tag: text("dewpoint"), resource: TaggedResource::Image, id: text("7555620") },
    ],
    Call::UntagResource { .. } => [
        Call::UntagResource { tag: text("dewpoint"), resource: TaggedResource::Droplet, id: text("3164444") },
        Call::UntagResource { tag: text("dewpoint"), resource: TaggedResource::Volume, id: text(UUID) },
        Call::UntagResource { tag: text("dewpoint"), resource: TaggedResource::Image, id: text("7555620") },
    ],
    Call::Firewalls => [Call::Firewalls],
    Call::CreateFirewall(_) => [
        Call::CreateFirewall(firewall()),
        Call::CreateFirewall(FirewallSpec { inbound: Vec::new(), ..firewall() }),
    ],
    Call::UpdateFirewall { .. } => [Call::UpdateFirewall { id: text(UUID), spec: firewall() }],
    Call::DeleteFirewall { .. } => [Call::DeleteFirewall { id: text(UUID) }],
    Call::Volumes => [Call::Volumes],
    Call::VolumesNamed { .. } => [
        Call::VolumesNamed { name: text("eval-models"), region: text("nyc3") },
    ],
    Call::Volume { .. } => [Call::Volume { id: text(UUID) }],
    Call::CreateVolume(_) => [
        Call::CreateVolume(VolumeSpec {
            name: text("eval-models").into(),
            region: text("nyc3").into(),
            size: Gib(50),
            tags: tags().into(),
        }),
    ],
    Call::CopyVolume { .. } => [
        Call::CopyVolume {
            spec: VolumeSpec { name: text("eval-pr-1-models").into(), region: text("nyc3").into(), size: Gib(50), tags: tags().into() },
            snapshot: text(UUID),
        },
    ],
    Call::VolumeSnapshots => [Call::VolumeSnapshots],
    Call::SnapshotsOfVolume { .. } => [Call::SnapshotsOfVolume { id: text(UUID) }],
    Call::SnapshotVolume { .. } => [
        Call::SnapshotVolume { id: text(UUID), name: text("eval-models-0123456789ab"), tags: tags() },
    ],
    Call::DeleteVolumeSnapshot { .. } => [Call::DeleteVolumeSnapshot { id: text(UUID) }],
    Call::DeleteVolume { .. } => [Call::DeleteVolume { id: text(UUID) }],
    Call::AttachVolume { .. } => [
        Call::AttachVolume { id: text(UUID), droplet: 3_164_444, region: text("nyc3") },
    ],
    Call::DetachVolume { .. } => [
        Call::DetachVolume { id: text(UUID), droplet: 3_164_444, region: text("nyc3") },
    ],
    Call::ResizeVolume { .. } => [
        Call::ResizeVolume { id: text(UUID), region: text("nyc3"), size: Gib(100) },
    ],
    Call::Droplets => [Call::Droplets],
    Call::DropletsTagged { .. } => [Call::DropletsTagged { tag: text("dewpoint:eval:pr-1") }],
    Call::Droplet { .. } => [Call::Droplet { id: 3_164_444 }],
    Call::CreateDroplets { .. } => [
        create(DropletImage::Slug(text("ubuntu-24-04-x64")), true, &["eval-pr-1-runner"]),
        create(DropletImage::Id(7_555_620), false, &["eval-pr-1-runner-1", "eval-pr-1-runner-2"]),
    ],
    Call::DeleteDroplet { .. } => [Call::DeleteDroplet { id: 3_164_444 }],
    Call::ShutDownDroplet { .. } => [Call::ShutDownDroplet { id: 3_164_444 }],
    Call::PowerOffDroplet { .. } => [Call::PowerOffDroplet { id: 3_164_444 }],
    Call::SnapshotDroplet { .. } => [
        Call::SnapshotDroplet { id: 3_164_444, name: text("eval-base-0123456789ab") },
    ],
    Call::DropletActions { .. } => [Call::DropletActions { id: 3_164_444 }],
    Call::DropletSnapshots { .. } => [Call::DropletSnapshots { id: 3_164_444 }],
    Call::PrivateImages => [Call::PrivateImages],
    Call::Distributions => [Call::Distributions],
    Call::PublicImage { .. } => [Call::PublicImage { slug: text("ubuntu-24-04-x64") }],
    Call::Image { .. } => [Call::Image { id: 7_555_620 }],
    Call::DeleteImage { .. } => [Call::DeleteImage { id: 7_555_620 }],
    Call::TransferImage { .. } => [
        Call::TransferImage { id: 7_555_620, region: text("sfo3") },
    ],
    Call::ImageActions { .. } => [Call::ImageActions { id: 7_555_620 }],
    Call::Actions => [Call::Actions],
    Call::Action { .. } => [Call::Action { id: 36_804_636 }],
}

#[test]
fn every_request_is_as_the_official_document_says() {
    let Some(spec) = openapi::OpenApi::load() else {
        return;
    };
    let mut problems = Vec::new();
    for call in examples() {
        let request = call.request();
        let is_list = request.query.iter().any(|(key, _)| key == "per_page");
        let pages = if is_list {
            vec![request.clone(), request.page(2)]
        } else {
            vec![request]
        };
        for request in pages {
            problems.extend(spec.check_request(
                request.method.as_str(),
                &request.path,
                &request.query,
                request.body.as_ref(),
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn hostile_names_stay_in_their_segment() {
    for (name, path) in [
        ("a/../b", "/v2/tags/a%2F..%2Fb"),
        ("..", "/v2/tags/%252E%252E"),
        ("a?b#c", "/v2/tags/a%3Fb%23c"),
        ("dewpoint:x", "/v2/tags/dewpoint:x"),
    ] {
        assert_eq!(Call::Tag { name: text(name) }.request().path, path);
    }
}

#[test]
fn user_data_is_in_no_debug_output() {
    let call = create(DropletImage::Id(1), true, &["a"]);
    let shown = format!("{call:?} {:?}", call.request());
    assert!(!shown.contains("cloud-config"), "{shown}");
}
