//! The private network between the guests of one local cloud.
//!
//! Each guest has an interface of its own (a TUN device in its network namespace) whose other end
//! is held here: packets that come out of one go into the one that has their destination. There is
//! no bridge and no interface on the host, and nothing that could outlive the cloud process.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use crate::local::watch::watch;

/// What the interface is called, as that of a droplet's private network is.
pub(super) const INTERFACE: &str = "eth1";
/// The network's mask: private addresses of all droplets are in one /16.
pub(super) const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 0, 0);
/// The largest packet: as the interface's own limit, with room for more.
const PACKET_BYTES: usize = 64 * 1024;
/// The length of an IPv4 header without options.
const HEADER_BYTES: usize = 20;

/// Who is on the network.
#[derive(Debug, Clone, Default)]
pub(super) struct Network {
    ports: Arc<Mutex<BTreeMap<Ipv4Addr, Arc<AsyncFd<OwnedFd>>>>>,
}

impl Network {
    fn ports(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, Arc<AsyncFd<OwnedFd>>>> {
        // Each change is one insert or remove: a panic leaves nothing half done.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries what a guest sends and hands it what is for it, until it is gone.
    ///
    /// # Errors
    /// When its interface cannot be watched.
    pub(super) fn join(
        &self,
        address: Ipv4Addr,
        interface: OwnedFd,
        gone: CancellationToken,
    ) -> io::Result<()> {
        let port = Arc::new(watch(interface)?);
        self.ports().insert(address, Arc::clone(&port));
        let network = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = gone.cancelled() => {}
                error = network.carry(address, &port) => {
                    tracing::debug!(%address, %error, "a guest left the network");
                }
            }
            let mut ports = network.ports();
            // A guest that was started anew has its address by now.
            if ports
                .get(&address)
                .is_some_and(|now| Arc::ptr_eq(now, &port))
            {
                ports.remove(&address);
            }
        });
        Ok(())
    }

    /// Reads packets until that fails.
    async fn carry(&self, address: Ipv4Addr, port: &AsyncFd<OwnedFd>) -> io::Error {
        let mut packet = vec![0; PACKET_BYTES];
        loop {
            let mut ready = match port.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            let read =
                ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), packet.as_mut_slice())?));
            match read {
                Ok(Ok(length)) => self.deliver(address, &packet[..length]),
                Ok(Err(error)) => return error,
                Err(_would_block) => {}
            }
        }
    }

    /// Hands a packet over. One that is for nobody, or says it comes from somebody else, is dropped,
    /// as is one whose receiver has no room: TCP sends it again.
    fn deliver(&self, from: Ipv4Addr, packet: &[u8]) {
        let Some((source, destination)) = ends(packet) else {
            return;
        };
        if source != from {
            return;
        }
        let port = self.ports().get(&destination).cloned();
        if let Some(port) = port {
            let _ = rustix::io::write(port.get_ref(), packet);
        }
    }
}

/// Whether an address is one of the network's.
pub(super) const fn is_inside(address: Ipv4Addr) -> bool {
    let [first, second, _, _] = address.octets();
    first == 10 && second == 108
}

/// Source and destination of an IPv4 packet.
fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let header = packet.get(..HEADER_BYTES)?;
    if header[0] >> 4 != 4 {
        return None;
    }
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    Some((address(12), address(16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ipv4_has_ends() {
        let mut packet = vec![0_u8; 28];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&[10, 108, 0, 2]);
        packet[16..20].copy_from_slice(&[10, 108, 0, 3]);
        let expected = (Ipv4Addr::new(10, 108, 0, 2), Ipv4Addr::new(10, 108, 0, 3));
        assert_eq!(ends(&packet), Some(expected));
        assert_eq!(ends(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(ends(&packet), None);
    }
}
