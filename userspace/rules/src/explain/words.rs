//! What the judge has looked up, in words.

use std::net::{IpAddr, SocketAddr};

use callgate_shared::flow::{FlowKey, ICMP, ICMPV6, Side, TCP, UDP, flags, state};
use callgate_shared::judge::{Budget, FirstFragment, Verdict, Way, timeout};
use callgate_shared::limit::{LimitKey, Rate, key};
use callgate_shared::media;
use callgate_shared::packet::{Fragment, Kind, LinkProtocol, Packet, is_echo, tcp};
use callgate_shared::pinhole::{self, FurtherSenders, PinholeKey, Sender};
use callgate_shared::policy::{self, Action, Inspect, Policy, RuleEntry, ZONE_SELF, link_drops};
use callgate_shared::{Addr, Reason};

use super::recorder::{FlowFacts, Look, PinholeFacts};
use super::{INSANE, Names, RulePlace, Stage, Step};

const SECOND: u64 = 1_000_000_000;

/// Puts one judgement into words.
pub(super) struct Speaker<'a> {
    pub(super) packet: &'a Packet,
    pub(super) policy: &'a Policy,
    pub(super) names: &'a Names<'a>,
    pub(super) zone: u8,
    pub(super) now: u64,
    pub(super) verdict: Verdict,
}

