//! Reads a whole account, whosever environments it has.

use futures_util::future::{try_join, try_join5};

use super::client::Client;
use super::droplets::Droplet;
use super::error::CloudError;
use super::images::Image;
use super::volumes::Volume;
use crate::live::{AccountWide, Live, LiveFirewall, LiveSshKey};

/// Reads the account: 8 calls, and one more for each further 200 of a kind.
///
/// # Errors
/// When a part cannot be read, and when the token may not see tags: then nothing would tell what is
/// whose.
pub async fn observe_account(client: &Client) -> Result<AccountWide, CloudError> {
    // Tags last: what they count is then at least as new as what is known to bear them.
    let ((droplets, volumes, images, firewalls, keys), (catalog, volume_snapshots)) = try_join(
        try_join5(
            client.all_droplets(),
            client.volumes(),
            client.private_images(),
            client.firewalls(),
            client.ssh_keys(),
        ),
        try_join(client.catalog(), client.volume_snapshots()),
    )
    .await?;
    let borne = client.tags_with_bearers().await?;
    let firewalls_made = firewalls
        .iter()
        .map(|wall| (wall.id().to_owned(), wall.created_at))
        .collect();
    let mut live = Live {
        droplets: droplets
            .into_iter()
            .map(Droplet::into_live)
            .collect::<Result<_, _>>()?,
        volumes: volumes
            .into_iter()
            .map(Volume::into_live)
            .collect::<Result<_, _>>()?,
        images: images
            .into_iter()
            .map(Image::into_live)
            .collect::<Result<_, _>>()?,
        firewalls: firewalls.into_iter().map(LiveFirewall::from).collect(),
        volume_snapshots,
        ssh_keys: keys.into_iter().map(LiveSshKey::from).collect(),
        tags: borne.keys().cloned().collect(),
        catalog,
        ..Live::default()
    };
    live.droplets.sort_by_key(|droplet| droplet.id);
    live.volumes.sort_by(|a, b| a.id.cmp(&b.id));
    live.images.sort_by_key(|image| image.id);
    live.firewalls.sort_by(|a, b| a.id.cmp(&b.id));
    live.ssh_keys.sort_by_key(|key| key.id);
    Ok(AccountWide {
        live,
        borne,
        firewalls_made,
    })
}
