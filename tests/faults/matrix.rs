//! Every kind of step, each of its calls, every fault.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dewpoint::execute::{Event, EventKind, Listener, Outcome};
use dewpoint::plan::step::ImageRef;
use dewpoint::plan::{Goal, Plan, StepId, StepKind};
use serde_json::{Value, json};

use crate::faults::{Call, FAULTS, Fault};
use crate::lab::{Lab, patient};
use crate::observed::{Census, everything, names};
use crate::plans::kind_of;
use crate::table::Table;
use crate::worlds::{IN_GUESTS, WORLDS, World};

/// Local clouds that are worked with at once, and those with guests among them.
const LABS: usize = 8;
const WITH_GUESTS: usize = 2;

/// What a step was seen to do.
#[derive(Debug, Default, Clone)]
struct Observed {
    /// Its calls, and how often each was made.
    calls: BTreeMap<Call, usize>,
    before: Census,
    /// What has come and gone when it ended.
    left: String,
    /// How many calls met the fault.
    met: u64,
    /// Why it failed.
    failure: Option<(String, String)>,
}

/// Strikes while a step runs, and looks at what it does.
struct Watch {
    lab: Arc<Lab>,
    step: StepId,
    rules: Vec<Value>,
    observed: Arc<Mutex<Observed>>,
}

impl Listener for Watch {
    fn event(&mut self, event: &Event, _: &Plan) {
        let mut observed = self.observed.lock().expect("not poisoned");
        match &event.kind {
            EventKind::Started { step, .. } if *step == self.step => {
                self.lab.calls();
                observed.before = self.lab.census();
                self.lab.strike(&self.rules);
            }
            EventKind::Done { step, .. } if *step == self.step => self.ended(&mut observed),
            EventKind::Failed { step, failure, .. } if *step == self.step => {
                self.ended(&mut observed);
                let code = failure.code.rsplit("::").next().unwrap_or_default();
                let text = format!("{}: {}", failure.message, failure.causes.join(": "));
                observed.failure = Some((code.to_owned(), text));
            }
            _ => {}
        }
    }
}

impl Watch {
    fn ended(&self, observed: &mut Observed) {
        observed.met = self.lab.heal();
        // What it had begun comes to its end, quick or not.
        self.lab.rest();
        observed.left = self.lab.census().since(&observed.before);
        for entry in self.lab.calls() {
            *observed.calls.entry(Call::of(&entry)).or_default() += 1;
        }
    }
}

/// A world, ready: the account it begins with, what its steps do without faults, what it ends with.
struct Ready {
    world: &'static World,
    begin: Value,
    steps: BTreeMap<&'static str, Observed>,
    end: Census,
}

/// The first step of a kind.
fn first(plan: &Plan, kind: &str) -> StepId {
    plan.steps
        .iter()
        .find(|step| kind_of(&step.kind) == kind && !is_failing_run(&step.kind))
        .unwrap_or_else(|| panic!("no step {kind}"))
        .id
}

fn is_failing_run(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Transfer { image: ImageRef::Taken(step), .. } if step.0 == u32::MAX)
}

/// Failures but for those of run steps that are to fail.
pub fn failures(outcome: &Outcome, plan: &Plan) -> Vec<String> {
    let unwanted = outcome.failures.iter().filter(|(step, _)| {
        let kind = step.and_then(|step| plan.step(step)).map(|step| &step.kind);
        !kind.is_some_and(is_failing_run)
    });
    unwanted
        .map(|(step, failure)| {
            let kind = step.and_then(|step| plan.step(step));
            let kind = kind.map_or_else(String::new, |step| step.kind.title());
            format!(
                "{kind}: {} ({})",
                failure.message,
                failure.causes.join(": ")
            )
        })
        .collect()
}

pub async fn succeed(
    lab: &Lab,
    what: &str,
    text: &str,
    goal: Goal,
    fails: bool,
) -> Result<(), String> {
    let ran = lab.go(text, goal, fails, |_| vec![]).await;
    let ran = ran.map_err(|error| format!("{what}: {error}"))?;
    let failures = failures(&ran.outcome, &ran.plan);
    if failures.is_empty() {
        return Ok(());
    }
    Err(format!("{what}: {}", failures.join("; ")))
}

