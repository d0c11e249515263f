//! The protocol under hostile schedules: takers and holders that are paused anywhere, requests that
//! take effect long after they were given up, clocks that do not run alike.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::protocol::{Ask, Claim, Lost, Moment, Seen, Tenure, Terms, Told, Turn};

const TERMS: Terms = Terms {
    lease: Duration::from_secs(60),
};
const PROCESSES: usize = 3;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// A process goes on: its request is sent, or takes effect, or is answered.
    Goes(usize),
    /// A process gives up on a request that is under way: it takes effect later, or never.
    GivesUp(usize),
    /// The oldest request that was given up takes effect.
    Straggles,
    /// A holder lets go.
    Releases(usize),
}

/// A request, as far as it has come.
#[derive(Debug, Clone, Copy)]
struct Request {
    ask: Wire,
    sent: Moment,
    answer: Option<Told>,
}

#[derive(Debug, Clone, Copy)]
enum Wire {
    Of(Ask),
    Write(u64, /* released */ bool),
    RemoveBelow(u64),
}

#[derive(Debug, Clone, Copy)]
enum Doing {
    Claiming(Claim),
    /// Marks a number as released, then claims anew.
    MarksLate(u64),
    Holds(Tenure, Next),
}

#[derive(Debug, Clone, Copy)]
enum Next {
    TidyUp,
    Renew,
    Confirm(/* the write was sent */ Moment),
    Release,
}

/// A store whose clock is the true time, cut to whole seconds.
#[derive(Debug, Default)]
struct Store {
    objects: BTreeMap<u64, (i64, bool)>,
}

impl Store {
    fn take(&mut self, wire: Wire, now: Duration, haste: u32) -> Told {
        let written = i64::try_from(now.as_secs() * 1_000).expect("a short while");
        match wire {
            Wire::Of(Ask::Highest) => Told::Highest(self.objects.keys().next_back().copied()),
            Wire::Of(Ask::Read(number)) => {
                Told::Read(self.objects.get(&number).map(|(written, released)| Seen {
                    released: *released,
                    written: *written,
                    lease: TERMS.lease / haste,
                }))
            }
            Wire::Of(Ask::Clock) => Told::Clock(written),
            Wire::Of(Ask::Create(number)) => {
                let is_new = !self.objects.contains_key(&number);
                if is_new {
                    self.objects.insert(number, (written, false));
                }
                Told::Created(is_new)
            }
            Wire::Write(number, released) => {
                self.objects.insert(number, (written, released));
                Told::Created(true)
            }
            Wire::RemoveBelow(number) => {
                self.objects.retain(|known, _| *known >= number);
                Told::Created(true)
            }
        }
    }
}

struct Process {
    doing: Doing,
    request: Option<Request>,
    /// How its clock runs, in thousandths, and what it showed at first.
    rate: u32,
    offset: Duration,
}

impl Process {
    fn clock(&self, now: Duration) -> Moment {
        self.offset + now * self.rate / 1_000
    }

    fn is_holder(&self, now: Duration) -> bool {
        matches!(self.doing, Doing::Holds(tenure, _) if tenure.is_good(self.clock(now)))
    }

    fn wire(&self) -> Wire {
        match self.doing {
            Doing::Claiming(claim) => Wire::Of(claim.ask()),
            Doing::MarksLate(number) => Wire::Write(number, true),
            Doing::Holds(tenure, next) => match next {
                Next::TidyUp => Wire::RemoveBelow(tenure.number()),
                Next::Renew => Wire::Write(tenure.number(), false),
                Next::Confirm(_) => Wire::Of(Ask::Highest),
                Next::Release => Wire::Write(tenure.number(), true),
            },
        }
    }

    fn answered(&mut self, request: Request, told: Told, now: Moment) {
        let anew = Doing::Claiming(Claim::new(TERMS));
        self.doing = match self.doing {
            Doing::Claiming(mut claim) => match claim.told(told, request.sent, now) {
                Turn::Go | Turn::Held(_) => Doing::Claiming(claim),
                Turn::Won(tenure) => Doing::Holds(tenure, Next::TidyUp),
                Turn::Late(number) => Doing::MarksLate(number),
            },
            Doing::MarksLate(_) => anew,
            Doing::Holds(mut tenure, next) => match (next, told) {
                (Next::TidyUp, _) => Doing::Holds(tenure, Next::Renew),
                (Next::Renew, _) => Doing::Holds(tenure, Next::Confirm(request.sent)),
                (Next::Confirm(sent), Told::Highest(highest)) => {
                    match tenure.renewed(highest, sent, now) {
                        Ok(()) => Doing::Holds(tenure, Next::Renew),
                        Err(Lost::RanOut | Lost::Taken(_) | Lost::Removed) => anew,
                    }
                }
                (Next::Confirm(_) | Next::Release, _) => anew,
            },
        };
    }
}

struct World {
    now: Duration,
    store: Store,
    processes: Vec<Process>,
    given_up: Vec<Wire>,
    /// Takers hold a lease for that much shorter than it is: 1 is right.
    haste: u32,
    tenures: usize,
}

impl World {
    fn new(rates: &[u32], haste: u32) -> Self {
        let process = |(position, rate): (usize, &u32)| Process {
            doing: Doing::Claiming(Claim::new(TERMS)),
            request: None,
            rate: *rate,
            // Hours apart: what a clock shows does not matter.
            offset: Duration::from_secs(10_000 * position as u64),
        };
        Self {
            now: Duration::from_millis(100_400),
            store: Store::default(),
            processes: rates.iter().enumerate().map(process).collect(),
            given_up: Vec::new(),
            haste,
            tenures: 0,
        }
    }

