//! What execution needs beside the plan.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::project_lock::ProjectRight;
use super::shared_lock::Lease;
use crate::cloud::Client;
use crate::guest::{HostKey, Identity, SourceFiles};
use crate::live::Live;
use crate::plan::Durations;
use crate::secret::Secret;

/// What execution needs beside the plan.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The account. That its observer is replaced is part of the bargain.
    pub client: Client,
    /// Port of every droplet's SSH server.
    pub ssh_port: u16,
    /// The key that logs in; `None` when it is not at hand, as for a `destroy` on another machine.
    pub identity: Option<Identity>,
    /// The environment's host key, derived from that key.
    pub host_key: Option<HostKey>,
    /// The file of the private key, when it was generated for the environment: it goes when the
    /// plan says that the key is to be forgotten.
    pub generated_key: Option<Utf8PathBuf>,
    /// The manifest's folder: paths in the plan are relative to it.
    pub base: Utf8PathBuf,
    /// The folder of this run; its name is the run's id.
    pub run_folder: Utf8PathBuf,
    /// Where repositories are kept between runs.
    pub cache: Utf8PathBuf,
    /// Values of the secrets that run steps name.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// The right to change the environment, where it can be lost: once it is, nothing is started any
    /// more.
    pub lease: Option<Lease>,
    /// What steps need that work on what environments share; none where nobody else can be.
    pub project: Option<ProjectRight>,
    /// How long a volume is waited for that another environment has got hold of.
    pub hold_patience: Duration,
    /// What the folders of sources must hold, by their path in the plan: for a plan from a file.
    pub sources: BTreeMap<String, SourceFiles>,
    /// How many API requests may be under way at once.
    pub parallelism: usize,
    /// How long steps take there, as far as that is known: what the order of steps goes by where
    /// the plan leaves it open.
    pub durations: Durations,
    /// What the plan was made from: addresses of droplets that are up, and prices.
    pub live: Live,
}
