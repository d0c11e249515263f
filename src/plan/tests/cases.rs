//! Golden cases: `tests/cases/plan/NAME/`, a folder each. A new case needs no Rust:
//!
//! - `manifest.yaml`: the manifest;
//! - `case.yaml`, if there is more to say: see [`Case`];
//! - `expected.txt`: what a terminal of 80 columns shows, or why the plan is refused;
//! - `expected.json` and `expected.md`: the same plan as JSON and as Markdown;
//! - `drift.txt`, `drift.json` and `drift.md`, when `case.yaml` says `recorded: true`: what
//!   `plan --refresh-only` shows.
//!
//! `UPDATE_CASES=1 cargo test --lib cases` writes what is expected anew: read the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::world::nothing;
use super::*;
use crate::address::Address;
use crate::plan::saved::{Place, Saved, SavedManifest, meaning};
use crate::plan::seen::Seen;
use crate::plan::{Action, Selection};
use crate::report::hints::Flags;
use crate::report::markdown::MOST_BYTES;
use crate::report::plan_markdown;
use crate::report::tests::markdown::assert_reads_well;
use crate::report::{drift, plan_json};

/// What there is to say of a case beside its manifest.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    /// What is planned: `apply` when nothing is said.
    goal: Option<Goal>,
    /// For `run`: an address, then the name of a step.
    run: Vec<String>,
    /// Protection that is lifted.
    unprotect: Vec<String>,
    /// What is planned alone, as `--target` names it.
    target: Vec<String>,
    /// What is made anew, as `--replace` names it.
    replace: Vec<String>,
    /// Whether only what should not be there is removed.
    only_destroy: bool,
    /// How many days after everything was made it is planned.
    days: i64,
    /// Manifests in the folder that were applied before, in this order.
    applied: Vec<String>,
    /// Whether the last of these is known to be what was applied, by which drift is told.
    recorded: bool,
    /// Resources that have been changed since, such as `droplet app-main-web`: fields, as the live
    /// state has them.
    changed: BTreeMap<String, Value>,
    /// Resources that have gone since.
    gone: Vec<String>,
    /// Further resources: those of others.
    more: Vec<Value>,
    /// Fields of the account.
    account: Value,
    /// Public images that were asked for, by slug; none where there is none.
    images: BTreeMap<String, Value>,
    /// Slugs of all distributions.
    distributions: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/plan")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The list of a kind, and the key that names its items.
fn list<'a>(live: &'a mut Value, kind: &str) -> (&'a mut Vec<Value>, &'static str) {
    let (pointer, key) = match kind {
        "droplet" => ("/droplets", "name"),
        "holder" => ("/holders", "name"),
        "volume" => ("/volumes", "name"),
        "snapshot" => ("/images", "name"),
        "firewall" => ("/firewalls", "name"),
        "key" => ("/ssh_keys", "name"),
        "size" => ("/catalog/sizes", "slug"),
        "region" => ("/catalog/regions", "slug"),
        other => panic!("there is no kind `{other}`"),
    };
    let list = live.pointer_mut(pointer).and_then(Value::as_array_mut);
    (list.expect("a list"), key)
}

fn found<'a>(live: &'a mut Value, what: &str) -> (&'a mut Vec<Value>, usize) {
    let (kind, name) = what.split_once(' ').expect("a kind and a name");
    let (list, key) = list(live, kind);
    let at = list.iter().position(|item| item[key] == name);
    (list, at.unwrap_or_else(|| panic!("there is no {what}")))
}

fn merge(into: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        assert!(
            into.get(key).is_some(),
            "there is no field `{key}` in {into}"
        );
        into[key] = value.clone();
    }
}

/// A resource of which only some fields matter.
fn blank(kind: &str, number: usize) -> Value {
    let id = 9_000 + number;
    match kind {
        "droplet" | "holder" => json!({
            "id": id, "name": "", "status": "active", "region": "nyc3", "size": "s-1vcpu-1gb",
            "image_id": 1, "image_slug": null, "public_ipv4": null, "private_ipv4": null,
            "volume_ids": [], "tags": [], "vpc": null, "created_at": 0,
        }),
        "volume" => json!({
            "id": format!("vol-{id}"), "name": "", "region": "nyc3", "size_gib": 1,
            "droplet_ids": [], "tags": [], "created_at": 0,
        }),
        "snapshot" => json!({
            "id": id, "name": "", "status": "available", "regions": ["nyc3"],
            "min_disk_gib": 25, "size_mb": 1_500, "tags": [], "created_at": 0,
        }),
        "firewall" => json!({
            "id": format!("fw-{id}"), "name": "", "inbound": [], "outbound": [], "tags": [],
            "droplet_ids": [],
        }),
        other => panic!("there is no blank `{other}`"),
    }
}

