//! Calls by SIPp: a SIP implementation that is not ours, on both sides.
//!
//! Both sides send seconds of G.711 from one media port, which all calls of a run share. What was sent and what
//! arrived is counted at the interfaces around the firewall.

mod story;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Family, Lab};
use crate::meter::{Direction, Meter};
use crate::netns::Netns;
use crate::process::Process;
use crate::sip::{PORT, Transport};

pub use story::{STORIES, Story};

/// G.711 bytes in a second: what each side sends at a time.
const SPEECH: usize = 8_000;
/// RTP packets of that.
pub const PACKETS: u64 = 50;
/// Where both sides receive, and the RTP port of every call.
const MEDIA_PORT: u16 = 16_800;
/// Longest run.
const LIMIT: Duration = Duration::from_secs(20);

/// A run of calls from phone 2 to call manager 1.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// IPv4 or IPv6.
    pub family: Family,
    /// What carries the signalling.
    pub transport: Transport,
    /// Calls, begun at ten per second.
    pub calls: u32,
    /// How each goes.
    pub story: Story,
}

/// A run that is under way.
#[derive(Debug)]
pub struct Run {
    plan: Plan,
    caller: Process,
    callee: Process,
    meters: [Meter; 4],
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Calls that both sides count as successful; all or none.
    pub connected: u32,
    /// RTP packets sent by the caller, and arrived.
    pub forth: (u64, u64),
    /// RTP packets sent by the callee, and arrived.
    pub back: (u64, u64),
}

impl Run {
    /// Starts callee and caller.
    ///
    /// # Errors
    /// When SIPp is missing or a counter cannot be attached.
    pub fn start(lab: &Lab, plan: Plan) -> Result<Self> {
        let Plan { family, story, .. } = plan;
        let (phone, manager) = (family.phone(2), family.call_manager(1));
        let toward = |ip: IpAddr| {
            let name = if ip.is_ipv4() { "ip" } else { "ip6" };
            format!("{name} daddr {ip} udp dport {MEDIA_PORT}")
        };
        let meter = |ns: &Netns, interface: &str, direction, to: IpAddr| {
            Meter::attach(ns, interface, direction, &[("rtp", &toward(to))])
        };
        let meters = [
            meter(lab.outside(), "eth0", Direction::Out, manager)?,
            meter(lab.inside(), lab.arrival(), Direction::In, manager)?,
            meter(lab.inside(), lab.arrival(), Direction::Out, phone)?,
            meter(lab.outside(), "eth0", Direction::In, phone)?,
        ];
        let dir = lab.dir();
        fs::write(dir.join("uac.xml"), story.caller()).context("scenario")?;
        fs::write(dir.join("uas.xml"), story.callee()).context("scenario")?;
        fs::write(dir.join("speech.ulaw"), [0xff; SPEECH]).context("speech")?;

        let mut callee = sipp(&plan, dir, "uas.xml", manager);
        let callee = lab.inside().spawn(&mut callee, &dir.join("uas.log"))?;
        // It says nothing when it is ready; a lost first INVITE would come again after T1 anyway.
        thread::sleep(Duration::from_millis(200));
        let mut caller = sipp(&plan, dir, "uac.xml", phone);
        caller.args(["-r", "10", "-s", "desk", &SocketAddr::new(manager, PORT).to_string()]);
        let caller = lab.outside().spawn(&mut caller, &dir.join("uac.log"))?;
        Ok(Self { plan, caller, callee, meters })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When a side does not end, or a counter cannot be read.
    pub fn finish(mut self) -> Result<Outcome> {
        let mut connected = self.plan.calls;
        for side in [&mut self.caller, &mut self.callee] {
            let status = side.wait(LIMIT)?;
            ensure!(status.is_some(), "sipp does not end:\n{}", side.output());
            if !status.is_some_and(|status| status.success()) {
                eprintln!("{}", side.output());
                connected = 0;
            }
        }
        let [forth_sent, forth_seen, back_sent, back_seen] = &self.meters;
        Ok(Outcome {
            connected,
            forth: (forth_sent.packets("rtp")?, forth_seen.packets("rtp")?),
            back: (back_sent.packets("rtp")?, back_seen.packets("rtp")?),
        })
    }
}

impl Outcome {
    /// Whether all calls were connected and every RTP packet arrived, both ways.
    pub fn is_whole(&self, plan: &Plan) -> bool {
        let packets = u64::from(plan.calls) * plan.story.speeches() * PACKETS;
        self.connected == plan.calls && self.forth == (packets, packets) && self.back == (packets, packets)
    }
}

fn sipp(plan: &Plan, dir: &Path, scenario: &str, local: IpAddr) -> Command {
    let mode = match plan.transport {
        Transport::Udp => "u1",
        Transport::Tcp => "t1",
    };
    let (ip, limit) = (local.to_string(), format!("{}s", LIMIT.as_secs() - 5));
    let mut command = Command::new("sipp");
    command.current_dir(dir).args(["-sf", scenario, "-t", mode, "-i", &ip, "-mi", &ip]);
    command.args(["-p", &PORT.to_string(), "-mp", &MEDIA_PORT.to_string(), "-m", &plan.calls.to_string()]);
    command.args(["-nostdin", "-timeout", &limit, "-timeout_error"]);
    command
}