impl Speaker<'_> {
    /// What was decided without looking anything up.
    pub(super) fn sanity(&self) -> Step {
        let Self { packet, policy, verdict, .. } = self;
        let step = |text: String| Step::new(Stage::Sanity, text);
        if packet.kind == Kind::Link {
            let drops = policy.zones[usize::from(self.zone) % policy::MAX_ZONES].link;
            let dropped = match packet.link {
                LinkProtocol::Cdp => drops & link_drops::CDP != 0,
                LinkProtocol::Lldp => drops & link_drops::LLDP != 0,
                LinkProtocol::Arp | LinkProtocol::Other => false,
            };
            let refused = format!("zone {} takes none of these", self.names.zone(self.zone));
            return step(if dropped {
                refused
            } else {
                "it never leaves the link: no rule is asked".to_owned()
            });
        }
        if verdict.reason == Reason::PassBuiltin {
            return step("the network itself needs it: no rule is asked".to_owned());
        }
        if INSANE.contains(&verdict.reason) {
            return step(format!("no honest stack sends this: {}", verdict.reason.name()));
        }
        step("nothing odd about it".to_owned())
    }

    /// The step that begins with `seen[at]`, and how many look-ups it is about.
    pub(super) fn step(&self, seen: &[Look], at: usize) -> (Option<Step>, usize) {
        let Some(look) = seen.get(at) else { return (None, 1) };
        let next = seen.get(at + 1);
        let step = |stage, text: String| (Some(Step::new(stage, text)), 1);
        match look {
            Look::Blocked(address, true) => step(Stage::Blocks, format!("{address} is blocked")),
            Look::Blocked(address, false) => step(Stage::Blocks, format!("{address} is not blocked")),
            Look::SourceClass(address, class) => match next {
                Some(Look::SourceZones(zones)) => (Some(self.source(address, *class, *zones)), 2),
                _ => (None, 1),
            },
            Look::Asked(zone, way) => self.rules(seen, at, *zone, *way),
            Look::RouteBack(true) => {
                step(Stage::Source, format!("there is a route back to {}", self.packet.source))
            }
            Look::RouteBack(false) => {
                step(Stage::Source, format!("this machine has no route back to {}", self.packet.source))
            }
            Look::Fragment(first) => (Some(self.fragment(first.as_ref())), 1),
            Look::MayBeOpen(transport, port, false) => {
                let text = format!("no address has a pinhole at {}/{port}", protocol(*transport));
                step(self.stage_of_stream(), text)
            }
            Look::Pinhole(key, found) => {
                let further = match next {
                    Some(Look::FurtherSenders(senders)) => senders.as_ref(),
                    _ => None,
                };
                (Some(self.pinhole(key, found.as_ref(), further)), 1)
            }
            Look::Flow(key, found) => (Some(self.flow(key, found.as_ref())), 1),
            Look::Conform { key, rate, arrival, conforms, .. } => {
                (Some(self.limit(key, rate, *arrival, *conforms)), 1)
            }
            Look::Peer(address, known) => {
                let who = if *known { "a known peer" } else { "a stranger" };
                match next {
                    Some(Look::Afford { budget, rate, conforms }) => {
                        let text = format!("{address} is {who}: {}", within(*budget, rate, *conforms));
                        (Some(Step::new(Stage::Budget, text)), 2)
                    }
                    _ => (None, 1),
                }
            }
            Look::Afford { budget, rate, conforms } => step(Stage::Budget, within(*budget, rate, *conforms)),
            Look::InsertFlow(flow) => (Some(self.remembered(flow)), 1),
            Look::InsertFragment => {
                step(Stage::Memory, "later fragments of the same datagram pass after it".to_owned())
            }
            Look::Refund(key) => {
                let text = format!("a connection of {} no longer counts as half-open", key.addr);
                step(Stage::Memory, text)
            }
            Look::Vouch(address) => {
                step(Stage::Memory, format!("{address} has proven that it receives what is sent to it"))
            }
            Look::Begin
            | Look::Charge
            | Look::MayBeOpen(..)
            | Look::SourceZones(_)
            | Look::DestinationClass(..)
            | Look::ServiceClass(_)
            | Look::SourcePortClass(_)
            | Look::TagClass(_)
            | Look::Cell(_)
            | Look::Vector
            | Look::FurtherSenders(_)
            | Look::Rule(..) => (None, 1),
        }
    }

    fn source(&self, address: &Addr, class: u16, zones: u16) -> Step {
        let zone = self.names.zone(self.zone);
        let from: Vec<&str> = (0..self.names.set.zone_count())
            .filter_map(|zone| u8::try_from(zone).ok())
            .filter(|zone| zones.checked_shr((*zone).into()).unwrap_or(0) & 1 != 0 && *zone != ZONE_SELF)
            .map(|zone| self.names.zone(zone))
            .collect();
        let from = if from.is_empty() { "no zone".to_owned() } else { from.join(", ") };
        let text = if self.verdict.reason == Reason::Spoofed && self.verdict.slot == policy::NO_SLOT {
            format!("{address} cannot be in zone {zone}")
        } else {
            format!("{address} can be in zone {zone}")
        };
        Step::new(Stage::Source, text).with([format!("source class {class}: from {from}")])
    }

    fn fragment(&self, first: Option<&FirstFragment>) -> Step {
        let text = match (self.packet.fragment, first) {
            (Fragment::Later, None) => "no first fragment of this datagram was let by".to_owned(),
            (Fragment::Later, Some(first)) if self.packet.fragment_offset < first.length => {
                "it overlaps the first fragment".to_owned()
            }
            (Fragment::Later, Some(_)) => "its first fragment was let by".to_owned(),
            (_, None) => "a first fragment: judged by its ports".to_owned(),
            (_, Some(_)) if self.verdict.reason == Reason::FragmentOverlap => {
                "another first fragment of this datagram was let by before".to_owned()
            }
            (_, Some(_)) => "the same first fragment was let by before".to_owned(),
        };
        let known = first.map(|first| {
            let FirstFragment { length, source_port, destination_port, .. } = first;
            format!("first fragment: port {source_port} → {destination_port}, {length} bytes of the datagram")
        });
        Step::new(Stage::Fragment, text).with(known)
    }

    /// A pinhole is looked for on a packet's own behalf, or on that of the one an ICMP error quotes.
    fn stage_of_stream(&self) -> Stage {
        if self.packet.quoted.protocol == 0 { Stage::Pinhole } else { Stage::Related }
    }

    fn pinhole(
        &self,
        key: &PinholeKey,
        found: Option<&PinholeFacts>,
        further: Option<&FurtherSenders>,
    ) -> Step {
        let stage = self.stage_of_stream();
        let to = SocketAddr::new(key.to.into(), key.port);
        let transport = protocol(key.transport);
        let Some(pinhole) = found else {
            return Step::new(stage, format!("none at {to}/{transport}"));
        };
        let kind = pinhole::Kind::from_u8(pinhole.kind).map_or("unknown", pinhole::Kind::name);
        let (sender, port) = match stage {
            Stage::Related => (&self.packet.quoted.source, self.packet.quoted.source_port),
            _ => (&self.packet.source, self.packet.source_port),
        };
        let silent = self.now.saturating_sub(pinhole.last_seen);
        let all: Vec<&Sender> =
            std::iter::once(&pinhole.sender).chain(further.into_iter().flatten()).collect();
        let admits = |one: &&Sender| one.from == *sender && (one.port == 0 || one.port == port);
        let fate = if self.now >= pinhole.expires {
            "its life is over".to_owned()
        } else if silent > pinhole.idle {
            "it was silent for too long".to_owned()
        } else if all.iter().any(admits) {
            "it admits this sender".to_owned() + &self.broken_terms(pinhole)
        } else {
            "it does not admit this sender".to_owned()
        };
        let senders: Vec<String> = all
            .iter()
            .filter(|sender| sender.from != Addr::UNSPECIFIED)
            .map(|sender| match sender.port {
                0 => sender.from.to_string(),
                port => SocketAddr::new(sender.from.into(), port).to_string(),
            })
            .collect();
        let mut notes = vec![
            format!("for {}", senders.join(", ")),
            format!(
                "{} packets; silent for {} of at most {}, closes in {} at the latest",
                pinhole.measures.packets,
                time(silent),
                time(pinhole.idle),
                time(pinhole.expires.saturating_sub(self.now))
            ),
            self.call(pinhole.call),
        ];
        if matches!(kind, "rtp" | "rtcp" | "rtcp-mux") {
            notes.insert(1, terms(pinhole));
        }
        notes.extend(self.admitted_by(pinhole.slot).map(|rule| format!("the call's signalling: {rule}")));
        Step::new(stage, format!("{kind} at {to}/{transport}: {fate}")).with(notes)
    }

    /// What the packet breaks of what was agreed, where it does.
    fn broken_terms(&self, pinhole: &PinholeFacts) -> String {
        let reason = self.verdict.reason;
        let of_stream = matches!(
            reason,
            Reason::SecondSource
                | Reason::NotRtp
                | Reason::RtpHeader
                | Reason::PayloadType
                | Reason::Ssrc
                | Reason::RtpSequence
                | Reason::RtcpCompound
                | Reason::RtcpLength
                | Reason::RtcpType
                | Reason::NotAnnounced
                | Reason::MediaRate
                | Reason::NotUdptl
        );
        let [head, ssrc] = [0, 2].map(|word| u32::from_be(self.packet.payload_start[word]));
        match reason {
            Reason::PassObserved => ", and observes only: the packet breaks what was agreed".to_owned(),
            Reason::PayloadType => format!(", but not payload type {}", head >> 16 & 0x7f),
            Reason::Ssrc => match pinhole.measures.ssrc {
                Some(known) => format!(", but not SSRC {ssrc:#010x}: its stream has {known:#010x}"),
                None => format!(", but not SSRC {ssrc:#010x}"),
            },
            Reason::RtpSequence => format!(", but not sequence number {}", head & 0xffff),
            Reason::SecondSource => format!(", but has learnt port {}", pinhole.learnt),
            _ if of_stream => format!(", but not this packet: {}", reason.name()),
            _ => String::new(),
        }
    }

    fn call(&self, number: u64) -> String {
        match self.names.calls.call(number) {
            Some(call) => format!("opened by call {number}: {call}"),
            None => format!("opened by call {number}, which is over or not known here"),
        }
    }

    /// `rule x, file:line`.
    fn admitted_by(&self, slot: u32) -> Option<String> {
        self.names.place(slot).map(|place| named(&place))
    }

    fn flow(&self, key: &FlowKey, found: Option<&FlowFacts>) -> Step {
        let (own, _) = FlowKey::of(
            (self.packet.source, self.packet.source_port),
            (self.packet.destination, self.packet.destination_port),
            self.packet.protocol,
        );
        let stage = if *key == own { Stage::Flow } else { Stage::Related };
        let Some(flow) = found else {
            let text = match stage {
                Stage::Flow => "none is known between these ends",
                _ => "the packet it speaks of is of no known flow",
            };
            return Step::new(stage, text);
        };
        let [from, to] = ends(key, flow);
        let standing = flow.standing;
        let silent = self.now.saturating_sub(flow.last_seen);
        let limit = timeout(&self.policy.timeouts, key.protocol, standing.state, flow.inspect);
        let mut notes = vec![format!(
            "begun {} ago in zone {}; silent for {} of at most {}; {} packets there, {} back",
            time(self.now.saturating_sub(flow.created)),
            self.names.zone(flow.zone),
            time(silent),
            time(limit),
            flow.packets[usize::from(flow.originator & 1)],
            flow.packets[usize::from(flow.originator & 1 ^ 1)],
        )];
        if flow.flags & flags::BY_PINHOLE != 0 {
            notes.push("admitted by a pinhole".to_owned());
            notes.extend(self.names.calls.pinhole(key.protocol, to).map(|call| self.call(call)));
        }
        match self.admitted_by(flow.slot) {
            Some(rule) if flow.flags & flags::BY_PINHOLE != 0 => {
                notes.push(format!("the call's signalling: {rule}"));
            }
            Some(rule) => notes.push(format!("admitted by {rule}")),
            None if flow.slot == policy::NO_SLOT && flow.flags & flags::BY_PINHOLE == 0 => {
                notes.push(format!("admitted by the default of zone {}", self.names.zone(flow.zone)));
            }
            None => {}
        }
        if flow.inspect != 0 {
            notes.push(format!("its {} is read", Inspect::from_u8(flow.inspect).name()));
        }
        let syn = self.packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
        let over = state::RESET | state::FIN_ORIGINATOR | state::FIN_RESPONDER;
        if silent > limit {
            notes.push("it was silent for too long: forgotten".to_owned());
        } else if key.protocol == TCP && stage == Stage::Flow && syn && standing.state & over != 0 {
            notes.push("that connection is over: this begins another".to_owned());
        } else if standing.generation != self.policy.generation && flow.flags & flags::BY_PINHOLE == 0 {
            notes.push(format!(
                "judged by the rules of generation {}; generation {} is in force",
                standing.generation, self.policy.generation
            ));
        }
        let text = format!(
            "known: {} {from} → {to}, {}",
            protocol(key.protocol),
            state_name(key.protocol, standing.state)
        );
        Step::new(stage, text).with(notes)
    }

    /// The look-ups of one question to the rules.
    fn rules(&self, seen: &[Look], at: usize, zone: u8, way: Way) -> (Option<Step>, usize) {
        let asked = &seen[at..];
        let end = asked.iter().position(|look| matches!(look, Look::Rule(..)));
        let Some(end) = end else { return (None, 1) };
        let Look::Rule(number, entry) = &asked[end] else { return (None, 1) };
        let question = Self::question(&seen[..at], way);
        let mut classes = Vec::new();
        let mut how = "bit vectors";
        let tags = asked[..end].iter().filter(|look| matches!(look, Look::TagClass(_))).count();
        let mut tag = 0;
        for look in &asked[..end] {
            match look {
                Look::SourceClass(_, class) => classes.push(format!("source class {class}")),
                Look::DestinationClass(_, class) => classes.push(format!("destination class {class}")),
                Look::ServiceClass(class) => classes.push(format!("service class {class}")),
                Look::TagClass(class) => {
                    tag += 1;
                    let what = if tag == tags { "DSCP" } else { "VLAN" };
                    classes.push(format!("{what} class {class}"));
                }
                Look::SourcePortClass(class) => classes.push(format!("source port class {class}")),
                Look::Cell(_) => how = "one cell of the action table",
                _ => {}
            }
        }
        let zone = match question {
            Question::Reversed => "any zone",
            _ => self.names.zone(zone),
        };
        let looked_up = format!("zone {zone}, {} → {how}", classes.join(", "));
        let entry = entry.filter(|_| *number != 0);
        let step = match entry {
            None => Step::new(
                Stage::Rules,
                format!("{}no rule matches{}", question.text(), self.default(question)),
            )
            .with([looked_up]),
            Some(entry) => self.rule(question, &entry, *number).with([looked_up]),
        };
        (Some(step), end + 1)
    }

    fn rule(&self, question: Question, entry: &RuleEntry, number: u16) -> Step {
        let action = action_name(entry.action);
        let Some(place) = self.names.place(entry.slot) else {
            let text = format!("{}rule number {number} ({action}), which is gone", question.text());
            return Step::new(Stage::Rules, text);
        };
        let reads = match Inspect::from_u8(entry.inspect) {
            Inspect::None => String::new(),
            protocol => format!(" {}", protocol.name()),
        };
        let text = format!("{}the first that matches is {}: {action}{reads}", question.text(), named(&place));
        let lines = if question == Question::Plain { place.text } else { Vec::new() };
        Step::new(Stage::Rules, text).with(lines.into_iter().map(|line| format!("| {line}")))
    }

    /// What the question to the rules is for.
    fn question(before: &[Look], way: Way) -> Question {
        if before.contains(&Look::Begin) {
            return if way == Way::Back { Question::Reversed } else { Question::Plain };
        }
        if before.contains(&Look::Charge) { Question::Limit } else { Question::Again }
    }

    fn default(&self, question: Question) -> String {
        if question != Question::Plain {
            return String::new();
        }
        let to_media = self.packet.protocol == UDP
            && (self.policy.media_first..=self.policy.media_last).contains(&self.packet.destination_port);
        if to_media {
            return ", and media that no call has announced passes by no default".to_owned();
        }
        let default = self.policy.zones[usize::from(self.zone) % policy::MAX_ZONES].default;
        format!(": the default of zone {} is {}", self.names.zone(self.zone), action_name(default))
    }

    fn limit(&self, key: &LimitKey, rate: &Rate, arrival: Option<u64>, conforms: bool) -> Step {
        let used = arrival.unwrap_or(0).saturating_sub(self.now);
        let interval = rate.interval.max(1);
        let most = rate.tolerance / interval + 1;
        let whose = match key.slot {
            key::HALF_OPEN_SOURCE => Some("from"),
            key::HALF_OPEN_DESTINATION => Some("to"),
            _ => None,
        };
        if let Some(whose) = whose {
            let open = used.div_ceil(interval);
            let fits = if conforms { "one more may be" } else { "no more may be" };
            let text =
                format!("{open} connections {whose} {} are half-open: {fits} ({most} at most)", key.addr);
            return Step::new(Stage::Budget, text);
        }
        let rule = self.names.rule(key.slot);
        let limit =
            rule.and_then(|rule| rule.limit.as_ref()).map_or_else(String::new, |limit| format!(" {limit}"));
        let name =
            rule.map_or_else(|| "a rule that is gone".to_owned(), |rule| format!("rule `{}`", rule.name));
        let fits = if conforms { "within" } else { "above" };
        let whose =
            if key.addr == Addr::UNSPECIFIED { "all that match".to_owned() } else { key.addr.to_string() };
        let free = (rate.tolerance + rate.interval).saturating_sub(used) / interval;
        let left = if used > rate.tolerance { 0 } else { free.min(most) };
        Step::new(Stage::Limit, format!("{fits} the limit of {name}:{limit}"))
            .with([format!("bucket of {whose}: {left} of {most} left before this packet")])
    }

    fn remembered(&self, flow: &FlowFacts) -> Step {
        let wait = timeout(&self.policy.timeouts, self.packet.protocol, flow.standing.state, flow.inspect);
        let text = format!("entered as a flow: answers pass, and what follows within {}", time(wait));
        let read = (flow.inspect != 0).then(|| {
            let by = self.admitted_by(flow.slot).map(|rule| format!(" under {rule}")).unwrap_or_default();
            format!("its {} is read{by}", Inspect::from_u8(flow.inspect).name())
        });
        let peer = (flow.flags & flags::PEER != 0)
            .then(|| "in the table of known peers, which a flood of strangers cannot fill".to_owned());
        Step::new(Stage::Memory, text).with(read).with(peer)
    }
}

