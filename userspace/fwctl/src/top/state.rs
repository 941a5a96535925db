//! What the screen knows, what is chosen on it, and what keys do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use callgate_alg::call::State;
use callgate_api::{CallRow, EventRow, FlowRow, LadderRow, MediaRow, Page, PinholeRow, Status, StreamRow};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Looks that are remembered, for sparklines.
pub(super) const HISTORY: usize = 120;
/// Reasons whose history is remembered.
const REASONS: usize = 32;
/// The longest filter.
const FILTER: usize = 40;

/// The daemon's answers of one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) calls: Vec<Call>,
    pub(super) calls_total: u64,
    /// Bytes by source address, of the flows there are.
    pub(super) bytes: HashMap<IpAddr, u64>,
    pub(super) attacks: Vec<EventRow>,
}

/// A call, and how its media fares towards the caller and towards the callee.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) row: CallRow,
    pub(super) quality: [String; 2],
}

impl Snapshot {
    pub(super) fn new(
        status: Status,
        calls: Page<CallRow>,
        (flows, media): (Vec<FlowRow>, Vec<PinholeRow>),
        attacks: Vec<EventRow>,
    ) -> Self {
        let total = calls.total;
        let calls = calls.rows.into_iter().map(|row| {
            let to_caller = quality(&row, |stream| stream.to_caller.as_ref());
            let to_callee = quality(&row, |stream| stream.to_callee.as_ref());
            Call { row, quality: [to_caller, to_callee] }
        });
        let mut bytes: HashMap<IpAddr, u64> = HashMap::new();
        for flow in &flows {
            for (end, sent) in [flow.from, flow.to].iter().zip(flow.bytes) {
                *bytes.entry(end.ip()).or_default() += sent;
            }
        }
        // Media makes no flows. Where several may send, nobody knows who did.
        for pinhole in &media {
            if let [sender] = pinhole.from[..] {
                *bytes.entry(sender.ip).or_default() += pinhole.bytes;
            }
        }
        Self { status, calls: calls.collect(), calls_total: total, bytes, attacks }
    }
}

/// The worst of a call's streams in one direction: mean opinion score, else loss and jitter; a dash where nothing was
/// measured.
fn quality(call: &CallRow, direction: fn(&StreamRow) -> Option<&MediaRow>) -> String {
    let measured = || call.streams.iter().filter_map(direction);
    if let Some(score) = measured().filter_map(|media| media.mos).reduce(f64::min) {
        return format!("{score:.1}");
    }
    let loss = measured().filter_map(|media| media.loss).reduce(f64::max);
    let jitter = measured().filter_map(|media| media.jitter_ms).reduce(f64::max);
    match (loss.map(|share| share * 100.0), jitter) {
        (None, None) => "-".to_owned(),
        (loss, jitter) => {
            let part = |value: Option<f64>, unit| value.map(|value| format!("{value:.1}{unit}"));
            [part(loss, "%"), part(jitter, "ms")].into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    }
}

/// What calls are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Number,
    Age,
    State,
    Caller,
    Callee,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Number, Self::Age, Self::State, Self::Caller, Self::Callee];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Age => "age",
            Self::State => "state",
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }
}

/// What stands in front.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Front {
    Nothing,
    Help,
    /// A filter is being written.
    Filter,
    /// A call's messages, and how far down they are read.
    Ladder(Page<LadderRow>, u16),
    /// Whether to end a call.
    Confirm(u64),
}

/// What a key asks of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    Ladder(u64),
    HangUp(u64),
}

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) now: Snapshot,
    pub(super) colour: bool,
    pub(super) front: Front,
    pub(super) filter: String,
    pub(super) sort: Sort,
    pub(super) descending: bool,
    /// The chosen call, by its number: it stays chosen however the list is sorted.
    chosen: Option<u64>,
    /// Packets passed a second, look by look.
    pub(super) passed: VecDeque<u64>,
    /// Packets dropped a second by reason, look by look.
    pub(super) dropped: BTreeMap<String, VecDeque<u64>>,
    /// Addresses that have sent most since the last look, and how many bytes.
    pub(super) talkers: Vec<(IpAddr, u64)>,
    pub(super) word: Option<String>,
}

impl Screen {
    pub(super) fn new(first: Snapshot, colour: bool) -> Self {
        let mut screen = Self {
            now: first.clone(),
            colour,
            front: Front::Nothing,
            filter: String::new(),
            sort: Sort::Number,
            descending: true,
            chosen: None,
            passed: VecDeque::new(),
            dropped: BTreeMap::new(),
            talkers: Vec::new(),
            word: None,
        };
        screen.take(first);
        screen
    }

