//! The engine's entry points.
//!
//! Hands each message to the tracker of its protocol and each stream to [`Streams`]; owns them all. The
//! caller carries out the actions before it lets the packet go.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use callgate_policy::{Memory, Plan};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::action::{Action, Carrier, Context, EndReason, PinholeSpec, Saying, Time, Transport, Verdict};
use crate::call::{Call, CallId};
use crate::core::{Bounds, Core, Lifetimes};
use crate::fragments::{FragmentBounds, Fragments};
use crate::h323;
use crate::ladder::{Ended, Ladder};
use crate::media::{Policy, Refusal};
use crate::mgcp;
use crate::sccp;
use crate::sip;
use crate::streams::{Closing, Framing, StreamBounds, Streams};
use crate::tftp;

pub use crate::streams::Segment;

/// The whole ALG.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    streams: Streams,
    pub(crate) fragments: Fragments,
    sip: sip::Tracker,
    h323: h323::Tracker,
    sccp: sccp::Tracker,
    mgcp: mgcp::Tracker,
    tftp: tftp::Tracker,
    messages: BTreeMap<Inspect, Messages>,
}

/// Messages of one protocol, as they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Read and let go on.
    pub passed: u64,
    /// Refused, or not readable.
    pub refused: u64,
}

/// How full a bounded table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it holds, for people.
    pub name: &'static str,
    /// Its entries.
    pub used: usize,
    /// How many it can have.
    pub bound: usize,
}

impl Engine {
    /// An engine that knows no calls.
    pub fn new(policy: Policy, bounds: Bounds) -> Self {
        Self {
            core: Core::new(policy, bounds),
            streams: Streams::new(StreamBounds::default()),
            fragments: Fragments::new(FragmentBounds::default()),
            sip: sip::Tracker::default(),
            h323: h323::Tracker::default(),
            sccp: sccp::Tracker::default(),
            mgcp: mgcp::Tracker::default(),
            tftp: tftp::Tracker::default(),
            messages: BTreeMap::new(),
        }
    }

    /// Puts another policy in force; open calls keep what they have.
    pub fn set_policy(&mut self, policy: Policy) {
        self.core.set_policy(policy);
    }

    /// Puts a call policy in force; what is counted stays. `None`: every call is permitted.
    pub fn set_plan(&mut self, plan: Option<Arc<Plan>>) {
        self.core.set_plan(plan);
    }

    /// Makes the policy's days and hours those of this zone, where its rules file names none. To be called before
    /// anything else.
    pub fn set_zone(&mut self, zone: TimeZone) {
        self.core.set_zone(zone);
    }

    /// The clock on the wall shows `wall` at `now`. To be called before the first message, and now and then.
    pub fn set_clock(&mut self, now: Time, wall: Timestamp) {
        self.core.set_clock(now, wall);
    }

    /// What the call policy has counted since it was asked last: see [`callgate_policy::Desk::remember`].
    pub fn remember(&mut self, most: usize, now: Time) -> Vec<Memory> {
        self.core.remember(most, now)
    }

    /// The call policy is told what an earlier run has counted, so long ago. To be called before calls are taken up.
    pub fn recall(&mut self, memory: &Memory, age: Duration, now: Time) {
        self.core.recall(memory, age, now);
    }

    /// Puts other lifetimes in force.
    pub fn set_lifetimes(&mut self, lifetimes: Lifetimes) {
        self.core.set_lifetimes(lifetimes);
    }

