//! From the command line to a plan: everything that must be read, read at once.

use std::time::Duration;

use super::applied::Record;
use super::context::{Context, Loaded};
use super::durations;
use super::endpoint::{self, Cloud};
use super::error::CliError;
use super::hold::Hold;
use super::inputs::read_inputs;
use super::key::{find_key, is_generated, open_key, present_key};
use super::local_files;
use super::prices;
use super::project::Making;
use super::waiting::waiting;
use crate::address::Address;
use crate::cloud::{self, Query};
use crate::desired::{self, SshKey};
use crate::execute::error::StepError;
use crate::guest::Identity;
use crate::live::Live;
use crate::live::ownership::Owner;
use crate::manifest::Manifest;
use crate::plan::{self, Goal, Plan, Refusals, Selection};

/// A plan, and what it takes to carry it out.
#[derive(Debug)]
pub struct Planned {
    /// The manifest it follows from.
    pub loaded: Loaded,
    /// The cloud it was made for.
    pub cloud: Cloud,
    /// The user's key; absent when a destroy found none.
    pub identity: Option<Identity>,
    /// What was found on the cloud.
    pub live: Live,
    /// What the manifest asks for; of a saved plan without the commits of its sources, which are the
    /// plan's. None for a destroy.
    pub desired: Option<desired::Desired>,
    /// The plan.
    pub plan: Plan,
}

/// What is asked for on the command line beside the goal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes<'a> {
    /// Addresses whose protection is lifted this once.
    pub unprotect: &'a [String],
    /// Whether builders of snapshots stay when something goes wrong on them.
    pub keep_builder: bool,
    /// Addresses that alone are changed and worked on, with what they need; all when there are none.
    pub targets: &'a [String],
    /// Addresses of what is made anew although nothing is wrong with it.
    pub replace: &'a [String],
    /// Whether only what should not be there is removed.
    pub only_destroy: bool,
    /// How long to wait for volumes that other environments hold.
    pub hold_patience: Duration,
}

/// Makes a plan, when nothing stands in the way of it but volumes that other environments hold: once
/// these are free, if that is in time.
///
/// # Errors
/// As [`make_now`].
pub async fn make(
    context: &Context,
    loaded: Loaded,
    goal: Goal,
    wishes: Wishes<'_>,
) -> miette::Result<Planned> {
    let mut hold = Hold::new(wishes.hold_patience);
    loop {
        let refused = match make_now(context, loaded.clone(), goal, wishes, &mut hold).await {
            Err(report) => report,
            made => return made,
        };
        // Everything may have moved meanwhile: the plan is made from the start.
        if !hold.is_over(context).await? {
            return Err(refused);
        }
    }
}

/// The same, with the project's lock for what makes something that environments share; it is waited for
/// as long as `patience`, and nobody has it who waits for volumes.
///
/// # Errors
/// As [`make_now`]; when another run keeps the lock.
pub(super) async fn make_under(
    context: &Context,
    loaded: Loaded,
    goal: Goal,
    wishes: Wishes<'_>,
    (making, patience): (&Making, Duration),
) -> miette::Result<Planned> {
    let mut hold = Hold::new(wishes.hold_patience);
    loop {
        let plan = async || make_now(context, loaded.clone(), goal, wishes, &mut hold).await;
        let refused = match making.plan(context, &loaded, patience, plan).await {
            Err(report) => report,
            made => return made,
        };
        making.let_go().await;
        // Everything may have moved meanwhile: the plan is made from the start.
        if !hold.is_over(context).await? {
            return Err(refused);
        }
    }
}

