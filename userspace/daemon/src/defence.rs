//! What the firewall does about those it refuses, and for those it knows: blocks, scans, known peers, and the
//! refitting of the rules to the time and to this machine's addresses.
//!
//! # Who is never blocked
//! A source address is what a packet says it is: whoever forges a scan in a phone's name must not have the phone
//! blocked. So nobody is blocked for a scan who is known to have business here: [`Exemption`] lists why. An
//! operator may block whom he wants, but for `never_block` and this machine's own addresses.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use callgate_alg::action::{Suspect, Time, Transport};
use callgate_alg::call::State;
use callgate_alg::event::{Event, EventKind};
use callgate_alg::policy;
use callgate_api::{BlockCause, BlockRequest, BlockRow, DEFAULT_BLOCK_S, ErrorReply, MAX_BLOCK_S, PacketRow};
use callgate_rules::ruleset::{Above, RuleAction};
use callgate_rules::{Addresses, Machine, MediaAuthority, PrefixSet, RuleSet, compile};
use callgate_shared::Reason;
use callgate_shared::counters::{self, cause};
use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP, state};
use jiff::Zoned;
use tracing::{debug, error, info, warn};

use crate::blocks::{self, Block, Blocks};
use crate::firewall::{Firewall, now, unix};
use crate::kernel::{self, Kernel};
use crate::machine::own_addresses;
use crate::peers::Peers;
use crate::scans::{Scans, is_refusal};

/// Between two looks at this machine's addresses and at who is registered.
const REFRESH: Duration = Duration::from_secs(5);
/// How long a look at the kernel's flows is believed: there can be many of them.
const FLOWS_BELIEVED: Duration = Duration::from_secs(10);
/// Blocks for scans that are weighed within a second; more is a flood from made-up sources.
const SCANS_PER_SECOND: u32 = 20;
/// Blocks for attacks, likewise.
const ATTACKS_PER_SECOND: u32 = 20;
/// Blocks for limits, likewise.
const LIMITS_PER_SECOND: u32 = 100;
/// After the rules could not be refitted.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the firewall remembers to defend itself.
#[derive(Debug)]
pub(crate) struct Defence {
    pub(crate) blocks: Blocks,
    pub(crate) scans: Scans,
    pub(crate) peers: Peers,
    /// This machine's own addresses, as the rules in force know them.
    pub(crate) addresses: Vec<IpAddr>,
    /// Networks that rules in force speak of when they let something by.
    named: Vec<PrefixSet>,
    /// Who has answered in a known flow, and when that was looked up.
    responders: (Time, HashSet<IpAddr>),
    /// The second, and the blocks for scans, for limits and for attacks weighed in it.
    weighed: (Time, [u32; 3]),
    refreshed: Time,
    not_before: Time,
}

/// Why an address is not blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exemption {
    /// `never_block` has it.
    NeverBlock,
    /// It is this machine's.
    Own,
    /// `protected` has it, or it is registered.
    Peer,
    /// It has completed a handshake of late.
    Vouched,
    /// It is an end of a call, or of a stream that is announced.
    Call,
    /// It is named by a rule that lets something by.
    Named,
    /// It belongs to the networks of another zone than the one it came from.
    OtherZone,
    /// It has answered in a flow that is known.
    Responder,
}

impl Exemption {
    const fn about(self) -> &'static str {
        match self {
            Self::NeverBlock => "`never_block` has it",
            Self::Own => "it is this machine's own",
            Self::Peer => "it is protected or registered",
            Self::Vouched => "it has completed a handshake",
            Self::Call => "it takes part in a call",
            Self::Named => "a rule that lets something by names it",
            Self::OtherZone => "it belongs to another zone's networks",
            Self::Responder => "it has answered in a flow",
        }
    }
}

impl Defence {
    /// What an earlier run has left in the kernel; [`Firewall::adopt_rules`] comes next.
    pub(crate) fn new(kernel: &Kernel, rules: &RuleSet, addresses: Vec<IpAddr>) -> Self {
        Self {
            blocks: Blocks::restored(kernel.blocks()),
            scans: Scans::new(&rules.settings().scan),
            peers: Peers::restored(kernel.peers()),
            addresses,
            named: Vec::new(),
            responders: (Time::default(), HashSet::new()),
            weighed: (Time::default(), [0; 3]),
            refreshed: Time::default(),
            not_before: Time::default(),
        }
    }

