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
    insta::assert_snapshot!(said("volume.data").expect("known"), @"");
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