/// Makes a plan of what is there now.
///
/// # Errors
/// When something cannot be read, the cloud does not answer, or the plan is refused.
async fn make_now(
    context: &Context,
    loaded: Loaded,
    goal: Goal,
    wishes: Wishes<'_>,
    hold: &mut Hold,
) -> miette::Result<Planned> {
    let unprotect = addresses(wishes.unprotect)?;
    if matches!(goal, Goal::Apply | Goal::Test) {
        local_files::check(&loaded)?;
    }
    let opening = endpoint::open(&context.global);
    let cloud = waiting(context, "the local cloud to start", opening).await?;
    let sources = if desired::reads(&loaded.manifest).git.is_empty() {
        ""
    } else {
        " and from the manifest's git sources"
    };
    let what = format!("an answer from {}{sources}", cloud.endpoint);
    let at = jiff::Timestamp::now();
    let now = at.as_second();
    match goal {
        Goal::Apply | Goal::Test | Goal::Run => {
            let identity = open_key(&loaded).await?;
            let key = SshKey {
                public_key: identity.public_key_line(),
                fingerprint: identity.md5_fingerprint(),
                generated: is_generated(&loaded.manifest),
            };
            let query = query(&loaded, goal, Some(&identity));
            let reading = async {
                tokio::join!(
                    read_inputs(&loaded, key),
                    cloud::observe(&cloud.client, &query)
                )
            };
            let (inputs, live) = waiting(context, &what, reading).await;
            let (inputs, mut live) = (inputs?, live?);
            prices::store(context, &live.catalog, at);
            let desired = desired::desired(&loaded.manifest, &inputs)?;
            let builders = desired.snapshots.iter();
            let builders = builders
                .map(|snapshot| snapshot.builder_name.as_str())
                .collect();
            let what = "a snapshot that an earlier run began to take";
            let awaiting = cloud.client.await_snapshots(&builders, &live);
            if waiting(context, what, awaiting).await? {
                live = cloud::observe(&cloud.client, &query).await?;
            }
            let options = plan::Options {
                goal,
                unprotect,
                keep_builder: wishes.keep_builder,
                targets: wishes.targets.to_vec(),
                replace: wishes.replace.to_vec(),
                only_destroy: wishes.only_destroy,
            };
            let owner = owner(&loaded);
            let (mut has_holders, mut has_lost) = (false, goal != Goal::Apply);
            let mut has_waited = wishes.hold_patience.is_zero();
            let mut planned = loop {
                let planned = plan::plan(&desired, &live, &options, now);
                let client = &cloud.client;
                match &planned {
                    // Who has what stands in the way is asked; what is gone has nothing.
                    Err(_) if !has_holders => {
                        has_holders = true;
                        client.look_up_holders(&owner, false, &mut live).await?;
                    }
                    // A droplet that is being destroyed has it for a moment more.
                    Err(refusals) if !has_waited && refusals.is_attached_elsewhere() => {
                        has_waited = true;
                        if !await_leaving(context, client, &loaded, &mut live).await {
                            break planned;
                        }
                    }
                    // What would be made twice, for somebody took its tag away: for a test
                    // everything is read anyway.
                    Ok(plan) if !has_lost && !plan.new_droplets().is_empty() => {
                        has_lost = true;
                        let names = plan.new_droplets();
                        if !client.look_up_lost(&owner, &names, &mut live).await? {
                            break planned;
                        }
                    }
                    _ => break planned,
                }
            };
            // Only a plan says which images something is made from; one that is refused for other
            // reasons is to be refused for these too.
            let slugs = match &planned {
                Ok(plan) => plan.public_images(),
                Err(_) => desired.public_images(),
            };
            if planned.is_err() || !slugs.is_empty() {
                let catalog = &mut live.catalog;
                cloud.client.look_up_images(&slugs, catalog).await?;
                planned = plan::plan(&desired, &live, &options, now);
            }
            known(&options.unprotect, &loaded.manifest, planned.as_ref())?;
            let mut plan = planned
                .inspect_err(|refusals| hold.begin(&cloud.client, &desired, &live, refusals))?;
            durations::expect(&mut plan, &loaded, &cloud, &live.catalog);
            if plan.has_changes()
                && let Some(applied) = Record::of(&loaded, &cloud).realised(&live.account.id)
            {
                plan.tell_drift(&applied, &live, now);
            }
            if goal == Goal::Test {
                note_kept(&mut plan);
            }
            Ok(Planned {
                loaded,
                cloud,
                identity: Some(identity),
                live,
                desired: Some(desired),
                plan,
            })
        }
        Goal::Sweep => unreachable!("a sweep is planned without a manifest"),
        Goal::Destroy | Goal::DestroyProject => {
            let identity = find_key(&loaded).await;
            let query = query(&loaded, goal, identity.as_ref());
            let observing = cloud::observe(&cloud.client, &query);
            let what = format!("an answer from {}", cloud.endpoint);
            let mut live = waiting(context, &what, observing).await?;
            prices::store(context, &live.catalog, at);
            let scope = desired::scope(&loaded.manifest);
            let whole_project = goal == Goal::DestroyProject;
            let mut plan = plan::destroy(&scope, &live, whole_project, &unprotect);
            // A volume may still name a droplet that is just being destroyed.
            let is_sound = |plan: &Plan| plan::check::check(plan, &live).is_ok();
            if !plan.as_ref().is_ok_and(is_sound) {
                let owner = owner(&loaded);
                let client = &cloud.client;
                client
                    .look_up_holders(&owner, whole_project, &mut live)
                    .await?;
                plan = plan::destroy(&scope, &live, whole_project, &unprotect);
                if let Err(refusals) = &plan
                    && refusals.is_attached_elsewhere()
                    && await_leaving(context, client, &loaded, &mut live).await
                {
                    plan = plan::destroy(&scope, &live, whole_project, &unprotect);
                }
            }
            known(&unprotect, &loaded.manifest, plan.as_ref())?;
            let mut plan = plan?;
            durations::expect(&mut plan, &loaded, &cloud, &live.catalog);
            Ok(Planned {
                loaded,
                cloud,
                identity,
                live,
                desired: None,
                plan,
            })
        }
    }
}

