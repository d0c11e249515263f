//! How long what a plan makes can live at most.

use std::collections::BTreeMap;

use crate::plan::step::Edge;

/// What waits for what, to find how long a droplet can live at most.
pub(super) struct Waits<'a> {
    /// How long each step takes at most.
    longest: &'a [u64],
    /// What steps wait for, those of one step after those of the one before.
    before: Vec<u32>,
    /// Where those of each step begin, and where those of the last end.
    begins: Vec<usize>,
    /// By what a create waits for, where among `ends` what comes of that is: most creates wait for
    /// the same.
    known: BTreeMap<Vec<u32>, usize>,
    /// Ends counted without what must be over when a droplet is made, as far as they were asked for,
    /// and the latest of them.
    ends: Vec<(Ends, Option<u64>)>,
    /// The create that was asked about last, and where what comes of it is: it makes several.
    latest: Option<(usize, usize)>,
    /// Steps whose ends are yet to be found.
    waiting: Vec<u32>,
}

/// So many different beginnings are looked at one by one; for more of them a life is taken to be as
/// long as all that comes before its end.
const BEGINNINGS: usize = 64;

impl<'a> Waits<'a> {
    pub(super) fn of(longest: &'a [u64], edges: &[Edge]) -> Self {
        let mut begins = vec![0; longest.len() + 1];
        for edge in edges {
            begins[edge.to.0 as usize + 1] += 1;
        }
        for step in 0..longest.len() {
            begins[step + 1] += begins[step];
        }
        let mut next = begins.clone();
        let mut before = vec![0; edges.len()];
        // Edges are sorted by where they come from, and so is what each step waits for.
        for edge in edges {
            let place = &mut next[edge.to.0 as usize];
            before[*place] = edge.from.0;
            *place += 1;
        }
        Self {
            longest,
            before,
            begins,
            known: BTreeMap::new(),
            ends: Vec::new(),
            latest: None,
            waiting: Vec::new(),
        }
    }

    fn before(&self, step: usize) -> &[u32] {
        &self.before[self.begins[step]..self.begins[step + 1]]
    }

    /// What [`ends`] says, from what is smaller to look through.
    pub(super) fn ends(&self, took: &[u64]) -> Vec<u64> {
        let mut ends = vec![0_u64; took.len()];
        for (step, took) in took.iter().enumerate() {
            let before = self.before(step).iter();
            let start = before.map(|from| ends[*from as usize]).max();
            ends[step] = start.unwrap_or(0).saturating_add(*took);
        }
        ends
    }

    /// The longest that can pass from the start of `create` to the end of `destroy`, or of
    /// everything: what must be over before the start does not count, all else takes its longest.
    pub(super) fn longest_life(&mut self, create: usize, destroy: Option<usize>) -> u64 {
        let place = match self.latest {
            Some((latest, place)) if latest == create => place,
            _ => self.beginning(create),
        };
        self.latest = Some((create, place));
        match (destroy, self.ends[place].1) {
            (Some(step), _) => self.end(place, step),
            (None, Some(whole)) => whole,
            (None, None) => {
                let all = 0..self.longest.len();
                let whole = all.map(|step| self.end(place, step)).max().unwrap_or(0);
                self.ends[place].1 = Some(whole);
                whole
            }
        }
    }

    /// Where among `ends` is what comes of the beginning of a create.
    fn beginning(&mut self, create: usize) -> usize {
        let mut first = self.before(create);
        if let Some(&place) = self.known.get(first) {
            return place;
        }
        if self.known.len() >= BEGINNINGS {
            first = &[];
            if let Some(&place) = self.known.get(first) {
                return place;
            }
        }
        let mut ends = Ends::of(self.longest.len());
        // What must be over, and what comes before that, takes no time any more.
        let mut left = first.to_vec();
        while let Some(step) = left.pop() {
            if ends.get(step).is_none() {
                ends.set(step, 0);
                left.extend(self.before(step as usize));
            }
        }
        let place = self.ends.len();
        let first = first.to_vec();
        self.ends.push((ends, None));
        self.known.insert(first, place);
        place
    }

    /// When a step ends after a beginning. Only what comes before it is looked at, once.
    fn end(&mut self, place: usize, step: usize) -> u64 {
        let Self {
            longest,
            before,
            begins,
            ends,
            waiting,
            ..
        } = self;
        let ends = &mut ends[place].0;
        let step = u32::try_from(step).expect("positions come from step ids");
        waiting.clear();
        waiting.push(step);
        while let Some(&at) = waiting.last() {
            if ends.get(at).is_none() {
                let (mut start, known) = (0, waiting.len());
                for &from in &before[begins[at as usize]..begins[at as usize + 1]] {
                    match ends.get(from) {
                        Some(end) => start = end.max(start),
                        None => waiting.push(from),
                    }
                }
                if waiting.len() > known {
                    continue;
                }
                ends.set(at, start.saturating_add(longest[at as usize]));
            }
            waiting.pop();
        }
        ends.get(step).unwrap_or_default()
    }
}

/// How many ends lie together.
const PAGE: usize = 256;

/// Ends of some of the steps of a plan, by their positions. Mostly those of few steps are asked for, and
/// those lie in a few places: a list of all steps for each beginning would take more memory than the
/// plan.
struct Ends(Vec<Option<Box<[u64; PAGE]>>>);

/// Stands for an end that was not found yet.
const UNKNOWN: u64 = u64::MAX;

impl Ends {
    fn of(steps: usize) -> Self {
        Self(vec![None; steps.div_ceil(PAGE)])
    }

    fn get(&self, step: u32) -> Option<u64> {
        let step = step as usize;
        let page = self.0[step / PAGE].as_ref()?;
        Some(page[step % PAGE]).filter(|end| *end != UNKNOWN)
    }

    fn set(&mut self, step: u32, end: u64) {
        let step = step as usize;
        let page = self.0[step / PAGE].get_or_insert_with(|| Box::new([UNKNOWN; PAGE]));
        // What takes for ever ends one second before that.
        page[step % PAGE] = end.min(UNKNOWN - 1);
    }
}
