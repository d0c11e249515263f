//! Whether a token can see what dewpoint has to see, kind by kind.

use super::client::Client;
use super::error::CloudError;
use crate::live::Account;

/// What came of reading each kind.
#[derive(Debug)]
pub struct Checkup {
    /// The account, with its limits.
    pub account: Account,
    /// Each further kind, how many there are of it, or why it cannot be read.
    pub kinds: Vec<(&'static str, Result<usize, CloudError>)>,
}

/// Reads the account, then each kind that dewpoint works with: 9 calls, and one more for each
/// further 200 of a kind. That a token may also write can only be seen by writing.
///
/// # Errors
/// When the account itself cannot be read: then nothing else can.
pub async fn checkup(client: &Client) -> Result<Checkup, CloudError> {
    let account = client.account().await?;
    let (droplets, volumes, images, firewalls, keys) = tokio::join!(
        client.all_droplets(),
        client.volumes(),
        client.private_images(),
        client.firewalls(),
        client.ssh_keys(),
    );
    let (tags, catalog) = tokio::join!(client.tags_with_bearers(), client.catalog());
    Ok(Checkup {
        account,
        kinds: vec![
            ("droplets", droplets.map(|all| all.len())),
            ("volumes", volumes.map(|all| all.len())),
            ("snapshots", images.map(|all| all.len())),
            ("firewalls", firewalls.map(|all| all.len())),
            ("SSH keys", keys.map(|all| all.len())),
            ("tags", tags.map(|all| all.len())),
            ("sizes", catalog.map(|catalog| catalog.sizes.len())),
        ],
    })
}
