//! What inline inspection adds to a message: the same calls through Callgate and through a router, call by call in
//! turn, each message timed from before it is sent to after it is read, in one process and by one clock.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use callgate_lab::h323::session::Host;
use callgate_lab::lab::Family;
use callgate_lab::sip::Transport;
use callgate_lab::sip::talk::{Line, Script, Side, audio, session};

use super::{Effort, Gateway};
use crate::report::{Case, rounded};

/// Calls before the first that is timed.
const WARM_UP: u32 = 50;
/// Messages of a call: INVITE, 180, 200, ACK, BYE, 200.
const MESSAGES: usize = 6;
/// Time between two calls.
const PAUSE: Duration = Duration::from_millis(1);

/// One line through a gateway, and the times its messages took.
struct Way {
    /// Held, so that it lives as long.
    _gateway: Gateway,
    line: Line,
    bodies: [String; 2],
    times: Vec<Duration>,
}

impl Way {
    fn through(gateway: Gateway) -> Result<Self> {
        let phone = Host::new(gateway.lab.outside(), Family::V4.phone(0));
        let manager = Host::new(gateway.lab.inside(), Family::V4.call_manager(0));
        let line = Line::open(&phone, &manager, Transport::Udp)?;
        let bodies = [phone.ip, manager.ip].map(|ip| session(ip, &audio(20_000, "a=ptime:20\r\n")));
        Ok(Self { _gateway: gateway, line, bodies, times: Vec::new() })
    }

    fn call(&mut self) -> Result<()> {
        let mut script = Script::new(&self.line);
        let [offer, answer] = &self.bodies;
        let invite = script.first(Side::Near, "INVITE", "", offer);
        let ringing = script.response(Side::Far, &invite, "180 Ringing", "", "");
        let accepted = script.response(Side::Far, &invite, "200 OK", "", answer);
        let ack = script.same(Side::Near, "ACK", true, "");
        let bye = script.next(Side::Near, "BYE", "", "");
        let over = script.response(Side::Far, &bye, "200 OK", "", "");
        let near = [&invite, &ack, &bye];
        for message in [&invite, &ringing, &accepted, &ack, &bye, &over] {
            let from = if near.contains(&message) { Side::Near } else { Side::Far };
            let start = Instant::now();
            self.line.say(from, message)?;
            self.times.push(start.elapsed());
        }
        Ok(())
    }

    /// A percentile of all times, in µs.
    fn percentile(&self, part: f64) -> Option<f64> {
        percentile(&self.times, part).map(|time| time.as_nanos() as f64 / 1e3)
    }
}

/// Times the messages of calls; the case's time is what Callgate adds at the median.
pub(super) fn measure(effort: &Effort) -> Result<Case> {
    let mut ways = [Way::through(Gateway::plain()?)?, Way::through(Gateway::callgate()?)?];
    for number in 0..WARM_UP + effort.calls {
        for way in &mut ways {
            way.call().context("a call of sip-latency")?;
            if number < WARM_UP {
                way.times.clear();
            }
        }
        std::thread::sleep(PAUSE);
    }
    let mut case = Case::new("sip-latency");
    let mut added = Vec::new();
    let mut words = Vec::new();
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let [plain, callgate] = ways.each_ref().map(|way| way.percentile(part).unwrap_or_default());
        added.push(callgate - plain);
        words.push(format!("{name} +{:.0} µs ({callgate:.0} against {plain:.0})", callgate - plain));
    }
    case.time(vec![rounded(added[0] * 1e3, 0)]);
    case.note = Some(format!(
        "added to a message, beside forwarding alone: {}; {} messages each way",
        words.join(", "),
        effort.calls as usize * MESSAGES
    ));
    Ok(case)
}

/// The time that so great a part of all does not exceed.
fn percentile(times: &[Duration], part: f64) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = ((times.len() as f64 * part).ceil() as usize).saturating_sub(1);
    times.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times: Vec<_> = (1..=1_000).rev().map(Duration::from_micros).collect();
        let at = |part| percentile(&times, part).map(|time| time.as_micros());
        assert_eq!([at(0.5), at(0.99), at(0.999), at(1.0)], [500, 990, 999, 1_000].map(Some));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
