//! Laws over any account: what is planned is safe in every order and ends where it should; what is
//! refused says why, and touches nothing, for there is no plan.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::accounts::{accounts, foreign, looked_up};
use super::laws::{execute_in_some_order, manifests};
use super::world::World;
use super::*;
use crate::address::Address;
use crate::live::LiveDroplet;
use crate::plan::{RefusalKind, destroy};

/// Fails when something differs, and says only what.
#[track_caller]
fn assert_untouched(before: &Live, after: &Live, yaml: &str, plan: &Plan) {
    let whole_project = plan.goal == Goal::DestroyProject;
    // A destroy alone removes what bears a name of ours and no tags.
    let names = match plan.goal {
        Goal::Destroy | Goal::DestroyProject => names_of(yaml),
        _ => BTreeSet::new(),
    };
    let things = |live: &Live| -> Vec<String> {
        let live = foreign(live, whole_project, &names);
        let droplets = live.droplets.iter().map(|thing| format!("{thing:?}"));
        let holders = live.holders.iter().map(|thing| format!("{thing:?}"));
        let volumes = live.volumes.iter().map(|thing| format!("{thing:?}"));
        let taken = live.volume_snapshots.iter();
        let taken = taken.map(|thing| format!("{thing:?}"));
        let images = live.images.iter().map(|thing| format!("{thing:?}"));
        let walls = live.firewalls.iter().map(|thing| format!("{thing:?}"));
        let keys = live.ssh_keys.iter().map(|thing| format!("{thing:?}"));
        let all = droplets.chain(holders).chain(volumes).chain(taken);
        all.chain(images).chain(walls).chain(keys).collect()
    };
    let (before, after) = (things(before), things(after));
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        let some = some.iter().filter(|thing| !others.contains(thing));
        some.cloned().collect()
    };
    let (gone, new) = (only(&before, &after), only(&after, &before));
    assert!(
        gone.is_empty() && new.is_empty(),
        "{}\nbefore: {gone:#?}\nafter: {new:#?}",
        text(plan)
    );
}

/// The names that droplets of a manifest have, with those of builders.
fn names_of(yaml: &str) -> BTreeSet<String> {
    let desired = desired(yaml);
    let droplets = desired.droplets.iter().map(|droplet| droplet.name.as_str());
    let builders = desired
        .snapshots
        .iter()
        .map(|snapshot| snapshot.builder_name.as_str());
    let populates = desired
        .volumes
        .iter()
        .filter_map(|volume| volume.populate.as_ref());
    let fillers = populates.map(|populate| populate.droplet.as_str());
    let names = droplets.chain(builders).chain(fillers);
    names.map(ToOwned::to_owned).collect()
}

/// A refusal has a code of its own; one of the planner's own contradiction is none.
fn assert_refused_well(refusals: &Refusals) {
    assert!(!refusals.refusals.is_empty());
    for refusal in &refusals.refusals {
        assert_ne!(refusal.kind, RefusalKind::Internal, "{refusal}");
        assert!(
            !refusal.help.is_empty() && !refusal.reason.is_empty(),
            "{refusal}"
        );
    }
}

/// Makes a plan as the command line does: what stands in the way is looked at once more.
fn make(live: &Live, of: impl Fn(&Live) -> Result<Plan, Refusals>) -> Option<(Plan, Live)> {
    let live = match of(live) {
        Ok(_) => live.clone(),
        Err(refusals) => {
            assert_refused_well(&refusals);
            looked_up(live)
        }
    };
    match of(&live) {
        Ok(plan) => {
            assert_checked(&plan, &live);
            Some((plan, live))
        }
        Err(refusals) => {
            assert_refused_well(&refusals);
            None
        }
    }
}

fn assert_survives_json(plan: &Plan) {
    let json = crate::report::plan_json::render(plan);
    let read: Plan = serde_json::from_str(&json).expect("a plan");
    assert_eq!(&read, plan);
}

/// Steps that are left of the environment, in the words of a destroy.
fn left(yaml: &str, live: &Live, whole_project: bool) -> String {
    match destroy(&scope(yaml), live, whole_project, &[]) {
        Ok(plan) if !plan.has_changes() => String::new(),
        Ok(plan) => text(&plan),
        Err(refusals) => format!("{refusals:?}"),
    }
}

