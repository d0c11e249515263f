//! A graph as an SVG that stands alone: no script, no font, no other file; light or dark as the
//! reader's screen is.

use std::fmt::Write as _;

use super::layout::{Input, Layout};
use super::{Graph, Node};
use crate::plan::EdgeKind;

/// Width and height of a node.
const NODE: (i32, i32) = (200, 42);
/// Width of a character of titles, in tenths: fonts of one width are 0.6 of their size.
const CHARACTER: i32 = 72;
/// So many characters of a title fit into a node.
const TITLE: usize = 25;
/// Above the picture: what it is of.
const TOP: i32 = 64;
/// Around the picture.
const MARGIN: i32 = 16;
/// Above the nodes of a lane: its name.
const HEAD: i32 = 40;
/// Corners of links.
const ROUND: i32 = 6;
/// The narrowest picture: its legend must have room.
const NARROWEST: i32 = 640;
/// Wider than this a picture is laid out sideways if that makes it narrower.
const WIDE: i32 = 2_400;

/// Colours, light and dark: background, lane, node, border, text, faint text, link, critical, fill
/// of critical nodes.
const LIGHT: [&str; 9] = [
    "#ffffff", "#f4f6f8", "#ffffff", "#8c96a3", "#1b2430", "#55606e", "#8591a0", "#c2410c",
    "#fff1e6",
];
const DARK: [&str; 9] = [
    "#12161c", "#1b222b", "#232c37", "#66727f", "#e7ecf2", "#a4afbc", "#77838f", "#fb923c",
    "#3d2613",
];

/// Which way time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Down,
    Right,
}

/// Renders a graph as an SVG document.
#[must_use]
pub fn render(graph: &Graph) -> String {
    let (flow, layout) = laid_out(graph);
    let at = |(along, across): (i32, i32)| match flow {
        Flow::Down => (across + MARGIN, along + TOP),
        Flow::Right => (along + MARGIN, across + TOP),
    };
    let (right, bottom) = at(layout.size);
    let (width, height) = ((right + MARGIN).max(NARROWEST), bottom + MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">\n"
    );
    let _ = writeln!(out, "<title id=\"title\">{}</title>", escaped(&graph.title));
    let path = graph.critical_path();
    let path = if path.is_empty() {
        String::new()
    } else {
        format!(" The longest chain: {path}.")
    };
    let _ = writeln!(
        out,
        "<desc id=\"desc\">{}</desc>",
        escaped(&format!("Steps of a plan: {}.{path}", graph.summary))
    );
    style(&mut out);
    let _ = writeln!(
        out,
        "<rect class=\"back\" width=\"{width}\" height=\"{height}\"/>"
    );
    legend(&mut out, graph);
    lanes(&mut out, graph, &layout, flow);
    links(&mut out, graph, &layout, flow);
    for (node, corner) in graph.nodes.iter().zip(&layout.nodes) {
        draw_node(&mut out, graph, node, at(*corner));
    }
    out.push_str("</svg>\n");
    out
}

/// Time goes down, as pages do; only what would be very wide goes to the right.
fn laid_out(graph: &Graph) -> (Flow, Layout) {
    let input = |flow| Input {
        lanes: graph.nodes.iter().map(|node| node.lane).collect(),
        links: graph
            .links
            .iter()
            .map(|link| (link.from, link.to))
            .collect(),
        node: match flow {
            Flow::Down => (NODE.1, NODE.0),
            Flow::Right => NODE,
        },
        lane: match flow {
            Flow::Down => NODE.0,
            Flow::Right => NODE.1,
        },
        head: match flow {
            Flow::Down => HEAD,
            // The longest name of a lane stands before its first node.
            Flow::Right => {
                let longest = graph.lanes.iter().map(|lane| width(lane)).max();
                longest.unwrap_or(0).min(TITLE) as i32 * CHARACTER / 10 + 40
            }
        },
    };
    let down = input(Flow::Down).layout();
    if down.size.1 <= WIDE {
        return (Flow::Down, down);
    }
    let right = input(Flow::Right).layout();
    if right.size.0 < down.size.1 {
        (Flow::Right, right)
    } else {
        (Flow::Down, down)
    }
}