/// What was agreed of a stream.
fn terms(pinhole: &PinholeFacts) -> String {
    let types: Vec<String> = (0..128_usize)
        .filter(|number| pinhole.payload_types[number / 64] >> (number % 64) & 1 != 0)
        .map(|number| number.to_string())
        .collect();
    let types = if types.is_empty() { "any".to_owned() } else { types.join(", ") };
    let has = |flag| pinhole.flags & flag != 0;
    let mut text = format!("payload types {types}");
    for (flag, name) in
        [(media::flags::STUN, "STUN"), (media::flags::DTLS, "DTLS"), (media::flags::ZRTP, "ZRTP")]
    {
        if has(flag) {
            text += ", ";
            text += name;
        }
    }
    text += if has(media::flags::ENFORCE) { "; enforced" } else { "; observed only" };
    text
}

/// What the rules are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// The packet's verdict.
    Plain,
    /// Whether a flow that other rules have admitted may go on.
    Again,
    /// The limit of a flow's packets.
    Limit,
    /// Whether the conversation would be read, had the other end begun it.
    Reversed,
}

impl Question {
    const fn text(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Again => "asked again, for the flow: ",
            Self::Limit => "asked for the limit: ",
            Self::Reversed => "asked whether the other end's packets would be read: ",
        }
    }
}

