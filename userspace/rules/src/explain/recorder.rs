//! Tables that note what the judge looks up, and what it is told.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;

use callgate_shared::Addr;
use callgate_shared::flow::{Flow, FlowKey, Standing};
use callgate_shared::judge::{Budget, FirstFragment, FragmentKey, Tables, Way, first_match};
use callgate_shared::limit::{LimitKey, Rate};
use callgate_shared::media::{Measures, flags};
use callgate_shared::packet::Packet;
use callgate_shared::pinhole::{FurtherSenders, Pinhole, PinholeKey, Sender, learnt_port};
use callgate_shared::policy::{Policy, RuleEntry, Vector};

/// Tables whose limits can be looked at without being charged.
pub trait Peek: Tables {
    /// The theoretical arrival time of a bucket, ns; `None` where it has never been charged.
    fn bucket(&self, key: &LimitKey) -> Option<u64>;
}

/// Something the judge has asked of its tables, and the answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Look {
    /// It belongs to no known flow.
    Begin,
    /// It belongs to one whose packets are limited.
    Charge,
    /// The rules are asked for a packet of a zone; the look-ups that follow, to [`Look::Rule`], are about this.
    Asked(u8, Way),
    SourceClass(Addr, u16),
    DestinationClass(Addr, u16),
    ServiceClass(u16),
    SourcePortClass(u16),
    TagClass(u16),
    Cell(u32),
    Vector,
    /// The rule of a number; `None` where there is none.
    Rule(u16, Option<RuleEntry>),
    /// A bit per zone that may send from a class.
    SourceZones(u16),
    RouteBack(bool),
    Flow(FlowKey, Option<FlowFacts>),
    MayBeOpen(u8, u16, bool),
    Pinhole(PinholeKey, Option<PinholeFacts>),
    FurtherSenders(Option<FurtherSenders>),
    Fragment(Option<FirstFragment>),
    Conform {
        key: LimitKey,
        rate: Rate,
        cost: u64,
        arrival: Option<u64>,
        conforms: bool,
    },
    Refund(LimitKey),
    Afford {
        budget: Budget,
        rate: Rate,
        conforms: bool,
    },
    Blocked(Addr, bool),
    Peer(Addr, bool),
    InsertFlow(FlowFacts),
    InsertFragment,
    Vouch(Addr),
}

/// A flow, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowFacts {
    pub(super) last_seen: u64,
    pub(super) created: u64,
    pub(super) packets: [u64; 2],
    pub(super) standing: Standing,
    pub(super) slot: u32,
    pub(super) originator: u8,
    pub(super) inspect: u8,
    pub(super) zone: u8,
    pub(super) flags: u8,
}

/// A pinhole, likewise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PinholeFacts {
    pub(super) last_seen: u64,
    pub(super) expires: u64,
    /// In ns.
    pub(super) idle: u64,
    pub(super) call: u64,
    /// The first of those who may send; `further` has the others.
    pub(super) sender: Sender,
    pub(super) further: bool,
    pub(super) kind: u8,
    pub(super) slot: u32,
    /// [`callgate_shared::media::flags`] bits.
    pub(super) flags: u16,
    pub(super) payload_types: [u64; 2],
    /// The port it has learnt; 0 before.
    pub(super) learnt: u16,
    /// What it has measured before this packet.
    pub(super) measures: Measures,
}

/// Other tables, watched: every answer is theirs, and every change is made to them.
#[derive(Debug)]
pub(super) struct Recorder<'t, T> {
    tables: &'t mut T,
    seen: RefCell<Vec<Look>>,
}

impl<'t, T: Peek> Recorder<'t, T> {
    pub(super) fn new(tables: &'t mut T) -> Self {
        Self { tables, seen: RefCell::default() }
    }

    /// What was looked up, in order: a judgement asks some forty questions at most.
    pub(super) fn seen(self) -> Vec<Look> {
        self.seen.into_inner()
    }

    pub(super) fn note(&self, look: Look) {
        self.seen.borrow_mut().push(look);
    }

    fn flow_facts(&self, flow: &Flow) -> FlowFacts {
        let load = |word: &AtomicU64| self.tables.load(word);
        FlowFacts {
            last_seen: load(&flow.last_seen),
            created: flow.created,
            packets: flow.packets.each_ref().map(load),
            standing: Standing::unpack(load(&flow.standing)),
            slot: flow.slot,
            originator: flow.originator,
            inspect: flow.inspect,
            zone: flow.zone,
            flags: flow.flags,
        }
    }

    fn pinhole_facts(&self, pinhole: &Pinhole) -> PinholeFacts {
        let [sender, ..] = pinhole.senders(None);
        PinholeFacts {
            last_seen: self.tables.load(&pinhole.last_seen),
            expires: pinhole.expires,
            idle: u64::from(pinhole.idle) * 1_000_000,
            call: pinhole.call,
            sender,
            further: pinhole.flags & flags::FURTHER != 0,
            kind: pinhole.kind,
            slot: pinhole.slot.into(),
            flags: pinhole.flags,
            payload_types: pinhole.payload_types,
            learnt: learnt_port(self.tables.load(&pinhole.learnt)).unwrap_or_default(),
            measures: pinhole.measures(),
        }
    }
}

