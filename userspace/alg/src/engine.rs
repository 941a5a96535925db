//! The engine's entry points.
//!
//! Hands each message to the tracker of its protocol and each stream to [`Streams`]; owns them all. The
//! caller carries out the actions before it lets the packet go.

use std::collections::BTreeMap;

use callgate_shared::policy::Inspect;

use crate::action::{Action, Context, EndReason, PinholeSpec, Time, Transport, Verdict};
use crate::call::{Call, CallId};
use crate::core::{Bounds, Core, Lifetimes};
use crate::fragments::{FragmentBounds, Fragments};
use crate::h323;
use crate::media::{Policy, Refusal};
use crate::sip;
use crate::streams::{Closing, Framing, StreamBounds, Streams};

pub use crate::streams::Segment;

/// The whole ALG.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    streams: Streams,
    pub(crate) fragments: Fragments,
    sip: sip::Tracker,
    h323: h323::Tracker,
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

impl Engine {
    /// An engine that knows no calls.
    pub fn new(policy: Policy, bounds: Bounds) -> Self {
        Self {
            core: Core::new(policy, bounds),
            streams: Streams::new(StreamBounds::default()),
            fragments: Fragments::new(FragmentBounds::default()),
            sip: sip::Tracker::default(),
            h323: h323::Tracker::default(),
            messages: BTreeMap::new(),
        }
    }

    /// Puts another policy in force; open calls keep what they have.
    pub fn set_policy(&mut self, policy: Policy) {
        self.core.set_policy(policy);
    }

    /// Puts other lifetimes in force.
    pub fn set_lifetimes(&mut self, lifetimes: Lifetimes) {
        self.core.set_lifetimes(lifetimes);
    }

    /// Reads a datagram's payload.
    pub fn datagram(&mut self, context: &Context, payload: &[u8]) -> Verdict {
        let verdict = match context.protocol {
            Inspect::Sip => self.sip.message(&mut self.core, context, payload),
            Inspect::Ras => self.h323.ras(&mut self.core, context, payload),
            _ => return Verdict::Pass,
        };
        count(&mut self.messages, context.protocol, verdict);
        verdict
    }

    /// Reads a TCP segment (SYN, FIN and RST too, with an empty payload).
    ///
    /// A refused message resets its connection: what came after it could never be read.
    pub fn segment(&mut self, context: &Context, segment: Segment, payload: &[u8]) -> Verdict {
        let framing = match context.protocol {
            Inspect::Sip => Framing::Sip,
            Inspect::H225 | Inspect::H245 => Framing::Tpkt,
            _ => return Verdict::Pass,
        };
        let Self { core, streams, sip, h323, messages, .. } = self;
        let ends = (context.source, context.destination);
        let outcome = streams.segment(context.now, ends, framing, segment, payload, |message| {
            let verdict = match context.protocol {
                Inspect::Sip => sip.message(core, context, message),
                Inspect::H225 => h323.call_signalling(core, context, message),
                _ => h323.control(core, context, message),
            };
            count(messages, context.protocol, verdict);
            match verdict {
                Verdict::Drop(reason) => Verdict::Reset(reason),
                other => other,
            }
        });
        if let Some(closing) = outcome.closing
            && framing == Framing::Tpkt
        {
            h323.closed(core, context, closing == Closing::Reset);
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
        self.sip.tick(&mut self.core, now);
    }

    /// The actions of the calls above, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        self.core.take_actions()
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
        let (sip, h323): (Vec<_>, Vec<_>) = self.core.calls().partition(|call| call.protocol == Inspect::Sip);
        self.sip.restore(&sip);
        self.h323.restore(&h323);
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
    pub fn pinholes(&self) -> impl Iterator<Item = &PinholeSpec> {
        self.core.pinholes()
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
        for action in &self.core.actions()[since..] {
            if let Action::Ended(call, _) = action {
                match call.protocol {
                    Inspect::Sip => self.sip.ended(call),
                    _ => self.h323.ended(call),
                }
            }
        }
    }
}

fn count(messages: &mut BTreeMap<Inspect, Messages>, protocol: Inspect, verdict: Verdict) {
    let messages = messages.entry(protocol).or_default();
    match verdict {
        Verdict::Pass => messages.passed += 1,
        Verdict::Drop(_) | Verdict::Reset(_) => messages.refused += 1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::SocketAddr;

    use callgate_shared::Reason;

    use super::*;

    const CALLER: &str = "192.0.2.1:5060";
    const CALLEE: &str = "198.51.100.7:5060";

    fn engine() -> Engine {
        Engine::new(Policy { ports: 16_384..=32_767, rules: HashMap::new() }, Bounds::default())
    }

    fn context(source: &str, destination: &str, protocol: Inspect, transport: Transport) -> Context {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (source, destination) = (address(source), address(destination));
        Context { now: Time(1_000_000_000), source, destination, transport, protocol, slot: 0 }
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
    fn what_the_engine_cannot_read_passes_uncounted() {
        let mut engine = engine();
        let context = context(CALLER, CALLEE, Inspect::Tftp, Transport::Udp);
        assert_eq!(engine.datagram(&context, b"?"), Verdict::Pass);
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
}
