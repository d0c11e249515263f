//! A graph as Mermaid draws it, for Markdown.

use std::fmt::Write as _;

use super::Graph;
use crate::plan::EdgeKind;

/// Renders a graph as a Mermaid flowchart.
#[must_use]
pub fn render(graph: &Graph) -> String {
    let mut out = String::from("flowchart TB\n");
    let _ = writeln!(out, "%% {}: {}", plain(&graph.title), plain(&graph.summary));
    if graph.nodes.is_empty() {
        out.push_str("  nothing[\"nothing to do\"]\n");
        return out;
    }
    for (lane, title) in graph.lanes.iter().enumerate() {
        let _ = writeln!(out, "  subgraph l{lane}[\"{}\"]", escaped(title));
        for (number, node) in graph.nodes.iter().enumerate() {
            if node.lane == lane {
                let _ = writeln!(
                    out,
                    "    n{number}[\"{}<br>{}\"]",
                    escaped(&node.label()),
                    escaped(&node.times())
                );
            }
        }
        out.push_str("  end\n");
    }
    for link in &graph.links {
        let arrow = match (link.kind, link.critical) {
            (_, true) => "==>",
            (EdgeKind::Needs, false) => "-->",
            (EdgeKind::After, false) => "-.->",
        };
        let _ = writeln!(out, "  n{} {arrow} n{}", link.from, link.to);
    }
    let critical: Vec<String> = graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.critical)
        .map(|(number, _)| format!("n{number}"))
        .collect();
    out.push_str("  classDef critical stroke:#c2410c,stroke-width:3px\n");
    let _ = writeln!(out, "  class {} critical", critical.join(","));
    out
}

/// A text in quotes: whatever could mean something to Mermaid, HTML or Markdown stands as its number.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => {}
            c if c.is_alphanumeric() || " .,:/=+-|()[]".contains(c) => out.push(c),
            c => {
                let _ = write!(out, "#{};", u32::from(c));
            }
        }
    }
    out
}

/// A text in a comment.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && *c != '{')
        .collect()
}
