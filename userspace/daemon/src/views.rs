//! What the control socket shows, drawn from the firewall.

use std::time::SystemTime;

use callgate_alg::action::{Sender, Time, Transport};
use callgate_alg::ladder::Ladder;
use callgate_api::{
    Alg, BindingRow, BlockRow, BuiltinRow, CallQuery, CallRow, CounterRow, DEFAULT_LIMIT, DefaultRow,
    ErrorReply, FlowFilter, FlowRow, FlowState, Health, HungUp, Interface, Killed, LadderRow, Mode, Page,
    Peer, PhoneRow, PinholeRow, RegistrationRow, RuleRow, Rules, RulesFile, Status, TableSizes, Totals,
    XdpMode, ZoneRow,
};
use callgate_history::Question;
use callgate_rules::ruleset::{self, AntiSpoof, RuleAction, Zone, ZoneRules};
use callgate_rules::{Addresses, Sizes};
use callgate_shared::Reason;
use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};
use callgate_shared::policy::{Classes, Form, Fragments, Inspect};
use jiff::tz::TimeZone;

use crate::control::{Command, EventQuery};
use crate::firewall::{Firewall, now, unix, unix_ms};
use crate::records;

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
        Command::Flows { filter, limit, reply } => drop(reply.send(Ok(firewall.flow_rows(&filter, limit)))),
        Command::KillFlows { filter, reply } => drop(reply.send(firewall.kill_flows(&filter))),
        Command::Blocks { limit, reply } => drop(reply.send(Ok(firewall.block_rows(limit)))),
        Command::Block { request, reply } => drop(reply.send(firewall.block_wanted(&request))),
        Command::Unblock { address, reply } => drop(reply.send(firewall.unblock_wanted(address))),
        Command::Rules(reply) => drop(reply.send(Ok(firewall.rule_rows()))),
        Command::Counters(reply) => drop(reply.send(Ok(firewall.counter_rows()))),
        Command::Phones { limit, reply } => drop(reply.send(Ok(firewall.phone_rows(limit)))),
        Command::Registrations { limit, reply } => drop(reply.send(Ok(firewall.registration_rows(limit)))),
        Command::Bindings { limit, reply } => drop(reply.send(Ok(firewall.binding_rows(limit)))),
        Command::Capture { request, reply } => drop(reply.send(firewall.begin_capture(&request))),
        Command::CaptureTake { request, reply } => drop(reply.send(firewall.take_captured(&request))),
        Command::Ladder { query, reply } => drop(reply.send(Ok(firewall.ladder_rows(&query)))),
        Command::Events { query, reply } => {
            let EventQuery { after, kinds, limit } = query;
            drop(reply.send(Ok(firewall.events.page(after, &kinds, limit))));
        }
        Command::History { filter, limit, reply } => {
            firewall.records.ask(Question::Records { filter, limit, reply: records::reply(reply) });
        }
        Command::HistoryTotals { filter, by, limit, reply } => {
            firewall.records.ask(Question::Totals { filter, by, limit, reply: records::reply(reply) });
        }
        Command::Fraud { filter, limit, reply } => {
            let zone = firewall.rules.settings().time_zone.clone().unwrap_or_else(TimeZone::system);
            firewall.records.ask(Question::Fraud { filter, zone, limit, reply: records::reply(reply) });
        }
        Command::Explain { request, reply } => drop(reply.send(firewall.explain(&request))),
        Command::Reload { file, confirm, reply } => {
            drop(reply.send(firewall.reload(file.as_deref(), confirm)));
        }
        Command::Diff { file, reply } => drop(reply.send(firewall.compare(file.as_deref()))),
        Command::Confirm(reply) => drop(reply.send(firewall.confirm())),
        Command::Rollback(reply) => drop(reply.send(firewall.roll_back())),
        Command::Hangup { query, reply } => drop(reply.send(firewall.hang_up(&query))),
        Command::Metrics(reply) => drop(reply.send(Ok(firewall.metrics()))),
    }
}

