//! What guests say of themselves, and what follows.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::super::guest::Said;
use super::super::volumes;
use super::super::wire::Ending;
use super::disks::forget_disks;
use super::{GuestHost, Inner};

/// Handles what guests say, for as long as the host of guests lives.
pub(super) async fn listen(
    inner: Weak<Inner>,
    mut saying: mpsc::UnboundedReceiver<(u64, Said)>,
    off: mpsc::UnboundedSender<u64>,
) {
    while let Some((droplet, said)) = saying.recv().await {
        let Some(inner) = inner.upgrade() else { return };
        let host = GuestHost { inner };
        match said {
            Said::Ended { end } => host.ended(droplet, end, &off).await,
            Said::Mount {
                reply,
                device,
                path,
                options,
            } => host.mount(droplet, reply, &device, path, &options).await,
        }
    }
}

impl GuestHost {
    async fn ended(&self, droplet: u64, end: Ending, off: &mpsc::UnboundedSender<u64>) {
        let mut state = self.inner.state.lock().await;
        forget_disks(&mut state, droplet);
        let Some(running) = state.guests.remove(&droplet) else {
            // Whoever powered it off has taken it out already, unless it did so itself just now.
            if end == Ending::PoweredOff {
                let _ = off.send(droplet);
            }
            return;
        };
        if end != Ending::Restarts {
            let _ = off.send(droplet);
            return;
        }
        state.restarting.insert(droplet);
        drop(state);
        let host = self.clone();
        let off = off.clone();
        tokio::spawn(async move {
            let booted = host.boot_within(running.spec, running.limits).await;
            let wanted = host.inner.state.lock().await.restarting.remove(&droplet);
            match booted {
                Ok(()) if wanted => {}
                // It was powered off while it was on its way up.
                Ok(()) => host.power_off(droplet).await,
                Err(error) => {
                    tracing::warn!(droplet, %error, "a droplet did not come back from a reboot");
                    let _ = off.send(droplet);
                }
            }
        });
    }

    async fn mount(&self, droplet: u64, reply: String, device: &str, path: String, options: &str) {
        let state = self.inner.state.lock().await;
        let Some(running) = state.guests.get(&droplet) else {
            return;
        };
        let node = device.trim_start_matches("/dev/");
        let disk = state
            .volumes
            .values()
            .filter(|attached| attached.droplet == droplet)
            .filter_map(|attached| attached.disk.as_ref())
            .find(|disk| disk.node == node);
        let mount = match disk {
            Some(disk) => volumes::mount(disk, &running.guest, options),
            None => Err(format!(
                "{device}: only volumes can be mounted in a guest of the local cloud"
            )),
        };
        let guest = Arc::clone(&running.guest);
        drop(state);
        guest.answer_mount(reply, path, mount).await;
    }
}