    /// Goes by other rules from now on.
    fn adopt(&mut self, rules: &RuleSet) {
        self.scans.set(&rules.settings().scan);
        self.named = named_networks(rules);
        for prefix in self.peers.protect(&rules.settings().protected) {
            warn!(
                %prefix,
                "`protected` has a network that is too large for the table of known peers: name the addresses"
            );
        }
        self.refreshed = Time::default();
    }

    /// Whether one more block for this cause may be weighed within this second.
    fn may_weigh(&mut self, cause: BlockCause, now: Time) -> bool {
        if now.since(self.weighed.0) >= Duration::from_secs(1) {
            self.weighed = (now, [0; 3]);
        }
        let [scans, limits, attacks] = &mut self.weighed.1;
        let (count, most) = match cause {
            BlockCause::Scan => (scans, SCANS_PER_SECOND),
            BlockCause::Attack => (attacks, ATTACKS_PER_SECOND),
            _ => (limits, LIMITS_PER_SECOND),
        };
        *count += 1;
        *count <= most
    }
}

impl Firewall {
    /// A packet the kernel half has sampled, as the ring holds it.
    pub fn sampled(&mut self, bytes: &[u8]) {
        let Some(event) = kernel::event(bytes) else { return };
        let Some(reason) = Reason::from_u8(event.reason) else { return };
        let now = now();
        if event.cause == cause::LOG {
            self.log_packet(&event, reason);
        }
        if reason.is_drop() {
            let packet = self.packet_row(&event, reason);
            self.events.dropped(packet, event.cause == cause::LOG, now);
        }
        if reason == Reason::SecondSource {
            self.second_source(&event, now);
        }
        let source = IpAddr::from(event.source);
        if self.defence.blocks.until(source).is_some_and(|until| until > now) {
            return;
        }
        if event.cause == cause::BLOCK {
            self.above_limit(source, event.rule, now);
        } else if is_refusal(reason) {
            let port = if matches!(event.protocol, TCP | UDP) { event.destination_port } else { 0 };
            if self.defence.scans.refused(now, source, (event.destination.into(), port)) {
                self.scanned(source, event.zone, now);
            }
        }
    }

    /// Media came from another port than the one a pinhole has learnt.
    fn second_source(&mut self, event: &counters::Event, now: Time) {
        let to = SocketAddr::new(event.destination.into(), event.destination_port);
        let source = SocketAddr::new(event.source.into(), event.source_port);
        let Some(spec) = self.engine.pinhole(to, Transport::Udp) else { return };
        let Some(call) = self.engine.call(spec.call) else { return };
        let text = format!("to {to}, of call {} ({} → {})", call.key, call.parties[0], call.parties[1]);
        let told =
            Event::at(now, EventKind::SecondSource, call.protocol, source, &call.id.0.to_string(), &text);
        self.events.record(told);
    }

