//! The firewall a capture goes through: a kernel half, and the engine that reads what it lets by.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_alg::action::{PinholeSpec, Verdict as Read};
use callgate_alg::core::Bounds;
use callgate_alg::{Action, Engine, Time, Transport, policy};
use callgate_rules::{Compiled, Model, RuleSet};
use callgate_shared::flow::UDP;
use callgate_shared::judge::Verdict;
use callgate_shared::media::Measures;
use callgate_shared::packet;
use callgate_shared::pinhole::PinholeKey;
use callgate_shared::policy::{Inspect, ZONE_SELF};
use callgate_shared::{Addr, Reason};

/// How often the engine is told that time passes.
const TICK: Duration = Duration::from_secs(1);

/// What judges packets: the kernel half, or its twin in user space.
pub(crate) trait Half {
    /// Judges a frame that came from `zone`.
    ///
    /// # Errors
    /// The kernel half could not be asked.
    fn judge(&mut self, frame: &[u8], zone: u8, now: Time) -> anyhow::Result<Verdict>;

    /// Opens a pinhole, or changes one that is open; `life` bounds it.
    ///
    /// # Errors
    /// Likewise.
    fn open(&mut self, spec: &PinholeSpec, now: Time, life: Duration) -> anyhow::Result<()>;

    /// Closes a pinhole, and tells what it has measured; one that is not open is no error.
    ///
    /// # Errors
    /// Likewise.
    fn close(&mut self, to: SocketAddr, transport: Transport) -> anyhow::Result<Option<Measures>>;

    /// What an open pinhole has measured.
    fn measures(&self, to: SocketAddr, transport: Transport) -> Option<Measures>;
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Pass(Reason),
    Drop(Reason),
    /// Dropped, and its connection reset at both ends.
    Reset(Reason),
    /// Dropped, and answered by a refusal of its protocol.
    Refuse(Reason),
}

/// Both halves.
pub(crate) struct Firewall<H> {
    pub(crate) half: H,
    pub(crate) engine: Engine,
    pub(crate) now: Time,
    zone: u8,
    /// What closed pinholes have measured, by where they stood: for whoever asks.
    pub(crate) measured: Vec<(SocketAddr, Measures)>,
    longest_call: Duration,
    ticked: Time,
}

impl<H: Half> Firewall<H> {
    /// `zone` is where frames come from.
    pub(crate) fn new(rules: &RuleSet, compiled: &Compiled, half: H, zone: u8) -> Self {
        let settings = rules.settings();
        let mut engine = Engine::new(policy::media(rules, compiled), Bounds::default());
        engine.set_lifetimes(policy::lifetimes(settings));
        // The capture's clock counts from 1970, as the engine takes it where nobody says otherwise.
        engine.set_zone(jiff::tz::TimeZone::system());
        engine.set_plan(rules.call_policy().cloned());
        let (now, ticked) = (Time::default(), Time::default());
        Self { half, engine, now, zone, measured: Vec::new(), longest_call: settings.call_max, ticked }
    }

    /// It is this time. What the engine does about it has been carried out.
    pub(crate) fn pass_time(&mut self, time: Time) -> anyhow::Result<Vec<Action>> {
        // Some captures' clocks step back; ours does not.
        self.now = self.now.max(time);
        if self.now.since(self.ticked) < TICK {
            return Ok(Vec::new());
        }
        self.ticked = self.now;
        self.engine.tick(self.now);
        self.act()
    }

    /// Puts a frame through both halves: the verdict, and the counter slot of the rule behind it.
    pub(crate) fn frame(&mut self, frame: &[u8]) -> anyhow::Result<(Judgement, u32)> {
        let verdict = self.half.judge(frame, self.zone_of(frame), self.now)?;
        Ok((self.read(frame, &verdict), verdict.slot))
    }

