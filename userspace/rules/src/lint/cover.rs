//! Whether rules cover a region between them: whether each packet of it matches one of them.
//!
//! The search goes field by field. Values of a field that the candidates do not tell apart are looked at once; and
//! where some values are in fewer candidates than others, only these: what covers them covers the others too.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

use super::fields::Field;

/// Fields of a packet, in the order the search goes: first those that usually tell rules apart.
pub(super) const FIELDS: usize = 8;
pub(super) const SERVICE: usize = 0;
pub(super) const DESTINATION: usize = 1;
pub(super) const SOURCE: usize = 2;
pub(super) const ZONE: usize = 3;
pub(super) const SOURCE_PORT: usize = 4;
pub(super) const VLAN: usize = 5;
pub(super) const DSCP: usize = 6;
/// Minutes of the week.
pub(super) const TIME: usize = 7;

/// Classes up to which a list is entered under each of them.
const NARROW: usize = 64;

/// A rule, or a part of it: the packets that have a value of the right list in every field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Place of the rule in the set.
    pub(super) rule: usize,
    /// Its list in each field.
    pub(super) lists: [u32; FIELDS],
}

/// Packets, as classes of each field, ascending.
pub(super) type Region<'r> = [&'r [u32]; FIELDS];

/// The steps that were allowed are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

/// Steps that may still be taken.
#[derive(Debug)]
pub(super) struct Budget(Cell<u64>);

impl Budget {
    pub(super) fn new(steps: u64) -> Self {
        Self(Cell::new(steps))
    }

    /// Hands on at most so many of the steps, and takes back what is left of them.
    pub(super) fn part<T>(&self, most: u64, work: impl FnOnce(&Self) -> T) -> T {
        let part = self.0.get().min(most);
        let own = Self::new(part);
        let result = work(&own);
        self.0.set(self.0.get() - (part - own.0.get()));
        result
    }

    fn spend(&self, steps: usize) -> Result<(), Exhausted> {
        let left = self.0.get().checked_sub(steps as u64);
        self.0.set(left.unwrap_or_default());
        left.map(drop).ok_or(Exhausted)
    }
}

/// The rows of a rule set, found by their classes.
#[derive(Debug)]
pub(super) struct Rows {
    /// In the order of the rules.
    rows: Vec<Row>,
    fields: [Field; FIELDS],
    indexes: [Index; FIELDS],
}

/// Rows by the classes of one field.
#[derive(Debug, Default)]
struct Index {
    /// By class, the rows whose lists are narrow.
    narrow: Vec<Vec<u32>>,
    /// The other rows.
    wide: Vec<u32>,
}

impl Rows {
    pub(super) fn new(rows: Vec<Row>, fields: [Field; FIELDS]) -> Self {
        let index = |at: usize| {
            let field: &Field = &fields[at];
            let mut index = Index { narrow: vec![Vec::new(); field.classes()], wide: Vec::new() };
            for (number, row) in (0..).zip(&rows) {
                let classes = field.list(row.lists[at]);
                if classes.len() > NARROW {
                    index.wide.push(number);
                } else {
                    classes.iter().for_each(|class| index.narrow[*class as usize].push(number));
                }
            }
            index
        };
        let indexes = std::array::from_fn(index);
        Self { rows, fields, indexes }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Those of one rule.
    pub(super) fn of_rule(&self, rule: usize) -> &[Row] {
        let place = |rule: usize| self.rows.partition_point(|row| row.rule < rule);
        &self.rows[place(rule)..place(rule + 1)]
    }

    pub(super) fn field(&self, field: usize) -> &Field {
        &self.fields[field]
    }

    /// The rules before `rule` that cover a region between them, by place; `None` where some packet of it matches
    /// none of them. One rule that covers it alone is preferred to several.
    pub(super) fn covering(
        &self,
        region: &Region<'_>,
        rule: usize,
        budget: &Budget,
    ) -> Result<Option<BTreeSet<usize>>, Exhausted> {
        let mut candidates = Vec::new();
        for row in self.nearby(region, rule, budget)? {
            let Some(candidate) = self.candidate(row, region, budget)? else { continue };
            if candidate.whole == ALL_FIELDS {
                return Ok(Some([self.rows[row as usize].rule].into()));
            }
            candidates.push(candidate);
        }
        let mut search = Search { rows: self, region, budget, covering: BTreeSet::new() };
        let covered = search.covers(0, &candidates)?;
        Ok(covered.then_some(search.covering))
    }

    /// The rows of earlier rules that may share packets with a region, in order: by the field that leaves fewest.
    fn nearby(&self, region: &Region<'_>, rule: usize, budget: &Budget) -> Result<Vec<u32>, Exhausted> {
        let earlier = self.rows.partition_point(|row| row.rule < rule);
        let cost = |at: &usize| {
            let index = &self.indexes[*at];
            let narrow = region[*at].iter().map(|class| index.narrow[*class as usize].len());
            if region[*at].len() > NARROW { usize::MAX } else { index.wide.len() + narrow.sum::<usize>() }
        };
        let best = (0..FIELDS).map(|at| (cost(&at), at)).min().filter(|(cost, _)| *cost < earlier);
        let Some((cost, at)) = best else { return Ok((0..earlier as u32).collect()) };
        budget.spend(cost)?;
        let index = &self.indexes[at];
        let narrow = region[at].iter().flat_map(|class| &index.narrow[*class as usize]);
        let before = |number: &&u32| (**number as usize) < earlier;
        let mut rows: Vec<u32> = index.wide.iter().chain(narrow).filter(before).copied().collect();
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// A row as far as it shares packets with a region.
    fn candidate(
        &self,
        row: u32,
        region: &Region<'_>,
        budget: &Budget,
    ) -> Result<Option<Candidate>, Exhausted> {
        let mut whole = 0;
        for (at, classes) in region.iter().enumerate() {
            let own = self.fields[at].list(self.rows[row as usize].lists[at]);
            budget.spend(1 + own.len().min(classes.len()) / 8)?;
            match shared(own, classes).count() {
                0 => return Ok(None),
                all if all == classes.len() => whole |= 1 << at,
                _ => {}
            }
        }
        Ok(Some(Candidate { row, whole }))
    }
}

/// A row that shares packets with the region.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    row: u32,
    /// A bit per field in which it has every class of the region.
    whole: u16,
}

const ALL_FIELDS: u16 = (1 << FIELDS) - 1;

struct Search<'s> {
    rows: &'s Rows,
    region: &'s Region<'s>,
    budget: &'s Budget,
    covering: BTreeSet<usize>,
}

