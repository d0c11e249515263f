//! What can go wrong between this machine and the API.
//!
//! Told apart: never reached, broken off with an unknown outcome, a documented error, an answer of
//! another shape, a body that cannot be read, and conditions that only several answers together
//! tell. Messages bear the call as `POST /v2/droplets`; no message or cause bears the token.

use miette::Diagnostic;
use thiserror::Error;

use crate::units::Seconds;

/// A cause of whatever kind.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error of the API's client.
#[derive(Debug, Error, Diagnostic)]
pub enum CloudError {
    /// The token cannot be sent at all.
    #[error("the API token {why}")]
    #[diagnostic(
        code(dewpoint::cloud::bad_token),
        help("set DIGITALOCEAN_TOKEN to the token alone, as the control panel shows it once")
    )]
    BadToken {
        /// In words that follow `the token`.
        why: &'static str,
    },

    /// The endpoint is no address of an API.
    #[error("`{endpoint}` is no address of an API: {why}")]
    #[diagnostic(
        code(dewpoint::cloud::bad_endpoint),
        help("set DIGITALOCEAN_API_URL to an http or https address, or unset it")
    )]
    BadEndpoint {
        /// As it was given, without credentials.
        endpoint: String,
        /// In words.
        why: String,
    },

    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client")]
    #[diagnostic(
        code(dewpoint::cloud::client),
        help("install the system's root certificates (package `ca-certificates`)")
    )]
    Client {
        /// Why.
        #[source]
        cause: Cause,
    },

    /// Nothing was sent: no connection came about.
    #[error("cannot reach the API for {call}")]
    #[diagnostic(
        code(dewpoint::cloud::unreachable),
        help("check the network, and DIGITALOCEAN_API_URL if it is set")
    )]
    Unreachable {
        /// Method and path.
        call: String,
        /// Why.
        #[source]
        cause: Cause,
    },

    /// The connection broke or timed out before the whole answer was there.
    #[error("the connection broke before {call} was answered")]
    #[diagnostic(
        code(dewpoint::cloud::broken),
        help("run the command again: it goes on from what exists")
    )]
    Broken {
        /// Method and path.
        call: String,
        /// Why.
        #[source]
        cause: Cause,
    },

    /// A request that must not be repeated blindly may or may not have been carried out.
    #[error("whether {call} was carried out is not known")]
    #[diagnostic(
        code(dewpoint::cloud::outcome_unknown),
        help("run the command again: it looks at what exists before it makes anything")
    )]
    OutcomeUnknown {
        /// Method and path.
        call: String,
        /// What came instead of an answer.
        #[source]
        cause: Box<CloudError>,
    },

    /// The right to change anything was lost before this was sent.
    #[error("{call} was not sent: {why}")]
    #[diagnostic(
        code(dewpoint::cloud::fenced),
        help(
            "run the command again when nobody else works on the environment: it goes on from what exists"
        )
    )]
    Fenced {
        /// Method and path.
        call: String,
        /// In words.
        why: String,
    },

    /// A run was interrupted before a create was sent: it never will be.
    #[error("{call} was not sent: the run was interrupted")]
    #[diagnostic(
        code(dewpoint::cloud::not_sent),
        help("run the command again: it goes on from what exists")
    )]
    NotSent {
        /// Method and path.
        call: String,
    },

    /// The API said no, in its own words.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Refused(Box<Refusal>),

    /// The API takes a snapshot of a volume only so often.
    #[error("volume {volume} had a snapshot taken within the last 10 minutes")]
    #[diagnostic(
        code(dewpoint::cloud::too_soon),
        help(
            "run the command again in 10 minutes: the API takes one snapshot of a volume in that time"
        )
    )]
    TooSoon {
        /// The volume's id.
        volume: String,
        /// What the API said.
        #[source]
        cause: Box<CloudError>,
    },

    /// An answer that is not the API's: a proxy's page, a redirect.
    #[error("{call} was answered with status {status} and {what}")]
    #[diagnostic(
        code(dewpoint::cloud::unexpected_answer),
        help("check DIGITALOCEAN_API_URL and any proxy in between, then run the command again")
    )]
    Unexpected {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: u16,
        /// What came, in words, with an excerpt.
        what: String,
    },

    /// A success whose body is not what the API documents.
    #[error("the answer to {call} cannot be read")]
    #[diagnostic(
        code(dewpoint::cloud::unreadable_answer),
        help("check that DIGITALOCEAN_API_URL is a DigitalOcean API; else report this as a bug")
    )]
    Unreadable {
        /// Method and path.
        call: String,
        /// Where in the body, and why.
        #[source]
        cause: Cause,
    },

    /// An answer larger than any of the API is.
    #[error("the answer to {call} is larger than {mebibytes} MiB")]
    #[diagnostic(
        code(dewpoint::cloud::too_large_answer),
        help("check DIGITALOCEAN_API_URL and any proxy in between, then run the command again")
    )]
    TooLarge {
        /// Method and path.
        call: String,
        /// The most that is read.
        mebibytes: usize,
    },

    /// A list whose pages lead nowhere.
    #[error("the list of {call} does not end: {why}")]
    #[diagnostic(
        code(dewpoint::cloud::endless_list),
        help(
            "run the command again; if it stays so, check DIGITALOCEAN_API_URL and any proxy in between"
        )
    )]
    EndlessList {
        /// Method and path.
        call: String,
        /// In words.
        why: String,
    },

    /// The rate limit leaves no room for a call within two hours.
    #[error("{call} would have to wait {time} for the rate limit", time = Seconds(*.seconds))]
    #[diagnostic(
        code(dewpoint::cloud::held_back),
        help("use a token that nothing else uses, or run the command again later")
    )]
    HeldBack {
        /// Method and path.
        call: String,
        /// How long, from when it was first to be sent.
        seconds: u64,
    },

    /// The token may not see tags.
    #[error("the API hides the tags of {what}, so nothing tells what is dewpoint's")]
    #[diagnostic(
        code(dewpoint::cloud::hidden_tags),
        help("give the token the scope `tag:read`, or make one with full access")
    )]
    HiddenTags {
        /// Such as `droplet 12`.
        what: String,
    },

    /// A droplet was accepted and then never came to be.
    #[error("droplet {name} ({id}) was accepted and then given up by DigitalOcean")]
    #[diagnostic(
        code(dewpoint::cloud::vanished),
        help(
            "try again; if it happens again choose another size or region: this is how missing capacity shows"
        )
    )]
    Vanished {
        /// Its name.
        name: String,
        /// The id it had.
        id: u64,
    },

    /// An action was accepted and then failed. The API gives no reason.
    #[error("the API gave up its action {action} ({what})")]
    #[diagnostic(
        code(dewpoint::cloud::action_failed),
        help("run the command again; the API gives no reason, the control panel may show one")
    )]
    ActionFailed {
        /// What was being done, such as `attach volume`.
        what: String,
        /// The action's id.
        action: u64,
    },

    /// Something did not come about in time.
    #[error("waited {time} in vain for {what}", time = Seconds(*.seconds))]
    #[diagnostic(
        code(dewpoint::cloud::timed_out),
        help(
            "look at the resource with `dewpoint status`, then run the command again: it goes on from what exists"
        )
    )]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
    },

    /// A look that several wait for failed.
    #[error("cannot see whether what is waited for has come about")]
    #[diagnostic(
        code(dewpoint::cloud::poll_failed),
        help("run the command again: it goes on from what exists")
    )]
    PollFailed {
        /// Why. Shared by all who wait.
        #[source]
        cause: std::sync::Arc<CloudError>,
    },

    /// A name is held by something that is not ours.
    #[error("the name {name} is taken by a {kind} that is not dewpoint's")]
    #[diagnostic(
        code(dewpoint::cloud::name_taken),
        help("choose another `project`, or rename or delete that {kind}")
    )]
    NameTaken {
        /// Such as `volume`.
        kind: &'static str,
        /// The name.
        name: String,
    },

    /// A volume is attached to another droplet than the one it shall go to.
    #[error("volume {volume} is attached to droplet {holder} already")]
    #[diagnostic(
        code(dewpoint::cloud::attached_elsewhere),
        help(
            "wait until that droplet is done with it, or detach it there; with `scope: environment` each environment has a volume of its own"
        )
    )]
    AttachedElsewhere {
        /// The volume's name.
        volume: String,
        /// The droplet that has it.
        other: u64,
        /// Its name, or its id when it has none any more.
        holder: String,
    },

    /// Tags were accepted but are not on the resource.
    #[error("{what} does not bear the tags it was given")]
    #[diagnostic(
        code(dewpoint::cloud::tags_not_applied),
        help(
            "run the command again; if it stays so, check that the token may update the resource"
        )
    )]
    TagsNotApplied {
        /// Such as `image 12`.
        what: String,
    },

    /// A create names no droplet, or more than the API takes at once.
    #[error("one call creates 1 to 10 droplets, not {0}")]
    #[diagnostic(
        code(dewpoint::cloud::batch_size),
        help("report this as a bug: plans never hold such a step")
    )]
    BatchSize(usize),
}