    /// The zone a frame comes from. What was captured on the loopback interface was sent by the machine itself, and
    /// never on a link.
    pub(crate) fn zone_of(&self, frame: &[u8]) -> u8 {
        let loopback = |addr: Addr| IpAddr::from(addr).is_loopback();
        let within_host =
            packet::parse(&frame).is_ok_and(|packet| loopback(packet.source) && loopback(packet.destination));
        if within_host { ZONE_SELF } else { self.zone }
    }

    /// Reads what the kernel half has let by.
    pub(crate) fn read(&mut self, frame: &[u8], verdict: &Verdict) -> Judgement {
        let Ok(packet) = packet::parse(&frame) else { return Judgement::Drop(verdict.reason) };
        if verdict.reason.is_drop() {
            return Judgement::Drop(verdict.reason);
        }
        if matches!(verdict.reason, Reason::PassPinhole | Reason::PassObserved) {
            let to = SocketAddr::new(packet.destination.into(), packet.destination_port);
            let transport = if packet.protocol == UDP { Transport::Udp } else { Transport::Tcp };
            self.engine.touch(to, transport, self.now);
        }
        let read = match Inspect::from_u8(verdict.inspect) {
            Inspect::None => Read::Pass,
            protocol => self.engine.packet(self.now, frame, &packet, protocol, verdict.slot),
        };
        match read {
            Read::Pass | Read::Replace(_) | Read::Absorb => Judgement::Pass(verdict.reason),
            Read::Drop(reason) => Judgement::Drop(reason),
            Read::Reset(reason) => Judgement::Reset(reason),
            Read::Refuse(denial) => Judgement::Refuse(denial.reason),
        }
    }

    /// What every pinhole that is still open has measured.
    pub(crate) fn still_open(&self) -> Vec<(SocketAddr, Measures)> {
        let mut open: Vec<_> = self.engine.pinholes().map(|spec| (spec.to, spec.transport)).collect();
        open.sort_unstable();
        open.into_iter()
            .filter_map(|(to, transport)| Some((to, self.half.measures(to, transport)?)))
            .collect()
    }

    /// Carries out what the engine wants, and tells what it was.
    pub(crate) fn act(&mut self) -> anyhow::Result<Vec<Action>> {
        let actions = self.engine.take_actions();
        for action in &actions {
            match action {
                Action::Open(spec) | Action::Update(spec) => {
                    self.half.open(spec, self.now, self.longest_call)?;
                }
                Action::Close { to, transport, .. } => {
                    self.measured.extend(self.half.close(*to, *transport)?.map(|measures| (*to, measures)));
                }
                Action::Call(_) | Action::Ended(..) | Action::Refused { .. } => {}
                Action::Finished(_) | Action::Event(_) | Action::Suspect(_) => {}
                // A capture has nobody who could hear it.
                Action::Path(_) | Action::Say(_) => {}
            }
        }
        Ok(actions)
    }
}

/// The twin in user space.
impl Half for Model {
    fn judge(&mut self, frame: &[u8], zone: u8, now: Time) -> anyhow::Result<Verdict> {
        Ok(match packet::parse(&frame) {
            Ok(packet) => Model::judge(self, &packet, zone, now.0),
            Err(reason) => Verdict::of(reason),
        })
    }

    fn open(&mut self, spec: &PinholeSpec, now: Time, life: Duration) -> anyhow::Result<()> {
        let key = PinholeKey::new(spec.to, spec.transport.number());
        let handling = self.handling(spec.slot);
        Model::open(self, key, spec.pinhole(handling, now, life), spec.further_senders());
        Ok(())
    }

    fn close(&mut self, to: SocketAddr, transport: Transport) -> anyhow::Result<Option<Measures>> {
        let pinhole = Model::close(self, &PinholeKey::new(to, transport.number()));
        Ok(pinhole.map(|pinhole| pinhole.measures()))
    }

    fn measures(&self, to: SocketAddr, transport: Transport) -> Option<Measures> {
        let wanted = PinholeKey::new(to, transport.number());
        let (_, pinhole) = self.pinholes().find(|(key, _)| **key == wanted)?;
        Some(pinhole.measures())
    }
}
