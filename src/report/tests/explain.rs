//! What `plan --explain` says.

use crate::report::explain;
use crate::report::style::Palette;

const YAML: &str = r#"
version: 1
project: shop
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: check, command: "true" }]
    after_run: destroy
"#;

#[test]
fn why_a_step_exists_and_what_it_waits_for() {
    let plan = crate::plan::tests::planned(YAML);
    let said = |pattern: &str| explain::render(&plan, pattern, Palette::PLAIN);
    insta::assert_snapshot!(said("volume.data").expect("known"), @r"
    volume.data (shop-data) will be created
      because the manifest has it and there is none yet

    step 4: volume.data create volume
      about 2s, from 1s to 3s; may be 1m1s late
      waits for step 2, environment create tags: a volume bears its tags from the start
      before step 8, droplet.box attach: there must be a volume of that size to attach
    ");
    let all = said("droplet.*").expect("known");
    assert!(all.contains("run check"), "{all}");
    assert!(all.contains("(however it ends): "), "{all}");
    assert!(
        !all.contains("step 1: "),
        "the key is not a droplet's: {all}"
    );
    assert_eq!(said("droplet.nothing"), None);
    assert!(explain::addresses(&plan).contains(&"volume.data".parse().expect("an address")));
}
