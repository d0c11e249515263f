//! What begins first where there is no room for all.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Act, Scenario, empty_plan};
use crate::address::Address;
use crate::execute::limits::{Limit, Limits};
use crate::execute::rehearsal::{Rehearsal, rehearse};
use crate::plan::{Edge, EdgeKind, Plan, Step, StepId, StepKind, schedule};

/// Room for so many steps of each sort.
const fn room(steps: usize) -> Limits {
    Limits {
        api: steps,
        logins: steps,
        transfers: steps,
        commands: steps,
    }
}

#[tokio::test(start_paused = true)]
async fn with_room_for_one_the_longest_chain_begins_whatever_the_plans_order() {
    let mut scenario = Scenario::new();
    scenario.limits = room(1);
    let played = scenario
        .run(Act::Take(1))
        .expected(1)
        .run(Act::Take(1))
        .expected(1)
        // Short itself, and much behind it.
        .run(Act::Take(1))
        .expected(1)
        .run(Act::Take(30))
        .expected(30)
        .run(Act::Take(20))
        .expected(20)
        .needs(2, 3)
        .play()
        .await;
    let starts: Vec<&str> = played
        .log
        .iter()
        .filter(|line| line.contains("start"))
        .map(|line| line.trim())
        .collect();
    // 0 and 1 are as long: the plan's order.
    assert_eq!(
        starts,
        [
            "0 start 2",
            "1 start 3",
            "31 start 4",
            "51 start 0",
            "52 start 1"
        ]
    );
}

/// What the engine does and what the rehearsal says are one.
#[tokio::test(start_paused = true)]
async fn a_rehearsal_tells_when_the_engine_begins_what() {
    let took = [3, 9, 1, 5, 2, 8];
    let mut scenario = Scenario::new();
    scenario.limits = room(2);
    for seconds in took {
        scenario = scenario.run(Act::Take(seconds)).expected(seconds);
    }
    let scenario = scenario.needs(0, 4).needs(2, 3).needs(3, 5);
    let chains = schedule::chains(&took, &scenario.plan.edges);
    let told = rehearse(&scenario.plan, &took, &chains, room(2));
    let played = scenario.play().await;
    let starts: Vec<String> = played
        .log
        .iter()
        .filter(|line| line.contains("start"))
        .map(|line| line.trim().to_owned())
        .collect();
    let expected: Vec<String> = told
        .begins
        .iter()
        .map(|(at, step)| format!("{at} start {}", step.0))
        .collect();
    assert_eq!(starts, expected);
    assert_eq!(told.whole, 14);
    // In the plan's order the chain of 2, 3 and 5 begins when 0 has ended.
    assert_eq!(
        rehearse(&scenario_plan(&took), &took, &[], room(2)).whole,
        17
    );
}

fn scenario_plan(took: &[u64]) -> Plan {
    let sorts = vec![Limit::Commands; took.len()];
    plan(&sorts, &[(0, 4), (2, 3), (3, 5)])
}

/// Two long chains that the plan names last, and much that is short: bounded, the plan's order
/// leaves the long ones alone at the end.
#[test]
fn bounded_the_whole_is_shorter_than_in_the_plans_order() {
    // 32 droplets with a run of 10 each, and two with one of 100.
    let runs: Vec<u64> = [vec![10; 32], vec![100; 2]].concat();
    let sorts = vec![Limit::Commands; runs.len()];
    let plan = plan(&sorts, &[]);
    let whole = |chains: &[u64]| rehearse(&plan, &runs, chains, room(4)).whole;
    let chains = schedule::chains(&runs, &plan.edges);
    // Work for 130 each, and the longest takes 100.
    assert_eq!((whole(&[]), whole(&chains)), (180, 130));
}

fn kind(sort: Limit) -> StepKind {
    let droplet = crate::plan::step::DropletRef::Known {
        id: 1,
        name: "shop-main-runner".into(),
    };
    match sort {
        Limit::Api => StepKind::DeleteTags { names: vec![] },
        Limit::Logins => StepKind::Connect {
            droplet,
            user: "root".into(),
            host_key: crate::manifest::schema::HostKeyPolicy::Derived,
        },
        Limit::Transfers => StepKind::Collect {
            droplet,
            run: String::new().into(),
            cwd: None,
            patterns: vec![].into(),
            background: None,
        },
        Limit::Commands => StepKind::StopBackground { droplet },
    }
}

