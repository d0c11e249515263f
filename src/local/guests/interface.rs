//! The guest's end of the private network: made inside of its namespaces, by its agent.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Makes an interface, gives it its address and switches it on. What is sent through it is read
/// from the descriptor, one packet a read; the interface is gone when that is closed.
pub(super) fn make(name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<OwnedFd> {
    let device: OwnedFd = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?
        .into();
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).map_err(io::Error::other)?;
    // SAFETY: the request is a whole `ifreq` that outlives the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw const request) })?;

    let socket: OwnedFd = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.into();
    for (call, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        request.ifr_ifru.ifru_addr = socket_address(value);
        // SAFETY: as above.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), call as _, &raw const request) })?;
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: as above.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    })?;
    Ok(device)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: `sockaddr` is plain data for which zeros are valid.
    let mut socket: libc::sockaddr = unsafe { std::mem::zeroed() };
    socket.sa_family = libc::AF_INET as libc::sa_family_t;
    // As in `sockaddr_in`: two bytes of port, four of address.
    for (to, from) in socket.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    socket
}