    /// Blocks an address because an operator wants it.
    ///
    /// # Errors
    /// What to tell him.
    pub(crate) fn block_wanted(&mut self, request: &BlockRequest) -> Result<BlockRow, ErrorReply> {
        let address = request.address.to_canonical();
        let seconds = request.seconds.unwrap_or(DEFAULT_BLOCK_S);
        let refuse = |error: String, hint: &str| ErrorReply { error, hint: hint.to_owned(), details: vec![] };
        if !(1..=MAX_BLOCK_S).contains(&seconds) {
            return Err(refuse(
                format!("{seconds} s is not between 1 s and 30 days"),
                "what is to be refused for good belongs in the rules",
            ));
        }
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(refuse(
                format!("{address} never is a sender"),
                "its packets are dropped as they are",
            ));
        }
        match self.never_blocked(address) {
            Some(Exemption::NeverBlock) => {
                let hint = "take it out of `never_block` in the rules file first";
                return Err(refuse(format!("{address} must never be blocked: `never_block` has it"), hint));
            }
            Some(other) => {
                return Err(refuse(format!("{address} is not blocked: {}", other.about()), "name another"));
            }
            None => {}
        }
        let life = Duration::from_secs(seconds);
        self.block(address, life, BlockCause::Operator, String::new())
            .map_err(|error| refuse(error, "lift some: `fwctl blocks` lists them"))
    }

    /// Lets an address by again because an operator wants it: the block as it was.
    ///
    /// # Errors
    /// What to tell him.
    pub(crate) fn unblock_wanted(&mut self, address: IpAddr) -> Result<BlockRow, ErrorReply> {
        let address = address.to_canonical();
        self.unblock(address, "by an operator").ok_or_else(|| ErrorReply {
            error: format!("{address} is not blocked"),
            hint: "`fwctl blocks` lists those that are".to_owned(),
            details: Vec::new(),
        })
    }

    /// The rules have changed: who may not be blocked any more is let by.
    pub(crate) fn adopt_rules(&mut self) {
        self.defence.adopt(&self.rules);
        let all: Vec<IpAddr> = self.defence.blocks.rows(Time::default()).map(|row| row.address).collect();
        for address in all {
            if let Some(exemption) = self.never_blocked(address) {
                self.unblock(address, exemption.about());
                info!(target: "audit", change = "unblock", %address, why = exemption.about(), outcome = "done");
            }
        }
    }

    /// Time passes: blocks that are over go, peers are written, and the rules are refitted where the time or this
    /// machine's addresses ask for it.
    pub(crate) fn defend(&mut self, now: Time) {
        for address in self.defence.blocks.expired(now) {
            self.unblock(address, "its time is over");
        }
        let mut refit = self.rules.active_at(&Zoned::now()) != self.in_force;
        if now.since(self.defence.refreshed) >= REFRESH {
            self.defence.refreshed = now;
            self.defence.scans.tick(now);
            match own_addresses() {
                Ok(addresses) if addresses != self.defence.addresses => {
                    info!(addresses = addresses.len(), "this machine's addresses have changed");
                    self.defence.addresses = addresses;
                    refit = true;
                }
                Ok(_) => {}
                Err(error) => warn!(%error, "this machine's addresses are not told"),
            }
            self.write_peers(now);
        }
        if refit && now >= self.defence.not_before {
            self.refit(now);
        }
    }

    /// Compiles the rules again for the time and this machine as they now are, and puts them in force.
    fn refit(&mut self, now: Time) {
        let attached: Vec<_> =
            self.interfaces.attached.iter().map(|one| (one.slot, one.name.as_str())).collect();
        let generation = self.compiled.policy.generation.wrapping_add(1).max(1);
        let time = Zoned::now();
        let in_force = self.rules.active_at(&time);
        let machine = Machine { interfaces: &attached, addresses: &self.defence.addresses, now: time };
        let compiled = compile(&self.rules, &machine, generation, &mut self.kernel.slots());
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) => {
                self.defence.not_before = now + PATIENCE;
                return error!(%error, "the rules do not fit any more; those in force stay");
            }
        };
        if let Err(error) = self.kernel.load_policy(&compiled) {
            self.defence.not_before = now + PATIENCE;
            return error!(%error, "the rules cannot be loaded again; those in force stay");
        }
        self.engine.set_policy(policy::media(&self.rules, &compiled));
        let rules = in_force.iter().filter(|active| **active).count();
        info!(generation, rules, "rules fitted to the time and to this machine's addresses");
        (self.compiled, self.in_force) = (compiled, in_force);
        self.defence.named = named_networks_of(&self.rules, &self.in_force);
    }

    fn write_peers(&mut self, now: Time) {
        let changes = self.defence.peers.refresh(self.engine.registered(), now);
        let written = changes.write.iter().try_for_each(|(peer, until)| self.kernel.set_peer(*peer, *until));
        let removed = changes.remove.iter().try_for_each(|peer| self.kernel.remove_peer(*peer));
        if let Err(error) = written.and(removed) {
            warn!(%error, "cannot write the table of known peers");
        }
    }

    /// A source was above the limit of a rule that blocks.
    fn above_limit(&mut self, source: IpAddr, slot: u32, now: Time) {
        if !self.defence.may_weigh(BlockCause::Limit, now) {
            return;
        }
        let place = self.compiled.slots.iter().position(|known| *known == slot);
        let Some(rule) = place.and_then(|place| self.rules.rules().get(place)) else { return };
        let Some(Above::Block(life)) = rule.limit.map(|limit| limit.above) else { return };
        let text = format!("above the limit of rule {:?}", rule.name);
        let exemption = self.never_blocked(source).or_else(|| self.known(source, now));
        self.block_unless(exemption, source, life, BlockCause::Limit, text);
    }

    /// A source was refused at as many places as make a scan.
    fn scanned(&mut self, source: IpAddr, zone: u8, now: Time) {
        if !self.defence.may_weigh(BlockCause::Scan, now) {
            return;
        }
        let scan = self.rules.settings().scan;
        let text = format!("{} places within {} s", scan.ports, scan.window.as_secs());
        let exemption = self.exemption(source, zone, now);
        self.block_unless(exemption, source, scan.block, BlockCause::Scan, text);
    }

    /// Somebody guesses passwords, users or servers. What may be forged is weighed like a scan. Who was there for
    /// certain is not excused by a handshake, and who has guessed passwords not by being named in a rule either.
    pub(crate) fn suspected(&mut self, suspect: &Suspect, zone: u8, now: Time) {
        let source = suspect.source.to_canonical();
        let blocked = self.defence.blocks.until(source).is_some_and(|until| until > now);
        if blocked || !self.defence.may_weigh(BlockCause::Attack, now) {
            return;
        }
        let known = self.never_blocked(source).or_else(|| self.has_business(source, now));
        let exemption = match known {
            None if !suspect.proven => self.stranger_exemption(source, zone, now),
            None if !suspect.passwords => self.neighbour_exemption(source, zone, now),
            known => known,
        };
        self.block_unless(exemption, source, suspect.life, BlockCause::Attack, suspect.text.clone());
    }

    fn block_unless(
        &mut self,
        exemption: Option<Exemption>,
        source: IpAddr,
        life: Duration,
        cause: BlockCause,
        text: String,
    ) {
        if let Some(exemption) = exemption {
            debug!(%source, cause = cause.name(), text, why = exemption.about(), "not blocked");
            return;
        }
        match self.block(source, life, cause, text) {
            Ok(row) => info!(
                target: "audit", change = "block", address = %row.address, cause = row.cause.name(),
                why = row.text, seconds = row.left_s, outcome = "done"
            ),
            Err(error) => {
                warn!(target: "audit", change = "block", address = %source, outcome = error, "failed")
            }
        }
    }

    /// Why an address must not be blocked for a scan.
    fn exemption(&mut self, address: IpAddr, zone: u8, now: Time) -> Option<Exemption> {
        let known = self.never_blocked(address).or_else(|| self.known(address, now));
        known.or_else(|| self.stranger_exemption(address, zone, now))
    }

    /// What speaks for an address that is neither known nor part of a call.
    fn stranger_exemption(&mut self, address: IpAddr, zone: u8, now: Time) -> Option<Exemption> {
        if self.kernel.is_vouched(address, now) {
            return Some(Exemption::Vouched);
        }
        self.neighbour_exemption(address, zone, now)
    }

    /// The same, where a handshake does not count.
    fn neighbour_exemption(&mut self, address: IpAddr, zone: u8, now: Time) -> Option<Exemption> {
        if self.defence.named.iter().any(|networks| networks.contains(address)) {
            return Some(Exemption::Named);
        }
        let elsewhere = self.rules.zones().iter().any(|other| {
            let networks = other.policy.networks.as_ref();
            self.rules.zone_name(zone) != Some(other.name.as_str())
                && networks.is_some_and(|networks| networks.contains(address))
        });
        if elsewhere {
            return Some(Exemption::OtherZone);
        }
        self.has_answered(address, now).then_some(Exemption::Responder)
    }

    /// Whom nothing blocks, not even an operator.
    fn never_blocked(&self, address: IpAddr) -> Option<Exemption> {
        if self.rules.settings().never_block.contains(address) {
            return Some(Exemption::NeverBlock);
        }
        self.defence.addresses.contains(&address).then_some(Exemption::Own)
    }

    /// Who has business here for certain: what is configured, registered, or part of a call that was answered. One
    /// that only rings may be a guess itself.
    fn has_business(&self, address: IpAddr, now: Time) -> Option<Exemption> {
        self.peer(address, now).or_else(|| {
            let talks = |call: &callgate_alg::Call| {
                call.state == State::Connected && call.signalling.iter().any(|end| end.ip() == address)
            };
            self.engine.calls().any(talks).then_some(Exemption::Call)
        })
    }

    /// Who is configured or registered.
    fn peer(&self, address: IpAddr, now: Time) -> Option<Exemption> {
        let settings = self.rules.settings();
        if settings.protected.contains(address) || self.defence.peers.contains(address, now) {
            return Some(Exemption::Peer);
        }
        // Those that have registered since the peers were written.
        if self.engine.registered().any(|(known, until)| known.to_canonical() == address && until > now) {
            return Some(Exemption::Peer);
        }
        None
    }

    /// Who has business here: what is configured, registered, or part of a call.
    fn known(&self, address: IpAddr, now: Time) -> Option<Exemption> {
        if let Some(exemption) = self.peer(address, now) {
            return Some(exemption);
        }
        let in_call = |call: &callgate_alg::Call| call.signalling.iter().any(|end| end.ip() == address);
        (self.engine.has_media_of(address) || self.engine.calls().any(in_call)).then_some(Exemption::Call)
    }

    fn has_answered(&mut self, address: IpAddr, now: Time) -> bool {
        let (looked, responders) = &mut self.defence.responders;
        if looked.0 == 0 || now.since(*looked) >= FLOWS_BELIEVED {
            let answered = self.kernel.flows().filter(|flow| flow.state & state::REPLIED != 0);
            *responders = answered.map(|flow| flow.ends[1].ip()).collect();
            *looked = now;
        }
        responders.contains(&address)
    }

    /// Blocks an address. One that is blocked stays so for as long as it was to be, unless an operator says
    /// otherwise.
    fn block(
        &mut self,
        address: IpAddr,
        life: Duration,
        cause: BlockCause,
        text: String,
    ) -> Result<BlockRow, String> {
        let now = now();
        if !self.defence.blocks.has_room(address, cause) {
            return Err(format!("there are {} blocks already", blocks::MOST_AUTOMATIC));
        }
        let known = self.defence.blocks.until(address).filter(|_| cause != BlockCause::Operator);
        let until = (now + life).max(known.unwrap_or_default());
        self.kernel.block(address, until).map_err(|error| error.to_string())?;
        let since_unix = Some(unix(SystemTime::now()));
        let block = Block { until, cause, text, since_unix };
        let row = blocks::row(address, &block, now);
        let why = if block.text.is_empty() { String::new() } else { format!(": {}", block.text) };
        let told = format!("{}{why}, for {} s", cause.name(), row.left_s);
        self.defence.blocks.add(address, block);
        self.tell(now, EventKind::Blocked, address, &told);
        Ok(row)
    }

    fn unblock(&mut self, address: IpAddr, why: &str) -> Option<BlockRow> {
        let now = now();
        match self.kernel.unblock(address) {
            Err(error) => {
                error!(%error, %address, "cannot be let by again");
                None
            }
            Ok(in_kernel) => {
                let block = self.defence.blocks.remove(address);
                if block.is_some() || in_kernel {
                    self.tell(now, EventKind::Unblocked, address, why);
                }
                block.map(|block| blocks::row(address, &block, now))
            }
        }
    }

    fn tell(&mut self, now: Time, kind: EventKind, address: IpAddr, text: &str) {
        let protocol = callgate_shared::policy::Inspect::None;
        self.events.record(Event::at(now, kind, protocol, SocketAddr::new(address, 0), "", text));
    }

    /// Says what the packets of rules with `log = true` were.
    fn log_packet(&self, event: &counters::Event, reason: Reason) {
        info!(
            target: "packet",
            interface = self.interface_name(usize::from(event.interface)),
            reason = reason.name(),
            rule = self.rule_name(event.rule),
            from = %event.source, from_port = event.source_port,
            to = %event.destination, to_port = event.destination_port,
            protocol = event.protocol, length = event.length,
            "logged by its rule"
        );
    }

    fn packet_row(&self, event: &counters::Event, reason: Reason) -> PacketRow {
        let captured = usize::from(event.captured).min(event.start.len());
        let mut start = String::with_capacity(2 * captured);
        for byte in &event.start[..captured] {
            // Writing to a string does not fail.
            let _ = write!(start, "{byte:02x}");
        }
        PacketRow {
            interface: self.interface_name(usize::from(event.interface)).unwrap_or_default().to_owned(),
            zone: self.rules.zone_name(event.zone).unwrap_or("none").to_owned(),
            reason: reason.name().to_owned(),
            rule: self.rule_name(event.rule).map(str::to_owned),
            from: SocketAddr::new(event.source.into(), event.source_port),
            to: SocketAddr::new(event.destination.into(), event.destination_port),
            protocol: crate::views::protocol_name(event.protocol),
            icmp_type: matches!(event.protocol, ICMP | ICMPV6).then_some(event.icmp_type),
            length: event.length,
            start,
        }
    }
}