fn plan(sorts: &[Limit], edges: &[(u32, u32)]) -> Plan {
    let mut plan = empty_plan();
    plan.steps = (0..)
        .zip(sorts)
        .map(|(id, sort)| Step {
            id: StepId(id),
            address: Address::Firewall,
            kind: kind(*sort),
            cleanup: false,
            expected_seconds: 0,
        })
        .collect();
    plan.edges = edges
        .iter()
        .map(|(from, to)| Edge {
            from: StepId(*from),
            to: StepId(*to),
            kind: EdgeKind::Needs,
            reason: "".into(),
        })
        .collect();
    plan.edges.sort();
    plan.edges.dedup_by_key(|edge| (edge.from, edge.to));
    plan
}

/// Sorts of steps, how long each takes, and what needs what.
fn plans() -> impl Strategy<Value = (Plan, Vec<u64>, usize)> {
    (1_usize..40).prop_flat_map(|steps| {
        let sorts = [Limit::Api, Limit::Logins, Limit::Transfers, Limit::Commands];
        let last = u32::try_from(steps).expect("few");
        (
            prop::collection::vec(prop::sample::select(sorts.to_vec()), steps),
            prop::collection::vec((0..last, 0..last), 0..2 * steps),
            prop::collection::vec(0_u64..100, steps),
            1_usize..5,
        )
            .prop_map(|(sorts, edges, took, room)| {
                let edges: Vec<(u32, u32)> =
                    edges.into_iter().filter(|(from, to)| from < to).collect();
                (plan(&sorts, &edges), took, room)
            })
    })
}

/// Goes through a rehearsal and says what is wrong with it.
fn judge(plan: &Plan, took: &[u64], chains: &[u64], room: usize, told: &Rehearsal) {
    let began: BTreeMap<StepId, u64> = told.begins.iter().map(|(at, id)| (*id, *at)).collect();
    assert_eq!(began.len(), plan.steps.len(), "each begins once");
    let index = |id: StepId| id.0 as usize;
    let ended = |id: StepId| began[&id] + took[index(id)];
    for edge in &plan.edges {
        assert!(ended(edge.from) <= began[&edge.to], "{edge:?}");
    }
    let ready = |id: StepId| {
        let before = plan.edges.iter().filter(|edge| edge.to == id);
        before.map(|edge| ended(edge.from)).max().unwrap_or(0)
    };
    let mut before: BTreeSet<StepId> = BTreeSet::new();
    for (at, id) in &told.begins {
        let sort = Limit::of(&plan.steps[index(*id)]);
        let alike = || {
            let steps = plan.steps.iter();
            steps.filter(|step| Limit::of(step) == sort && step.id != *id)
        };
        let beside = alike()
            .filter(|other| before.contains(&other.id) && ended(other.id) > *at)
            .count();
        assert!(beside < room, "{beside} run beside {id:?} at {at}");
        for other in alike().filter(|other| !before.contains(&other.id)) {
            // Ready before this moment, of the same sort, and passed over.
            if ready(other.id) < *at {
                let (this, that) = (chains[index(*id)], chains[index(other.id)]);
                assert!(
                    that < this || (that == this && *id < other.id),
                    "{id:?} with {this} went before {:?} with {that}",
                    other.id
                );
            }
        }
        before.insert(*id);
    }
    assert_eq!(began.keys().map(|id| ended(*id)).max(), Some(told.whole));
}

proptest! {
    #![proptest_config(crate::tried::tried(256))]

    /// The longest chain of those that are ready goes first, ties go by the plan, limits and edges
    /// hold, and it is the same each time.
    #[test]
    fn the_longest_chain_that_is_ready_goes_first((plan, took, bound) in plans()) {
        let chains = schedule::chains(&took, &plan.edges);
        let told = rehearse(&plan, &took, &chains, room(bound));
        judge(&plan, &took, &chains, bound, &told);
        prop_assert_eq!(&told, &rehearse(&plan, &took, &chains, room(bound)));
        // Never shorter than the critical path, and with room for all exactly as long.
        let path = chains.iter().copied().max().unwrap_or(0);
        prop_assert!(told.whole >= path);
        prop_assert_eq!(rehearse(&plan, &took, &chains, room(usize::MAX)).whole, path);
    }
}