    fn play(&mut self, after: Duration, happens: Happens) -> Result<(), String> {
        self.now += after;
        let now = self.now;
        self.judge()?;
        match happens {
            Happens::Goes(position) => {
                let process = &mut self.processes[position];
                let clock = process.clock(now);
                match process.request.take() {
                    None => {
                        process.request = Some(Request {
                            ask: process.wire(),
                            sent: clock,
                            answer: None,
                        });
                    }
                    Some(request) => match request.answer {
                        None => {
                            let answer = self.store.take(request.ask, now, self.haste);
                            process.request = Some(Request {
                                answer: Some(answer),
                                ..request
                            });
                        }
                        Some(told) => {
                            let held = matches!(process.doing, Doing::Holds(..));
                            process.answered(request, told, clock);
                            self.tenures +=
                                usize::from(!held && matches!(process.doing, Doing::Holds(..)));
                        }
                    },
                }
            }
            Happens::GivesUp(position) => {
                let process = &mut self.processes[position];
                if let Some(request) = process.request.take() {
                    if request.answer.is_none() {
                        self.given_up.push(request.ask);
                    }
                    // A command fails; a holder tries again for as long as its lease is good.
                    process.doing = match process.doing {
                        Doing::Holds(tenure, Next::Confirm(_)) => Doing::Holds(tenure, Next::Renew),
                        Doing::Holds(tenure, Next::TidyUp | Next::Renew) => {
                            Doing::Holds(tenure, Next::Renew)
                        }
                        _ => Doing::Claiming(Claim::new(TERMS)),
                    };
                }
            }
            Happens::Straggles => {
                if !self.given_up.is_empty() {
                    let wire = self.given_up.remove(0);
                    self.store.take(wire, now, self.haste);
                }
            }
            Happens::Releases(position) => {
                let process = &mut self.processes[position];
                if let Doing::Holds(mut tenure, _) = process.doing {
                    // What is under way is not waited for: the worst case.
                    self.given_up.extend(
                        process
                            .request
                            .take()
                            .filter(|it| it.answer.is_none())
                            .map(|it| it.ask),
                    );
                    tenure.end();
                    process.doing = Doing::Holds(tenure, Next::Release);
                }
            }
        }
        self.judge()
    }

    /// At most one may count on the lock.
    fn judge(&self) -> Result<(), String> {
        let holders: Vec<usize> = (0..self.processes.len())
            .filter(|position| self.processes[*position].is_holder(self.now))
            .collect();
        match holders.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("at {:?} all of {holders:?} hold it", self.now)),
        }
    }
}

fn happens() -> impl Strategy<Value = (Duration, Happens)> {
    let after = prop_oneof![
        12 => 0_u64..300,
        4 => 300_u64..8_000,
        // A process, or all of them, are paused.
        1 => 8_000_u64..90_000,
    ];
    let happens = prop_oneof![
        24 => (0..PROCESSES).prop_map(Happens::Goes),
        1 => (0..PROCESSES).prop_map(Happens::GivesUp),
        1 => Just(Happens::Straggles),
        1 => (0..PROCESSES).prop_map(Happens::Releases),
    ];
    (after.prop_map(Duration::from_millis), happens)
}

fn histories() -> impl Strategy<Value = (Vec<u32>, Vec<(Duration, Happens)>)> {
    (
        // Clocks up to 5 % apart from the store's.
        proptest::collection::vec(950_u32..=1_050, PROCESSES),
        proptest::collection::vec(happens(), 1..160),
    )
}

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn play(rates: &[u32], history: &[(Duration, Happens)], haste: u32) -> Result<World, String> {
    let mut world = World::new(rates, haste);
    for (after, happens) in history {
        world.play(*after, *happens)?;
    }
    Ok(world)
}

#[test]
fn at_most_one_holds_the_lock_whatever_happens() {
    let tenures = std::cell::Cell::new(0);
    let result = runner(2_000).run(&histories(), |(rates, history)| {
        let mut world = play(&rates, &history, 1).map_err(TestCaseError::fail)?;
        tenures.set(tenures.get() + world.tenures);
        // And nothing that happened makes the lock be lost for ever: all die, one comes anew.
        for process in &mut world.processes[1..] {
            process.request = None;
            process.doing = Doing::Claiming(Claim::new(TERMS));
        }
        let newcomer = &mut world.processes[0];
        newcomer.request = None;
        newcomer.doing = Doing::Claiming(Claim::new(TERMS));
        world.now += TERMS.lease + Duration::from_secs(1);
        for _ in 0..60 {
            world
                .play(Duration::from_millis(10), Happens::Goes(0))
                .map_err(TestCaseError::fail)?;
        }
        prop_assert!(world.processes[0].is_holder(world.now), "it cannot be had");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    // Histories in which nobody gets anywhere would prove nothing.
    assert!(tenures.get() > 1_000, "only {} tenures", tenures.get());
}

#[test]
fn a_taker_in_haste_is_seen_by_the_same_histories() {
    // Takers that wait for half the time: were this not found, the test above could not fail.
    let result = runner(20_000).run(&histories(), |(rates, history)| {
        play(&rates, &history, 2)
            .map(|_| ())
            .map_err(TestCaseError::fail)
    });
    let error = result.expect_err("two at once").to_string();
    assert!(error.contains("hold it"), "{error}");
}