impl Search<'_> {
    /// Whether the candidates cover the region, where of the fields before `at` only one class each is left, which
    /// all of them have.
    fn covers(&mut self, at: usize, candidates: &[Candidate]) -> Result<bool, Exhausted> {
        self.budget.spend(1 + candidates.len())?;
        let rest = ALL_FIELDS & !0 << at;
        if let Some(first) = candidates.iter().find(|candidate| candidate.whole & rest == rest) {
            self.covering.insert(self.rows.rows[first.row as usize].rule);
            return Ok(true);
        }
        if candidates.is_empty() {
            return Ok(false);
        }
        let (whole, parts): (Vec<Candidate>, Vec<Candidate>) =
            candidates.iter().partition(|candidate| candidate.whole >> at & 1 == 1);
        if parts.is_empty() {
            return self.covers(at + 1, &whole);
        }
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for (number, candidate) in (0..).zip(&parts) {
            let own = self.rows.fields[at].list(self.rows.rows[candidate.row as usize].lists[at]);
            for class in shared(own, self.region[at]) {
                self.budget.spend(1)?;
                members.entry(class).or_default().push(number);
            }
        }
        let untouched = members.len() < self.region[at].len();
        let mut kinds: Vec<Vec<u32>> = members.into_values().chain(untouched.then(Vec::new)).collect();
        kinds.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        kinds.dedup();

        let mut covered: Vec<Vec<u32>> = Vec::new();
        for kind in kinds {
            self.budget.spend(1 + covered.len())?;
            if covered.iter().any(|fewer| is_subset(fewer, &kind)) {
                continue;
            }
            let mut rest = whole.clone();
            rest.extend(kind.iter().map(|number| parts[*number as usize]));
            rest.sort_unstable_by_key(|candidate| candidate.row);
            if !self.covers(at + 1, &rest)? {
                return Ok(false);
            }
            covered.push(kind);
        }
        Ok(true)
    }
}

/// What two ascending lists have in common; quick where one of them is short.
pub(super) fn shared<'l>(a: &'l [u32], b: &'l [u32]) -> impl Iterator<Item = u32> + 'l {
    let (few, mut many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    few.iter().copied().filter(move |class| {
        // Doubling steps, then bisection: the next one is seldom far.
        let mut reach = 1;
        while reach < many.len() && many[reach] < *class {
            reach *= 2;
        }
        let within = &many[..(reach + 1).min(many.len())];
        let place = within.partition_point(|other| other < class);
        many = &many[place..];
        many.first() == Some(class)
    })
}

fn is_subset(few: &[u32], many: &[u32]) -> bool {
    few.len() <= many.len() && shared(few, many).count() == few.len()
}
