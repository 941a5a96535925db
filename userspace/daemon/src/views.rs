//! What the control socket shows, drawn from the firewall.

use callgate_api::{
    Alg, BuiltinRow, CallRow, CounterRow, DefaultRow, FlowRow, FlowState, Interface, Mode, Page, Peer,
    PhoneRow, PinholeRow, RuleRow, Rules, RulesFile, Status, Totals, XdpMode,
};
use callgate_rules::Addresses;
use callgate_rules::ruleset::{self, RuleAction};
use callgate_shared::Reason;
use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};

use crate::control::{Command, EventQuery};
use crate::firewall::{Firewall, now, unix};

/// Packets that no rules file can switch off, as the judge lets them by.
const BUILTIN: [(&str, &str); 4] = [
    ("arp and link protocols", "ARP, and frames that never leave the link: LLDP, STP, LACP, EAPOL, CDP"),
    ("neighbour discovery", "ICMPv6 133 to 136 with hop limit 255 (RFC 4861)"),
    ("fragmentation needed", "ICMP type 3 code 4 (RFC 1191)"),
    ("packet too big", "ICMPv6 type 2 (RFC 8201)"),
];

/// Answers one command.
pub fn answer(firewall: &mut Firewall, command: Command) {
    // A peer that has gone away meanwhile is nobody's concern: the results of `send` are let go.
    match command {
        Command::Status(reply) => drop(reply.send(Ok(firewall.status()))),
        Command::Calls { limit, reply } => drop(reply.send(Ok(firewall.call_rows(limit)))),
        Command::Pinholes { limit, reply } => drop(reply.send(Ok(firewall.pinhole_rows(limit)))),
        Command::Flows { limit, reply } => drop(reply.send(Ok(firewall.flow_rows(limit)))),
        Command::Rules(reply) => drop(reply.send(Ok(firewall.rule_rows()))),
        Command::Counters(reply) => drop(reply.send(Ok(firewall.counter_rows()))),
        Command::Phones { limit, reply } => drop(reply.send(Ok(firewall.phone_rows(limit)))),
        Command::Events { query, reply } => {
            let EventQuery { after, kinds, limit } = query;
            drop(reply.send(Ok(firewall.events.page(after, &kinds, limit))));
        }
        Command::Reload { file, reply } => drop(reply.send(firewall.reload(file.as_deref()))),
    }
}

