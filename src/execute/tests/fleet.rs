//! Many droplets, in virtual time, on an account that is as slow as DigitalOcean's: few calls, and
//! hardly longer than the cloud itself takes.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::time::{Instant, sleep};

use crate::cloud::tests::simulated::{Creates, Simulated};
use crate::cloud::{Budget, Client, Query, Wait, observe};
use crate::desired::{Desired, Inputs, SshKey};
use crate::execute::interrupt::{Interrupts, Signal};
use crate::execute::outcome::{Ending, Outcome};
use crate::execute::standing::Presence;
use crate::execute::{Settings, execute};
use crate::guest::{HostKey, Identity, UserKey, derive_host_key, generate_key_file, open_key};
use crate::live::Live;
use crate::local::latency::{Latency, Wait as Slow};
use crate::plan::{self, Durations, Goal, Options, Pace, Plan};

const NOW: i64 = 1_793_527_200;

/// A user with a key, and what is asked for.
struct Fleet {
    identity: Identity,
    host_key: HostKey,
    desired: Desired,
    folder: tempfile::TempDir,
    runs: u32,
}

impl Fleet {
    async fn new(droplets: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Utf8PathBuf::from_path_buf(folder.path().join("id")).expect("UTF-8");
        let pair = generate_key_file(&path, "fleet-main").expect("a key");
        let identity = open_key(&UserKey::File(pair.private)).await.expect("opens");
        let host_key = derive_host_key(&identity, "fleet", "main").await;
        let yaml = format!(
            "version: 1\nproject: fleet\nregion: nyc3\ndroplets:\n  worker:\n    \
             image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    count: {droplets}\n"
        );
        let manifest = serde_yaml::from_str(&yaml).expect("a manifest");
        let inputs = Inputs {
            ssh_key: SshKey {
                public_key: identity.public_key_line(),
                fingerprint: identity.md5_fingerprint(),
                generated: true,
            },
            copies: BTreeMap::new(),
            commits: BTreeMap::new(),
        };
        Self {
            desired: crate::desired::desired(&manifest, &inputs).expect("desired"),
            host_key: host_key.expect("derived"),
            identity,
            folder,
            runs: 0,
        }
    }

    /// Looks at the account and plans.
    async fn plan(&self, client: &Client) -> (Plan, Live) {
        self.plan_to(Goal::Apply, client).await
    }

    async fn plan_to(&self, goal: Goal, client: &Client) -> (Plan, Live) {
        let query = Query {
            project: "fleet".to_owned(),
            environment: "main".to_owned(),
            ssh_key: Some(self.identity.md5_fingerprint()),
            for_destroy: false,
            volume_snapshots: false,
        };
        let live = observe(client, &query).await.expect("an account");
        let options = Options {
            goal,
            unprotect: Vec::new(),
            ..Options::default()
        };
        let plan = plan::plan(&self.desired, &live, &options, NOW).expect("a plan");
        (plan, live)
    }

    async fn carry_out(&mut self, client: &Client, plan: &Plan, live: Live) {
        let outcome = self
            .carry_out_until(client, plan, live, Interrupts::none())
            .await;
        assert_eq!(outcome.ending, Ending::Succeeded, "{:?}", outcome.failures);
    }

    async fn carry_out_until(
        &mut self,
        client: &Client,
        plan: &Plan,
        live: Live,
        interrupts: Interrupts,
    ) -> Outcome {
        self.runs += 1;
        let path = Utf8PathBuf::from_path_buf(self.folder.path().to_owned()).expect("UTF-8");
        let settings = Settings {
            client: client.clone(),
            ssh_port: 9,
            identity: Some(self.identity.clone()),
            host_key: Some(self.host_key.clone()),
            generated_key: None,
            base: path.clone(),
            run_folder: path.join(format!("run-{}", self.runs)),
            cache: path.join("cache"),
            secrets: BTreeMap::new(),
            lease: None,
            project: None,
            hold_patience: Duration::ZERO,
            sources: BTreeMap::new(),
            parallelism: 16,
            durations: Durations::usual(Pace::DigitalOcean),
            live,
        };
        let outcome = execute(plan, settings, vec![], interrupts).await;
        outcome.expect("a journal")
    }

    /// Applies to an account with nothing in it, after runs that told so much.
    async fn apply(&mut self, api: &Simulated, known: &[Wait]) -> Applied {
        let client = api.client(Budget::Whole);
        client.teach(known.to_vec());
        let (plan, live) = self.plan(&client).await;
        let (begun, before) = (Instant::now(), client.calls());
        self.carry_out(&client, &plan, live).await;
        Applied {
            took: begun.elapsed(),
            calls: client.calls() - before,
            waited: client.waited(),
        }
    }
}

struct Applied {
    took: Duration,
    calls: u64,
    waited: Vec<Wait>,
}