impl Firewall {
    pub(crate) fn status(&mut self) -> Status {
        let now = now();
        let tables = self.table_rows(now);
        let alarms = self.alarms(&tables, now);
        let flows = self.count_flows(now).iter().sum();
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
            calls: self.shown_calls().count() as u64,
            pinholes: self.kernel.pinholes().filter(|pinhole| !pinhole.is_over(now)).count() as u64,
            flows,
            packets,
            alg: Alg {
                heartbeat_age_ms: u64::try_from(now.since(self.kernel.last_heartbeat()).as_millis())
                    .unwrap_or(u64::MAX),
                messages: messages
                    .map(|(protocol, count)| (protocol.name().to_owned(), count.passed + count.refused))
                    .collect(),
                refusals: refusals.chain(by_reason).collect(),
            },
            history: self.records.status(),
            rates: self.meter.rates(),
            refusals: self.meter.refusals(Status::REFUSALS),
            health: Health::of(&alarms),
            tables,
            alarms,
            unconfirmed: self.reserve.unconfirmed(&self.rules_file, now),
        }
    }

    /// Ends the calls that are meant, because somebody wants it.
    fn hang_up(&mut self, query: &CallQuery) -> Result<HungUp, ErrorReply> {
        let wanted = self.shown_calls().filter(|call| query.wants(call));
        let calls: Vec<callgate_alg::CallId> = wanted.map(|call| call.id).collect();
        if calls.is_empty() {
            return Err(ErrorReply {
                error: format!("there is no call {:?}", query.0),
                hint: "`fwctl calls` lists their numbers, `fwctl calls --long` their identifiers".to_owned(),
                details: Vec::new(),
            });
        }
        self.end_calls(&calls);
        Ok(HungUp { calls: calls.iter().map(|call| call.0).collect() })
    }

    /// All calls but those that only stand for what RAS has announced, or for a registration.
    pub(crate) fn shown_calls(&self) -> impl Iterator<Item = &callgate_alg::Call> {
        self.engine
            .calls()
            .filter(|call| call.protocol != Inspect::Ras && !callgate_alg::sip::is_binding(call))
    }

    fn call_rows(&self, limit: usize) -> Page<CallRow> {
        let now = now();
        let row = |call: &callgate_alg::Call| CallRow {
            h323: self.engine.h323_call(call.id).map(Into::into),
            streams: self.stream_rows(call, now),
            ..CallRow::new(call, now, self.rule_name(call.slot))
        };
        Page::of(self.shown_calls().map(row), limit)
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
                from: pinhole
                    .senders
                    .into_iter()
                    .map(|sender| Peer::from(Sender { port: sender.port.or(pinhole.learnt), ..sender }))
                    .collect(),
                learned: pinhole.learnt.is_some(),
                call: pinhole.call.0,
                call_key: self.engine.call(pinhole.call).map(|call| call.key.clone()),
                packets: pinhole.packets,
                bytes: pinhole.bytes,
                idle_s: silent.as_secs(),
                idle_left_s: (pinhole.idle / 1_000_000_000).saturating_sub(silent.as_secs()),
                expiry_left_s: pinhole.expires.since(now).as_secs(),
            }
        };
        // What a rule's `tls_media` has let an endpoint open: nobody has announced it.
        let learned = self.kernel.flows().filter(|flow| flow.rtp).flat_map(|flow| {
            let silent = now.since(flow.last_seen).as_secs();
            let left = u64::from(self.rules.settings().timeouts.udp).saturating_sub(silent);
            [0, 1].map(|side| PinholeRow {
                to: flow.ends[1 - side],
                transport: Transport::Udp,
                kind: "rtp".to_owned(),
                from: vec![Peer { ip: flow.ends[side].ip(), port: Some(flow.ends[side].port()) }],
                learned: true,
                call: 0,
                call_key: None,
                packets: flow.packets[side],
                bytes: flow.bytes[side],
                idle_s: silent,
                idle_left_s: left,
                expiry_left_s: left,
            })
        });
        Page::of(pinholes.into_iter().map(row).chain(learned), limit)
    }

    fn phone_rows(&self, limit: usize) -> Page<PhoneRow> {
        let now = now();
        Page::of(self.engine.phones().map(|phone| PhoneRow::new(phone, now)), limit)
    }

    fn registration_rows(&self, limit: usize) -> Page<RegistrationRow> {
        let now = now();
        let mut rows: Vec<_> =
            self.engine.registrations().map(|one| RegistrationRow::new(one, now)).collect();
        rows.sort_by_key(|row| row.endpoint);
        Page::of(rows, limit)
    }

    fn binding_rows(&self, limit: usize) -> Page<BindingRow> {
        let now = now();
        let mut rows: Vec<_> = self.engine.bindings().map(|one| BindingRow::new(one, now)).collect();
        rows.sort_by(|one, other| (&one.aor, &one.contact).cmp(&(&other.aor, &other.contact)));
        Page::of(rows, limit)
    }

    /// The calls that are meant, those that are not over first.
    fn ladder_rows(&self, query: &CallQuery) -> Page<LadderRow> {
        let clock = (now(), unix_ms(SystemTime::now()));
        // Of SCCP and MGCP no messages are noted.
        let none = Ladder::default();
        let live = self.shown_calls().filter(|call| query.wants(call)).map(|call| LadderRow {
            streams: self.stream_rows(call, clock.0),
            ..LadderRow::new(call, None, self.engine.ladder(call.id).unwrap_or(&none), clock)
        });
        let ended = self.engine.ended_calls().filter(|ended| query.wants(&ended.call));
        let ended = ended.map(|ended| LadderRow {
            streams: self.watch.of_ended(ended.call.id).unwrap_or_default().to_vec(),
            ..LadderRow::new(&ended.call, Some(ended.reason), &ended.ladder, clock)
        });
        Page::of(live.chain(ended), DEFAULT_LIMIT)
    }

    fn flow_rows(&self, filter: &FlowFilter, limit: usize) -> Page<FlowRow> {
        let now = now();
        let rows = self.kernel.flows().map(|flow| self.flow_row(&flow, now));
        Page::of(rows.filter(|row| filter.wants(row)), limit)
    }

    /// Forgets the flows that are wanted.
    fn kill_flows(&mut self, filter: &FlowFilter) -> Result<Killed, ErrorReply> {
        let now = now();
        let wanted = self.kernel.flows().filter(|flow| filter.wants(&self.flow_row(flow, now)));
        let keys: Vec<_> = wanted.map(|flow| flow.key).collect();
        let mut killed = Killed::default();
        for key in &keys {
            killed.flows += u64::from(self.kernel.forget_flow(key).map_err(|error| ErrorReply {
                error: format!("{} flows are killed, then: {error}", killed.flows),
                hint: "see the daemon's log".to_owned(),
                details: Vec::new(),
            })?);
        }
        Ok(killed)
    }

    fn flow_row(&self, flow: &crate::kernel::FlowRow, now: Time) -> FlowRow {
        FlowRow {
            protocol: protocol_name(flow.protocol),
            from: flow.ends[0],
            to: flow.ends[1],
            state: FlowState::from_bits(flow.state),
            zone: self.zone_name(flow.zone),
            rule: self.rule_name(flow.slot).map(str::to_owned),
            inspect: (flow.inspect as u8 != 0).then(|| flow.inspect.name().to_owned()),
            peer: flow.peer,
            packets: flow.packets,
            bytes: flow.bytes,
            age_s: now.since(flow.created).as_secs(),
            idle_s: now.since(flow.last_seen).as_secs(),
        }
    }

    fn block_rows(&self, limit: usize) -> Page<BlockRow> {
        Page::of(self.defence.blocks.rows(now()), limit)
    }

    pub(crate) fn rule_rows(&self) -> Rules {
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
                when: rule.when.as_ref().map(ToString::to_string),
                active: self.in_force.get(place).copied().unwrap_or(true),
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
        Rules {
            builtin: builtin.into(),
            rules: rules.map(row).collect(),
            defaults: defaults.collect(),
            generation: self.compiled.policy.generation,
            tables: table_sizes(&self.compiled.size()),
            zones: self.rules.zones().iter().map(zone_row).collect(),
        }
    }

    pub(crate) fn counter_rows(&self) -> Page<CounterRow> {
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

    /// By the group's name where it is a group, else the prefixes, behind `!` where they are not meant; nothing
    /// for any address.
    fn addresses(&self, addresses: &Addresses) -> Vec<String> {
        let (not, set) = match addresses {
            Addresses::Any => return Vec::new(),
            Addresses::In(set) => ("", set),
            Addresses::Except(set) => ("!", set),
        };
        match self.rules.groups().iter().find(|(_, group)| *group == set) {
            Some((name, _)) => vec![format!("{not}{name}")],
            None => set.prefixes().iter().map(|prefix| format!("{not}{prefix}")).collect(),
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

fn table_sizes(sizes: &Sizes) -> TableSizes {
    let Classes { vlans, dscps, source_ports, sources, destinations, services } = sizes.classes;
    let classes = [
        ("vlans", vlans),
        ("dscps", dscps),
        ("source_ports", source_ports),
        ("sources", sources),
        ("destinations", destinations),
        ("services", services),
    ];
    TableSizes {
        form: match sizes.form {
            Form::Product => "product".to_owned(),
            Form::Vectors => "vectors".to_owned(),
        },
        entries: sizes.entries as u64,
        classes: classes.map(|(field, count)| (field.to_owned(), count)).into(),
        cells: sizes.cells as u64,
        vectors: sizes.vectors as u64,
        chunks: sizes.chunks as u64,
        prefixes: sizes.prefixes as u64,
        bytes: sizes.bytes as u64,
    }
}

fn zone_row(zone: &Zone) -> ZoneRow {
    let ZoneRules { networks, anti_spoof, drop_bogons, fragments, drop_cdp, drop_lldp } = &zone.policy;
    let prefixes = networks.iter().flat_map(|networks| networks.prefixes());
    let link_drops = [("cdp", *drop_cdp), ("lldp", *drop_lldp)];
    ZoneRow {
        zone: zone.name.clone(),
        interfaces: zone.interfaces.clone(),
        networks: prefixes.map(ToString::to_string).collect(),
        anti_spoof: match anti_spoof {
            AntiSpoof::Off => "off",
            AntiSpoof::Loose => "loose",
            AntiSpoof::Strict => "strict",
        }
        .to_owned(),
        bogons: if *drop_bogons { "drop" } else { "pass" }.to_owned(),
        fragments: match fragments {
            Fragments::Track => "track",
            Fragments::Drop => "drop",
            Fragments::Pass => "pass",
        }
        .to_owned(),
        link_drops: link_drops.iter().filter(|(_, drop)| *drop).map(|(name, _)| (*name).to_owned()).collect(),
    }
}

pub(crate) fn protocol_name(protocol: u8) -> String {
    match protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        other => format!("proto/{other}"),
    }
}
