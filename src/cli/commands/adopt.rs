//! `dewpoint adopt`: an existing volume or snapshot becomes what an address stands for.

use std::sync::Arc;

use crate::address::Address;
use crate::cli::args::Adopt;
use crate::cli::context::{Context, Loaded};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::local_files;
use crate::cli::locks;
use crate::cli::planning;
use crate::cli::terminal::{print, tell};
use crate::execute::shared_lock::Lease;
use crate::plan::adopt::{self, Wanted};
use crate::plan::step::TaggedResource;
use crate::report::{adoption, fold};

/// Shows what adopting means, asks, and gives the tags.
///
/// # Errors
/// When it is refused, not approved, or a tag cannot be given. Giving them again goes on where it
/// ended.
pub async fn run(context: &Context, options: &Adopt) -> miette::Result<Exit> {
    if !options.yes && !context.terminal.can_ask {
        // Nobody could approve: say so before the first call.
        return Err(CliError::NoTerminal.into());
    }
    let address: Address = options.address.parse().map_err(|_| CliError::Address {
        given: options.address.clone(),
    })?;
    let loaded = context.load()?;
    local_files::check(&loaded)?;
    let locks = locks::take(context, &loaded, "adopt", &options.locking, None).await?;
    let done = run_locked(context, options, &address, &loaded, locks.lease()).await;
    locks.release(context, &loaded, &done).await;
    done
}

async fn run_locked(
    context: &Context,
    options: &Adopt,
    address: &Address,
    loaded: &Loaded,
    lease: Option<Lease>,
) -> miette::Result<Exit> {
    let (project, environment) = (&loaded.manifest.project, &loaded.manifest.environment);
    let seen = planning::look(context, loaded).await?;
    let desired = seen.desired?;
    let client = &seen.cloud.client;
    if let Some(lease) = lease {
        client.set_fence(Arc::new(lease));
    }
    let wanted = Wanted {
        address,
        id: &options.id,
        attached: options.attached,
    };
    let now = jiff::Timestamp::now().as_second();
    let adopted = adopt::adopt(&desired, &seen.live, wanted, now)?;
    if adopted.resource == TaggedResource::Volume
        && let Some(filesystem) = client.volume_filesystem(&adopted.id).await?
    {
        adopt::judge_filesystem(&desired, &adopted, &filesystem)?;
    }
    if adopted.is_done() || !options.yes || !context.global.quiet {
        let text = adoption::render(&adopted, project, environment, context.terminal.out);
        print(&if context.terminal.out_folds {
            fold::fold(&text, context.terminal.width)
        } else {
            text
        })?;
    }
    if adopted.is_done() {
        return Ok(Exit::Success);
    }
    if !options.yes {
        context.terminal.approve("Adopt it?")?;
    }
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
    if !context.global.quiet {
        tell(&format!(
            "adopted; `dewpoint plan{}` shows what is next",
            context.flags()
        ));
    }
    Ok(Exit::Success)
}
