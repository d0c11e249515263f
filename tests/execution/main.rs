//! Plans made by hand, executed by the real client and the real SSH side against the local cloud.

mod interrupted;
mod planned;
mod rig;
mod whole_way;
