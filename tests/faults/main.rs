//! Every kind of step under every fault, and every moment at which dewpoint may be killed: the next
//! `apply` converges, nothing is doubled, nothing is left that `status` and `destroy` do not see.
//!
//! What came of each is in `TABLE.md`; `UPDATE_FAULTS=1 cargo test --test faults` writes it anew.

#[path = "../support/api_call.rs"]
mod api_call;
mod crash;
mod faults;
#[cfg(target_os = "linux")] // As `killed_at`.
mod killed;
#[cfg(target_os = "linux")] // It looks into a program by ptrace.
#[path = "../support/killed_at.rs"]
mod killed_at;
mod lab;
mod matrix;
mod observed;
mod plans;
mod power_cut;
mod table;
mod worlds;