/// What must hold after a run, whatever it came to.
pub async fn settles(lab: &Lab, world: &World, end: Option<&Census>) -> Result<Census, String> {
    let is_kept = matches!(world.goal, Goal::Apply | Goal::Test);
    if is_kept {
        let hidden = |account: &Value, shown: &str| -> Vec<String> {
            let mut all = names(account);
            all.retain(|name| !shown.contains(name));
            all
        };
        let account = lab.account();
        let shown = lab.status(world.manifest).await;
        // What was just being destroyed had lost its tags already: it goes by itself.
        if !hidden(&account, &shown).is_empty() {
            let account = lab.at_rest().await;
            let shown = lab.status(world.manifest).await;
            let hidden = hidden(&account, &shown);
            if !hidden.is_empty() {
                return Err(format!("status does not show {hidden:?}: {shown}"));
            }
        }
    }
    let again = succeed(lab, "again", world.manifest, world.goal, false).await;
    if again
        .as_ref()
        .is_err_and(|why| why.contains("is off, so nothing can run on it"))
    {
        // Who switched it off knows why; it is for him to switch it on again.
        switch_on(lab).await;
        succeed(lab, "again", world.manifest, world.goal, false).await?;
    } else {
        again?;
    }
    lab.at_rest().await;
    if world.goal != Goal::Test {
        let (plan, _) = lab.plan(world.manifest, world.goal).await?;
        if plan.has_changes() {
            let changes: Vec<_> = plan.changes.iter().map(|change| &change.name).collect();
            return Err(format!(
                "the plan is not empty: {changes:?} {:?}",
                plan.changes
            ));
        }
    }
    let now = lab.census();
    if !now.doubled().is_empty() {
        return Err(format!("doubled: {:?}", now.doubled()));
    }
    // A snapshot that was taken in vain no longer counts: later ones take it away within the hour.
    if let Some(end) = end
        && end.with_one_snapshot() != now.with_one_snapshot()
    {
        return Err(format!("it ends with {:?} instead of {:?}", now.0, end.0));
    }
    succeed(lab, "destroy", world.manifest, Goal::DestroyProject, false).await?;
    let left = everything(&lab.at_rest().await);
    if !left.is_empty() {
        return Err(format!("destroy leaves {left:?}"));
    }
    Ok(now)
}

/// Switches on every droplet that is off.
async fn switch_on(lab: &Lab) {
    let account = lab.account();
    for (id, droplet) in account["droplets"].as_object().expect("droplets") {
        if droplet["status"] == "off" {
            let path = format!("/v2/droplets/{id}/actions");
            lab.call("POST", &path, Some(&json!({ "type": "power_on" })));
        }
    }
    lab.at_rest().await;
}

/// Applies what comes before a world, to an empty account.
pub async fn begin(lab: &Lab, world: &World, empty: &Value) -> Value {
    lab.restore(empty);
    for before in world.before {
        let done = succeed(lab, world.name, before, Goal::Apply, false).await;
        done.expect("no fault is in force");
    }
    lab.at_rest().await
}

async fn make_ready(lab: &Arc<Lab>, world: &'static World, empty: &Value) -> Ready {
    let begin = begin(lab, world, empty).await;
    let mut watched = BTreeMap::new();
    let ran = lab.go(world.manifest, world.goal, world.fails, |plan| {
        let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
        for kind in world.kinds {
            let observed = Arc::new(Mutex::new(Observed::default()));
            watched.insert(*kind, Arc::clone(&observed));
            listeners.push(Box::new(Watch {
                lab: Arc::clone(lab),
                step: first(plan, kind),
                rules: vec![],
                observed,
            }));
        }
        listeners
    });
    let ran = ran.await.expect("can be planned");
    assert_eq!(
        failures(&ran.outcome, &ran.plan),
        Vec::<String>::new(),
        "{}",
        world.name
    );
    let end = settles(lab, world, None).await;
    let steps = watched
        .into_iter()
        .map(|(kind, observed)| (kind, observed.lock().expect("not poisoned").clone()))
        .collect();
    Ready {
        world,
        begin,
        steps,
        end: end.unwrap_or_else(|error| panic!("{} without faults: {error}", world.name)),
    }
}

/// Kinds of step.
pub type Kinds = BTreeSet<&'static str>;