impl Case {
    fn read(folder: &Path) -> Self {
        let path = folder.join("case.yaml");
        if !path.exists() {
            return Self::default();
        }
        serde_yaml::from_str(&read(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn live(&self, folder: &Path) -> Live {
        let mut live = nothing();
        for before in &self.applied {
            live = applied(&read(&folder.join(before)), &live);
        }
        let mut live = serde_json::to_value(live).expect("JSON");
        for (what, fields) in &self.changed {
            let (list, at) = found(&mut live, what);
            merge(&mut list[at], fields);
        }
        for what in &self.gone {
            let (list, at) = found(&mut live, what);
            list.remove(at);
        }
        for (number, item) in self.more.iter().enumerate() {
            let mut fields = item.clone();
            let kind = fields
                .as_object_mut()
                .and_then(|fields| fields.remove("kind"));
            let kind = kind.as_ref().and_then(Value::as_str).expect("a kind");
            let mut resource = blank(kind, number);
            merge(&mut resource, &fields);
            list(&mut live, kind).0.push(resource);
        }
        merge(&mut live["account"], &self.account);
        live["catalog"]["images"] = json!(self.images);
        live["catalog"]["distributions"] = json!(self.distributions);
        serde_json::from_value(live).expect("a live state")
    }

    /// What is known to have been applied.
    fn record(&self, folder: &Path) -> Option<Desired> {
        let last = self.applied.last().filter(|_| self.recorded)?;
        let desired = desired(&read(&folder.join(last)));
        // As it is kept.
        let kept = serde_json::to_string(&desired).expect("plain data");
        let record: Desired = serde_json::from_str(&kept).expect("it can be read again");
        assert_eq!(record, desired);
        Some(record)
    }

    /// What `plan --refresh-only` shows of it, by file name.
    fn drift(&self, folder: &Path, live: &Live) -> BTreeMap<&'static str, String> {
        let Some(applied) = self.record(folder) else {
            return BTreeMap::new();
        };
        let found = drift::Document {
            version: 1,
            project: applied.scope.project.clone(),
            environment: applied.scope.environment.clone(),
            region: applied.scope.region.clone(),
            compared_with: drift::ComparedWith::Applied {
                at: jiff::Timestamp::from_second(NOW).expect("a time"),
            },
            drift: crate::plan::drift::drift(&applied, live, NOW + self.days * 24 * 3_600),
        };
        let json = drift::json(&found);
        let value: Value = serde_json::from_str(&json).expect("JSON");
        let validator = jsonschema::validator_for(&drift::json_schema()).expect("a schema");
        assert!(validator.is_valid(&value), "{json}");
        let markdown = drift::markdown(&found, "DigitalOcean", MOST_BYTES);
        assert_reads_well(&markdown);
        let text = drift::render(&found, Palette::PLAIN, "DigitalOcean", &Flags::default());
        let text = crate::report::fold::fold(&text, 80);
        [
            ("drift.json", json),
            ("drift.md", markdown),
            ("drift.txt", text),
        ]
        .into()
    }

    fn plan(&self, folder: &Path, yaml: &str, live: &Live) -> Result<Plan, Refusals> {
        let unprotect: Vec<Address> = self
            .unprotect
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        let now = NOW + self.days * 24 * 3_600;
        let options = |goal| Options {
            goal,
            unprotect: unprotect.clone(),
            targets: self.target.clone(),
            replace: self.replace.clone(),
            only_destroy: self.only_destroy,
            ..Options::default()
        };
        match self.goal.unwrap_or(Goal::Apply) {
            Goal::Destroy => crate::plan::destroy(&scope(yaml), live, false, &unprotect),
            Goal::DestroyProject => crate::plan::destroy(&scope(yaml), live, true, &unprotect),
            Goal::Run => {
                let selection = Selection {
                    address: self.run[0].clone(),
                    step: self.run.get(1).cloned(),
                };
                crate::plan::run(&desired(yaml), live, &selection)
            }
            goal => {
                let mut plan = crate::plan::plan(&desired(yaml), live, &options(goal), now)?;
                if let Some(applied) = self.record(folder) {
                    plan.tell_drift(&applied, live, now);
                }
                Ok(plan)
            }
        }
    }
}

/// The plan as a terminal of that width shows it.
fn on_screen(plan: &Plan, width: usize) -> String {
    let view = plan_text::View {
        palette: Palette::PLAIN,
        place: "DigitalOcean",
        all_steps: false,
        width,
        folds: true,
    };
    plan_text::render(plan, view)
}

fn saved(plan: &Plan, live: &Live, manifest: &Manifest) -> Saved {
    let meaning = meaning(manifest);
    let seen = Seen::of(plan, live);
    // What a plan has the digest of is what is kept with it.
    assert_eq!(Digest::streamed(&seen), plan.live_digest);
    Saved {
        saved_plan: crate::plan::saved::VERSION,
        tool: "0.0.0".to_owned(),
        made_at: jiff::Timestamp::UNIX_EPOCH,
        place: Place {
            cloud: "DigitalOcean".to_owned(),
            account: "some".to_owned(),
        },
        manifest: SavedManifest {
            path: "dewpoint.yaml".to_owned(),
            digest: Digest::of(&meaning),
            environment: manifest.environment.clone(),
            variables: BTreeMap::new(),
            meaning,
        },
        ssh_key: None,
        sources: BTreeMap::new(),
        seen,
        plan: plan.clone(),
        digest: Digest::of_bytes(b""),
    }
}

/// Whether a text names what changes: by its name, or by a range of those that are counted.
fn tells(text: &str, change: &crate::plan::Change) -> bool {
    let of_a_range = match &change.address {
        Address::Droplet {
            name,
            instance: Some(crate::address::Instance::Index(index)),
        } => text.split(&format!("droplet.{name}[")).skip(1).any(|rest| {
            let ranges = rest.split(']').next().unwrap_or_default();
            ranges.split(',').any(|range| {
                let (first, last) = range.split_once("..").unwrap_or((range, range));
                let number = |text: &str| text.parse::<u32>().ok();
                number(first).is_some_and(|first| first <= *index)
                    && number(last).is_some_and(|last| last >= *index)
            })
        }),
        _ => false,
    };
    of_a_range || text.contains(&change.name)
}

/// What is expected of a case, by file name.
fn came_out(folder: &Path, covered: &mut BTreeSet<String>) -> BTreeMap<&'static str, String> {
    let case = Case::read(folder);
    let yaml = read(&folder.join("manifest.yaml"));
    let live = case.live(folder);
    let plan = match case.plan(folder, &yaml, &live) {
        Ok(plan) => plan,
        Err(refusals) => {
            let codes = refusals.refusals.iter().map(|r| r.kind.code().to_owned());
            covered.extend(codes);
            let text = refused(Err(refusals)) + "\n";
            let mut out = case.drift(folder, &live);
            out.insert("expected.txt", text);
            return out;
        }
    };
    assert_checked(&plan, &live);
    let validator = jsonschema::validator_for(&crate::plan::json_schema()).expect("a schema");
    let printed = plan_json::render(&plan);
    let kept = saved(&plan, &live, &manifest(&yaml));
    for document in [&printed, &kept.seal()] {
        let value: Value = serde_json::from_str(document).expect("JSON");
        let errors = validator.iter_errors(&value);
        let errors: Vec<String> = errors
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }
    let read = Saved::read("plan.json", kept.seal().as_bytes()).expect("a saved plan");
    assert_eq!((&read.plan, &read.seen), (&kept.plan, &kept.seen));
    assert!(
        read.live_moved(&live).is_empty() && read.strange_live(&manifest(&yaml), &live).is_empty()
    );

    let text = on_screen(&plan, 80);
    for line in text.lines() {
        let words = line.trim_start();
        let fits = line.chars().count() <= 80 || !words.contains(' ');
        assert!(fits, "longer than the screen: {line}");
    }
    let wide = on_screen(&plan, 160);
    let markdown = plan_markdown::render(&plan, "DigitalOcean", MOST_BYTES);
    assert_reads_well(&markdown);
    for change in &plan.changes {
        let kind = change.address.to_string();
        let kind = kind.split('.').next().expect("a kind");
        let action = serde_json::to_value(change.action).expect("JSON");
        covered.insert(format!("{kind} {}", action.as_str().expect("a word")));
        if matches!(
            change.action,
            Action::DestroyThenCreate | Action::CreateThenDestroy
        ) {
            // Why it is replaced is told with a field, what it was and what it will be.
            let is_whole = |f: &crate::plan::FieldChange| {
                f.old.is_some() && (f.new.is_some() || f.known_after_apply)
            };
            assert!(
                change.fields.iter().any(is_whole) && !change.reasons.is_empty(),
                "{change:?}"
            );
        }
        if change.action.destroys() {
            // Nothing that goes is hidden in a group.
            for shown in [&text, &wide] {
                let (_, lost) = shown
                    .split_once("Destroyed or replaced:")
                    .expect("a section");
                assert!(tells(lost, change), "{} is hidden", change.name);
            }
            let (loud, _) = markdown.split_once("#### Changes").expect("a section");
            assert!(tells(loud, change), "{} is hidden", change.name);
        }
    }
    let mut out = case.drift(folder, &live);
    out.extend([
        ("expected.txt", text),
        ("expected.json", printed),
        ("expected.md", markdown),
    ]);
    out
}

#[test]
fn cases_come_out_as_expected() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut covered = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    for folder in &folders {
        let name = folder.file_name().expect("a name").to_string_lossy();
        eprintln!("{name}");
        let came_out = came_out(folder, &mut covered);
        for file in FILES {
            let path = folder.join(file);
            let expected = std::fs::read_to_string(&path).ok();
            let came_out = came_out.get(file);
            if expected.as_ref() == came_out {
                continue;
            }
            match came_out {
                Some(text) if update => std::fs::write(&path, text).expect("written"),
                None if update => std::fs::remove_file(&path).expect("removed"),
                came_out => {
                    let expected = expected.unwrap_or_default();
                    let came_out = came_out.map(String::as_str).unwrap_or_default();
                    let diff =
                        crate::report::text_diff::render(&expected, came_out, "  ", Palette::PLAIN);
                    wrong.push(format!("{name}/{file}\n{diff}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_CASES=1 writes them anew",
        wrong.join("\n")
    );
    let missing: Vec<&str> = MUST_BE_COVERED
        .into_iter()
        .filter(|what| !covered.contains(*what))
        .collect();
    assert!(missing.is_empty(), "no case shows: {}", missing.join(", "));
}

/// What comes out of a case, as far as there is something.
const FILES: [&str; 6] = [
    "expected.txt",
    "expected.json",
    "expected.md",
    "drift.txt",
    "drift.json",
    "drift.md",
];

/// Every kind with every action it knows, and every refusal that a plan can meet.
const MUST_BE_COVERED: [&str; 41] = [
    "ssh_key create",
    "ssh_key keep",
    "ssh_key delete",
    "firewall create",
    "firewall update",
    "firewall keep",
    "firewall delete",
    "volume create",
    "volume update",
    "volume keep",
    "volume delete",
    "volume destroy_then_create",
    "snapshot create",
    "snapshot update",
    "snapshot create_then_destroy",
    "snapshot keep",
    "snapshot delete",
    "droplet create",
    "droplet update",
    "droplet destroy_then_create",
    "droplet keep",
    "droplet delete",
    "dewpoint::plan::name_taken",
    "dewpoint::plan::missing",
    "dewpoint::plan::shrink",
    "dewpoint::plan::filesystem",
    "dewpoint::plan::region",
    "dewpoint::plan::attached_elsewhere",
    "dewpoint::plan::held",
    "dewpoint::plan::size",
    "dewpoint::plan::image",
    "dewpoint::plan::disk",
    "dewpoint::plan::account_limit",
    "dewpoint::plan::account_state",
    "dewpoint::plan::limits",
    "dewpoint::plan::protected",
    "dewpoint::plan::not_running",
    "dewpoint::plan::in_use",
    "dewpoint::plan::no_such_address",
    "dewpoint::plan::no_such_step",
    "dewpoint::plan::not_replaced",
];

/// What says that the schema is that of the types.
#[test]
fn the_checked_in_schema_is_that_of_the_types() {
    let checked_in = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/schemas/plan.schema.json"
    ));
    assert!(
        format!("{:#}\n", crate::plan::json_schema()) == checked_in,
        "schemas/plan.schema.json is stale; run: dewpoint schema plan > schemas/plan.schema.json"
    );
}
