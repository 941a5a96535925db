use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_rules::SipPolicy;
use callgate_rules::inspect::sip::{NatClients, TcpMedia};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use super::*;
use crate::action::{Action, PinholeSpec, Transport};
use crate::call::{Party, State, Stream, StreamKey};
use crate::core::Bounds;
use crate::media::{AddressSet, Authority, Policy, Refusal, RulePolicy};

mod authority;
mod bounds;
mod call_policy;
mod contracts;
mod control;
mod descriptions;
mod dialogs;
mod forking;
mod guard;
mod ice;
mod offers;
mod properties;
mod proxies;
mod registrations;
mod transfers;
mod translation;
mod trunk;

const ALICE: &str = "192.0.2.1:5060";
const PROXY: &str = "192.0.2.10:5060";
const BOB: &str = "198.51.100.7:5060";
/// The slot whose rule says `media = "any"`; slot 0 has the default.
const ANY: u32 = 1;

/// A firewall and a clock.
struct Lab {
    core: Core,
    tracker: Tracker,
    now: Time,
    slot: u32,
}

impl Lab {
    fn new(slot: u32) -> Self {
        let rules = HashMap::from([(ANY, RulePolicy::from(Authority::Any))]);
        let core = Core::new(Policy { rules, ..Policy::default() }, Bounds::default());
        Self { core, tracker: Tracker::default(), now: Time(1_000_000_000), slot }
    }

    /// One whose rules file says this of SIP.
    fn with(change: impl FnOnce(&mut SipPolicy)) -> Self {
        let mut lab = Self::new(0);
        let mut policy = lab.core.policy().clone();
        change(&mut policy.sip);
        lab.core.set_policy(policy);
        lab
    }

    fn context(&self, from: &str, to: &str) -> Context {
        Context {
            now: self.now,
            source: at(from),
            destination: at(to),
            transport: Transport::Udp,
            protocol: Inspect::Sip,
            slot: self.slot,
            link: None,
        }
    }

    /// Sends a message that must pass; what it does to pinholes and calls, in words.
    fn send(&mut self, from: &str, to: &str, message: Sip) -> Vec<String> {
        self.now = self.now + Duration::from_millis(100);
        let context = self.context(from, to);
        let verdict = self.tracker.message(&mut self.core, &context, message.text().as_bytes());
        assert_eq!(verdict, Verdict::Pass);
        self.told()
    }

    /// `seconds` go by.
    fn wait(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        self.tracker.tick(&mut self.core, self.now);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        let words = |verb: &str, spec: &PinholeSpec| {
            let from: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
            format!("{verb} {} {} from {}", spec.kind.name(), spec.to, from.join(","))
        };
        self.core
            .take_actions()
            .iter()
            .filter_map(|action| match action {
                Action::Open(spec) => Some(words("open", spec)),
                Action::Update(spec) => Some(words("update", spec)),
                Action::Close { to, reason, .. } => Some(format!("close {to} {}", reason.name())),
                Action::Refused { address, refusal, .. } => {
                    Some(format!("refused {address} {}", refusal.name()))
                }
                Action::Ended(_, reason) => Some(format!("ended {}", reason.name())),
                Action::Path(_) | Action::Say(_) => None,
                Action::Call(_) | Action::Finished(_) | Action::Event(_) | Action::Suspect(_) => None,
            })
            .collect()
    }

    /// RTP pinholes that are open: `port<sender,sender`, in order.
    fn open(&self) -> Vec<String> {
        let mut open: Vec<_> = self
            .core
            .pinholes()
            .filter(|spec| spec.to.port() % 2 == 0)
            .map(|spec| {
                let senders: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
                format!("{}<{}", spec.to, senders.join(","))
            })
            .collect();
        open.sort();
        open
    }

    /// Everything that is open: `kind port<last octets of senders`, in order.
    fn ports(&self) -> Vec<String> {
        let mut open: Vec<_> = self.core.pinholes().collect();
        open.sort_by_key(|spec| spec.to);
        let last = |ip: IpAddr| ip.to_string().rsplit(['.', ':']).next().unwrap_or_default().to_owned();
        let words = |spec: &PinholeSpec| {
            let senders: Vec<_> = spec.senders.iter().map(|sender| last(sender.ip)).collect();
            let latch = if spec.latch.is_some() { " learns" } else { "" };
            format!("{} {}<{}{latch}", spec.kind.name(), spec.to.port(), senders.join(","))
        };
        open.iter().map(words).collect()
    }

    fn call(&self) -> &Call {
        self.core.calls().next().expect("a call")
    }

    fn stream(&self) -> &Stream {
        &self.call().streams[&StreamKey { branch: 0, index: 0 }]
    }

    /// Nothing may be left of any call.
    fn assert_empty(&self) {
        assert_eq!((self.core.calls().count(), self.core.pinholes().count()), (0, 0));
        assert!(self.tracker.calls.is_empty());
    }

    /// A call between Alice (20000) and Bob (30000) that has been answered.
    fn answered(slot: u32) -> Self {
        let mut lab = Self::new(slot);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
        lab.send(ALICE, BOB, request("ACK", 1).to("b"));
        assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
        lab
    }
}

/// A message under construction; Alice (tag `a`) calls Bob unless it says otherwise.
#[derive(Clone)]
struct Sip {
    start: String,
    call: String,
    method: &'static str,
    number: u32,
    via: String,
    from: &'static str,
    to: &'static str,
    more: String,
    body: String,
}

fn request(method: &'static str, number: u32) -> Sip {
    Sip {
        start: format!("{method} sip:bob@198.51.100.7 SIP/2.0"),
        call: "c1@host".to_owned(),
        method,
        number,
        via: format!("z9hG4bK{method}{number}"),
        from: "a",
        to: "",
        more: String::new(),
        body: String::new(),
    }
}

fn invite(number: u32) -> Sip {
    request("INVITE", number)
}

impl Sip {
    /// The response to this request.
    fn reply(mut self, status: u16, to: &'static str) -> Self {
        self.start = format!("SIP/2.0 {status} Reason");
        self.to = to;
        self.body.clear();
        self
    }

    fn to(mut self, tag: &'static str) -> Self {
        self.to = tag;
        self
    }

    /// From Bob, within the dialog.
    fn by_bob(mut self) -> Self {
        (self.from, self.to) = ("b", "a");
        self.via.push('b');
        self
    }

    /// In another call; its transactions are others too.
    fn of(mut self, call: &str) -> Self {
        self.via = format!("{}-{call}", self.via);
        self.call = call.to_owned();
        self
    }

    fn via(mut self, branch: &str) -> Self {
        self.via = format!("z9hG4bK{branch}");
        self
    }

    fn header(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push_str("\r\n");
        self
    }

    fn sdp(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    fn text(&self) -> String {
        let tag = |tag: &str| if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let (from, to) = if self.from == "b" { ("bob", "alice") } else { ("alice", "bob") };
        let kind = if self.body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{}\r\nVia: SIP/2.0/UDP host;branch={}\r\nFrom: <sip:{from}@example.com>{}\r\n\
             To: <sip:{to}@example.com>{}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n{}{kind}Content-Length: {}\r\n\r\n{}",
            self.start,
            self.via,
            tag(self.from),
            tag(self.to),
            self.call,
            self.number,
            self.method,
            self.more,
            self.body.len(),
            self.body,
        )
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

/// A description with the host part of `who`.
fn sdp(who: &str, media: &str) -> String {
    let ip = at(who).ip();
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{media}")
}

fn audio(who: &str, port: u16) -> String {
    sdp(who, &format!("m=audio {port} RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"))
}

const NOTHING: [&str; 0] = [];
