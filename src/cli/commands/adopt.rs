//! `dewpoint adopt`: an existing volume or snapshot becomes what an address stands for.

use std::sync::Arc;

use crate::address::Address;
use crate::cli::approval::MovedMeanwhile;
use crate::cli::args::Adopt;
use crate::cli::context::{Context, Loaded};
use crate::cli::endpoint::Cloud;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::local_files;
use crate::cli::locks::{self, Locks};
use crate::cli::plan_file::Moved;
use crate::cli::planning::{self, Seen};
use crate::cli::terminal::{print, tell};
use crate::cloud::{Client, CloudError, fenced_by};
use crate::execute::shared_lock::Lease;
use crate::manifest::Manifest;
use crate::manifest::schema::Scope;
use crate::plan::adopt::{self, Adoption, Wanted};
use crate::plan::step::TaggedResource;
use crate::report::{adoption, fold, hints};

/// Shows what adopting means, asks, and gives the tags.
///
/// # Errors
/// When it is refused, not approved, or a tag cannot be given. Giving them again goes on where it
/// ended.
pub async fn run(context: &Context, options: &Adopt) -> miette::Result<Exit> {
    if !options.yes && !context.terminal.can_ask {
        // Nobody could approve: say so before the first call.
        return Err(CliError::NoTerminalForAdopting.into());
    }
    let address: Address = options.address.parse().map_err(|_| CliError::Address {
        given: options.address.clone(),
    })?;
    let loaded = context.load()?;
    local_files::check(&loaded)?;
    let locks = locks::take(context, &loaded, "adopt", &options.locking, None).await?;
    let done = run_locked(context, options, &address, &loaded, &locks).await;
    locks.release(context, &loaded, &done).await;
    done
}

async fn run_locked(
    context: &Context,
    options: &Adopt,
    address: &Address,
    loaded: &Loaded,
    locks: &Locks,
) -> miette::Result<Exit> {
    let is_shared = is_shared(address, &loaded.manifest);
    let take = async || -> miette::Result<Option<Lease>> {
        match is_shared {
            true => locks.making().take(context, locks.patience).await,
            false => Ok(None),
        }
    };
    // Whoever has to be asked may think for long: others are not kept waiting for that.
    let mut making = match options.yes {
        true => take().await?,
        false => None,
    };
    let Judged { cloud, adopted } = judge(context, options, address, loaded).await?;
    if adopted.is_done() || !options.yes || !context.global.quiet {
        let (project, environment) = (&loaded.manifest.project, &loaded.manifest.environment);
        let text = adoption::render(&adopted, project, environment, context.terminal.out);
        let text = hints::complete(&text, &context.flags());
        print(&if context.terminal.out_folds {
            fold::fold(&text, context.terminal.width())
        } else {
            text
        })?;
    }
    if adopted.is_done() {
        return Ok(Exit::Success);
    }
    if !options.yes {
        context.terminal.approve("Adopt it?")?;
        if is_shared {
            making = take().await?;
            let now = judge(context, options, address, loaded).await?.adopted;
            let does = |adopted: &Adoption| {
                (
                    adopted.id.clone(),
                    adopted.add.clone(),
                    adopted.remove.clone(),
                )
            };
            if does(&now) != does(&adopted) {
                let moved = vec![Moved(format!("{address}: it is adopted otherwise now"))];
                return Err(MovedMeanwhile { moved }.into());
            }
        }
    }
    let client = &cloud.client;
    if let Some(lease) = locks.lease() {
        client.set_fence(Arc::new(lease));
    }
    let give = give_tags(client, &adopted);
    match making {
        Some(lease) => fenced_by(Arc::new(lease), give).await?,
        None => give.await?,
    }
    if !context.global.quiet {
        tell(&format!(
            "adopted; `dewpoint plan{}` shows what is next",
            context.flags()
        ));
    }
    Ok(Exit::Success)
}

/// Whether what an address stands for is the project's: a snapshot, a volume that no single environment
/// owns, also one that is somebody's own so far.
fn is_shared(address: &Address, manifest: &Manifest) -> bool {
    match address {
        Address::Snapshot(_) => true,
        Address::Volume(name) => {
            let volume = manifest.volumes.get(&**name);
            volume.is_none_or(|volume| volume.scope == Scope::Project)
        }
        Address::SshKey | Address::Firewall | Address::Droplet { .. } => false,
    }
}

/// What is to be adopted, and where it was found.
struct Judged {
    cloud: Cloud,
    adopted: Adoption,
}

/// Looks at the account, and at what is to be adopted there.
async fn judge(
    context: &Context,
    options: &Adopt,
    address: &Address,
    loaded: &Loaded,
) -> miette::Result<Judged> {
    let Seen {
        cloud,
        desired,
        live,
        identity: _,
    } = planning::look(context, loaded).await?;
    let desired = desired?;
    let wanted = Wanted {
        address,
        id: &options.id,
        attached: options.attached,
    };
    let now = jiff::Timestamp::now().as_second();
    let adopted = adopt::adopt(&desired, &live, wanted, now)?;
    if adopted.resource == TaggedResource::Volume
        && let Some(filesystem) = cloud.client.volume_filesystem(&adopted.id).await?
    {
        adopt::judge_filesystem(&desired, &adopted, &filesystem)?;
    }
    Ok(Judged { cloud, adopted })
}

async fn give_tags(client: &Client, adopted: &Adoption) -> Result<(), CloudError> {
    client
        .add_tags(adopted.resource, &adopted.id, &adopted.add)
        .await?;
    client
        .remove_tags(adopted.resource, &adopted.id, &adopted.remove)
        .await?;
    for tag in &adopted.remove {
        // A tag for this one thing alone; one that somebody still bears stays.
        client.delete_tag_if_empty(tag).await?;
    }
    Ok(())
}
