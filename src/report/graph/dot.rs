//! A graph in DOT, for Graphviz.

use std::fmt::Write as _;

use super::Graph;
use crate::plan::EdgeKind;

/// Renders a graph in DOT.
#[must_use]
pub fn render(graph: &Graph) -> String {
    let mut out = String::from("digraph plan {\n");
    let _ = writeln!(
        out,
        "  graph [label={}, labelloc=t, fontname=\"sans-serif\", rankdir=TB, compound=true];",
        quoted(&format!("{}: {}", graph.title, graph.summary))
    );
    out.push_str("  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11];\n");
    for (lane, title) in graph.lanes.iter().enumerate() {
        let _ = writeln!(
            out,
            "  subgraph cluster_{lane} {{\n    label={}; color=gray70; fontsize=12;",
            quoted(title)
        );
        for (number, node) in graph.nodes.iter().enumerate() {
            if node.lane != lane {
                continue;
            }
            let critical = if node.critical {
                ", color=\"#c2410c\", penwidth=2.5"
            } else {
                ""
            };
            let style = if node.cleanup {
                ", style=\"rounded,dashed\""
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "    n{number} [label={}{style}{critical}];",
                quoted(&format!("{}\n{}", node.label(), node.times()))
            );
        }
        out.push_str("  }\n");
    }
    for link in &graph.links {
        let style = match link.kind {
            EdgeKind::Needs => "",
            EdgeKind::After => ", style=dashed",
        };
        let critical = if link.critical {
            ", color=\"#c2410c\", penwidth=2.5"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "  n{} -> n{} [tooltip={}{style}{critical}];",
            link.from,
            link.to,
            quoted(&link.reason)
        );
    }
    out.push_str("}\n");
    out
}

/// A text in quotes. A backslash begins one of DOT's escapes, an ampersand one of HTML's.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
