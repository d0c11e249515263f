//! Source, inventory, runs, artifacts and logs: what is done on a droplet between login and end.

use super::droplet::{Background, Life, PlannedDroplet};
use super::{Draft, known};
use crate::desired::Desired;
use crate::live::LiveDroplet;
use crate::plan::step::{CollectLog, StepId, StepKind};

/// Why a run waits for steps of another droplet.
const NEEDED: &str = "`needs`: runs of the other droplet must be done, its background steps ready";

impl<'a> Draft<'a> {
    /// Login, source, runs and artifacts of a droplet that is up: nothing else of it.
    pub fn draw_run_alone(
        &mut self,
        desired: &Desired,
        planned: &PlannedDroplet<'a>,
        live: &LiveDroplet,
    ) {
        let nothing_runs = planned.droplet.source.is_none() && planned.droplet.runs.is_empty();
        if nothing_runs {
            return;
        }
        let connect = self.connect_known(live, &planned.droplet.address);
        let mut life = Life {
            reference: known(live),
            all: vec![connect],
            required: vec![connect],
            ended: Vec::new(),
            needed: Vec::new(),
            needed_ended: Vec::new(),
            connect: Some(connect),
            prepared: None,
            releases: Vec::new(),
            work: Vec::new(),
            backgrounds: Vec::new(),
            mounts: Vec::new(),
            event: None,
        };
        self.draw_runs(planned, &mut life);
        self.draw_logs(planned, &mut life, &[]);
        self.note_activity(desired, planned);
    }

    /// Source, runs, artifacts.
    pub(super) fn draw_runs(&mut self, planned: &PlannedDroplet<'a>, life: &mut Life<'a>) {
        let droplet = planned.droplet;
        let address = &droplet.address;
        if let Some(source) = &droplet.source {
            let sync = self.step(
                address,
                StepKind::Sync {
                    droplet: life.reference.clone(),
                    source: source.clone(),
                },
            );
            for &before in &life.required {
                self.graph.needs(
                    before,
                    sync,
                    "the source may lie on a volume, and needs a login",
                );
            }
            life.all.push(sync);
            life.required = vec![sync];
        }
        life.required.extend(life.prepared);
        for (position, run) in droplet.runs.iter().enumerate() {
            let step = self.step(
                address,
                StepKind::Run {
                    droplet: life.reference.clone(),
                    run: run.spec.clone(),
                },
            );
            for &before in &life.required {
                self.graph.needs(
                    before,
                    step,
                    "a run needs what comes before it on its droplet",
                );
            }
            for &before in &life.ended {
                self.graph.after(
                    before,
                    step,
                    "runs of a droplet come one after the other, artifacts in between",
                );
            }
            for &before in &life.needed {
                self.graph.needs(before, step, NEEDED);
            }
            for &before in &life.needed_ended {
                self.graph.after(before, step, NEEDED);
            }
            life.all.push(step);
            life.work.push(step);
            let mut ended = Vec::new();
            if run.spec.background.is_some() {
                for &release in &life.releases {
                    self.graph.after(
                        release,
                        step,
                        "what runs is stopped while a volume leaves the droplet",
                    );
                }
                life.backgrounds.push(Background {
                    run: position,
                    step,
                    required: life.required.clone(),
                });
            } else if !run.artifacts.is_empty() {
                let collect = self.step(
                    address,
                    StepKind::Collect {
                        droplet: life.reference.clone(),
                        run: run.spec.name.clone(),
                        cwd: run.spec.cwd.clone(),
                        patterns: run.artifacts.clone(),
                        background: None,
                    },
                );
                for &before in &life.required {
                    self.graph.needs(
                        before,
                        collect,
                        "there are artifacts only if the run could begin",
                    );
                }
                self.graph.after(
                    step,
                    collect,
                    "artifacts are brought back also when the run failed",
                );
                life.all.push(collect);
                life.work.push(collect);
                ended.push(collect);
            }
            if run.spec.allow_failure {
                ended.push(step);
            } else {
                life.required = vec![step];
                // They come before all that comes after this one.
                life.needed.clear();
                life.needed_ended.clear();
            }
            life.ended = ended;
        }
    }

    /// The inventory, before the runs.
    pub(super) fn draw_preparation(
        &mut self,
        planned: &PlannedDroplet<'a>,
        inventory: Option<StepId>,
        life: &mut Life<'a>,
    ) {
        let (Some(inventory), Some(connect), false) =
            (inventory, life.connect, planned.droplet.runs.is_empty())
        else {
            return;
        };
        let runs = planned.droplet.runs.iter();
        let background = runs.filter(|run| run.spec.background.is_some());
        let background = background.map(|run| run.spec.name.clone()).collect();
        let step = self.step(
            &planned.droplet.address,
            StepKind::Prepare {
                droplet: life.reference.clone(),
                inventory,
                background,
            },
        );
        self.graph
            .needs(inventory, step, "the inventory is written once it is known");
        self.graph
            .needs(connect, step, "writing the inventory needs a login");
        life.all.push(step);
        life.prepared = Some(step);
    }

    /// Logs and artifacts of what runs in the background: they are whole when all else is done.
    pub(super) fn draw_logs(
        &mut self,
        planned: &PlannedDroplet<'a>,
        life: &mut Life<'a>,
        users: &[StepId],
    ) {
        let reason = "a log is brought back once nothing needs what writes it any more";
        let before: Vec<StepId> = life.work.iter().chain(users).copied().collect();
        for background in &life.backgrounds {
            let run = &planned.droplet.runs[background.run];
            let collect = self.step(
                &planned.droplet.address,
                StepKind::Collect {
                    droplet: life.reference.clone(),
                    run: run.spec.name.clone(),
                    cwd: run.spec.cwd.clone(),
                    patterns: run.artifacts.clone(),
                    background: Some(CollectLog {
                        allow_failure: run.spec.allow_failure,
                    }),
                },
            );
            for &step in &background.required {
                self.graph
                    .needs(step, collect, "there is a log only if the run could begin");
            }
            self.graph.after(background.step, collect, reason);
            for &step in &before {
                self.graph.after(step, collect, reason);
            }
            life.all.push(collect);
        }
    }
}
