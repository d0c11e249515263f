//! Where nodes and links lie: lanes side by side, layers one after the other, and between them
//! room for the links, which never cross a node.
//!
//! Everything is said in two directions: *along* is the way time goes, from layer to layer;
//! *across* goes from lane to lane. A node lies in the layer of its longest chain of predecessors.
//! A link leaves its node along, goes across in the gap between two layers and, when it skips
//! layers, along in a channel at the side of a lane; then it enters its node along. Links from one
//! node share their way as far as it is the same, and so do links to one: a bundle is drawn once.

use std::collections::BTreeMap;

/// What is laid out: nodes by lane, links forward.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// The lane of each node; nodes are in an order in which they could be done.
    pub lanes: Vec<usize>,
    /// From which node to which.
    pub links: Vec<(usize, usize)>,
    /// How long a node is along, and across.
    pub node: (i32, i32),
    /// How wide a lane is across at least.
    pub lane: i32,
    /// Room before the first layer.
    pub head: i32,
}

/// Where everything lies: points are (along, across).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The first corner of each node.
    pub nodes: Vec<(i32, i32)>,
    /// The corners of each link's way.
    pub links: Vec<Vec<(i32, i32)>>,
    /// From where to where each lane goes across.
    pub lanes: Vec<(i32, i32)>,
    /// How far everything goes along and across.
    pub size: (i32, i32),
}

/// Between two ways that lie side by side.
const TRACK: i32 = 8;
/// Around the ways between two layers.
const GAP: i32 = 16;
/// Around what is in a lane.
const PAD: i32 = 12;
/// Between two nodes side by side in a lane.
const BESIDE: i32 = 12;
/// Between two lanes.
const BETWEEN: i32 = 8;
/// By how much the points where links that are not straight leave and enter lie apart.
const PORT: i32 = 8;

/// A bundle of links: those that leave a node, or those that enter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bundle {
    From(usize),
    To(usize),
}

/// How a link goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// From layer to layer without a turn.
    Straight,
    /// Across in the one gap there is.
    Across(Bundle),
    /// Across, along in the channel of a lane, across again.
    Channel { bundle: Bundle, lane: usize },
}

/// Intervals on tracks: those of two bundles on one track do not touch.
#[derive(Debug, Default)]
struct Tracks {
    spans: BTreeMap<Bundle, (i32, i32)>,
    of: BTreeMap<Bundle, i32>,
    count: i32,
}

impl Tracks {
    fn add(&mut self, bundle: Bundle, a: i32, b: i32) {
        let span = self.spans.entry(bundle).or_insert((a, a));
        span.0 = span.0.min(a).min(b);
        span.1 = span.1.max(a).max(b);
    }

    /// Gives each bundle the first track that is free where it goes; `apart`: how far from the last.
    fn assign(&mut self, apart: i32) {
        let mut spans: Vec<_> = self
            .spans
            .iter()
            .map(|(bundle, span)| (*span, *bundle))
            .collect();
        spans.sort_unstable();
        let mut ends: Vec<i32> = Vec::new();
        for ((start, end), bundle) in spans {
            let free = ends.iter().position(|last| last + apart < start);
            let track = free.unwrap_or(ends.len());
            if track == ends.len() {
                ends.push(end);
            } else {
                ends[track] = end;
            }
            self.of
                .insert(bundle, i32::try_from(track).unwrap_or(i32::MAX));
        }
        self.count = i32::try_from(ends.len()).unwrap_or(i32::MAX);
    }
}