    /// Another look.
    pub(super) fn take(&mut self, now: Snapshot) {
        push(&mut self.passed, now.status.rates.passed);
        for row in &now.status.refusals {
            if self.dropped.len() < REASONS || self.dropped.contains_key(&row.reason) {
                self.dropped.entry(row.reason.clone()).or_default();
            }
        }
        for (reason, rates) in &mut self.dropped {
            let row = now.status.refusals.iter().find(|row| row.reason == *reason);
            push(rates, row.map_or(0, |row| row.per_s));
        }
        let since = |address: &IpAddr, bytes: u64| {
            bytes.saturating_sub(self.now.bytes.get(address).copied().unwrap_or(0))
        };
        let mut talkers: Vec<(IpAddr, u64)> =
            now.bytes.iter().map(|(address, bytes)| (*address, since(address, *bytes))).collect();
        talkers.retain(|(_, bytes)| *bytes > 0);
        talkers.sort_by_key(|(address, bytes)| (std::cmp::Reverse(*bytes), *address));
        talkers.truncate(20);
        self.talkers = talkers;
        self.now = now;
    }

    pub(super) fn say(&mut self, word: String) {
        self.word = Some(word);
    }

    pub(super) fn show_ladder(&mut self, page: Page<LadderRow>) {
        self.front = Front::Ladder(page, 0);
    }

    /// The calls that are wanted, in their order.
    pub(super) fn calls(&self) -> Vec<&Call> {
        let filter = self.filter.to_lowercase();
        let wanted = |call: &&Call| {
            let row = &call.row;
            let told = format!(
                "{} {} {} {} {} {} {}",
                row.id,
                row.protocol,
                row.key,
                row.caller.party,
                row.callee.party,
                row.caller.signalling,
                row.callee.signalling
            );
            filter.is_empty() || told.to_lowercase().contains(&filter)
        };
        let mut calls: Vec<&Call> = self.now.calls.iter().filter(wanted).collect();
        calls.sort_by(|one, other| {
            let (one, other) = (&one.row, &other.row);
            let order = match self.sort {
                Sort::Number => one.id.cmp(&other.id),
                Sort::Age => one.age_s.cmp(&other.age_s),
                Sort::State => progress(one.state).cmp(&progress(other.state)),
                Sort::Caller => one.caller.party.cmp(&other.caller.party),
                Sort::Callee => one.callee.party.cmp(&other.callee.party),
            };
            let order = order.then(one.id.cmp(&other.id));
            if self.descending { order.reverse() } else { order }
        });
        calls
    }

    /// The place of the chosen call in the list.
    pub(super) fn place(&self) -> Option<usize> {
        let calls = self.calls();
        let place = calls.iter().position(|call| Some(call.row.id) == self.chosen);
        place.or_else(|| (!calls.is_empty()).then_some(0))
    }

    fn chosen(&self) -> Option<u64> {
        Some(self.calls().get(self.place()?)?.row.id)
    }

    fn step(&mut self, by: isize) {
        let calls = self.calls();
        let Some(place) = self.place() else { return };
        let last = calls.len().saturating_sub(1);
        let next = place.saturating_add_signed(by).min(last);
        self.chosen = calls.get(next).map(|call| call.row.id);
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        self.word = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        match &mut self.front {
            Front::Filter => {
                match key.code {
                    KeyCode::Enter => self.front = Front::Nothing,
                    KeyCode::Esc => {
                        self.filter.clear();
                        self.front = Front::Nothing;
                    }
                    KeyCode::Backspace => drop(self.filter.pop()),
                    KeyCode::Char(c) if self.filter.chars().count() < FILTER && !c.is_control() => {
                        self.filter.push(c)
                    }
                    _ => {}
                }
                Wish::Nothing
            }
            Front::Confirm(call) => {
                let call = *call;
                self.front = Front::Nothing;
                if key.code == KeyCode::Char('y') { Wish::HangUp(call) } else { Wish::Nothing }
            }
            Front::Ladder(_, line) => {
                match key.code {
                    KeyCode::Up | KeyCode::Char('k') => *line = line.saturating_sub(1),
                    KeyCode::Down | KeyCode::Char('j') => *line = line.saturating_add(1),
                    KeyCode::PageUp => *line = line.saturating_sub(10),
                    KeyCode::PageDown => *line = line.saturating_add(10),
                    _ => self.front = Front::Nothing,
                }
                Wish::Nothing
            }
            Front::Help => {
                self.front = Front::Nothing;
                Wish::Nothing
            }
            Front::Nothing => self.list_key(key.code),
        }
    }

    fn list_key(&mut self, key: KeyCode) -> Wish {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-10),
            KeyCode::PageDown => self.step(10),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Char('s') => {
                let place = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort = Sort::ALL[(place + 1) % Sort::ALL.len()];
            }
            KeyCode::Char('r') => self.descending = !self.descending,
            KeyCode::Char('/') => self.front = Front::Filter,
            KeyCode::Char('?' | 'h') => self.front = Front::Help,
            KeyCode::Enter => return self.chosen().map_or(Wish::Nothing, Wish::Ladder),
            KeyCode::Char('x') => {
                if let Some(call) = self.chosen() {
                    self.front = Front::Confirm(call);
                }
            }
            _ => {}
        }
        Wish::Nothing
    }
}

/// How far a call has come.
const fn progress(state: State) -> u8 {
    match state {
        State::Calling => 0,
        State::Ringing => 1,
        State::Connected => 2,
    }
}

fn push(history: &mut VecDeque<u64>, value: u64) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(value);
}
