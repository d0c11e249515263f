//! Options of the local cloud.

use clap::{Args, Subcommand};

use super::OutputFormat;
use crate::local::latency::Latency;
use crate::local::seam::Tier;
use crate::units::Seconds;

/// What to do with the local cloud.
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Start the local cloud.
    Up(Up),
    /// Stop the local cloud; its droplets power off, its state stays.
    Down,
    /// Show whether the local cloud runs, what its droplets are and what it holds.
    Status {
        /// How it is written.
        #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
        format: OutputFormat,
    },
    /// Stop the local cloud and delete everything it holds.
    Reset {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

/// Options of `local up`. They count when it starts.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Up {
    /// `realistic`, `fast` (the default: a hundredth) or a factor such as 0.1 of the real cloud's latencies.
    #[arg(long, value_name = "LATENCY")]
    pub latency: Option<Latency>,
    /// How many droplets the account may have [default: 120].
    #[arg(long, value_name = "N")]
    pub droplet_limit: Option<u32>,
    /// Stop by itself after this long without a request [default: 30m].
    #[arg(long, value_name = "DURATION")]
    pub idle_timeout: Option<Seconds>,
    /// Enforce the API's request limits: 250 a minute, 5,000 an hour.
    #[arg(long)]
    pub rate_limits: bool,
    /// Simulate the API alone, even where guests could be.
    #[arg(long, conflicts_with = "guests")]
    pub without_guests: bool,
    /// What droplets are made of; it stays so until `local reset` [default: the best that this machine can do].
    #[arg(long, value_name = "TIER")]
    pub guests: Option<Tier>,
}
