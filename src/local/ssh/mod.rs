//! The SSH server in front of each guest.