/// One cell of the matrix, before the calls of a kind are put together.
struct Case {
    ready: Arc<Ready>,
    kind: &'static str,
    call: Call,
    fault: &'static Fault,
    rules: Vec<Value>,
}

/// What came of one.
#[derive(Debug, Clone)]
pub struct Came {
    pub kind: &'static str,
    pub world: &'static str,
    pub call: String,
    pub fault: &'static str,
    pub word: &'static str,
    /// Of a failure: its code, and what the step had changed by then.
    pub code: String,
    pub left: String,
    /// What must hold and does not.
    pub broken: Option<String>,
}

async fn run(lab: &Arc<Lab>, case: &Case) -> Came {
    let world = case.ready.world;
    lab.wait_as(patient());
    lab.restore(&case.ready.begin);
    let observed = Arc::new(Mutex::new(Observed::default()));
    let watched = Arc::clone(&observed);
    let mut timing = patient();
    (case.fault.hurry)(&mut timing);
    lab.wait_as(timing);
    let ran = lab.go(world.manifest, world.goal, world.fails, |plan| {
        vec![Box::new(Watch {
            lab: Arc::clone(lab),
            step: first(plan, case.kind),
            rules: case.rules.clone(),
            observed: watched,
        })]
    });
    let mut came = Came {
        kind: case.kind,
        world: world.name,
        call: case.call.shown(),
        fault: case.fault.name,
        word: "not planned",
        code: String::new(),
        left: String::new(),
        broken: None,
    };
    let ran = ran.await;
    lab.wait_as(patient());
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => {
            came.broken = Some(error);
            return came;
        }
    };
    // A call that comes late may be carried out after its run has ended.
    lab.heard().await;
    lab.heal();
    let observed = observed.lock().expect("not poisoned").clone();
    let failures = failures(&ran.outcome, &ran.plan);
    came.word = match &observed.failure {
        Some((code, _)) => {
            came.code.clone_from(code);
            came.left = observed.left;
            "failed"
        }
        None if !failures.is_empty() => "failed later",
        // Whether a call was made again or its effect was found first can depend on what is quicker.
        None if case.fault.is_loss => "retried",
        None => "survived",
    };
    // A list that lags may keep a call from being made at all.
    let is_due = case.fault.name != "reset after, lists lag";
    came.broken = if observed.met == 0 && is_due {
        Some("no call met it".to_owned())
    } else {
        settles(lab, world, Some(&case.ready.end)).await.err()
    };
    if let Some(broken) = &mut came.broken {
        *broken = format!("{broken}\n    failures: {failures:?}");
    }
    came
}

/// All cases of worlds, in an order that does not change; kinds of step that ask the API for nothing
/// are put aside.
async fn all_cases(lab: &Arc<Lab>, worlds: &'static [World], quiet: &mut Kinds) -> Vec<Case> {
    let empty = lab.account();
    let mut cases = Vec::new();
    for world in worlds {
        let ready = Arc::new(make_ready(lab, world, &empty).await);
        for (kind, observed) in &ready.steps {
            if observed.calls.is_empty() {
                quiet.insert(kind);
            }
            for call in observed.calls.keys() {
                for fault in &FAULTS {
                    let Some(rules) = (fault.rules)(call) else {
                        continue;
                    };
                    cases.push(Case {
                        ready: Arc::clone(&ready),
                        kind,
                        call: call.clone(),
                        fault,
                        rules,
                    });
                }
            }
        }
    }
    cases
}

/// Of all cases those that between them have each kind of step under each fault, and each call of
/// each kind under some: every time the same.
fn sample(cases: Vec<Case>) -> Vec<Case> {
    let mut by_cell: BTreeMap<(&str, &str), Vec<Case>> = BTreeMap::new();
    for case in cases {
        let cell = by_cell.entry((case.kind, case.fault.name)).or_default();
        cell.push(case);
    }
    let mut met: BTreeMap<(&str, &str, String), usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for (_, mut cell) in by_cell {
        let name = |case: &Case| (case.kind, case.ready.world.name, case.call.shown());
        // The one whose call has met the fewest so far.
        let least = (0..cell.len()).min_by_key(|at| met.get(&name(&cell[*at])).copied());
        let case = cell.swap_remove(least.expect("a cell has a case"));
        *met.entry(name(&case)).or_default() += 1;
        chosen.push(case);
    }
    chosen
}