impl Firewall {
    fn status(&self) -> Status {
        let now = now();
        let zone = |name: &str| {
            let zone = self.rules.zones().iter().find(|zone| zone.interfaces.iter().any(|one| one == name));
            zone.map(|zone| zone.name.clone())
        };
        let interfaces = self.interfaces.attached.iter().map(|interface| Interface {
            name: interface.name.clone(),
            zone: zone(&interface.name),
            xdp: if interface.attachment.native { XdpMode::Native } else { XdpMode::Generic },
            xdp_note: interface.attachment.note.clone(),
            taps: interface.taps.iter().map(|tap| tap.name().to_owned()).collect(),
        });
        let mut packets = Totals::default();
        for row in self.counter_rows().rows {
            let total = if row.dropped { &mut packets.dropped } else { &mut packets.passed };
            *total += row.packets;
        }
        let messages = self.engine.messages();
        let refusals = self.engine.refusals().map(|(refusal, count)| (refusal.name().to_owned(), count));
        let by_reason =
            self.refused.iter().map(|((_, reason), count)| (reason.name().to_owned(), count.packets));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: now.since(self.started).as_secs(),
            mode: match self.rules.settings().mode {
                ruleset::Mode::Enforce => Mode::Enforce,
                ruleset::Mode::Observe => Mode::Observe,
            },
            interfaces: interfaces.collect(),
            rules: RulesFile {
                file: self.rules_file.display().to_string(),
                loaded_unix: unix(self.loaded),
                generation: self.compiled.policy.generation,
                count: u32::try_from(self.rules.rules().len()).unwrap_or(u32::MAX),
                last_error: self.last_error.clone(),
            },
            calls: self.engine.calls().count() as u64,
            pinholes: self.kernel.pinholes().filter(|pinhole| !pinhole.is_over(now)).count() as u64,
            flows: self.kernel.flows().count() as u64,
            packets,
            alg: Alg {
                heartbeat_age_ms: u64::try_from(now.since(self.kernel.last_heartbeat()).as_millis())
                    .unwrap_or(u64::MAX),
                messages: messages
                    .map(|(protocol, count)| (protocol.name().to_owned(), count.passed + count.refused))
                    .collect(),
                refusals: refusals.chain(by_reason).collect(),
            },
        }
    }

    fn call_rows(&self, limit: usize) -> Page<CallRow> {
        let now = now();
        Page::of(self.engine.calls().map(|call| CallRow::new(call, now, self.rule_name(call.slot))), limit)
    }

    fn pinhole_rows(&self, limit: usize) -> Page<PinholeRow> {
        let now = now();
        let mut pinholes: Vec<_> = self.kernel.pinholes().filter(|pinhole| !pinhole.is_over(now)).collect();
        pinholes.sort_by_key(|pinhole| (pinhole.call, pinhole.to));
        let row = |pinhole: crate::kernel::PinholeRow| {
            let silent = now.since(pinhole.last_seen);
            PinholeRow {
                to: pinhole.to,
                transport: pinhole.transport,
                kind: pinhole.kind.map_or("unknown", |kind| kind.name()).to_owned(),
                from: pinhole.senders.into_iter().map(Peer::from).collect(),
                call: pinhole.call.0,
                call_key: self.engine.call(pinhole.call).map(|call| call.key.clone()),
                packets: pinhole.packets,
                bytes: pinhole.bytes,
                idle_s: silent.as_secs(),
                idle_left_s: (pinhole.idle / 1_000_000_000).saturating_sub(silent.as_secs()),
                expiry_left_s: pinhole.expires.since(now).as_secs(),
            }
        };
        Page::of(pinholes.into_iter().map(row), limit)
    }

    fn phone_rows(&self, limit: usize) -> Page<PhoneRow> {
        let now = now();
        Page::of(self.engine.phones().map(|phone| PhoneRow::new(phone, now)), limit)
    }

    fn flow_rows(&self, limit: usize) -> Page<FlowRow> {
        let now = now();
        let row = |flow: crate::kernel::FlowRow| FlowRow {
            protocol: protocol_name(flow.protocol),
            from: flow.ends[0],
            to: flow.ends[1],
            state: FlowState::from_bits(flow.state),
            zone: self.zone_name(flow.zone),
            rule: self.rule_name(flow.slot).map(str::to_owned),
            inspect: (flow.inspect as u8 != 0).then(|| flow.inspect.name().to_owned()),
            packets: flow.packets,
            bytes: flow.bytes,
            age_s: now.since(flow.created).as_secs(),
            idle_s: now.since(flow.last_seen).as_secs(),
        };
        Page::of(self.kernel.flows().map(row), limit)
    }

    fn rule_rows(&self) -> Rules {
        let builtin =
            BUILTIN.map(|(name, about)| BuiltinRow { name: name.to_owned(), about: about.to_owned() });
        let rules = self.rules.rules().iter().zip(&self.compiled.slots).enumerate();
        let row = |(place, (rule, slot)): (usize, (&callgate_rules::Rule, &u32))| {
            let count = self.kernel.rule_count(*slot);
            let dropped_by_rule = matches!(rule.action, RuleAction::Drop { .. });
            RuleRow {
                number: u32::try_from(place + 1).unwrap_or(u32::MAX),
                name: rule.name.clone(),
                action: rule.action.name().to_owned(),
                inspect: match rule.action {
                    RuleAction::Inspect(protocol) => Some(protocol.name().to_owned()),
                    _ => None,
                },
                zones: self.zone_names(rule.zones),
                from: self.addresses(&rule.from),
                to: self.addresses(&rule.to),
                service: rule.services.iter().map(ToString::to_string).collect(),
                limit: rule.limit.as_ref().map(ToString::to_string),
                log: rule.log,
                advisory: rule.advisory.clone(),
                packets: count.packets,
                bytes: count.bytes,
                limited: if dropped_by_rule { 0 } else { count.refused },
            }
        };
        let settings = self.rules.settings();
        let zones = (0..self.rules.zone_count()).filter_map(|zone| u8::try_from(zone).ok());
        let defaults = zones.map(|zone| DefaultRow {
            zone: self.zone_name(zone),
            action: format!("{:?}", settings.defaults[usize::from(zone)]).to_lowercase(),
        });
        Rules { builtin: builtin.into(), rules: rules.map(row).collect(), defaults: defaults.collect() }
    }

    fn counter_rows(&self) -> Page<CounterRow> {
        let mut rows = Vec::new();
        for interface in &self.interfaces.attached {
            let refused = self.refused.iter().filter(|((slot, _), _)| *slot == interface.slot);
            let refused = refused.map(|((_, reason), count)| (*reason, *count));
            for (reason, count) in self.kernel.counters(interface.slot).into_iter().chain(refused) {
                rows.push(CounterRow {
                    interface: interface.name.clone(),
                    reason: Reason::name(reason).to_owned(),
                    dropped: reason.is_drop(),
                    packets: count.packets,
                    bytes: count.bytes,
                });
            }
        }
        let total = rows.len() as u64;
        Page { rows, total }
    }

    /// By the group's name where it is a group, else the prefixes; nothing for any address.
    fn addresses(&self, addresses: &Addresses) -> Vec<String> {
        let Addresses::In(set) = addresses else { return Vec::new() };
        match self.rules.groups().iter().find(|(_, group)| *group == set) {
            Some((name, _)) => vec![name.clone()],
            None => set.prefixes().iter().map(ToString::to_string).collect(),
        }
    }

    fn zone_name(&self, zone: u8) -> String {
        self.rules.zone_name(zone).unwrap_or("none").to_owned()
    }

    fn zone_names(&self, zones: ruleset::ZoneSet) -> Vec<String> {
        if zones == ruleset::ZoneSet::ALL {
            return Vec::new();
        }
        let numbers = (0..self.rules.zone_count()).filter_map(|zone| u8::try_from(zone).ok());
        numbers.filter(|zone| zones.contains(*zone)).map(|zone| self.zone_name(zone)).collect()
    }
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        other => format!("proto/{other}"),
    }
}