/// Whether all that is refused is a volume that a droplet has which is not of this environment.
fn are_of_what_others_have(refusals: &Refusals, live: &Live) -> bool {
    let ours: BTreeSet<u64> = live
        .droplets
        .iter()
        .filter(|droplet| droplet.tags.iter().any(|tag| tag == "dewpoint:app:main"))
        .map(|droplet| droplet.id)
        .collect();
    refusals.refusals.iter().all(|refusal| {
        let Some(Address::Volume(name)) = &refusal.address else {
            return false;
        };
        let called = [format!("app-{name}"), format!("app-main-{name}")];
        let volumes = live.volumes.iter();
        let mut volumes = volumes.filter(|volume| called.contains(&volume.name));
        refusal.kind == RefusalKind::AttachedElsewhere
            && volumes.any(|volume| {
                let holders = &volume.droplet_ids;
                !holders.is_empty() && !holders.iter().any(|id| ours.contains(id))
            })
    })
}

pub(super) fn an_apply_ends_with_nothing_to_do(
    live: &Live,
    yaml: &str,
    seed: u64,
    fail: Option<usize>,
) {
    let desired = desired(yaml);
    let apply = |live: &Live| crate::plan::plan(&desired, live, &options(Goal::Apply), NOW);
    let Some((plan, live)) = make(live, apply) else {
        return;
    };
    assert_survives_json(&plan);
    let after = execute_in_some_order(&plan, &live, seed, None);
    assert_untouched(&live, &after, yaml, &plan);
    let apply_again = |live: &Live| match apply(live) {
        Ok(again) => Some(again),
        // A single-use droplet is to be made anew, from what somebody else's droplet has now as before.
        Err(refusals) if are_of_what_others_have(&refusals, live) => None,
        Err(refusals) => panic!("{refusals:?}\n{}", text(&plan)),
    };
    let Some(again) = apply_again(&after) else {
        return;
    };
    assert_checked(&again, &after);
    assert!(!again.has_changes(), "{}\n{}", text(&plan), text(&again));
    // What an apply does anyway leaves it so.
    let once_more = execute_in_some_order(&again, &after, seed.wrapping_add(1), None);
    assert_untouched(&live, &once_more, yaml, &again);
    if let Some(third) = apply_again(&once_more) {
        assert!(!third.has_changes(), "{}\n{}", text(&again), text(&third));
    }

    // Whatever fails, nothing foreign is touched, and the next one ends the same.
    let Some(fail) = fail.filter(|_| plan.has_steps()) else {
        return;
    };
    let fail = u32::try_from(fail % plan.steps.len()).expect("a small number");
    let broken = execute_in_some_order(&plan, &live, seed, Some(fail));
    assert_untouched(&live, &broken, yaml, &plan);
    let Some(next) = apply_again(&broken) else {
        return;
    };
    assert_checked(&next, &broken);
    let done = execute_in_some_order(&next, &broken, seed, None);
    let Some(last) = apply_again(&done) else {
        return;
    };
    assert!(
        !last.has_changes(),
        "{}\n{}\n{}",
        text(&plan),
        text(&next),
        text(&last)
    );
}

pub(super) fn a_test_leaves_only_what_the_project_owns(live: &Live, yaml: &str, seed: u64) {
    let desired = desired(yaml);
    let test = |live: &Live| crate::plan::plan(&desired, live, &options(Goal::Test), NOW);
    let Some((plan, live)) = make(live, test) else {
        return;
    };
    assert_survives_json(&plan);
    let after = execute_in_some_order(&plan, &live, seed, None);
    assert_untouched(&live, &after, yaml, &plan);
    let mut after = looked_up(&after);
    // What was being destroyed is gone by then.
    let names = names_of(yaml);
    let is_leaving =
        |droplet: &LiveDroplet| droplet.tags.is_empty() && names.contains(&droplet.name);
    after.droplets.retain(|droplet| !is_leaving(droplet));
    assert_eq!(left(yaml, &after, false), "", "{}", text(&plan));
}

