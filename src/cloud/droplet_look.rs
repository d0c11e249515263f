//! Looking for droplets until they show, together with all others who look at droplets of that tag.

use std::time::Duration;

use super::client::Client;
use super::droplets::Droplet;
use super::error::CloudError;
use crate::live::LiveDroplet;

impl Client {
    /// Looks at the droplets of a tag, at once and then again and again, until `found` makes
    /// something of them; `None` when it has not by the time that patience ends. It is given those
    /// of the names alone, oldest first: names are not unique.
    ///
    /// # Errors
    /// When the API cannot be asked or hides tags.
    pub async fn look_for_droplets<T>(
        &self,
        tag: &str,
        names: &[&str],
        patience: Duration,
        mut found: impl FnMut(Vec<LiveDroplet>) -> Option<T>,
    ) -> Result<Option<T>, CloudError> {
        let mut made = |listed: &[Droplet]| {
            let ours = listed.iter();
            let ours = ours.filter(|droplet| names.contains(&droplet.name.as_str()));
            let ours = ours.cloned().map(Droplet::into_live);
            let mut ours: Vec<LiveDroplet> = ours.collect::<Result<_, _>>()?;
            ours.sort_by_key(|droplet| (droplet.created_at, droplet.id));
            Ok::<_, CloudError>(found(ours))
        };
        let end = tokio::time::Instant::now() + patience;
        let first = made(&self.droplets_tagged(tag).await?)?;
        if first.is_some() || patience.is_zero() {
            return Ok(first);
        }
        let poll = self.poll_of(tag);
        let mut waiter = poll.join(self, None, self.timing().poll_max);
        let looks = async {
            loop {
                let listed = waiter.next(self, || self.droplets_tagged(tag)).await?;
                if let Some(made) = made(&listed)? {
                    return Ok(Some(made));
                }
            }
        };
        match tokio::time::timeout_at(end, looks).await {
            Ok(made) => made.map_err(CloudError::of_a_look),
            Err(_elapsed) => Ok(None),
        }
    }
}