    /// Puts other bounds in force; what is above them stays until it is over.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.core.set_bounds(bounds);
    }

    /// Tables that refuse what is new when they are full.
    pub fn tables(&self) -> [Table; 8] {
        let Bounds { calls, registrations, .. } = self.core.bounds();
        let table = |name, used, bound| Table { name, used, bound };
        [
            table("calls", self.core.calls().count(), calls),
            table("registered addresses", self.core.registrations().count(), registrations),
            table("TCP connections", self.streams.len(), StreamBounds::default().connections),
            table("SIP registrations", self.sip.bindings().count(), sip::MAX_BINDINGS),
            table("SIP requests", self.sip.waiting(), sip::MAX_ATTEMPTS),
            table("H.323 registrations", self.h323.registrations().count(), h323::MAX_REGISTRATIONS),
            table("MGCP gateways", self.mgcp.gateways(), mgcp::MAX_GATEWAYS),
            table("TFTP transfers", self.tftp.transfers(), tftp::MAX_TRANSFERS),
        ]
    }

    /// Reads a datagram's payload.
    pub fn datagram(&mut self, context: &Context, payload: &[u8]) -> Verdict {
        let verdict = match context.protocol {
            Inspect::Sip => self.sip.message(&mut self.core, context, payload),
            Inspect::Ras => self.h323.ras(&mut self.core, context, payload),
            Inspect::Mgcp => self.mgcp.datagram(&mut self.core, context, payload),
            Inspect::Tftp => {
                let Self { core, tftp, sccp, .. } = self;
                tftp.datagram(core, context, payload, |ip| registered_at(sccp, ip))
            }
            _ => return Verdict::Pass,
        };
        count(&mut self.messages, context.protocol, &verdict);
        verdict
    }

    /// Reads a TCP segment (SYN, FIN and RST too, with an empty payload).
    ///
    /// A refused message resets its connection, for what came after it could never be read; unless another stands
    /// in for it.
    pub fn segment(&mut self, context: &Context, segment: Segment, payload: &[u8]) -> Verdict {
        let framing = match context.protocol {
            Inspect::Sip => Framing::Sip,
            Inspect::H225 | Inspect::H245 => Framing::Tpkt,
            Inspect::Sccp => Framing::Sccp,
            _ => return Verdict::Pass,
        };
        let Self { core, streams, sip, h323, sccp, messages, .. } = self;
        let ends = (context.source, context.destination);
        let server = streams.server(ends);
        let outcome = streams.segment(context.now, ends, framing, segment, payload, |message| {
            let verdict = match context.protocol {
                Inspect::Sip => sip.message(core, context, message),
                Inspect::H225 => h323.call_signalling(core, context, message),
                Inspect::Sccp => sccp.message(core, context, server, message),
                _ => h323.control(core, context, message),
            };
            count(messages, context.protocol, &verdict);
            match verdict {
                Verdict::Drop(reason) => Verdict::Reset(reason),
                other => other,
            }
        });
        if framing == Framing::Tpkt && matches!(outcome.verdict, Verdict::Reset(_) | Verdict::Refuse(_)) {
            // Its connection is over, and what had just begun on it too.
            h323.closed(core, context, false);
        }
        if let Some(closing) = outcome.closing {
            match framing {
                Framing::Tpkt => h323.closed(core, context, closing == Closing::Reset),
                Framing::Sccp => sccp.closed(core, context, closing == Closing::Reset),
                Framing::Sip => {}
            }
        }
        outcome.verdict
    }

    /// Time passes: to be called about every second.
    pub fn tick(&mut self, now: Time) {
        self.streams.tick(now);
        self.fragments.tick(now);
        let before = self.core.actions().len();
        self.core.tick(now);
        self.tell_ended(before);
        self.h323.tick(&mut self.core, now);
        self.sip.tick(&mut self.core, now);
        self.sccp.tick(&mut self.core, now);
        self.mgcp.tick(&mut self.core, now);
        self.tftp.tick(&mut self.core, now);
    }

    /// The actions of the calls above, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        self.core.take_actions()
    }

    /// Which calls were told of since this was asked last: those a packet was about, if it is asked after each.
    pub fn take_heard(&mut self) -> Vec<CallId> {
        self.core.take_heard()
    }

    /// A packet passed this pinhole at `seen`: its calls are alive.
    pub fn touch(&mut self, to: std::net::SocketAddr, transport: Transport, seen: Time) {
        self.core.touch(to, transport, seen);
    }

    /// Ends a call because an operator, or a new rules file, wants it. Whether there was such a call.
    pub fn end_call(&mut self, id: CallId, reason: EndReason) -> bool {
        let before = self.core.actions().len();
        let known = self.core.call(id).is_some();
        self.core.end_call(id, reason);
        self.tell_ended(before);
        known
    }

    /// Takes up the calls of an earlier run, without actions: the kernel has their pinholes.
    pub fn restore(&mut self, calls: Vec<Call>, now: Time) {
        self.core.restore(calls, now);
        let (sip, others): (Vec<_>, Vec<_>) =
            self.core.calls().partition(|call| call.protocol == Inspect::Sip);
        self.sip.restore(&sip);
        self.sccp.restore(&others, now);
        self.mgcp.restore(self.core.calls());
        self.tftp.restore(self.core.calls(), now);
        let bindings: Vec<Call> = self.core.calls().filter(|call| sip::is_binding(call)).cloned().collect();
        let told = self.core.actions().len();
        self.sip.restore_bindings(&mut self.core, &bindings, now);
        self.core.forget_actions(told);
        let h323 = |call: &&Call| matches!(call.protocol, Inspect::H225 | Inspect::H245 | Inspect::Ras);
        let calls: Vec<Call> = self.core.calls().filter(h323).cloned().collect();
        let told = self.core.actions().len();
        self.h323.restore(&mut self.core, &calls, now);
        self.core.forget_actions(told);
    }

    /// All calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.core.calls()
    }

    /// A call by its number.
    pub fn call(&self, id: CallId) -> Option<&Call> {
        self.core.call(id)
    }

    /// All pinholes that ought to be open.
    pub fn pinholes(&self) -> impl Iterator<Item = PinholeSpec> {
        self.core.pinholes()
    }

    /// Whether a pinhole is for this address, or for what it sends.
    pub fn has_media_of(&self, ip: std::net::IpAddr) -> bool {
        self.core.has_media_of(ip)
    }

    /// The pinhole to this address, if there is one.
    pub fn pinhole(&self, to: std::net::SocketAddr, transport: Transport) -> Option<PinholeSpec> {
        self.core.pinhole(to, transport)
    }

    /// Addresses that are registered by whatever protocol, with those they are registered from or with, and until
    /// when. An address may come several times.
    pub fn registered(&self) -> impl Iterator<Item = (std::net::IpAddr, Time)> {
        self.core.registrations().flat_map(|(owner, ip, until)| [(owner, until), (ip, until)])
    }

    /// Endpoints that are registered with an H.323 gatekeeper.
    pub fn registrations(&self) -> impl Iterator<Item = &h323::Registration> {
        self.h323.registrations()
    }

    /// Bindings of SIP clients with their registrars.
    pub fn bindings(&self) -> impl Iterator<Item = &sip::Binding> {
        self.sip.bindings()
    }

    /// The messages of a call that is not over.
    pub fn ladder(&self, id: CallId) -> Option<&Ladder> {
        self.core.ladder(id)
    }

    /// Calls that are over, the latest first, as far as they are remembered.
    pub fn ended_calls(&self) -> impl Iterator<Item = &Ended> {
        self.core.ended_calls()
    }

    /// What is known of an H.323 call beside its record.
    pub fn h323_call(&self, id: CallId) -> Option<h323::Details> {
        self.h323.details(id)
    }

    /// Phones that are, or were, registered by SCCP.
    pub fn phones(&self) -> impl Iterator<Item = &sccp::Phone> {
        self.sccp.phones()
    }

    /// How often each refusal has occurred.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        self.core.refusals()
    }

    /// Messages read, by protocol.
    pub fn messages(&self) -> impl Iterator<Item = (Inspect, Messages)> {
        self.messages.iter().map(|(protocol, messages)| (*protocol, *messages))
    }

    /// Tells the trackers of the calls the core has ended since.
    fn tell_ended(&mut self, since: usize) {
        let ended = |action: &Action| match action {
            Action::Ended(call, reason) => Some((call.clone(), *reason)),
            _ => None,
        };
        let over: Vec<_> = self.core.actions()[since..].iter().filter_map(ended).collect();
        // As they were when the first of them ended.
        let mut connections = None;
        for (call, reason) in &over {
            match call.protocol {
                Inspect::Sip => {
                    if *reason == EndReason::Limit {
                        self.release_sip(call, &mut connections);
                    }
                    self.sip.ended(call);
                }
                Inspect::Sccp => self.sccp.ended(call, *reason),
                Inspect::Mgcp => {
                    if *reason == EndReason::Limit {
                        let now = self.core.latest();
                        self.mgcp.limited(&mut self.core, call, now);
                    }
                    self.mgcp.ended(call);
                }
                Inspect::Tftp => self.tftp.ended(call),
                _ => {
                    if *reason == EndReason::Limit {
                        self.release_h323(call);
                    }
                    self.h323.ended(&mut self.core, call, *reason);
                }
            }
        }
    }

    /// Tells the parties of a SIP call that a limit has ended it; by TCP, as the last words of the connection, where no
    /// other call takes that.
    fn release_sip(
        &mut self,
        call: &Call,
        connections: &mut Option<HashMap<sip::Connection, Option<CallId>>>,
    ) {
        let now = self.core.latest();
        let mut words = self.sip.limited(&mut self.core, call, now);
        while let Some(sip::LastWords { connection, .. }) = words.first() {
            let connection = *connection;
            let (of_this, others) = words.into_iter().partition(|said| said.connection == connection);
            words = others;
            let users = connections.get_or_insert_with(|| self.sip.connections());
            if users.get(&connection) == Some(&Some(call.id)) {
                self.end_with(call.id, connection, of_this);
            }
        }
    }

    /// Ends a connection at both its ends, each of which reads its words, if there are some, before that.
    fn end_with(&mut self, call: CallId, connection: sip::Connection, words: Vec<sip::LastWords>) {
        let ends = connection.0;
        let Some(next) = self.streams.end(ends, Reason::AlgRefused) else { return };
        for to in 0..ends.len() {
            let said = words.iter().filter(|said| said.to == ends[to]);
            let payload = said.flat_map(|said| &said.payload).copied().collect();
            let carrier = Carrier::LastSegment { sequence: next[1 - to], acknowledgement: next[to] };
            self.core.say(Saying { call, from: ends[1 - to], to: ends[to], carrier, payload });
        }
    }

    /// Tells both ends of an H.323 call that a limit has ended it, as the last words of its connection: each reads them
    /// as if the other had said so and closed.
    fn release_h323(&mut self, call: &Call) {
        let Some((ends, words)) = self.h323.limited(&mut self.core, call) else { return };
        let Some(next) = self.streams.end(ends, Reason::AlgRefused) else { return };
        for (to, payload) in words.into_iter().enumerate() {
            let carrier = Carrier::LastSegment { sequence: next[1 - to], acknowledgement: next[to] };
            self.core.say(Saying { call: call.id, from: ends[1 - to], to: ends[to], carrier, payload });
        }
    }
}