/// The last step.
pub(super) fn verdict(verdict: &Verdict, rule: Option<&RulePlace>) -> Step {
    let word = match verdict.reason {
        Reason::Reject => "rejected",
        reason if reason.is_drop() => "dropped",
        _ => "passes",
    };
    let mut notes = vec![verdict.reason.about().to_owned()];
    notes.extend(rule.map(|place| format!("by {}", named(place))));
    if verdict.inspect != 0 && !verdict.reason.is_drop() {
        notes.push(format!("its {} is read before it goes on", Inspect::from_u8(verdict.inspect).name()));
    }
    if verdict.block {
        notes.push("its source is to be blocked".to_owned());
    }
    if verdict.log {
        notes.push("it is logged".to_owned());
    }
    Step::new(Stage::Verdict, format!("{word}: {}", verdict.reason.name())).with(notes)
}

fn named(place: &RulePlace) -> String {
    format!("rule `{}` ({}:{})", place.name, place.file, place.position.line)
}

/// A packet in one line.
pub(super) fn packet(packet: &Packet) -> String {
    if packet.kind == Kind::Link {
        return match packet.link {
            LinkProtocol::Arp => "ARP",
            LinkProtocol::Cdp => "CDP, or what shares its address",
            LinkProtocol::Lldp => "LLDP",
            LinkProtocol::Other => "a protocol of the link",
        }
        .to_owned();
    }
    let family = if packet.source.is_v4() { "IPv4" } else { "IPv6" };
    let (source, destination) = (IpAddr::from(packet.source), IpAddr::from(packet.destination));
    let has_ports = matches!(packet.protocol, TCP | UDP) && packet.fragment != Fragment::Later;
    let end = |ip, port| if has_ports { SocketAddr::new(ip, port).to_string() } else { ip.to_string() };
    let mut parts = vec![format!(
        "{family} {} {} → {}",
        protocol(packet.protocol).to_uppercase(),
        end(source, packet.source_port),
        end(destination, packet.destination_port)
    )];
    let icmp = matches!(packet.protocol, ICMP | ICMPV6) && packet.fragment != Fragment::Later;
    if has_ports && packet.protocol == TCP {
        parts.push(tcp_flags(packet.tcp_flags));
    } else if icmp {
        parts.push(format!("type {} code {}", packet.icmp_type, packet.icmp_code));
        if is_echo(packet.protocol, packet.icmp_type) {
            parts.push(format!("identifier {}", packet.source_port));
        }
    }
    let quoted = &packet.quoted;
    if quoted.protocol == 255 {
        parts.push("speaking of a packet that cannot be read".to_owned());
    } else if quoted.protocol != 0 {
        parts.push(format!(
            "speaking of {} {} → {}",
            protocol(quoted.protocol),
            SocketAddr::new(quoted.source.into(), quoted.source_port),
            SocketAddr::new(quoted.destination.into(), quoted.destination_port)
        ));
    }
    parts.push(format!("{} bytes", packet.length));
    match packet.fragment {
        Fragment::Whole => {}
        Fragment::First => parts.push("first fragment".to_owned()),
        Fragment::Later => parts.push(format!("fragment at byte {}", packet.fragment_offset)),
    }
    if packet.vlan != 0 {
        parts.push(format!("VLAN {}", packet.vlan));
    }
    if packet.traffic_class >> 2 != 0 {
        parts.push(format!("DSCP {}", packet.traffic_class >> 2));
    }
    parts.join(", ")
}