pub(super) fn a_destroy_ends_empty(live: &Live, yaml: &str, seed: u64, whole_project: bool) {
    let gone = |live: &Live| destroy(&scope(yaml), live, whole_project, &[]);
    let Some((plan, live)) = make(live, gone) else {
        return;
    };
    assert_survives_json(&plan);
    let after = execute_in_some_order(&plan, &live, seed, None);
    assert_untouched(&live, &after, yaml, &plan);
    assert_eq!(left(yaml, &after, whole_project), "", "{}", text(&plan));
    let ours = if whole_project {
        "dewpoint:app"
    } else {
        "dewpoint:app:main"
    };
    let bears = |tags: &[String]| tags.iter().any(|tag| tag == ours);
    assert!(
        !after.droplets.iter().any(|droplet| bears(&droplet.tags)),
        "{}",
        text(&plan)
    );
    assert!(
        !after.volumes.iter().any(|volume| bears(&volume.tags)),
        "{}",
        text(&plan)
    );
    assert!(
        !after
            .volume_snapshots
            .iter()
            .any(|taken| bears(&taken.tags)),
        "{}",
        text(&plan)
    );
    if whole_project {
        assert!(
            !after.images.iter().any(|image| bears(&image.tags)),
            "{}",
            text(&plan)
        );
    }
}

fn turned(live: &Live) -> Live {
    let mut live = live.clone();
    live.droplets.reverse();
    live.holders.reverse();
    live.volumes.reverse();
    live.volume_snapshots.reverse();
    live.images.reverse();
    live.firewalls.reverse();
    live.ssh_keys.reverse();
    live
}

proptest! {
    #![proptest_config(crate::tried::tried(96))]

    #[test]
    fn applying_to_any_account(
        live in accounts(),
        yaml in manifests(),
        seed in any::<u64>(),
        fail in any::<Option<u16>>(),
    ) {
        an_apply_ends_with_nothing_to_do(&live, &yaml, seed, fail.map(usize::from));
    }

    #[test]
    fn testing_in_any_account(live in accounts(), yaml in manifests(), seed in any::<u64>()) {
        a_test_leaves_only_what_the_project_owns(&live, &yaml, seed);
    }

    #[test]
    fn destroying_in_any_account(
        live in accounts(),
        yaml in manifests(),
        seed in any::<u64>(),
        whole_project in any::<bool>(),
    ) {
        a_destroy_ends_empty(&live, &yaml, seed, whole_project);
    }

    #[test]
    fn whatever_the_order_of_an_account_the_plan_is_the_same(
        live in accounts(),
        yaml in manifests(),
        test in any::<bool>(),
    ) {
        let goal = if test { Goal::Test } else { Goal::Apply };
        let desired = desired(&yaml);
        let of = |live: &Live| crate::plan::plan(&desired, live, &options(goal), NOW);
        prop_assert_eq!(of(&live), of(&turned(&live)));
        let gone = |live: &Live| destroy(&scope(&yaml), live, test, &[]);
        prop_assert_eq!(gone(&live), gone(&turned(&live)));
    }

    #[test]
    fn sweeping_any_account(
        live in accounts(),
        days in 0..3_i64,
        counts in prop::collection::vec(-1..2_i64, 24),
    ) {
        let mut account = super::sweep::making::account(&live, &BTreeMap::new());
        for (count, wrong) in account.borne.values_mut().zip(&counts) {
            *count = count.saturating_add_signed(*wrong);
        }
        let swept = crate::plan::sweep::sweep(&account, None, NOW + days * 86_400).expect("a sweep");
        assert_checked(&swept.plan, &account.live);
        let after = World::execute(&swept.plan, &account.live);
        // Nothing goes that does not bear all of dewpoint's tags.
        let is_whole = |tags: &[String]| tags.iter().any(|tag| tag == "dewpoint");
        for droplet in &live.droplets {
            let stays = after.droplets.iter().any(|other| other.id == droplet.id);
            prop_assert!(stays || is_whole(&droplet.tags), "{droplet:?}");
        }
        for volume in &live.volumes {
            let stays = after.volumes.iter().any(|other| other.id == volume.id);
            prop_assert!(stays || is_whole(&volume.tags), "{volume:?}");
        }
        let lists = after.droplets.iter().map(|d| &d.tags).chain(after.volumes.iter().map(|v| &v.tags));
        for tag in lists.flatten().filter(|tag| tag.starts_with("dewpoint")) {
            let was = account.borne.contains_key(tag);
            prop_assert!(!was || after.tags.contains(tag), "{tag}");
        }
    }
}