/// A documented error of the API.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the API refused {call}: {message}{}", .request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default())]
pub struct Refusal {
    /// Method and path.
    pub call: String,
    /// HTTP status.
    pub status: u16,
    /// The API's word for the kind of error, such as `unprocessable_entity`; may be empty.
    pub id: String,
    /// The API's message.
    pub message: String,
    /// The id support asks for.
    pub request_id: Option<String>,
}

impl Diagnostic for Refusal {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(match self.status {
            401 => "dewpoint::cloud::unauthorized",
            403 => "dewpoint::cloud::forbidden",
            404 => "dewpoint::cloud::not_found",
            409 => "dewpoint::cloud::conflict",
            422 => "dewpoint::cloud::refused",
            429 => "dewpoint::cloud::rate_limited",
            500.. => "dewpoint::cloud::server_error",
            _ => "dewpoint::cloud::bad_request",
        }))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(match self.status {
            401 => "check the token in DIGITALOCEAN_TOKEN: it may have expired or been revoked",
            403 => {
                "give the token the scopes of dewpoint: droplet, image, block_storage, ssh_key, tag, firewall and their actions, and read on account, regions, sizes"
            }
            404 => "look at what exists with `dewpoint status`, then plan again",
            409 => "look at who holds the name or the resource, then run the command again",
            422 if self.message.contains("limit") => {
                "destroy what is not needed, or ask DigitalOcean to raise the limit"
            }
            422 => "change what the message names; nothing was made by this call",
            429 => {
                "wait an hour, or use a token that nothing else uses: the limit is 5,000 calls an hour"
            }
            500.. => "try again later; https://status.digitalocean.com tells of outages",
            _ => "report this as a bug: dewpoint should not send such a request",
        }))
    }
}

