use proptest::prelude::*;

use super::layout::{Input, Layout};
use super::{Graph, dot, mermaid, svg};
use crate::plan::tests::{nothing_to_do, planned};

const CYCLE: &str = r#"
version: 1
project: shop
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision: [{ name: "packages <&\"> \\ #", run: apt-get update }]
volumes:
  data: { size: 1GiB }
droplets:
  runner:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    count: COUNT
    source: { path: . }
    run: [{ name: tests, command: "true", artifacts: [report.xml] }]
    after_run: destroy
  keeper:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: check, command: "true", timeout: 2s }]
"#;

fn graph(count: u32, all: bool) -> Graph {
    Graph::of(&planned(&CYCLE.replace("COUNT", &count.to_string())), all)
}

#[test]
fn droplets_that_go_the_same_way_are_one_lane() {
    insta::assert_snapshot!(mermaid(&graph(12, false)), @r#"
    flowchart TB
    %% shop / main: 98 steps, about 7m
      subgraph l0["environment"]
        n0["create ssh#95;key<br>9s, from 0s"]
        n1["create tags<br>1s, from 0s"]
        n2["create firewall<br>1s, from 1s"]
        n16["gather inventory<br>1s, from 4m30s"]
        n28["delete firewall<br>1s, from 5m59s"]
        n29["delete ssh#95;key<br>1s, from 5m59s"]
        n30["delete tags<br>1s, from 6m"]
      end
      subgraph l1["snapshot.base"]
        n4["create droplet<br>40s, from 9s"]
        n6["connect<br>15s, from 49s"]
        n8["provision 1/1 packages #60;#38;#34;#62; #92; #35;<br>1m, from 1m4s"]
        n10["power off<br>15s, from 2m4s"]
        n12["take snapshot<br>1m30s, from 2m19s"]
        n13["tag snapshot<br>1s, from 3m49s"]
        n14["destroy droplet<br>8s, from 3m50s"]
      end
      subgraph l2["volume.data"]
        n3["create volume<br>2s, from 1s"]
      end
      subgraph l3["droplet.keeper"]
        n5["create droplet<br>40s, from 9s"]
        n7["connect<br>15s, from 49s"]
        n9["attach<br>5s, from 1m4s"]
        n11["mount /mnt/data<br>2s, from 1m9s"]
        n18["prepare<br>1s, from 4m31s"]
        n21["run check<br>2s, from 4m32s"]
        n23["unmount /mnt/data<br>2s, from 4m34s"]
        n25["detach<br>4s, from 4m36s"]
        n27["destroy droplet<br>8s, from 4m40s"]
      end
      subgraph l4["droplet.runner[1..12]"]
        n15["create 12 droplets<br>40s, from 3m50s"]
        n17["connect #215;12<br>15s, from 4m30s"]
        n19["prepare #215;12<br>1s, from 4m45s"]
        n20["sync #215;12<br>3s, from 4m45s"]
        n22["run tests #215;12<br>1m, from 4m48s"]
        n24["collect artifacts of tests #215;12<br>3s, from 5m48s"]
        n26["destroy droplet #215;12<br>8s, from 5m51s"]
      end
      n0 ==> n4
      n0 --> n5
      n1 --> n2
      n1 --> n3
      n2 --> n4
      n2 --> n5
      n3 --> n9
      n4 ==> n6
      n5 --> n7
      n5 -.-> n16
      n6 ==> n8
      n7 --> n9
      n7 --> n18
      n8 ==> n10
      n9 --> n11
      n10 ==> n12
      n11 --> n21
      n12 ==> n13
      n13 -.-> n14
      n13 ==> n15
      n14 -.-> n28
      n14 -.-> n29
      n15 -.-> n16
      n15 ==> n17
      n16 --> n18
      n16 --> n19
      n17 --> n19
      n17 ==> n20
      n18 --> n21
      n19 --> n22
      n20 ==> n22
      n21 -.-> n23
      n22 ==> n24
      n23 -.-> n25
      n24 ==> n26
      n25 -.-> n27
      n26 ==> n28
      n26 -.-> n29
      n27 -.-> n28
      n27 -.-> n29
      n28 ==> n30
      classDef critical stroke:#c2410c,stroke-width:3px
      class n0,n4,n6,n8,n10,n12,n13,n15,n17,n20,n22,n24,n26,n28,n30 critical
    "#);
}

/// What is done for all droplets bears the address of the first: it is alike all the same.
#[test]
fn the_first_droplet_is_one_of_many() {
    let yaml = CYCLE.replace("COUNT", "12").replace("keeper", "watcher");
    let graph = Graph::of(&planned(&yaml), false);
    let lane = "droplet.runner[1..12]".to_owned();
    assert!(graph.lanes.contains(&lane), "{:?}", graph.lanes);
}

/// Which nodes can be reached from each.
fn reached(graph: &Graph) -> Vec<std::collections::BTreeSet<usize>> {
    let mut reached = vec![std::collections::BTreeSet::new(); graph.nodes.len()];
    for node in (0..graph.nodes.len()).rev() {
        for link in graph.links.iter().filter(|link| link.from == node) {
            let far = reached[link.to].clone();
            reached[node].extend(far);
            reached[node].insert(link.to);
        }
    }
    reached
}

#[test]
fn every_step_can_be_had() {
    let plan = planned(&CYCLE.replace("COUNT", "12"));
    let all = Graph::of(&plan, true);
    assert_eq!(all.nodes.len(), plan.steps.len());
    assert_eq!(all.links.len(), plan.edges.len());
    let folded = Graph::of(&plan, false);
    let steps: usize = folded.nodes.iter().map(|node| node.steps).sum();
    assert_eq!(steps, plan.steps.len());
    assert!(folded.nodes.len() < 40, "{}", folded.nodes.len());
    // What comes before what is the same without the links that follow from others.
    let mut whole = folded.clone();
    whole.link(
        &plan,
        &super::fold::alike(&plan),
        &std::collections::BTreeMap::new(),
    );
    assert!(whole.links.len() > folded.links.len());
    assert_eq!(reached(&whole), reached(&folded));
}

/// Droplets that have a volume in turn wait for each other: each is drawn.
#[test]
fn droplets_in_turn_stay_apart_and_links_go_forward() {
    let yaml = CYCLE.replace("COUNT", "3").replace(
        "    source: { path: . }\n",
        "    source: { path: . }\n    volumes: [{ volume: shared, mount: /mnt/shared }]\n",
    );
    let yaml = yaml.replace("  data: {", "  shared: { size: 1GiB }\n  data: {");
    let graph = Graph::of(&planned(&yaml), false);
    let runners = graph.lanes.iter().filter(|lane| lane.contains("runner"));
    assert_eq!(runners.count(), 3, "{:?}", graph.lanes);
    assert!(graph.links.iter().all(|link| link.from < link.to));
}

#[test]
fn dot_of_a_small_plan() {
    insta::assert_snapshot!(dot(&graph(1, false)), @r##"
    digraph plan {
      graph [label="shop / main: 31 steps, about 7m", labelloc=t, fontname="sans-serif", rankdir=TB, compound=true];
      node [shape=box, style=rounded, fontname="sans-serif", fontsize=11];
      subgraph cluster_0 {
        label="environment"; color=gray70; fontsize=12;
        n0 [label="create ssh_key\n9s, from 0s", color="#c2410c", penwidth=2.5];
        n1 [label="create tags\n1s, from 0s"];
        n2 [label="create firewall\n1s, from 1s"];
        n16 [label="gather inventory\n1s, from 4m30s"];
        n28 [label="delete firewall\n1s, from 5m59s", style="rounded,dashed", color="#c2410c", penwidth=2.5];
        n29 [label="delete ssh_key\n1s, from 5m59s", style="rounded,dashed"];
        n30 [label="delete tags\n1s, from 6m", style="rounded,dashed", color="#c2410c", penwidth=2.5];
      }
      subgraph cluster_1 {
        label="snapshot.base"; color=gray70; fontsize=12;
        n4 [label="create droplet\n40s, from 9s", color="#c2410c", penwidth=2.5];
        n6 [label="connect\n15s, from 49s", color="#c2410c", penwidth=2.5];
        n8 [label="provision 1/1 packages <&amp;\"> \\ #\n1m, from 1m4s", color="#c2410c", penwidth=2.5];
        n10 [label="power off\n15s, from 2m4s", color="#c2410c", penwidth=2.5];
        n12 [label="take snapshot\n1m30s, from 2m19s", color="#c2410c", penwidth=2.5];
        n13 [label="tag snapshot\n1s, from 3m49s", color="#c2410c", penwidth=2.5];
        n14 [label="destroy droplet\n8s, from 3m50s", style="rounded,dashed"];
      }
      subgraph cluster_2 {
        label="volume.data"; color=gray70; fontsize=12;
        n3 [label="create volume\n2s, from 1s"];
      }
      subgraph cluster_3 {
        label="droplet.keeper"; color=gray70; fontsize=12;
        n5 [label="create droplet\n40s, from 9s"];
        n7 [label="connect\n15s, from 49s"];
        n9 [label="attach\n5s, from 1m4s"];
        n11 [label="mount /mnt/data\n2s, from 1m9s"];
        n18 [label="prepare\n1s, from 4m31s"];
        n21 [label="run check\n2s, from 4m32s"];
        n23 [label="unmount /mnt/data\n2s, from 4m34s", style="rounded,dashed"];
        n25 [label="detach\n4s, from 4m36s", style="rounded,dashed"];
        n27 [label="destroy droplet\n8s, from 4m40s", style="rounded,dashed"];
      }
      subgraph cluster_4 {
        label="droplet.runner"; color=gray70; fontsize=12;
        n15 [label="create droplet\n40s, from 3m50s", color="#c2410c", penwidth=2.5];
        n17 [label="connect\n15s, from 4m30s", color="#c2410c", penwidth=2.5];
        n19 [label="prepare\n1s, from 4m45s"];
        n20 [label="sync\n3s, from 4m45s", color="#c2410c", penwidth=2.5];
        n22 [label="run tests\n1m, from 4m48s", color="#c2410c", penwidth=2.5];
        n24 [label="collect artifacts of tests\n3s, from 5m48s", color="#c2410c", penwidth=2.5];
        n26 [label="destroy droplet\n8s, from 5m51s", style="rounded,dashed", color="#c2410c", penwidth=2.5];
      }
      n0 -> n4 [tooltip="a droplet is made with the environment's key", color="#c2410c", penwidth=2.5];
      n0 -> n5 [tooltip="a droplet is made with the environment's key"];
      n1 -> n2 [tooltip="a firewall can only name tags that exist"];
      n1 -> n3 [tooltip="a volume bears its tags from the start"];
      n2 -> n4 [tooltip="a droplet is covered by its firewall from the start"];
      n2 -> n5 [tooltip="a droplet is covered by its firewall from the start"];
      n3 -> n9 [tooltip="there must be a volume of that size to attach"];
      n4 -> n6 [tooltip="there must be a droplet to log in to", color="#c2410c", penwidth=2.5];
      n5 -> n7 [tooltip="there must be a droplet to log in to"];
      n5 -> n16 [tooltip="the inventory has the addresses of all droplets that could be made", style=dashed];
      n6 -> n8 [tooltip="provisioning needs a login", color="#c2410c", penwidth=2.5];
      n7 -> n9 [tooltip="a volume is attached once the first boot is over"];
      n7 -> n18 [tooltip="writing the inventory needs a login"];
      n8 -> n10 [tooltip="only a recipe that was done to its end makes a snapshot", color="#c2410c", penwidth=2.5];
      n9 -> n11 [tooltip="a volume is attached before it is mounted"];
      n10 -> n12 [tooltip="a snapshot of a droplet that is off is consistent", color="#c2410c", penwidth=2.5];
      n11 -> n21 [tooltip="a run needs what comes before it on its droplet"];
      n12 -> n13 [tooltip="there must be a snapshot to tag", color="#c2410c", penwidth=2.5];
      n13 -> n14 [tooltip="the builder goes once its snapshot is tagged, or cannot be taken any more", style=dashed];
      n13 -> n15 [tooltip="it is made from a snapshot that must count first", color="#c2410c", penwidth=2.5];
      n14 -> n28 [tooltip="droplets are covered by their firewall until they are gone", style=dashed];
      n14 -> n29 [tooltip="the key opens droplets until they are gone", style=dashed];
      n15 -> n16 [tooltip="the inventory has the addresses of all droplets that could be made", style=dashed];
      n15 -> n17 [tooltip="there must be a droplet to log in to", color="#c2410c", penwidth=2.5];
      n16 -> n18 [tooltip="the inventory is written once it is known"];
      n16 -> n19 [tooltip="the inventory is written once it is known"];
      n17 -> n19 [tooltip="writing the inventory needs a login"];
      n17 -> n20 [tooltip="the source may lie on a volume, and needs a login", color="#c2410c", penwidth=2.5];
      n18 -> n21 [tooltip="a run needs what comes before it on its droplet"];
      n19 -> n22 [tooltip="a run needs what comes before it on its droplet"];
      n20 -> n22 [tooltip="a run needs what comes before it on its droplet", color="#c2410c", penwidth=2.5];
      n21 -> n23 [tooltip="a volume is unmounted once nothing uses it", style=dashed];
      n22 -> n24 [tooltip="artifacts are brought back also when the run failed", style=dashed, color="#c2410c", penwidth=2.5];
      n23 -> n25 [tooltip="a volume is unmounted before it is detached", style=dashed];
      n24 -> n26 [tooltip="it is destroyed once nothing happens on it any more", style=dashed, color="#c2410c", penwidth=2.5];
      n25 -> n27 [tooltip="it is destroyed once nothing happens on it any more", style=dashed];
      n26 -> n28 [tooltip="droplets are covered by their firewall until they are gone", style=dashed, color="#c2410c", penwidth=2.5];
      n26 -> n29 [tooltip="the key opens droplets until they are gone", style=dashed];
      n27 -> n28 [tooltip="droplets are covered by their firewall until they are gone", style=dashed];
      n27 -> n29 [tooltip="the key opens droplets until they are gone", style=dashed];
      n28 -> n30 [tooltip="a tag goes once nothing bears it any more", style=dashed, color="#c2410c", penwidth=2.5];
    }
    "##);
}

#[test]
fn an_svg_says_what_it_shows_and_holds_no_hostile_text() {
    let text = svg(&graph(2, false));
    assert!(text.contains("packages &lt;&amp;&quot;&gt;"), "{text}");
    assert!(!text.contains("packages <"), "{text}");
    for part in [
        "<title id=\"title\">shop / main</title>",
        "<desc id=\"desc\">Steps of a plan: ",
        "prefers-color-scheme: dark",
        "role=\"img\"",
    ] {
        assert!(text.contains(part), "{part}");
    }
    // Nothing that would have to be fetched, or run.
    for foreign in ["<script", "href", "@import", "url(h"] {
        assert!(!text.contains(foreign), "{foreign}");
    }
    let nothing = nothing_to_do(&CYCLE.replace("COUNT", "1"));
    let nothing = svg(&Graph::of(&nothing, false));
    assert!(nothing.contains("shop / main: nothing to do"), "{nothing}");
}

fn inputs() -> impl Strategy<Value = Input> {
    (2..40_usize, 1..6_usize).prop_flat_map(|(nodes, lanes)| {
        (
            prop::collection::vec(0..lanes, nodes),
            prop::collection::btree_set((0..nodes, 0..nodes), 0..80),
        )
            .prop_map(|(lanes, links)| Input {
                lanes,
                links: links.into_iter().filter(|(from, to)| from < to).collect(),
                node: (42, 200),
                lane: 200,
                head: 40,
            })
    })
}

/// Whether a piece of a link's way comes into a node.
fn crosses(layout: &Layout, input: &Input, node: usize, a: (i32, i32), b: (i32, i32)) -> bool {
    let (x, y) = layout.nodes[node];
    let (w, h) = input.node;
    let inside = |from: i32, to: i32, start: i32, length: i32| {
        from.max(to) > start && from.min(to) < start + length
    };
    inside(a.0, b.0, x, w) && inside(a.1, b.1, y, h)
}

proptest! {
    #![proptest_config(crate::tried::tried(200))]

    #[test]
    fn nodes_lie_apart_and_links_go_forward_past_them(input in inputs()) {
        let layout = input.layout();
        let (w, h) = input.node;
        for (one, &(x, y)) in layout.nodes.iter().enumerate() {
            prop_assert!(x >= input.head && x + w <= layout.size.0);
            let (start, end) = layout.lanes[input.lanes[one]];
            prop_assert!(y >= start && y + h <= end, "node {one} is in its lane");
            for &(ox, oy) in &layout.nodes[one + 1..] {
                prop_assert!(
                    x + w <= ox || ox + w <= x || y + h <= oy || oy + h <= y,
                    "{layout:?}"
                );
            }
        }
        for (&(from, to), way) in input.links.iter().zip(&layout.links) {
            prop_assert!(layout.nodes[from].0 + w < layout.nodes[to].0);
            let (first, last) = (way[0], way[way.len() - 1]);
            prop_assert_eq!(first.0, layout.nodes[from].0 + w);
            prop_assert_eq!(last.0, layout.nodes[to].0);
            for piece in way.windows(2) {
                let (a, b) = (piece[0], piece[1]);
                prop_assert!(a.0 <= b.0, "a link goes back: {way:?}");
                prop_assert!(a.0 == b.0 || a.1 == b.1, "a link goes aslant: {way:?}");
                for node in 0..input.lanes.len() {
                    prop_assert!(!crosses(&layout, &input, node, a, b), "{way:?} goes through {node}: {layout:?}");
                }
            }
        }
    }
}