fn named_networks(rules: &RuleSet) -> Vec<PrefixSet> {
    named_networks_of(rules, &rules.active_at(&Zoned::now()))
}

/// The networks that rules in force name when they let something by; what means anybody names nobody.
fn named_networks_of(rules: &RuleSet, in_force: &[bool]) -> Vec<PrefixSet> {
    let permits = |action| matches!(action, RuleAction::Pass | RuleAction::Track | RuleAction::Inspect(_));
    let mut named = HashSet::new();
    for (rule, _) in
        rules.rules().iter().zip(in_force).filter(|(rule, active)| **active && permits(rule.action))
    {
        let sets = [&rule.from, &rule.to].into_iter().filter_map(|addresses| match addresses {
            Addresses::In(set) => Some(set),
            Addresses::Any | Addresses::Except(_) => None,
        });
        let media = match &rule.media {
            MediaAuthority::Group(set) => Some(set),
            MediaAuthority::Signaller | MediaAuthority::Any => None,
        };
        let narrow = |set: &&PrefixSet| set.prefixes().iter().all(|prefix| prefix.prefix_len() > 0);
        named.extend(sets.chain(media).filter(narrow).cloned());
    }
    named.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_let_something_by_name_their_peers() {
        let text = "version = 1\n[zones]\noutside = \"eth0\"\n[groups]\ntrunks = [\"192.0.2.0/28\"]\n\
            servers = [\"10.0.0.1\"]\nworld = [\"0.0.0.0/0\"]\nbad = [\"198.51.100.0/24\"]\n\
            [[rule]]\nname = \"sip\"\nfrom = \"trunks\"\nto = \"servers\"\nservice = \"sip\"\n\
            action = \"inspect\"\ninspect = \"sip\"\nmedia = [\"203.0.113.7\"]\n\
            [[rule]]\nname = \"web\"\nfrom = \"world\"\nservice = \"https\"\naction = \"track\"\n\
            [[rule]]\nname = \"but\"\nfrom = \"!bad\"\nservice = \"http\"\naction = \"track\"\n\
            [[rule]]\nname = \"no\"\nfrom = \"bad\"\naction = \"drop\"\n";
        let rules = RuleSet::parse("rules.toml", text).expect("valid rules");
        let named = named_networks(&rules);
        let known = |address: &str| {
            let address = address.parse().expect("an address");
            named.iter().any(|set| set.contains(address))
        };
        assert!(known("192.0.2.3") && known("10.0.0.1") && known("203.0.113.7"));
        assert!(!known("198.51.100.1") && !known("192.0.2.16") && !known("8.8.8.8"));
    }
}