impl<T: Peek> Tables for Recorder<'_, T> {
    fn first_match(&self, policy: &Policy, packet: &Packet, zone: u8, way: Way) -> u16 {
        self.note(Look::Asked(zone, way));
        first_match(self, policy, packet, zone, way)
    }

    fn source_class(&self, address: &Addr) -> u16 {
        let class = self.tables.source_class(address);
        self.note(Look::SourceClass(*address, class));
        class
    }

    fn destination_class(&self, address: &Addr) -> u16 {
        let class = self.tables.destination_class(address);
        self.note(Look::DestinationClass(*address, class));
        class
    }

    fn service_class(&self, cell: u32) -> u16 {
        let class = self.tables.service_class(cell);
        self.note(Look::ServiceClass(class));
        class
    }

    fn source_port_class(&self, cell: u32) -> u16 {
        let class = self.tables.source_port_class(cell);
        self.note(Look::SourcePortClass(class));
        class
    }

    fn tag_class(&self, cell: u32) -> u16 {
        let class = self.tables.tag_class(cell);
        self.note(Look::TagClass(class));
        class
    }

    fn rule_number(&self, cell: u32) -> u16 {
        self.note(Look::Cell(cell));
        self.tables.rule_number(cell)
    }

    fn vector(&self, at: u32) -> Option<&Vector> {
        self.note(Look::Vector);
        self.tables.vector(at)
    }

    fn rule(&self, number: u16) -> Option<&RuleEntry> {
        let rule = self.tables.rule(number);
        self.note(Look::Rule(number, rule.copied()));
        rule
    }

    fn source_zones(&self, class: u16) -> u16 {
        let zones = self.tables.source_zones(class);
        self.note(Look::SourceZones(zones));
        zones
    }

    fn route_back(&self, packet: &Packet) -> bool {
        let found = self.tables.route_back(packet);
        self.note(Look::RouteBack(found));
        found
    }

    fn flow(&self, key: &FlowKey) -> Option<&Flow> {
        let flow = self.tables.flow(key);
        self.note(Look::Flow(*key, flow.map(|flow| self.flow_facts(flow))));
        flow
    }

    fn insert_flow(&mut self, key: &FlowKey, flow: Flow) {
        self.note(Look::InsertFlow(self.flow_facts(&flow)));
        self.tables.insert_flow(key, flow);
    }

    fn may_be_open(&self, transport: u8, port: u16) -> bool {
        let may = self.tables.may_be_open(transport, port);
        self.note(Look::MayBeOpen(transport, port, may));
        may
    }

    fn pinhole(&self, key: &PinholeKey) -> Option<&Pinhole> {
        let pinhole = self.tables.pinhole(key);
        self.note(Look::Pinhole(*key, pinhole.map(|pinhole| self.pinhole_facts(pinhole))));
        pinhole
    }

    fn further_senders(&self, key: &PinholeKey) -> Option<&FurtherSenders> {
        let senders = self.tables.further_senders(key);
        self.note(Look::FurtherSenders(senders.copied()));
        senders
    }

    fn precise(&self, now: u64) -> u64 {
        self.tables.precise(now)
    }

    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        let first = self.tables.fragment(key);
        self.note(Look::Fragment(first.map(FirstFragment::unpack)));
        first
    }

    fn insert_fragment(&mut self, key: &FragmentKey, first: u64) {
        self.note(Look::InsertFragment);
        self.tables.insert_fragment(key, first);
    }

    fn conform(&mut self, key: &LimitKey, rate: &Rate, cost: u64) -> bool {
        let arrival = self.tables.bucket(key);
        let conforms = self.tables.conform(key, rate, cost);
        self.note(Look::Conform { key: *key, rate: *rate, cost, arrival, conforms });
        conforms
    }

    fn refund(&mut self, key: &LimitKey, cost: u64) {
        self.note(Look::Refund(*key));
        self.tables.refund(key, cost);
    }

    fn afford(&mut self, budget: Budget, rate: &Rate) -> bool {
        let conforms = self.tables.afford(budget, rate);
        self.note(Look::Afford { budget, rate: *rate, conforms });
        conforms
    }

    fn blocked(&self, address: &Addr, now: u64) -> bool {
        let blocked = self.tables.blocked(address, now);
        self.note(Look::Blocked(*address, blocked));
        blocked
    }

    fn is_peer(&self, address: &Addr, now: u64) -> bool {
        let peer = self.tables.is_peer(address, now);
        self.note(Look::Peer(*address, peer));
        peer
    }

    fn vouch(&mut self, address: &Addr, now: u64) {
        self.note(Look::Vouch(*address));
        self.tables.vouch(address, now);
    }

    fn secret(&self) -> u64 {
        self.tables.secret()
    }

    fn count(&mut self, slot: u32, bytes: u64, passed: bool) {
        self.tables.count(slot, bytes, passed);
    }

    fn add(&self, word: &AtomicU64, n: u64) {
        self.tables.add(word, n);
    }

    fn load(&self, word: &AtomicU64) -> u64 {
        self.tables.load(word)
    }

    fn store(&self, word: &AtomicU64, value: u64) {
        self.tables.store(word, value);
    }
}