impl Input {
    /// Lays it out.
    pub fn layout(&self) -> Layout {
        let layers = self.layers();
        let (slots, widths) = self.slots(&layers);
        let ways = self.ways(&layers, &slots);
        let depth = layers.iter().max().map_or(0, |last| last + 1);

        // Channels: how many tracks each lane needs, by layers alone.
        let lanes = widths.len();
        let mut channels: Vec<Tracks> = (0..lanes).map(|_| Tracks::default()).collect();
        for (&(from, to), way) in self.links.iter().zip(&ways) {
            if let Way::Channel { bundle, lane } = way {
                channels[*lane].add(*bundle, number(layers[from]), number(layers[to]) - 1);
            }
        }
        for tracks in &mut channels {
            tracks.assign(0);
        }

        // Across: lanes, their channels, their slots.
        let mut at = 0;
        let mut bands = Vec::new();
        let mut first_slot = Vec::new();
        for (lane, width) in widths.iter().enumerate() {
            let start = at;
            let channel = match channels[lane].count {
                0 => 0,
                tracks => tracks * TRACK + TRACK / 2,
            };
            first_slot.push(start + PAD + channel);
            let slots = number(*width);
            let inner = slots * self.node.1 + (slots - 1).max(0) * BESIDE + channel;
            at = start + inner.max(self.lane) + 2 * PAD;
            bands.push((start, at));
            at += BETWEEN;
        }
        let across_of = |node: usize| {
            first_slot[self.lanes[node]] + number(slots[node]) * (self.node.1 + BESIDE)
        };
        let channel_at =
            |lane: usize, bundle: Bundle| bands[lane].0 + PAD + channels[lane].of[&bundle] * TRACK;
        let leaves = |node: usize| across_of(node) + self.node.1 / 2 + PORT;
        let enters = |node: usize| across_of(node) + self.node.1 / 2 - PORT;

        // Gaps: what leaves nodes lies before what enters some.
        let mut leaving: Vec<Tracks> = (0..depth).map(|_| Tracks::default()).collect();
        let mut entering: Vec<Tracks> = (0..depth).map(|_| Tracks::default()).collect();
        for (&(from, to), way) in self.links.iter().zip(&ways) {
            let (first, last) = (layers[from], layers[to] - 1);
            match way {
                Way::Straight => {}
                Way::Across(bundle @ Bundle::From(_)) => {
                    leaving[first].add(*bundle, leaves(from), enters(to));
                }
                Way::Across(bundle @ Bundle::To(_)) => {
                    entering[last].add(*bundle, leaves(from), enters(to));
                }
                Way::Channel { bundle, lane } => {
                    let channel = channel_at(*lane, *bundle);
                    leaving[first].add(Bundle::From(from), leaves(from), channel);
                    entering[last].add(Bundle::To(to), channel, enters(to));
                }
            }
        }
        let mut layer_at = Vec::new();
        let mut along = self.head;
        for layer in 0..depth {
            layer_at.push(along);
            leaving[layer].assign(6);
            entering[layer].assign(6);
            let tracks = leaving[layer].count + entering[layer].count;
            along += self.node.0 + 2 * GAP + (tracks - 1).max(0) * TRACK;
        }
        let gap = |layer: usize| layer_at[layer] + self.node.0 + GAP;
        let left =
            |layer: usize, node: usize| gap(layer) + leaving[layer].of[&Bundle::From(node)] * TRACK;
        let entered = |layer: usize, node: usize| {
            gap(layer) + (leaving[layer].count + entering[layer].of[&Bundle::To(node)]) * TRACK
        };

        let links = self.links.iter().zip(&ways).map(|(&(from, to), way)| {
            let (first, last) = (layers[from], layers[to] - 1);
            let start = layer_at[first] + self.node.0;
            let end = layer_at[last + 1];
            let (out, into) = (leaves(from), enters(to));
            match way {
                Way::Straight => {
                    let middle = across_of(from) + self.node.1 / 2;
                    vec![(start, middle), (end, middle)]
                }
                Way::Across(bundle) => {
                    let turn = match bundle {
                        Bundle::From(_) => left(first, from),
                        Bundle::To(_) => entered(last, to),
                    };
                    vec![(start, out), (turn, out), (turn, into), (end, into)]
                }
                Way::Channel { bundle, lane } => {
                    let channel = channel_at(*lane, *bundle);
                    let (left, entered) = (left(first, from), entered(last, to));
                    vec![
                        (start, out),
                        (left, out),
                        (left, channel),
                        (entered, channel),
                        (entered, into),
                        (end, into),
                    ]
                }
            }
        });
        let links = links.collect();
        let last = layer_at.last().map_or(self.head, |at| at + self.node.0);
        let nodes = (0..self.lanes.len())
            .map(|node| (layer_at[layers[node]], across_of(node)))
            .collect();
        Layout {
            nodes,
            links,
            size: (last + PAD, bands.last().map_or(0, |band| band.1)),
            lanes: bands,
        }
    }

    /// The layer of each node: how many nodes the longest chain before it has.
    fn layers(&self) -> Vec<usize> {
        let mut layers = vec![0; self.lanes.len()];
        let mut links = self.links.clone();
        // Nodes are in order: when the links of one come up, all to it have been seen.
        links.sort_unstable();
        for (from, to) in links {
            layers[to] = layers[to].max(layers[from] + 1);
        }
        layers
    }

    /// The place of each node beside others of its lane and layer, below a predecessor where that
    /// is free, and how many places each lane has.
    fn slots(&self, layers: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); layers.len()];
        for &(from, to) in &self.links {
            before[to].push(from);
        }
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by_key(|node| (layers[*node], *node));
        let mut taken: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        let mut slots = vec![0; layers.len()];
        let mut widths = vec![0; self.lanes.iter().max().map_or(0, |last| last + 1)];
        for node in order {
            let lane = self.lanes[node];
            let taken = taken.entry((lane, layers[node])).or_default();
            let preferred = before[node]
                .iter()
                .filter(|from| self.lanes[**from] == lane)
                .max_by_key(|from| layers[**from])
                .map(|from| slots[*from]);
            let slot = preferred
                .into_iter()
                .chain(0..)
                .find(|slot| !taken.contains(slot))
                .expect("places never end");
            taken.push(slot);
            slots[node] = slot;
            widths[lane] = widths[lane].max(slot + 1);
        }
        (slots, widths)
    }

    fn ways(&self, layers: &[usize], slots: &[usize]) -> Vec<Way> {
        let mut leave = vec![0_usize; layers.len()];
        let mut enter = vec![0_usize; layers.len()];
        for &(from, to) in &self.links {
            leave[from] += 1;
            enter[to] += 1;
        }
        let way = |&(from, to): &(usize, usize)| {
            let bundle = if leave[from] >= enter[to] {
                Bundle::From(from)
            } else {
                Bundle::To(to)
            };
            let beside = self.lanes[from] == self.lanes[to] && slots[from] == slots[to];
            if layers[to] > layers[from] + 1 {
                let lane = match bundle {
                    Bundle::From(_) => self.lanes[to],
                    Bundle::To(_) => self.lanes[from],
                };
                Way::Channel { bundle, lane }
            } else if beside {
                Way::Straight
            } else {
                Way::Across(bundle)
            }
        };
        self.links.iter().map(way).collect()
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