/// What of an account is read to plan towards a goal.
pub(super) fn query(loaded: &Loaded, goal: Goal, identity: Option<&Identity>) -> Query {
    let destroys = matches!(goal, Goal::Destroy | Goal::DestroyProject);
    Query {
        project: loaded.manifest.project.clone(),
        environment: loaded.manifest.environment.clone(),
        // A destroy looks by name, not by this machine's key: another machine may have made one too.
        ssh_key: identity
            .filter(|_| !destroys)
            .map(Identity::md5_fingerprint),
        for_destroy: destroys || goal == Goal::Test,
        volume_snapshots: !destroys && desired::has_clones(&loaded.manifest),
    }
}

/// Waits for droplets that may be being destroyed and have a volume; says whether one of them is gone.
async fn await_leaving(
    context: &Context,
    client: &cloud::Client,
    loaded: &Loaded,
    live: &mut Live,
) -> bool {
    let owner = owner(loaded);
    let what = "a droplet without tags that has a volume: it may be being destroyed";
    let leaving = client.await_leaving(&owner, &loaded.manifest.project, live);
    waiting(context, what, leaving).await
}

/// Says of a test that droplets which stood before it go with it.
fn note_kept(plan: &mut Plan) {
    let mut kept = plan
        .changes
        .iter()
        .filter(|change| change.id.is_some() && matches!(change.address, Address::Droplet { .. }));
    let Some(first) = kept.next() else { return };
    let (others, go) = match kept.count() {
        0 => (String::new(), "it is"),
        more => (format!(" and {more} more"), "they are"),
    };
    plan.notices.push(format!(
        "droplets stand in this environment already ({}{others}): {go} destroyed by this test, too; `--env NAME` tests beside them",
        first.name
    ));
}

/// Refuses an address that neither the manifest nor the plan has: a slip in a word that lifts
/// protection must not pass.
fn known(
    given: &[Address],
    manifest: &Manifest,
    plan: Result<&Plan, &Refusals>,
) -> Result<(), CliError> {
    let mut addresses: Vec<Address> = match plan {
        Ok(plan) => plan.changes.iter().map(|c| c.address.clone()).collect(),
        Err(refusals) => {
            let refusals = refusals.refusals.iter();
            refusals.filter_map(|r| r.address.clone()).collect()
        }
    };
    addresses.extend([Address::SshKey, Address::Firewall]);
    addresses.extend(manifest.volumes.keys().map(|name| Address::volume(name)));
    addresses.extend(
        manifest
            .snapshots
            .keys()
            .map(|name| Address::snapshot(name)),
    );
    addresses.extend(manifest.droplets.keys().map(|name| Address::droplet(name)));
    for given in given {
        let is_known = addresses.iter().any(|address| {
            address == given
                // An instance that a count no longer makes.
                || matches!((address, given), (
                    Address::Droplet { name, .. },
                    Address::Droplet { name: other, .. },
                ) if name == other)
        });
        if is_known {
            continue;
        }
        let text = given.to_string();
        let nearest = addresses
            .iter()
            .map(ToString::to_string)
            .min_by_key(|address| (strsim::damerau_levenshtein(address, &text), address.clone()));
        return Err(CliError::UnknownAddress {
            given: given.clone(),
            hint: match nearest {
                Some(nearest) => {
                    format!("the nearest there is: `{nearest}`; `dewpoint plan` shows them all")
                }
                None => "`dewpoint plan` shows all addresses".to_owned(),
            },
        });
    }
    Ok(())
}

