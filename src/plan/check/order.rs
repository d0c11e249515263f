//! What comes before what in a plan, asked very often.

use std::cell::RefCell;

use crate::plan::step::{EdgeKind, StepId};

/// An edge, without its reason: a large plan's are read several times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub from: StepId,
    pub to: StepId,
    pub kind: EdgeKind,
}

/// What comes before what.
#[derive(Default)]
pub(super) struct Order {
    /// What steps wait for: of those of one step first the `Needs`, then the `After`, both sorted.
    before: Vec<StepId>,
    /// For each step where its `Needs` begin, and where its `After` do; and where those of the last
    /// step end.
    begins: Vec<(u32, u32)>,
    /// Steps that need a step, those of one step after those of the one before.
    users: Vec<StepId>,
    /// For each step where those begin, and where those of the last step end.
    users_begin: Vec<u32>,
    search: RefCell<Search>,
}

/// What a search has seen.
#[derive(Default)]
struct Search {
    /// By step the number of the search that saw it last.
    seen: Vec<u32>,
    /// This search's.
    number: u32,
    /// Steps that are yet to be looked at.
    waiting: Vec<StepId>,
}

impl Search {
    /// Begins anew, at a step.
    fn begin(&mut self, at: StepId) {
        self.number = self.number.checked_add(1).unwrap_or_else(|| {
            self.seen.fill(0);
            1
        });
        self.waiting.clear();
        self.waiting.push(at);
    }

    /// Adds a step, unless it was seen.
    fn add(&mut self, step: StepId) {
        let seen = &mut self.seen[step.0 as usize];
        if *seen != self.number {
            *seen = self.number;
            self.waiting.push(step);
        }
    }
}

impl Order {
    /// Of so many steps and what they wait for; every edge leads forward, to one of them.
    pub(super) fn of(count: usize, edges: &[Before]) -> Self {
        // How many of each kind each step has, then where they lie: each is put where those of its
        // step are, which takes no comparing.
        let mut begins = vec![(0, 0); count + 1];
        let mut users_begin = vec![0; count + 1];
        for edge in edges {
            let (needs, after) = &mut begins[edge.to.0 as usize];
            match edge.kind {
                EdgeKind::Needs => {
                    *needs += 1;
                    users_begin[edge.from.0 as usize + 1] += 1;
                }
                EdgeKind::After => *after += 1,
            }
        }
        let mut at = 0;
        for begin in &mut begins {
            let (needs, after) = *begin;
            *begin = (at, at + needs);
            at += needs + after;
        }
        for step in 0..count {
            users_begin[step + 1] += users_begin[step];
        }
        let mut next = begins.clone();
        let mut users_next = users_begin.clone();
        let mut before = vec![StepId(0); edges.len()];
        let mut users = vec![StepId(0); users_begin[count] as usize];
        for edge in edges {
            let (needs, after) = &mut next[edge.to.0 as usize];
            let place = match edge.kind {
                EdgeKind::Needs => {
                    let place = &mut users_next[edge.from.0 as usize];
                    users[*place as usize] = edge.to;
                    *place += 1;
                    needs
                }
                EdgeKind::After => after,
            };
            before[*place as usize] = edge.from;
            *place += 1;
        }
        // The edges of a plan are sorted; those of one from a file may not be.
        if !edges.is_sorted_by_key(|edge| edge.from) {
            for step in 0..count {
                let ((begin, after), (end, _)) = (begins[step], begins[step + 1]);
                before[begin as usize..after as usize].sort_unstable();
                before[after as usize..end as usize].sort_unstable();
            }
        }
        let search = Search {
            seen: vec![0; count],
            ..Search::default()
        };
        Self {
            before,
            begins,
            users,
            users_begin,
            search: RefCell::new(search),
        }
    }

    /// What a step waits for: its `Needs`, and its `After`.
    fn before(&self, step: StepId) -> (&[StepId], &[StepId]) {
        let step = step.0 as usize;
        let ((begin, after), (end, _)) = (self.begins[step], self.begins[step + 1]);
        let before = &self.before[begin as usize..end as usize];
        before.split_at((after - begin) as usize)
    }

    /// Whether `first` has ended whenever `then` starts; with `needs`, whether it has succeeded.
    pub(super) fn comes_before(&self, first: StepId, then: StepId, needs: bool) -> bool {
        if first >= then {
            return false;
        }
        let mut search = self.search.borrow_mut();
        search.begin(then);
        while let Some(at) = search.waiting.pop() {
            let (needed, ended) = self.before(at);
            if needed.binary_search(&first).is_ok()
                || (!needs && ended.binary_search(&first).is_ok())
            {
                return true;
            }
            let later = needed.partition_point(|from| *from < first);
            for &from in &needed[later..] {
                search.add(from);
            }
        }
        false
    }

    /// Every step that has started only if `first` has succeeded, sorted.
    pub(super) fn that_need(&self, first: StepId) -> Vec<StepId> {
        let mut search = self.search.borrow_mut();
        search.begin(first);
        let mut found = Vec::new();
        while let Some(at) = search.waiting.pop() {
            let at = at.0 as usize;
            let (begin, end) = (self.users_begin[at], self.users_begin[at + 1]);
            for &user in &self.users[begin as usize..end as usize] {
                let before = search.waiting.len();
                search.add(user);
                found.extend(search.waiting.get(before));
            }
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EdgeKind::{After, Needs};

    fn order(steps: u32, edges: &[(u32, u32, EdgeKind)]) -> Order {
        let edges: Vec<Before> = edges
            .iter()
            .map(|&(from, to, kind)| Before {
                from: StepId(from),
                to: StepId(to),
                kind,
            })
            .collect();
        Order::of(steps as usize, &edges)
    }

    #[test]
    fn a_step_comes_before_another_if_that_holds_however_steps_fail() {
        // 0 -needs-> 1 -needs-> 2 -after-> 3 -needs-> 4, and 5 alone.
        let order = order(
            6,
            &[(0, 1, Needs), (1, 2, Needs), (2, 3, After), (3, 4, Needs)],
        );
        let comes_before =
            |first, then, needs| order.comes_before(StepId(first), StepId(then), needs);
        assert!(comes_before(0, 2, true) && comes_before(0, 2, false));
        // 3 may run while 0 does, when 2 was skipped.
        assert!(!comes_before(0, 3, false) && !comes_before(1, 3, false));
        assert!(comes_before(2, 3, false) && !comes_before(2, 3, true));
        assert!(comes_before(2, 4, false) && !comes_before(2, 4, true));
        assert!(!comes_before(5, 4, false) && !comes_before(2, 2, false));
        assert!(!comes_before(4, 3, false));
        assert_eq!(order.that_need(StepId(0)), [StepId(1), StepId(2)]);
        assert_eq!(order.that_need(StepId(3)), [StepId(4)]);
        assert_eq!(order.that_need(StepId(5)), []);
        // Those of a plan from a file may stand in any order.
        let order = self::order(4, &[(2, 3, Needs), (1, 3, Needs), (0, 3, Needs)]);
        assert!((0..3).all(|first| order.comes_before(StepId(first), StepId(3), true)));
    }
}
