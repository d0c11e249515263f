//! Why there is no plan: everything that stands in the way, at once.

use std::fmt;

use miette::Diagnostic;

use crate::address::Address;

/// Everything that stands in the way of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Diagnostic)]
#[error("the plan is refused")]
#[diagnostic(code(dewpoint::plan::refused))]
pub struct Refusals {
    /// Each with its way out, sorted by address.
    #[related]
    pub refusals: Vec<Refusal>,
}

/// One thing that stands in the way of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The resource; none when it is about the whole account or environment.
    pub address: Option<Address>,
    /// What kind of thing it is.
    pub kind: RefusalKind,
    /// Why, in words.
    pub reason: String,
    /// The way out, in the imperative.
    pub help: String,
}

/// What kind of thing stands in the way. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// The name is taken by a resource that is not ours.
    NameTaken,
    /// It belongs to somebody else.
    Owned,
    /// Something that is used is not there.
    Missing,
    /// A volume would shrink.
    Shrink,
    /// A volume would get another file system.
    Filesystem,
    /// Something is in another region.
    Region,
    /// A volume is attached to a droplet that is not the environment's.
    AttachedElsewhere,
    /// Another environment of the project holds a volume.
    Held,
    /// A size that is not on offer.
    Size,
    /// An image that is not there, or not for this.
    Image,
    /// An image needs a larger disk than the size has.
    Disk,
    /// The account may not have more.
    AccountLimit,
    /// The account may make nothing.
    AccountState,
    /// The manifest's own `limits`.
    Limits,
    /// The manifest protects it.
    Protected,
    /// A droplet is not running.
    NotRunning,
    /// Another environment of the project is in use.
    InUse,
    /// An address that names nothing.
    NoSuchAddress,
    /// A run step that no droplet has.
    NoSuchStep,
    /// Something that is not made anew.
    NotReplaced,
    /// The planner contradicted itself.
    Internal,
}

impl RefusalKind {
    /// The code that errors show.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NameTaken => "dewpoint::plan::name_taken",
            Self::Owned => "dewpoint::plan::owned",
            Self::Missing => "dewpoint::plan::missing",
            Self::Shrink => "dewpoint::plan::shrink",
            Self::Filesystem => "dewpoint::plan::filesystem",
            Self::Region => "dewpoint::plan::region",
            Self::AttachedElsewhere => "dewpoint::plan::attached_elsewhere",
            Self::Held => "dewpoint::plan::held",
            Self::Size => "dewpoint::plan::size",
            Self::Image => "dewpoint::plan::image",
            Self::Disk => "dewpoint::plan::disk",
            Self::AccountLimit => "dewpoint::plan::account_limit",
            Self::AccountState => "dewpoint::plan::account_state",
            Self::Limits => "dewpoint::plan::limits",
            Self::Protected => "dewpoint::plan::protected",
            Self::NotRunning => "dewpoint::plan::not_running",
            Self::InUse => "dewpoint::plan::in_use",
            Self::NoSuchAddress => "dewpoint::plan::no_such_address",
            Self::NoSuchStep => "dewpoint::plan::no_such_step",
            Self::NotReplaced => "dewpoint::plan::not_replaced",
            Self::Internal => "dewpoint::plan::internal",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{address}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Refusal {}

impl Diagnostic for Refusal {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.kind.code()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.help))
    }
}

impl Refusals {
    /// The volumes that other environments hold, when nothing else stands in the way: then the plan
    /// only has to be waited for.
    #[must_use]
    pub fn held(&self) -> Option<Vec<&Address>> {
        self.refusals
            .iter()
            .map(|refusal| match refusal.kind {
                RefusalKind::Held => refusal.address.as_ref(),
                _ => None,
            })
            .collect()
    }

    /// Whether a volume is attached to a droplet of somebody else's, or to one that cannot be told from
    /// such.
    #[must_use]
    pub fn is_attached_elsewhere(&self) -> bool {
        let mut refusals = self.refusals.iter();
        refusals.any(|refusal| refusal.kind == RefusalKind::AttachedElsewhere)
    }

    /// A plan when nothing was refused; else all refusals, sorted, each once.
    pub(super) fn or<T>(mut refusals: Vec<Refusal>, value: T) -> Result<T, Self> {
        if refusals.is_empty() {
            return Ok(value);
        }
        refusals.sort();
        refusals.dedup();
        Err(Self { refusals })
    }

    /// The planner contradicted itself.
    pub(super) fn internal(what: &str) -> Self {
        Self {
            refusals: vec![Refusal {
                address: None,
                kind: RefusalKind::Internal,
                reason: format!("the steps of this plan wait for each other: {what}"),
                help: "this is a fault of dewpoint: report it with the manifest".to_owned(),
            }],
        }
    }
}
