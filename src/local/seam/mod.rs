//! What the API of the local cloud and the insides of its droplets know of each other, whichever tier these
//! are of. It builds everywhere; [`guests`](super::guests) and [`machines`](super::machines) on Linux alone.

pub mod error;
pub mod exec;
mod spec;
mod tier;

pub use error::GuestError;
pub use exec::{Exit, GuestExec, GuestProcess, ProcessRequest, PtyRequest};
pub use spec::{BootSpec, GuestImage, Known, Limits};
pub use tier::{Missing, Probe, Tier, ways_out};