/// What the cloud itself takes: the SSH key is made and known, the droplet made, active, and has an
/// address, which is read.
fn critical_path(latency: Latency) -> Duration {
    let chain = [
        Slow::Write,
        Slow::KeyUsable,
        Slow::DropletActive,
        Slow::Network,
        Slow::Read,
    ];
    let ms: i64 = chain.into_iter().map(|wait| latency.of(wait)).sum();
    Duration::from_millis(u64::try_from(ms).expect("no way back"))
}

fn creates(api: &Simulated) -> usize {
    let mut log = api.log();
    log.retain(|arrived| arrived.line == "POST /v2/droplets");
    log.len()
}

#[tokio::test(start_paused = true)]
async fn an_apply_takes_hardly_longer_than_the_cloud_and_few_calls() {
    let cloud = critical_path(Latency::REALISTIC);
    for droplets in [1_usize, 10, 100] {
        let mut fleet = Fleet::new(droplets).await;
        let first = fleet.apply(&Simulated::new(Latency::REALISTIC), &[]).await;
        let api = Simulated::new(Latency::REALISTIC);
        let second = fleet.apply(&api, &first.waited).await;
        // Nothing is known of how long it takes.
        let budget = cloud.mul_f64(1.05) + Duration::from_secs(1);
        assert!(first.took <= budget, "{droplets}: {:?}", first.took);
        assert_eq!(api.droplets(), droplets);
        assert_eq!(api.refused(), 0);
        // And now it is.
        assert!(second.took <= budget, "{droplets}: {:?}", second.took);
        let calls = (first.calls, second.calls);
        assert!(
            calls.1 * 4 < calls.0 * 3,
            "known is looked at less: {calls:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_with_nothing_to_do_takes_eight_calls_and_one_for_each_200_droplets() {
    for droplets in [1_usize, 10, 100, 1_000] {
        let mut fleet = Fleet::new(droplets).await;
        let api = Simulated::new(Latency::REALISTIC);
        fleet.apply(&api, &[]).await;
        assert_eq!(api.droplets(), droplets);
        // Ten to a call; the key is new, so that the first may be refused a few times.
        let made = droplets.div_ceil(10);
        assert!(
            (made..made + 9).contains(&creates(&api)),
            "{}",
            creates(&api)
        );
        let client = api.client(Budget::Whole);
        let begun = Instant::now();
        let (plan, _) = fleet.plan(&client).await;
        assert!(!plan.has_changes() && plan.steps.is_empty());
        let most = 8 + droplets.div_ceil(200) as u64;
        assert!(client.calls() <= most, "{} calls", client.calls());
        // The first page tells how many there are; all others are read at once.
        assert!(
            begun.elapsed() < Duration::from_millis(2 * 650),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// A create is lost, and after so long somebody interrupts the run: how long after that it ends, and how.
async fn interrupted(creates: Creates, after: Duration) -> (Duration, Outcome) {
    let mut fleet = Fleet::new(2).await;
    let api = Simulated::new(Latency::REALISTIC);
    let client = api.client(Budget::Whole);
    let (plan, live) = fleet.plan_to(Goal::Test, &client).await;
    api.set_creates(creates);
    let (sender, interrupts) = Interrupts::channel();
    let signals = api.clone();
    let signalled = tokio::spawn(async move {
        while signals.count("POST /v2/droplets") == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(after).await;
        sender.send(Signal::Int).expect("somebody listens");
        (sender, Instant::now())
    });
    let outcome = fleet
        .carry_out_until(&client, &plan, live, interrupts)
        .await;
    let (_sender, at) = signalled.await.expect("no panic");
    (at.elapsed(), outcome)
}

#[tokio::test(start_paused = true)]
async fn whoever_interrupts_a_create_whose_answer_was_lost_waits_no_longer_than_others() {
    for creates in [Creates::Lost, Creates::Hanging] {
        for after in [0, 2_000, 9_000, 12_000] {
            let (took, outcome) = interrupted(creates, Duration::from_millis(after)).await;
            // Those who interrupt may end it after 7 s.
            assert!(
                took < Duration::from_secs(7),
                "{creates:?} {after}: {took:?}"
            );
            assert_eq!(outcome.ending, Ending::Interrupted(Signal::Int));
            // What may be left is told, with what finds it.
            let may_be_left: Vec<&str> = outcome
                .standing
                .present()
                .filter(|(_, _, resource)| resource.presence == Presence::MayExist)
                .map(|(_, name, _)| name)
                .collect();
            assert_eq!(
                may_be_left,
                ["fleet-main-worker", "fleet-main-worker-2"],
                "{creates:?} {after}"
            );
            let mut failures = outcome.failures.iter();
            assert!(
                failures.any(|(_, failure)| failure.help.as_deref().is_some_and(|help| {
                    help.contains("dewpoint status") && help.contains("dewpoint destroy")
                })),
                "{creates:?} {after}: {:?}",
                outcome.failures
            );
        }
    }
}