fn style(out: &mut String) {
    out.push_str("<style>\n");
    out.push_str(
        "text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, \"DejaVu Sans Mono\", monospace; font-size: 12px }\n\
         .name { font-weight: 700 } .big { font-size: 16px; font-weight: 700 } .small { font-size: 10.5px }\n\
         .link { fill: none; stroke-width: 1.4 } .after { stroke-dasharray: 4 3 } .link.critical { stroke-width: 2.6 }\n\
         .node { stroke-width: 1 } .node.critical { stroke-width: 2 } .node.cleanup { stroke-dasharray: 5 3 }\n",
    );
    rules(out, &LIGHT);
    out.push_str("@media (prefers-color-scheme: dark) {\n");
    rules(out, &DARK);
    out.push_str("}\n</style>\n");
    for (id, class) in [("tip", "tip"), ("tip-critical", "tip critical")] {
        let _ = writeln!(
            out,
            "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"{class}\" d=\"M0 0 8 4 0 8z\"/></marker>"
        );
    }
}

fn rules(out: &mut String, colours: &[&str; 9]) {
    let [back, lane, node, border, text, faint, link, critical, fill] = colours;
    let _ = write!(
        out,
        ".back {{ fill: {back} }} .lane {{ fill: {lane} }} .node {{ fill: {node}; stroke: {border} }} \
         text {{ fill: {text} }} .small {{ fill: {faint} }}\n\
         .link {{ stroke: {link} }} .tip {{ fill: {link} }} .link.critical {{ stroke: {critical} }} \
         .tip.critical {{ fill: {critical} }} .node.critical {{ fill: {fill}; stroke: {critical} }}\n"
    );
}

fn legend(out: &mut String, graph: &Graph) {
    let _ = writeln!(
        out,
        "<text class=\"big\" x=\"{MARGIN}\" y=\"26\">{}</text>",
        escaped(&cut(&format!("{}: {}", graph.title, graph.summary), 60))
    );
    let mut x = MARGIN;
    for (class, text) in [
        ("link critical", "longest chain"),
        ("link", "must succeed first"),
        ("link after", "must only have ended"),
    ] {
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{x} 46H{}\"/><text class=\"small\" x=\"{}\" y=\"50\">{text}</text>",
            x + 26,
            x + 32
        );
        x += 32 + text.len() as i32 * 63 / 10 + 22;
    }
    let _ = writeln!(
        out,
        "<rect class=\"node cleanup\" x=\"{x}\" y=\"40\" width=\"22\" height=\"12\" rx=\"3\"/><text class=\"small\" x=\"{}\" y=\"50\">clean-up</text>",
        x + 28
    );
}

fn lanes(out: &mut String, graph: &Graph, layout: &Layout, flow: Flow) {
    for (lane, (start, end)) in graph.lanes.iter().zip(&layout.lanes) {
        let (x, y, w, h) = match flow {
            Flow::Down => (start + MARGIN, TOP, end - start, layout.size.0),
            Flow::Right => (MARGIN, start + TOP, layout.size.0, end - start),
        };
        let name = (x + 14, y + if flow == Flow::Down { 25 } else { h / 2 + 4 });
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect class=\"lane\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"8\"/><text class=\"name\" x=\"{}\" y=\"{}\">{}</text></g>",
            escaped(lane),
            name.0,
            name.1,
            escaped(&cut(lane, TITLE))
        );
    }
}