impl CloudError {
    /// The API's refusal, if this is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::PollFailed { cause } => cause.refusal(),
            _ => None,
        }
    }

    fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// Whether the API says there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the API says that something stands in the way: a name taken, a volume in use.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether the API does this only so often, and will not for some minutes.
    #[must_use]
    pub fn is_too_soon(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 429 && refusal.message.contains("one request per"))
    }

    /// Whether the API could not make sense of the request or the state it meets: status 422.
    #[must_use]
    pub fn is_unprocessable(&self) -> bool {
        self.status() == Some(422)
    }

    /// As the error of a create of which an earlier try may have been carried out: whatever came of
    /// the later ones, nobody knows what came of that.
    pub(super) fn after_lost_answer(self, call: &str) -> Self {
        match self {
            Self::OutcomeUnknown { .. } => self,
            other => Self::OutcomeUnknown {
                call: call.to_owned(),
                cause: Box::new(other),
            },
        }
    }

    /// As the error of a look at something that was accepted: that it failed says nothing of it.
    pub(super) fn of_a_look(self) -> Self {
        match self {
            Self::PollFailed { .. } | Self::TimedOut { .. } | Self::Vanished { .. } => self,
            other => Self::PollFailed {
                cause: std::sync::Arc::new(other),
            },
        }
    }

    /// Whether it is certain that the create that failed so makes nothing any more: it was refused,
    /// never sent, or given up.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status < 500,
            Self::Unexpected { status, .. } => *status < 500,
            Self::Unreachable { .. }
            | Self::NotSent { .. }
            | Self::Vanished { .. }
            | Self::NameTaken { .. }
            | Self::TooSoon { .. }
            | Self::BatchSize(_)
            | Self::BadToken { .. }
            | Self::BadEndpoint { .. }
            | Self::Client { .. } => true,
            Self::Broken { .. }
            | Self::OutcomeUnknown { .. }
            // Not this time: an earlier try may have been.
            | Self::Fenced { .. }
            | Self::HeldBack { .. }
            | Self::TooLarge { .. }
            | Self::EndlessList { .. }
            | Self::Unreadable { .. }
            | Self::HiddenTags { .. }
            | Self::ActionFailed { .. }
            | Self::TimedOut { .. }
            | Self::PollFailed { .. }
            | Self::AttachedElsewhere { .. }
            | Self::TagsNotApplied { .. } => false,
        }
    }

    /// Whether an interrupt kept it from being sent.
    #[must_use]
    pub const fn is_not_sent(&self) -> bool {
        matches!(self, Self::NotSent { .. })
    }

    /// Whether the request may or may not have been carried out.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }
}