/// The manifest beside the account, for commands that change no droplet.
#[derive(Debug)]
pub struct Seen {
    /// The cloud that was looked at.
    pub cloud: Cloud,
    /// The user's key; absent when it is one that dewpoint makes and that is not there yet.
    pub identity: Option<Identity>,
    /// What the manifest asks for; an error when what it names cannot be read, or a variable has no value.
    pub desired: miette::Result<desired::Desired>,
    /// What was found on the cloud.
    pub live: Live,
}

/// Looks at the manifest's files and at the account. No key is made: there is nothing yet that one
/// would open.
///
/// # Errors
/// When something cannot be read, or the cloud does not answer.
pub async fn look(context: &Context, loaded: &Loaded) -> miette::Result<Seen> {
    let opening = endpoint::open(&context.global);
    let cloud = waiting(context, "the local cloud to start", opening).await?;
    let identity = match present_key(loaded).await {
        Ok(identity) => Some(identity),
        Err(error) if error.is::<StepError>() => None,
        Err(error) => return Err(error),
    };
    let key = SshKey {
        public_key: identity
            .as_ref()
            .map(Identity::public_key_line)
            .unwrap_or_default(),
        fingerprint: identity
            .as_ref()
            .map(Identity::md5_fingerprint)
            .unwrap_or_default(),
        generated: is_generated(&loaded.manifest),
    };
    let query = Query {
        project: loaded.manifest.project.clone(),
        environment: loaded.manifest.environment.clone(),
        ssh_key: identity.as_ref().map(Identity::md5_fingerprint),
        for_destroy: false,
        volume_snapshots: desired::has_clones(&loaded.manifest),
    };
    let reading = async {
        match loaded.unset.first() {
            None => read_inputs(loaded, key).await,
            Some(name) => Err(miette::miette!(
                "the variable `{name}` has no value; `--var {name}=VALUE` gives one"
            )),
        }
    };
    let (inputs, live) = tokio::join!(reading, cloud::observe(&cloud.client, &query));
    let live = live?;
    prices::store(context, &live.catalog, jiff::Timestamp::now());
    let desired =
        inputs.and_then(|inputs| desired::desired(&loaded.manifest, &inputs).map_err(Into::into));
    Ok(Seen {
        cloud,
        identity,
        desired,
        live,
    })
}

/// The account as it is, for a comparison with what was applied to it. No file and no repository is
/// read.
///
/// # Errors
/// When the cloud does not answer.
pub async fn look_at_applied(
    context: &Context,
    loaded: &Loaded,
    cloud: &Cloud,
    applied: &desired::Desired,
) -> miette::Result<Live> {
    let mut mounts = applied.droplets.iter().flat_map(|droplet| &droplet.mounts);
    let query = Query {
        project: loaded.manifest.project.clone(),
        environment: loaded.manifest.environment.clone(),
        ssh_key: Some(applied.ssh_key.fingerprint.clone()),
        for_destroy: false,
        volume_snapshots: mounts.any(|mount| mount.copy.is_some()),
    };
    let what = format!("an answer from {}", cloud.endpoint);
    let live = waiting(context, &what, cloud::observe(&cloud.client, &query)).await?;
    prices::store(context, &live.catalog, jiff::Timestamp::now());
    Ok(live)
}

/// Makes the plan of a `run`.
///
/// # Errors
/// When something cannot be read, the cloud does not answer, nothing is chosen, a droplet is not
/// up, or this machine has no key to log in to it.
pub async fn make_run(
    context: &Context,
    loaded: Loaded,
    selection: &Selection,
) -> miette::Result<Planned> {
    local_files::check(&loaded)?;
    let Seen {
        cloud,
        identity,
        desired,
        live,
    } = look(context, &loaded).await?;
    let desired = desired?;
    let mut plan = plan::run(&desired, &live, selection)?;
    durations::expect(&mut plan, &loaded, &cloud, &live.catalog);
    if identity.is_none() {
        return Err(StepError::NoIdentity.into());
    }
    Ok(Planned {
        loaded,
        cloud,
        identity,
        live,
        desired: Some(desired),
        plan,
    })
}

fn owner(loaded: &Loaded) -> Owner {
    Owner::new(&loaded.manifest.project, &loaded.manifest.environment)
}

fn addresses(given: &[String]) -> Result<Vec<Address>, CliError> {
    given
        .iter()
        .map(|text| {
            text.parse().map_err(|_| CliError::Address {
                given: text.clone(),
            })
        })
        .collect()
}