/// Links, those of the longest chain last: they lie above the others.
fn links(out: &mut String, graph: &Graph, layout: &Layout, flow: Flow) {
    let mut order: Vec<usize> = (0..graph.links.len()).collect();
    order.sort_by_key(|link| graph.links[*link].critical);
    for link in order {
        let points: Vec<(i32, i32)> = layout.links[link]
            .iter()
            .map(|&(along, across)| match flow {
                Flow::Down => (across + MARGIN, along + TOP),
                Flow::Right => (along + MARGIN, across + TOP),
            })
            .collect();
        let link = &graph.links[link];
        let (mut class, mut tip) = ("link".to_owned(), "tip");
        if link.kind == EdgeKind::After {
            class.push_str(" after");
        }
        if link.critical {
            class.push_str(" critical");
            tip = "tip-critical";
        }
        let ends = |node: usize| {
            let node = &graph.nodes[node];
            format!("{} {}", graph.lanes[node.lane], node.title)
        };
        let _ = writeln!(
            out,
            "<path class=\"{class}\" marker-end=\"url(#{tip})\" d=\"{}\"><title>{}</title></path>",
            way(&points),
            escaped(&format!(
                "{} waits for {}: {}",
                ends(link.to),
                ends(link.from),
                link.reason
            ))
        );
    }
}

/// A way with round corners.
fn way(points: &[(i32, i32)]) -> String {
    let mut out = String::new();
    let mut bare: Vec<(i32, i32)> = points.to_vec();
    bare.dedup();
    for (position, &(x, y)) in bare.iter().enumerate() {
        if position == 0 {
            let _ = write!(out, "M{x} {y}");
            continue;
        }
        let Some(&next) = bare.get(position + 1) else {
            let _ = write!(out, "L{x} {y}");
            break;
        };
        let before = toward((x, y), bare[position - 1]);
        let after = toward((x, y), next);
        let _ = write!(
            out,
            "L{} {}Q{x} {y} {} {}",
            before.0, before.1, after.0, after.1
        );
    }
    out
}

/// A point a corner's radius, or half of the way, from one point to another.
fn toward(from: (i32, i32), to: (i32, i32)) -> (i32, i32) {
    let step = |from: i32, to: i32| {
        let length = (to - from).abs();
        from + (to - from).signum() * ROUND.min(length / 2)
    };
    (step(from.0, to.0), step(from.1, to.1))
}

fn draw_node(out: &mut String, graph: &Graph, node: &Node, (x, y): (i32, i32)) {
    let mut class = "node".to_owned();
    if node.cleanup {
        class.push_str(" cleanup");
    }
    if node.critical {
        class.push_str(" critical");
    }
    let late = match node.slack {
        _ if node.critical => "on the longest chain".to_owned(),
        slack => format!("may be {} late", crate::units::Seconds(slack)),
    };
    let whole = format!(
        "{}: {}\n{}; {late}",
        graph.lanes[node.lane],
        node.label(),
        node.times()
    );
    let _ = writeln!(
        out,
        "<g><title>{}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/><text x=\"{}\" y=\"{}\">{}</text><text class=\"small\" x=\"{}\" y=\"{}\">{}</text></g>",
        escaped(&whole),
        NODE.0,
        NODE.1,
        x + 10,
        y + 18,
        escaped(&label(node)),
        x + 10,
        y + 33,
        escaped(&node.times()),
    );
}

/// A title that fits, with how many steps there are, which is never cut.
fn label(node: &Node) -> String {
    let several = node.several();
    cut(&node.title, TITLE - width(&several)) + &several
}

/// How many characters of one width a text takes: those of East Asia take two.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| if c >= '\u{1100}' { 2 } else { 1 })
        .sum()
}

/// Cuts a text to so many characters of one width.
fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut room = most - 1;
    let mut short: String = text
        .chars()
        .take_while(|c| {
            let takes = width(c.encode_utf8(&mut [0; 4]));
            let fits = takes <= room;
            room = room.saturating_sub(takes);
            fits
        })
        .collect();
    short.push('\u{2026}');
    short
}

/// A text as XML may hold it: what XML cannot is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}
