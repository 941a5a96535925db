//! Many calls on one connection.

use super::*;
use crate::engine::Engine;
use crate::streams::Segment;

/// Calls of the trunk.
const CALLS: u16 = 1_000;
const LEFT: &str = "192.0.2.1:40000";
const RIGHT: &str = "198.51.100.7:5060";

/// One TCP connection, read segment by segment.
struct Trunk {
    engine: Engine,
    now: Time,
    /// The next sequence number of each direction.
    next: [u32; 2],
}

impl Trunk {
    fn new() -> Self {
        let engine = Engine::new(Policy::default(), Bounds::default());
        Self { engine, now: Time(1_000_000_000), next: [1, 1] }
    }

    /// Sends all of `messages` in segments that know nothing of where they end.
    fn send(&mut self, from_left: bool, messages: &[String]) {
        let (source, destination) = if from_left { (LEFT, RIGHT) } else { (RIGHT, LEFT) };
        let bytes: Vec<u8> = messages.concat().into_bytes();
        for payload in bytes.chunks(1_448) {
            self.now = self.now + Duration::from_micros(100);
            let context = Context {
                now: self.now,
                source: at(source),
                destination: at(destination),
                transport: Transport::Tcp,
                protocol: Inspect::Sip,
                slot: 0,
                link: None,
            };
            let next = &mut self.next[usize::from(!from_left)];
            let segment = Segment { sequence: *next, acknowledgement: 0, flags: 0 };
            *next = next.wrapping_add(u32::try_from(payload.len()).expect("short"));
            assert_eq!(self.engine.segment(&context, segment, payload), Verdict::Pass);
        }
    }

    fn each(&mut self, from_left: bool, message: impl Fn(u16) -> Sip) {
        let messages: Vec<_> = (0..CALLS)
            .map(|n| message(n).of(&format!("call{n}@trunk")).text().replace("/UDP", "/TCP"))
            .collect();
        self.send(from_left, &messages);
    }

    fn one(&mut self, n: u16, from_left: bool, message: Sip) {
        self.send(from_left, &[message.of(&format!("call{n}@trunk")).text().replace("/UDP", "/TCP")]);
    }

    /// Ports on the left and on the right at which RTP is received.
    fn rtp(&self) -> (Vec<u16>, Vec<u16>) {
        let mut ports: Vec<_> = self.engine.pinholes().map(|spec| spec.to).collect();
        ports.sort_unstable();
        let even = |ip: &str| {
            let at = at(ip).ip();
            ports.iter().filter(|to| to.ip() == at && to.port() % 2 == 0).map(|to| to.port()).collect()
        };
        (even(LEFT), even(RIGHT))
    }
}

fn left(n: u16) -> u16 {
    20_000 + 2 * n
}

fn right(n: u16) -> u16 {
    24_000 + 2 * n
}

#[test]
fn a_thousand_calls_on_one_connection_do_not_disturb_each_other() {
    let mut trunk = Trunk::new();
    trunk.each(true, |n| invite(1).sdp(&audio(LEFT, left(n))));
    trunk.each(false, |_| invite(1).reply(180, "b"));
    trunk.each(false, |n| invite(1).reply(200, "b").sdp(&audio(RIGHT, right(n))));
    trunk.each(true, |_| request("ACK", 1).to("b"));
    let all = |port: fn(u16) -> u16| (0..CALLS).map(port).collect::<Vec<_>>();
    assert_eq!(trunk.engine.calls().count(), usize::from(CALLS));
    assert!(trunk.engine.calls().all(|call| call.state == State::Connected && call.streams.len() == 1));
    assert_eq!(trunk.rtp(), (all(left), all(right)));

    // One moves, one is held, one is refused its move: nobody else notices.
    let again = invite(2).to("b");
    trunk.one(7, true, again.clone().sdp(&audio(LEFT, 32_000)));
    trunk.one(8, true, again.clone().sdp(&(audio(LEFT, left(8)) + "a=sendonly\r\n")));
    trunk.one(9, true, again.clone().sdp(&audio(LEFT, 32_100)));
    trunk.one(9, false, again.clone().reply(488, "b"));
    trunk.one(8, false, again.clone().reply(200, "b").sdp(&audio(RIGHT, right(8))));
    trunk.one(7, false, again.reply(200, "b").sdp(&audio(RIGHT, right(7))));
    let moved = |n| if n == 7 { 32_000 } else { left(n) };
    let mut expected: Vec<_> = (0..CALLS).map(moved).collect();
    expected.sort_unstable();
    assert_eq!(trunk.rtp(), (expected, all(right)));
    let held: Vec<_> = trunk
        .engine
        .calls()
        .filter(|call| call.streams.values().any(|stream| stream.held))
        .map(|call| call.key.clone())
        .collect();
    assert_eq!(held, ["call8@trunk"]);

    // Every other one ends, in no order, from either side; their neighbours stay.
    let even = |n: &u16| n.is_multiple_of(2);
    for n in (0..CALLS).rev().filter(even) {
        let by_left = n % 4 == 0;
        let bye = if by_left { request("BYE", 3).to("b") } else { request("BYE", 3).by_bob() };
        let tag = bye.to;
        trunk.one(n, by_left, bye.clone());
        trunk.one(n, !by_left, bye.reply(200, tag));
    }
    let mut expected: Vec<_> = (0..CALLS).filter(|n| !even(n)).map(moved).collect();
    expected.sort_unstable();
    assert_eq!(trunk.rtp(), (expected, (0..CALLS).filter(|n| !even(n)).map(right).collect()));
    let bye = request("BYE", 3).to("b");
    for n in (0..CALLS).filter(|n| !even(n)) {
        trunk.one(n, true, bye.clone());
        trunk.one(n, false, bye.clone().reply(200, "b"));
    }
    assert_eq!((trunk.engine.calls().count(), trunk.engine.pinholes().count()), (0, 0));
}

#[test]
fn calls_of_one_trunk_that_fail_or_are_cancelled_take_nobody_with_them() {
    let mut trunk = Trunk::new();
    trunk.each(true, |n| invite(1).sdp(&audio(LEFT, left(n))));
    for n in 0..CALLS {
        match n % 4 {
            0 => trunk.one(n, false, invite(1).reply(486, "b")),
            1 => {
                // What `of` makes of its INVITE's branch.
                trunk.one(n, true, request("CANCEL", 1).via("INVITE1"));
                trunk.one(n, false, invite(1).reply(487, "b"));
            }
            2 => trunk.one(n, false, invite(1).reply(302, "b")),
            _ => trunk.one(n, false, invite(1).reply(200, "b").sdp(&audio(RIGHT, right(n)))),
        }
    }
    let answered = |port: fn(u16) -> u16| (0..CALLS).filter(|n| n % 4 == 3).map(port).collect::<Vec<_>>();
    assert_eq!(trunk.rtp(), (answered(left), answered(right)));
}