/// Names of the phones that are registered from an address.
fn registered_at(sccp: &sccp::Tracker, ip: IpAddr) -> impl Iterator<Item = &str> {
    let there =
        move |phone: &&sccp::Phone| phone.state == sccp::Standing::Registered && phone.address.ip() == ip;
    sccp.phones().filter(there).map(|phone| phone.name.as_str())
}

fn count(messages: &mut BTreeMap<Inspect, Messages>, protocol: Inspect, verdict: &Verdict) {
    let messages = messages.entry(protocol).or_default();
    match verdict {
        Verdict::Pass | Verdict::Absorb => messages.passed += 1,
        Verdict::Drop(_) | Verdict::Reset(_) | Verdict::Refuse(_) | Verdict::Replace(_) => {
            messages.refused += 1
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use callgate_protocols::{build, q931};

    use super::*;
    use crate::streams::flag;

    const CALLER: &str = "192.0.2.1:5060";
    const CALLEE: &str = "198.51.100.7:5060";

    fn engine() -> Engine {
        Engine::new(Policy::default(), Bounds::default())
    }

    fn context(source: &str, destination: &str, protocol: Inspect, transport: Transport) -> Context {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (source, destination) = (address(source), address(destination));
        Context { now: Time(1_000_000_000), source, destination, transport, protocol, slot: 0, link: None }
    }

    fn message(start: &str, to_tag: &str, cseq: &str, media: Option<&str>) -> String {
        let body = media.map_or(String::new(), |ip| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n"
            )
        });
        let branch = cseq.replace(' ', "");
        format!(
            "{start}\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@198.51.100.7>{to_tag}\r\nCall-ID: one\r\n\
             CSeq: {cseq}\r\nContact: <sip:x@192.0.2.1>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// An answered call over TCP; the sequence numbers of both directions begin at 1.
    fn talking() -> Engine {
        let mut engine = engine();
        let invite = message("INVITE sip:b@198.51.100.7 SIP/2.0", "", "1 INVITE", Some("192.0.2.1"));
        let answer = message("SIP/2.0 200 OK", ";tag=2", "1 INVITE", Some("198.51.100.7"));
        let sent = context(CALLER, CALLEE, Inspect::Sip, Transport::Tcp);
        let back = context(CALLEE, CALLER, Inspect::Sip, Transport::Tcp);
        let segment = |sequence| Segment { sequence, acknowledgement: 0, flags: 0 };
        let (head, rest) = invite.as_bytes().split_at(100);
        assert_eq!(engine.segment(&sent, segment(1), head), Verdict::Pass);
        assert_eq!(engine.calls().count(), 0, "half a message");
        assert_eq!(engine.segment(&sent, segment(101), rest), Verdict::Pass);
        assert_eq!(engine.pinholes().count(), 2);
        assert_eq!(engine.segment(&back, segment(1), answer.as_bytes()), Verdict::Pass);
        assert_eq!(engine.pinholes().count(), 4);
        engine
    }

    #[test]
    fn sip_over_tcp_is_read_message_by_message() {
        let mut engine = talking();
        let counted: Vec<_> = engine.messages().collect();
        assert_eq!(counted, [(Inspect::Sip, Messages { passed: 2, refused: 0 })]);
        let actions = engine.take_actions();
        assert!(actions.iter().any(|action| matches!(action, Action::Call(call) if call.key == "one")));
        assert!(engine.take_actions().is_empty());
    }

    #[test]
    fn a_message_that_cannot_be_read_resets_its_connection() {
        let mut engine = engine();
        let context = context("192.0.2.1:40000", "198.51.100.7:1720", Inspect::H225, Transport::Tcp);
        let verdict = engine.segment(&context, Segment::default(), b"\x03\0\0\x06no");
        assert_eq!(verdict, Verdict::Reset(Reason::AlgMalformed));
        let counted: Vec<_> = engine.messages().collect();
        assert_eq!(counted, [(Inspect::H225, Messages { passed: 0, refused: 1 })]);
    }

    #[test]
    fn a_refused_call_is_answered_and_its_connection_is_over() {
        let mut policy = Policy::default();
        policy.h323.calls_max = Some(1);
        let mut engine = Engine::new(policy, Bounds::default());
        let context = context("192.0.2.1:40000", "198.51.100.7:1720", Inspect::H225, Transport::Tcp);
        let setup = |reference| {
            let call = build::Call { reference, id: [reference as u8; 16] };
            build::setup(&call, &build::Parts::default())
        };
        let (first, second) = (setup(1), setup(2));
        let segment = |sequence| Segment { sequence, acknowledgement: 1, flags: flag::ACK };
        assert_eq!(engine.segment(&context, segment(1), &first), Verdict::Pass);
        assert_eq!(engine.calls().count(), 1);
        let next = segment(1 + first.len() as u32);
        let Verdict::Refuse(denial) = engine.segment(&context, next, &second) else { panic!("not refused") };
        assert!(denial.reply.is_some() && denial.notify.is_none());
        // What had not been answered on it is over too.
        assert_eq!(engine.calls().count(), 0);
        let counted: Vec<_> = engine.messages().collect();
        assert_eq!(counted, [(Inspect::H225, Messages { passed: 1, refused: 1 })]);
    }

    #[test]
    fn a_refused_call_leaves_the_others_of_its_connection_alone() {
        let mut policy = Policy::default();
        policy.h323.calls_max = Some(1);
        let mut engine = Engine::new(policy, Bounds::default());
        let there = context("192.0.2.1:40000", "198.51.100.7:1720", Inspect::H225, Transport::Tcp);
        let back = Context { source: there.destination, destination: there.source, ..there };
        let segment = |sequence, acknowledgement, flags| Segment { sequence, acknowledgement, flags };
        engine.segment(&there, segment(0, 0, flag::SYN), b"");
        engine.segment(&back, segment(0, 1, flag::SYN | flag::ACK), b"");
        let call = |reference| build::Call { reference, id: [reference as u8; 16] };
        let parts = build::Parts::default();
        let [first, second] = [1, 2].map(|reference| build::setup(&call(reference), &parts));
        let both = [&first[..], &second].concat();
        let Verdict::Replace(replacement) = engine.segment(&there, segment(1, 1, flag::ACK), &both) else {
            panic!("not replaced");
        };
        let [(at, octets)] = &replacement.patches[..] else { panic!("{replacement:?}") };
        assert_eq!((*at, octets.len()), (first.len(), second.len()));
        let message = q931::Message::parse(&octets[4..]).expect("a message");
        assert_eq!((message.kind, message.call_reference), (q931::MessageType::ReleaseComplete, 2));
        assert!(!message.to_origin);
        assert_eq!(engine.calls().count(), 1);
        // One that cannot be read is replaced too; its call is not the other one.
        let damaged = build::tpkt(&[&[0x08, 0x02, 0, 3, 5, 0x7e, 0, 40, 5][..], &[0xff; 39]].concat());
        let next = 1 + both.len() as u32;
        let verdict = engine.segment(&there, segment(next, 1, flag::ACK), &damaged);
        assert!(matches!(verdict, Verdict::Replace(_)), "{verdict:?}");
        assert_eq!(engine.calls().count(), 1);
        let connect = build::connect(&call(1), &parts);
        assert_eq!(engine.segment(&back, segment(1, 1, flag::ACK), &connect), Verdict::Pass);
        assert_eq!(
            engine.calls().map(|call| call.state).collect::<Vec<_>>(),
            [crate::call::State::Connected]
        );
        // The last one of the connection takes it along.
        let next = next + damaged.len() as u32;
        let damaged = build::tpkt(&[&[0x08, 0x02, 0, 1, 5, 0x7e, 0, 40, 5][..], &[0xff; 39]].concat());
        let verdict = engine.segment(&there, segment(next, 1, flag::ACK), &damaged);
        assert_eq!(verdict, Verdict::Reset(Reason::AlgMalformed));
        let counted: Vec<_> = engine.messages().collect();
        assert_eq!(counted, [(Inspect::H225, Messages { passed: 2, refused: 3 })]);
    }

    /// One connection of SIP between [`CALLER`] and [`CALLEE`], read from its handshake on under a call policy.
    struct Wire {
        engine: Engine,
        now: Time,
        next: [u32; 2],
    }

    impl Wire {
        fn open() -> Self {
            let mut wire = Self { engine: engine(), now: Time(1_000_000_000), next: [1, 1] };
            crate::core::gate::lab::govern(&mut wire.engine.core, "");
            let segment = |sequence, acknowledgement, flags| Segment { sequence, acknowledgement, flags };
            wire.engine.segment(&wire.context(0), segment(0, 0, flag::SYN), b"");
            wire.engine.segment(&wire.context(1), segment(0, 1, flag::SYN | flag::ACK), b"");
            wire
        }

        fn context(&self, side: usize) -> Context {
            let ends = if side == 0 { [CALLER, CALLEE] } else { [CALLEE, CALLER] };
            Context { now: self.now, ..context(ends[0], ends[1], Inspect::Sip, Transport::Tcp) }
        }

        fn say(&mut self, side: usize, text: &str) -> Verdict {
            let (sequence, acknowledgement) = (self.next[side], self.next[1 - side]);
            self.next[side] += text.len() as u32;
            let segment = Segment { sequence, acknowledgement, flags: flag::ACK };
            self.engine.segment(&self.context(side), segment, text.as_bytes())
        }

        /// A call to a premium number is answered; none lasts longer than ten minutes.
        fn call(&mut self, id: &str) {
            let said = |start: &str, to: &str, method: &str| {
                format!(
                    "{start}\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK{id}{method}\r\nMax-Forwards: 70\r\n\
                     From: <sip:1001@192.0.2.1>;tag=1\r\nTo: <sip:91900555@198.51.100.7>{to}\r\n\
                     Call-ID: {id}\r\nCSeq: 1 {method}\r\nContact: <sip:x@192.0.2.1;transport=tcp>\r\n\
                     Content-Length: 0\r\n\r\n"
                )
            };
            let target = "sip:91900555@198.51.100.7 SIP/2.0";
            assert_eq!(self.say(0, &said(&format!("INVITE {target}"), "", "INVITE")), Verdict::Pass);
            assert_eq!(self.say(1, &said("SIP/2.0 200 OK", ";tag=2", "INVITE")), Verdict::Pass);
            assert_eq!(self.say(0, &said(&format!("ACK {target}"), ";tag=2", "ACK")), Verdict::Pass);
        }

        /// The limit of the calls so far comes: what is said then.
        fn wait(&mut self) -> Vec<Saying> {
            self.engine.take_actions();
            self.now = self.now + Duration::from_secs(601);
            self.engine.tick(self.now);
            assert_eq!(self.engine.calls().count(), 0);
            let said = |action| match action {
                Action::Say(saying) => Some(*saying),
                _ => None,
            };
            self.engine.take_actions().into_iter().filter_map(said).collect()
        }
    }

    #[test]
    fn the_last_words_of_a_sip_connection_are_byes() {
        let mut wire = Wire::open();
        wire.call("one");
        let [there, back] = wire.next;
        let said = wire.wait();
        assert_eq!(said.len(), 2);
        for saying in said {
            let text = String::from_utf8(saying.payload).expect("text");
            let to_callee = saying.to.to_string() == CALLEE;
            let (sequence, acknowledgement) = if to_callee { (there, back) } else { (back, there) };
            assert_eq!(saying.carrier, Carrier::LastSegment { sequence, acknowledgement });
            let target = if to_callee { "91900555@198.51.100.7" } else { "x@192.0.2.1;transport=tcp" };
            assert!(text.starts_with(&format!("BYE sip:{target} SIP/2.0\r\nVia: SIP/2.0/TCP ")), "{text}");
        }
        // Nothing goes on behind them.
        assert_eq!(wire.say(0, "\r\n\r\n").reason(), Some(Reason::AlgRefused));
    }

    #[test]
    fn a_sip_connection_that_carries_another_call_goes_on() {
        let mut wire = Wire::open();
        wire.call("one");
        wire.call("two");
        assert_eq!(wire.wait(), []);
        assert_eq!(wire.say(0, "\r\n\r\n"), Verdict::Pass);
        wire.call("three");
    }

    #[test]
    fn datagrams_go_to_the_tracker_of_their_protocol() {
        let mut engine = engine();
        let client = "192.0.2.1:50000";
        let mut request = context(client, "198.51.100.7:69", Inspect::Tftp, Transport::Udp);
        assert_eq!(engine.datagram(&request, b"\0\x01a\0octet\0"), Verdict::Pass);
        assert_eq!(engine.pinholes().map(|spec| spec.to).collect::<Vec<_>>(), [request.source]);
        request.protocol = Inspect::Mgcp;
        let create = b"CRCX 1 aaln/1@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n";
        assert_eq!(engine.datagram(&request, create), Verdict::Pass);
        assert_eq!(engine.datagram(&request, b"?"), Verdict::Drop(Reason::AlgMalformed));
        let counted: Vec<_> = engine.messages().collect();
        let [mgcp, tftp] = [Messages { passed: 1, refused: 1 }, Messages { passed: 1, refused: 0 }];
        assert_eq!(counted, [(Inspect::Mgcp, mgcp), (Inspect::Tftp, tftp)]);
        // The server is silent, and nobody answers the creation.
        engine.tick(Time(40_000_000_000));
        assert_eq!((engine.calls().count(), engine.pinholes().count()), (0, 0));
    }

    #[test]
    fn what_the_engine_cannot_read_passes_uncounted() {
        let mut engine = engine();
        let context = context(CALLER, CALLEE, Inspect::H245, Transport::Udp);
        assert_eq!(engine.datagram(&context, b"?"), Verdict::Pass);
        let context = Context { protocol: Inspect::Mgcp, transport: Transport::Tcp, ..context };
        assert_eq!(engine.segment(&context, Segment::default(), b"?"), Verdict::Pass);
        assert_eq!(engine.messages().count(), 0);
    }

    #[test]
    fn a_call_goes_on_in_another_engine() {
        let before = talking();
        let records: Vec<Call> = before.calls().cloned().collect();
        let mut after = engine();
        after.restore(records, Time(2_000_000_000));
        assert!(after.take_actions().is_empty());
        assert_eq!(after.pinholes().count(), 4);

        // The TCP connection is picked up in mid-stream.
        let mut sent = context(CALLER, CALLEE, Inspect::Sip, Transport::Tcp);
        let mut back = context(CALLEE, CALLER, Inspect::Sip, Transport::Tcp);
        (sent.now, back.now) = (Time(3_000_000_000), Time(3_000_000_000));
        let bye = message("BYE sip:b@198.51.100.7 SIP/2.0", ";tag=2", "2 BYE", None);
        let ok = message("SIP/2.0 200 OK", ";tag=2", "2 BYE", None);
        let at = Segment { sequence: 7_000, acknowledgement: 0, flags: 0 };
        assert_eq!(after.segment(&sent, at, bye.as_bytes()), Verdict::Pass);
        assert_eq!(after.segment(&back, at, ok.as_bytes()), Verdict::Pass);
        let ended: Vec<_> = after
            .take_actions()
            .iter()
            .filter_map(|action| match action {
                Action::Ended(call, reason) => Some((call.key.clone(), *reason)),
                _ => None,
            })
            .collect();
        assert_eq!(ended, [("one".to_owned(), EndReason::Bye)]);
        assert_eq!(after.pinholes().count(), 0);
    }

    #[test]
    fn a_call_that_an_operator_ends_can_be_made_again() {
        let mut engine = talking();
        let id = engine.calls().map(|call| call.id).next().expect("a call");
        assert!(engine.end_call(id, EndReason::Operator));
        assert!(!engine.end_call(id, EndReason::Operator));
        assert_eq!(engine.pinholes().count(), 0);
        let invite = message("INVITE sip:b@198.51.100.7 SIP/2.0", "", "9 INVITE", Some("192.0.2.1"));
        let context = context(CALLER, CALLEE, Inspect::Sip, Transport::Udp);
        assert_eq!(engine.datagram(&context, invite.as_bytes()), Verdict::Pass);
        assert_eq!((engine.calls().count(), engine.pinholes().count()), (1, 2));
        assert!(engine.call(id).is_none(), "under another number");
    }

    #[test]
    fn silence_ends_a_call_unless_its_pinholes_are_touched() {
        let mut engine = talking();
        let to: SocketAddr = "192.0.2.1:20000".parse().expect("an address");
        let at = |seconds: u64| Time(seconds * 1_000_000_000);
        engine.touch(to, Transport::Udp, at(100));
        engine.tick(at(200));
        assert_eq!(engine.calls().count(), 1);
        engine.tick(at(221));
        assert_eq!((engine.calls().count(), engine.pinholes().count()), (0, 0));
    }

    /// Sends SCCP messages of a phone whose connection is read from its handshake on.
    #[test]
    fn sccp_is_read_from_the_handshake_on() {
        use callgate_protocols::build::sccp as build;

        let mut engine = engine();
        let phone = context("192.0.2.1:50000", "203.0.113.5:3000", Inspect::Sccp, Transport::Tcp);
        let manager = Context { source: phone.destination, destination: phone.source, ..phone };
        let syn = |sequence, acknowledgement, flags| Segment { sequence, acknowledgement, flags };
        assert_eq!(engine.segment(&phone, syn(0, 0, 2), b""), Verdict::Pass);
        assert_eq!(engine.segment(&manager, syn(0, 1, 18), b""), Verdict::Pass);
        let register = build::register("SEPA", phone.source.ip(), 17);
        let two = [register.clone(), build::ip_port(20_000)].concat();
        assert_eq!(engine.segment(&phone, syn(1, 1, 16), &two), Verdict::Pass);
        assert_eq!(engine.phones().count(), 0, "not answered yet");
        let answer = build::register_ack(30, 17);
        let (head, rest) = answer.split_at(7);
        let sequence = 1 + head.len() as u32;
        assert_eq!(engine.segment(&manager, syn(1, 1, 16), head), Verdict::Pass);
        assert_eq!(engine.segment(&manager, syn(sequence, 1, 16), rest), Verdict::Pass);
        let names: Vec<_> = engine.phones().map(|phone| (phone.name.as_str(), phone.picked_up)).collect();
        assert_eq!(names, [("SEPA", false)]);
        let counted: Vec<_> = engine.messages().collect();
        assert_eq!(counted, [(Inspect::Sccp, Messages { passed: 3, refused: 0 })]);

        // Only the call manager registers others, whatever port it listens on.
        let next = 1 + two.len() as u32;
        let verdict = engine.segment(&phone, syn(next, 1, 16), &answer);
        assert_eq!(verdict, Verdict::Reset(Reason::AlgRefused));
        assert_eq!(engine.segment(&manager, syn(sequence + rest.len() as u32, 1, 4), b""), Verdict::Pass);
        let lost = engine.take_actions().into_iter().rev().find_map(|action| match action {
            Action::Event(event) => Some(event.kind),
            _ => None,
        });
        assert_eq!(lost, Some(crate::EventKind::UnregisteredAbnormally));
    }

    #[test]
    fn a_crafted_sccp_header_stops_its_connection() {
        use callgate_protocols::build::sccp as build;

        let crafted: [&[u8]; 4] = [&[3, 0, 0, 0], &[1, 16, 0, 0], &[255; 12], &[4, 0, 0, 0, 23, 0, 0, 0]];
        for bytes in crafted {
            let mut engine = engine();
            let phone = context("192.0.2.1:50000", "203.0.113.5:2000", Inspect::Sccp, Transport::Tcp);
            let manager = Context { source: phone.destination, destination: phone.source, ..phone };
            let segment = |sequence, flags| Segment { sequence, acknowledgement: 1, flags };
            assert_eq!(engine.segment(&manager, segment(0, 18), b""), Verdict::Pass);
            assert_eq!(engine.segment(&phone, segment(1, 16), &build::keep_alive()), Verdict::Pass);
            let refused = Verdict::Reset(Reason::AlgMalformed);
            assert_eq!(engine.segment(&phone, segment(13, 16), bytes), refused, "{bytes:?}");
            let next = 13 + bytes.len() as u32;
            assert_eq!(engine.segment(&phone, segment(next, 16), &build::keep_alive()), refused);
        }
    }
}