/// Runs cases, several at once.
async fn run_all(labs: &[Arc<Lab>], cases: Vec<Case>) -> Vec<(Case, Came)> {
    let cases = Arc::new(Mutex::new(VecDeque::from(cases)));
    let work = labs.iter().map(|lab| {
        let (lab, cases) = (Arc::clone(lab), Arc::clone(&cases));
        tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let case = cases.lock().expect("not poisoned").pop_front();
                let Some(case) = case else { return all };
                let came = run(&lab, &case).await;
                all.push((case, came));
            }
        })
    });
    let all = futures_util::future::join_all(work).await;
    let all = all.into_iter().map(|all| all.expect("no panic"));
    all.flatten().collect()
}

/// Whether what the cases come to is to be written, and whether all of them are run.
fn wanted() -> (bool, bool) {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let is_update = is_set("UPDATE_FAULTS");
    (is_update, is_update || is_set("ALL_FAULTS"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_kind_of_step_under_every_fault() {
    let begun = Instant::now();
    let (is_update, is_whole) = wanted();
    let first = Arc::new(Lab::start(None).await);
    let in_guests = Lab::with_guests(&first).await.map(Arc::new);
    let mut quiet = Kinds::new();
    let mut cases = all_cases(&first, &WORLDS, &mut quiet).await;
    if let Some(lab) = &in_guests {
        cases.extend(all_cases(lab, &IN_GUESTS, &mut quiet).await);
    }
    if let Ok(only) = std::env::var("FAULTS_ONLY") {
        cases.retain(|case| {
            let (world, kind, call) = (case.ready.world.name, case.kind, case.call.shown());
            format!("{world}|{kind}|{call}|{}", case.fault.name).contains(&only)
        });
    } else if !is_whole {
        cases = sample(cases);
    }
    let count = cases.len();
    println!("{count} cases, ready after {:.1?}", begun.elapsed());
    let (of_guests, others): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.ready.world.guests);
    let mut labs = vec![Arc::clone(&first)];
    for _ in 1..LABS {
        labs.push(Arc::new(Lab::start(Some(&first)).await));
    }
    let mut with_guests: Vec<Arc<Lab>> = in_guests.iter().map(Arc::clone).collect();
    if in_guests.is_some() {
        for _ in 1..WITH_GUESTS {
            with_guests.extend(Lab::with_guests(&first).await.map(Arc::new));
        }
    }
    let (mut ran, ran_in_guests) =
        tokio::join!(run_all(&labs, others), run_all(&with_guests, of_guests));
    ran.extend(ran_in_guests);
    println!("{count} cases after {:.1?}", begun.elapsed());
    let table = Table::read();
    let (mut came, mut odd) = (Vec::new(), Vec::new());
    for (case, one) in ran {
        let is_odd = !is_update && one.broken.is_none() && !table.has(&one);
        if is_odd {
            odd.push(case);
        } else {
            came.push(one);
        }
    }
    // How a step comes out that gives something up can depend on whether the machine has so much else
    // to do that it gives up too early: what is not as the table says counts once nothing else is done.
    // What must hold whatever comes gets no second chance.
    for case in odd {
        let lab = in_guests.as_ref().filter(|_| case.ready.world.guests);
        let one = run(lab.unwrap_or(&first), &case).await;
        let name = format!("{}|{}|{}", one.kind, one.call, one.fault);
        println!("again: {name}: {} {}", one.word, one.code);
        came.push(one);
    }
    let broken: Vec<String> = came
        .iter()
        .filter_map(|came| {
            let broken = came.broken.as_ref()?;
            Some(format!(
                "{}: {} {} [{}]: {}\n    {broken}",
                came.world, came.kind, came.call, came.fault, came.word
            ))
        })
        .collect();
    assert!(
        broken.is_empty(),
        "{} of {count}:\n{}",
        broken.len(),
        broken.join("\n")
    );
    let untried: Vec<&str> = match in_guests {
        Some(_) => vec![],
        None => IN_GUESTS
            .iter()
            .flat_map(|world| world.kinds)
            .copied()
            .collect(),
    };
    if is_update {
        Table::write(&came, &quiet);
    } else {
        table.check(&came, &quiet, &untried, is_whole);
    }
}