fn tcp_flags(bits: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> =
        (0..).zip(NAMES).filter(|(bit, _)| bits >> bit & 1 != 0).map(|(_, name)| name).collect();
    if set.is_empty() { "no flags".to_owned() } else { set.join("+") }
}

fn ends(key: &FlowKey, flow: &FlowFacts) -> [SocketAddr; 2] {
    let (low, high) =
        (SocketAddr::new(key.low.into(), key.low_port), SocketAddr::new(key.high.into(), key.high_port));
    if flow.originator == Side::High as u8 { [high, low] } else { [low, high] }
}

fn state_name(protocol: u8, bits: u32) -> &'static str {
    let both = state::FIN_ORIGINATOR | state::FIN_RESPONDER;
    match protocol {
        TCP if bits & state::RESET != 0 => "reset",
        TCP if bits & both == both => "closed",
        TCP if bits & both != 0 => "closing",
        TCP if bits & state::ESTABLISHED != 0 => "established",
        TCP if bits & state::REPLIED != 0 => "handshake answered",
        TCP => "handshake begun",
        _ if bits & state::REPLIED != 0 => "answered",
        _ => "not answered yet",
    }
}

fn within(budget: Budget, rate: &Rate, conforms: bool) -> String {
    let what = match budget {
        Budget::NewFlows => "new flows of strangers",
        Budget::PeerFlows => "new flows of known peers",
        Budget::Replies => "answers to refused packets",
    };
    let per_second = SECOND / rate.interval.max(1);
    let fits = if conforms { "within" } else { "above" };
    format!("{fits} the budget of {what}, {per_second}/s on each CPU")
}

fn action_name(action: u8) -> &'static str {
    const ACTIONS: [(Action, &str); 5] = [
        (Action::Drop, "drop"),
        (Action::Pass, "pass"),
        (Action::Track, "track"),
        (Action::Inspect, "inspect"),
        (Action::Reject, "reject"),
    ];
    ACTIONS.iter().find(|(known, _)| *known as u8 == action).map_or("unknown", |(_, name)| name)
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        other => format!("proto/{other}"),
    }
}

/// Nanoseconds for people: tenths of a second below a minute, whole seconds above.
fn time(nanoseconds: u64) -> String {
    let tenths = nanoseconds / (SECOND / 10);
    match tenths {
        0..600 if tenths.is_multiple_of(10) => format!("{} s", tenths / 10),
        0..600 => format!("{}.{} s", tenths / 10, tenths % 10),
        600..72_000 => format!("{} min {} s", tenths / 600, tenths / 10 % 60),
        _ => format!("{} h {} min", tenths / 36_000, tenths / 600 % 60),
    }
}
