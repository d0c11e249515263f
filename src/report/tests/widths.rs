//! What a screen of 80 and one of 160 columns show of texts that have no such test where they are made.

use super::plan;
use super::runs::{Story, tests_failed};
use crate::plan::adopt::Adoption;
use crate::plan::step::TaggedResource;
use crate::plan::{Drift, DriftField, DriftKind, StepKind};
use crate::report::drift::{self, ComparedWith, Document, Unknown};
use crate::report::fold::fold;
use crate::report::hints::Flags;
use crate::report::style::Palette;
use crate::report::{adoption, explain, plan_text};

/// A snapshot a width, and nothing beyond the edge but a word that is longer than the line: a path to copy.
fn on_both(name: &str, shown: impl Fn(usize) -> String) {
    for width in [80, 160] {
        let text = shown(width);
        for line in text.lines() {
            let fits = line.chars().count() <= width || line.split_whitespace().count() == 1;
            assert!(fits, "{name} at {width}: {line}");
        }
        insta::assert_snapshot!(format!("{name}_on_{width}_columns"), text);
    }
}

#[test]
fn a_plan() {
    on_both("a_plan", |width| {
        let view = plan_text::View {
            palette: Palette::PLAIN,
            place: "DigitalOcean",
            all_steps: false,
            width,
            folds: true,
        };
        plan_text::render(&plan(2), view)
    });
}

#[test]
fn why_a_step_exists() {
    const MANIFEST: &str = "version: 1\nproject: shop\nregion: nyc3\nvolumes: { data: { size: 1GiB } }\ndroplets:\n  box:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    volumes: [{ volume: data, mount: /mnt/data }]\n    run: [{ name: check, command: \"true\" }]\n    after_run: destroy\n";
    let plan = crate::plan::tests::planned(MANIFEST);
    on_both("why_a_step_exists", |width| {
        let text = explain::render(&plan, "droplet.box", Palette::PLAIN).expect("an address");
        fold(&text, width)
    });
}

#[test]
fn the_end_of_a_run() {
    let plan = plan(1);
    on_both("the_end_of_a_run", |width| {
        Story::new()
            .failed(&plan, 3, tests_failed())
            .finished(1, 0, false, "0.0123")
            .end_at(&plan, Some(width))
    });
}

#[test]
fn how_a_run_step_ended_stands_beside_its_name_however_long_that_is() {
    let mut plan = plan(1);
    let StepKind::Run { run, .. } = &mut plan.steps[3].kind else {
        panic!("step 4 runs");
    };
    let mut named = (**run).clone();
    named.name = "a step with quite a long name, which says all that it does and more".into();
    *run = named.into();
    on_both("a_run_step_with_a_long_name", |width| {
        Story::new()
            .failed(&plan, 3, tests_failed())
            .finished(1, 0, false, "0")
            .end_at(&plan, Some(width))
    });
}

fn drifted() -> Document {
    let one = |address: &str, name: &str, kind| Drift {
        address: address.parse().expect("an address"),
        name: name.to_owned(),
        id: Some("e54d30b1-a081-4dd2-af57-7532e959a3fb".to_owned()),
        kind,
        reasons: vec![],
        fields: vec![],
    };
    let field = |field: &str, applied: Option<&str>, found: Option<&str>| DriftField {
        field: field.to_owned(),
        applied: applied.map(str::to_owned),
        found: found.map(str::to_owned),
    };
    let firewall = Drift {
        fields: vec![
            field("inbound tcp 22", Some("0.0.0.0/0, ::/0"), None),
            field(
                "inbound tcp 8000",
                Some("203.0.113.0/24, 198.51.100.0/24"),
                Some("0.0.0.0/0, ::/0, 203.0.113.0/24, 198.51.100.0/24, 192.0.2.0/24"),
            ),
        ],
        ..one("firewall", "shop-main", DriftKind::Changed)
    };
    let droplet = Drift {
        id: None,
        reasons: vec![
            "it lost the tag `dewpoint-env:shop-main`, so that nothing but its name tells whose it is and what it is for"
                .to_owned(),
        ],
        ..one("droplet.runner[1]", "shop-main-runner-1", DriftKind::Changed)
    };
    Document {
        version: 1,
        project: "shop".to_owned(),
        environment: "main".to_owned(),
        region: "nyc3".to_owned(),
        compared_with: ComparedWith::Applied {
            at: "2026-08-01T12:00:00Z".parse().expect("a time"),
        },
        drift: vec![
            droplet,
            firewall,
            one("volume.models", "shop-models", DriftKind::Gone),
            one("volume.scratch", "shop-scratch", DriftKind::Unasked),
        ],
    }
}

#[test]
fn drift_of_each_kind() {
    on_both("drift", |width| {
        fold(
            &drift::render(
                &drifted(),
                Palette::PLAIN,
                "DigitalOcean",
                &Flags::default().option("-f", "other.yaml"),
            ),
            width,
        )
    });
    let none = Document {
        compared_with: ComparedWith::Manifest {
            why: Unknown::Unfinished,
        },
        drift: vec![],
        ..drifted()
    };
    on_both("no_drift", |width| {
        fold(
            &drift::render(&none, Palette::PLAIN, "DigitalOcean", &Flags::default()),
            width,
        )
    });
}

#[test]
fn what_is_adopted() {
    let image = Adoption {
        address: "snapshot.base".parse().expect("an address"),
        resource: TaggedResource::Image,
        name: "our-golden-image-of-last-year".to_owned(),
        id: "210000001".to_owned(),
        described: "2.4 GB in nyc3, made at 2026-08-01 12:00:00Z".to_owned(),
        called: Some("shop-base-0123456789ab".to_owned()),
        add: vec!["dewpoint".to_owned(), "dewpoint:shop".to_owned()],
        remove: vec!["dewpoint:old".to_owned()],
        next: None,
    };
    on_both("an_adoption", |width| {
        fold(
            &adoption::render(&image, "shop", "main", Palette::PLAIN),
            width,
        )
    });
}
