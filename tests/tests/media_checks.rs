//! Contracts of media: what breaks them is dropped under a reason of its own, and the call's audio goes on untouched.
//!
//! The attacker here is the worst there is: he sends from the very address and port the caller sends from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use callgate_lab::attack::Wire;
use callgate_lab::call::Call;
use callgate_lab::craft;
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::netns::Netns;
use callgate_lab::policy::Policy;
use callgate_lab::probe::{Shape, both_ways, is_shut};
use callgate_lab::sip::stage::under;
use callgate_lab::sip::talk::{Side, audio, session};
use callgate_lab::sip::{self, Callee, Transport};
use callgate_lab::{root_or_skip, rtp as endpoint, xdp};

/// Packets of each kind that is sent into a call.
const STRAYS: u64 = 20;

/// RTP as the lab's endpoints never send it, but for what is said.
fn rtp(head: u8, payload_type: u8, sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![head, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.resize(12 + 160, 0);
    bytes
}

/// A whole IP packet.
fn datagram(pair: craft::Pair, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    craft::ip(pair, craft::protocol::UDP, &craft::udp(pair, from, to, payload))
}

fn stun() -> Vec<u8> {
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat()
}

/// A sound report of nobody's, and a source description.
fn report() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 1, 2, 3, 4, 0x81, 202, 0, 2, 1, 2, 3, 4, 1, 1, b'x', 0]
}

/// The caller's source, which only somebody on the way can know.
const CALLER: u32 = 0x0a0a_0a0a;

/// A call whose audio flows.
fn talking(lab: &Lab, family: Family) -> Result<(Callee, Call)> {
    let callee = Callee::listen(lab.inside(), family.call_manager(0), Transport::Udp)?;
    let call = sip::place(lab.outside(), family.phone(0), &callee)?;
    thread::sleep(Duration::from_millis(300));
    Ok((callee, call))
}

/// What is dropped of what this sends, by reason.
fn dropped_of(firewall: &Firewall, send: impl FnOnce() -> Result<()>) -> Result<BTreeMap<String, u64>> {
    let before = firewall.counters()?;
    send()?;
    thread::sleep(Duration::from_millis(100));
    Ok(firewall.counters()?.dropped_since(&before))
}

/// What is sent into the caller's stream to the callee, under which reason it is dropped, and whether it is RTCP.
fn strays() -> Vec<(Vec<u8>, &'static str, bool)> {
    vec![
        (rtp(0x40, 0, 0, 0), "not-rtp", false),
        (rtp(0xa0, 0, 0, 0), "rtp-header", false),
        (rtp(0x80, 18, 0, 0), "payload-type", false),
        (rtp(0x80, 0, 0, 0xbad), "ssrc", false),
        (rtp(0x80, 0, 30_000, CALLER), "rtp-sequence", false),
        (stun(), "not-announced", false),
        (report()[8..].to_vec(), "rtcp-compound", true),
        (report()[..18].to_vec(), "rtcp-length", true),
        ([&report()[..8], &[0x80, 199, 0, 0]].concat(), "rtcp-type", true),
    ]
}

#[test]
fn what_breaks_the_contract_is_dropped_under_its_reason_and_the_audio_goes_on() -> Result<()> {
    if !root_or_skip("what_breaks_the_contract_is_dropped_under_its_reason_and_the_audio_goes_on") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let (_callee, call) = talking(lab, family)?;
        let (from, to) = (call.caller.local(), call.caller.peer());
        let mut wire = Wire::open(lab)?;
        for (bytes, reason, control) in strays() {
            let next = u16::from(control);
            let packet = datagram((from.ip(), to.ip()), from.port() + next, to.port() + next, &bytes);
            let dropped = dropped_of(firewall, || (0..STRAYS).try_for_each(|_| wire.ip(&packet)))?;
            assert_eq!(dropped, [(reason.to_owned(), STRAYS)].into(), "{family:?}");
        }
        // What is sound beside it passes: the same report, whole.
        let sound = datagram((from.ip(), to.ip()), from.port() + 1, to.port() + 1, &report());
        // Another machine of the outside, in the caller's stead.
        let bleed = datagram((family.attacker(), to.ip()), from.port(), to.port(), &rtp(0x80, 0, 0, 0));
        let dropped = dropped_of(firewall, || {
            wire.ip(&sound)?;
            (0..STRAYS).try_for_each(|_| wire.ip(&bleed))
        })?;
        assert_eq!(dropped, [("pinhole-sender".to_owned(), STRAYS)].into(), "{family:?}");
        let rows = firewall.pinholes()?;
        let packets = |address: SocketAddr| rows.iter().find(|row| row.to == address).map(|row| row.packets);
        assert!(packets(to).context("the callee's pinhole")? > 10);
        let outcome = call.finish(Duration::ZERO)?;
        assert!(outcome.forth.lost.is_empty() && outcome.back.lost.is_empty(), "{family:?}: {outcome}");
        assert_eq!((outcome.forth.duplicates, outcome.back.duplicates), (0, 0), "{outcome}");
        assert_eq!(outcome.forth.reports.1, outcome.forth.reports.0 + 1, "and the one report beside them");
        firewall.settled()?;
    }
    Ok(())
}

#[test]
fn a_flood_into_an_open_pinhole_leaves_the_audio_alone() -> Result<()> {
    const FLOOD: u64 = 5_000;
    if !root_or_skip("a_flood_into_an_open_pinhole_leaves_the_audio_alone") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let (_callee, call) = talking(lab, Family::V4)?;
    let (from, to) = (call.caller.local(), call.caller.peer());
    let pair = (from.ip(), to.ip());
    let mut wire = Wire::open(lab)?;
    // From the caller's own address and port, but for the source: it uses up nothing of the stream's rate.
    let flood = |number| datagram(pair, from.port(), to.port(), &rtp(0x80, 0, number as u16, 0xbad));
    let dropped = dropped_of(firewall, || (0..FLOOD).try_for_each(|number| wire.ip(&flood(number))))?;
    assert_eq!(dropped, [("ssrc".to_owned(), FLOOD)].into());
    let outcome = call.finish(Duration::ZERO)?;
    assert!(outcome.is_whole(), "{outcome}");
    firewall.settled()
}

#[test]
fn a_stream_is_held_to_twice_its_rate() -> Result<()> {
    const FLOOD: u32 = 1_000;
    if !root_or_skip("a_stream_is_held_to_twice_its_rate") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let (_callee, call) = talking(lab, Family::V4)?;
    let (from, to) = (call.caller.local(), call.caller.peer());
    call.caller.mute();
    // The caller's own stream goes on, as fast as the wire is.
    let before = firewall.counters()?;
    let begun = Instant::now();
    let mut wire = Wire::open(lab)?;
    for number in 100..100 + FLOOD {
        let packet = endpoint::packet(0, number, CALLER);
        wire.ip(&datagram((from.ip(), to.ip()), from.port(), to.port(), &packet))?;
    }
    let spent = begun.elapsed();
    thread::sleep(Duration::from_millis(100));
    let now = firewall.counters()?;
    let dropped = now.dropped_since(&before);
    assert_eq!(dropped.keys().collect::<Vec<_>>(), ["media-rate"]);
    let passed = u64::from(FLOOD) - dropped["media-rate"];
    // Half a second's worth at once, and what the time has made room for.
    let room = 52 + u64::try_from(spent.as_millis())? / 10;
    assert!((45..=room).contains(&passed), "{passed} of {FLOOD} in {spent:?}");
    let outcome = call.finish(Duration::ZERO)?;
    assert!(outcome.back.lost.is_empty(), "the other direction has its own: {outcome}");
    firewall.settled()
}

#[test]
fn silence_closes_a_pinhole_without_a_daemon() -> Result<()> {
    if !root_or_skip("silence_closes_a_pinhole_without_a_daemon") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let brief = "[settings]\nmedia_idle = \"3s\"\nmedia_held = \"3s\"\n";
    let text = Policy::default().text(&lab).replacen("[settings]\n", brief, 1);
    let mut firewall = Firewall::start(&lab, &text)?;
    let (_callee, call) = talking(&lab, Family::V4)?;
    let (from, to) = (call.caller.local(), call.caller.peer());
    let before = firewall.counters()?;
    firewall.kill()?;
    // The media of a second without a daemon, then none.
    thread::sleep(Duration::from_secs(1));
    endpoint::mute_both(&call.caller, &call.callee);
    thread::sleep(Duration::from_secs(4));
    let mut wire = Wire::open(&lab)?;
    for number in 100..120 {
        let packet = endpoint::packet(0, number, CALLER);
        wire.ip(&datagram((from.ip(), to.ip()), from.port(), to.port(), &packet))?;
    }
    thread::sleep(Duration::from_millis(100));
    firewall.restart()?;
    let now = firewall.counters()?;
    assert_eq!(now.dropped_since(&before), [("pinhole-expired".to_owned(), 20)].into());
    let passed = now.passed_since(&before).get("pinhole").copied().unwrap_or_default();
    assert!(passed >= 80, "{passed} packets of two streams in a second");
    drop(call);
    Ok(())
}

#[test]
fn what_is_announced_beside_rtp_passes_and_nothing_else_does() -> Result<()> {
    let fingerprint = format!("a=setup:actpass\r\na=fingerprint:sha-256 {}\r\n", ["4A"; 32].join(":"));
    let hash = format!("a=zrtp-hash:1.10 {}\r\n", "fe".repeat(32));
    let ice = "a=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8g\r\n".to_owned();
    let kinds = [(Shape::Stun, ice), (Shape::Dtls, fingerprint), (Shape::Zrtp, hash)];
    under("what_is_announced_beside_rtp_passes_and_nothing_else_does", "", "", |stage| {
        for (shape, _) in &kinds {
            for (announced, lines) in &kinds {
                let (mut line, mut script) = stage.line(Transport::Udp)?;
                let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
                let offer = session(stage.phone.ip, &audio(near[0].local.port(), lines));
                let answer = lines.replace("actpass", "active");
                let answer = session(stage.manager.ip, &audio(far[0].local.port(), &answer));
                script.connect(&mut line, &offer, &answer)?;
                both_ways(&near[0], &far[0], Shape::Rtp, 5)?;
                let before = stage.firewall().counters()?;
                let mut expected = BTreeMap::new();
                if shape == announced {
                    both_ways(&near[0], &far[0], *shape, 5).with_context(|| lines.clone())?;
                } else {
                    is_shut(&near[0], &far[0], *shape, 5)?;
                    is_shut(&far[0], &near[0], *shape, 5)?;
                    expected.insert("not-announced".to_owned(), 10);
                }
                both_ways(&near[0], &far[0], Shape::Rtp, 5)?;
                let dropped = stage.firewall().counters()?.dropped_since(&before);
                ensure!(dropped == expected, "{shape:?} where {announced:?} is announced: {dropped:?}");
                script.end(&mut line, Side::Near)?;
                stage.firewall().settled()?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_port_that_signalling_has_not_told_is_the_first_one() -> Result<()> {
    if !root_or_skip("a_port_that_signalling_has_not_told_is_the_first_one") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let (_callee, call) = talking(lab, Family::V4)?;
    let (from, to) = (call.caller.local(), call.caller.peer());
    let mut wire = Wire::open(lab)?;
    let packet = datagram((from.ip(), to.ip()), from.port() + 8, to.port(), &rtp(0x80, 0, 0, 0));
    let dropped = dropped_of(firewall, || (0..STRAYS).try_for_each(|_| wire.ip(&packet)))?;
    assert_eq!(dropped, [("second-source".to_owned(), STRAYS)].into());
    assert!(call.finish(Duration::ZERO)?.is_whole());
    Ok(())
}

#[test]
fn observing_lets_by_what_breaks_the_contract() -> Result<()> {
    if !root_or_skip("observing_lets_by_what_breaks_the_contract") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let firewall =
        Firewall::start(&lab, &with_media(&Policy::default().text(&lab), "media_checks = \"observe\""))?;
    let (_callee, call) = talking(&lab, Family::V4)?;
    let (from, to) = (call.caller.local(), call.caller.peer());
    let before = firewall.counters()?;
    let mut wire = Wire::open(&lab)?;
    for _ in 0..STRAYS {
        wire.ip(&datagram((from.ip(), to.ip()), from.port(), to.port(), &rtp(0x80, 18, 0, 0)))?;
    }
    thread::sleep(Duration::from_millis(100));
    let now = firewall.counters()?;
    assert_eq!(now.dropped_since(&before), [].into());
    let observed = now.passed_since(&before).get("pinhole-observed").copied().unwrap_or_default();
    assert!(observed >= STRAYS, "{observed}");
    drop(call);
    Ok(())
}

/// Puts a line into every rule that reads SIP.
fn with_media(rules: &str, line: &str) -> String {
    rules
        .lines()
        .flat_map(|text| {
            let reads = text.starts_with("inspect") && text.contains("\"sip\"");
            [Some(text), reads.then_some(line)]
        })
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
}

/// Packets the stack of a namespace has forwarded.
fn forwarded(ns: &Netns) -> Result<u64> {
    let output = ns.output(Command::new("cat").arg("/proc/net/snmp").arg("/proc/net/snmp6"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let names = lines.next().context("names")?.split_whitespace();
    let values = lines.next().context("values")?.split_whitespace();
    let v4 = names
        .zip(values)
        .find(|(name, _)| *name == "ForwDatagrams")
        .and_then(|(_, value)| value.parse().ok());
    let v6 = text.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")?.trim().parse().ok());
    Ok(v4.unwrap_or(0) + v6.unwrap_or(0_u64))
}

/// A call through a firewall that may forward past the stack: what the stack has forwarded, and the TTLs with which
/// the callee has received.
fn forwarded_in_a_call(lab: &Lab, firewall: &Firewall, family: Family) -> Result<(u64, u32, Vec<String>)> {
    let callee = Callee::listen(lab.inside(), family.call_manager(0), Transport::Udp)?;
    let call = sip::place(lab.outside(), family.phone(0), &callee)?;
    // Neighbours are found by the stack, with the first packets.
    thread::sleep(Duration::from_millis(500));
    let before = forwarded(lab.fw())?;
    let port = call.callee.local().port();
    let filter = format!("udp dst port {port} and dst host {}", call.callee.local().ip());
    let seen = lab
        .inside()
        .output(Command::new("timeout").args(["5", "tcpdump", "-nvi", "eth0", "-c", "20"]).arg(filter))?;
    let after = forwarded(lab.fw())?;
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    let word = if family == Family::V4 { "ttl " } else { "hlim " };
    let ttls = text.split(word).skip(1).filter_map(|rest| rest.split([',', ')']).next());
    let mut ttls: Vec<String> = ttls.map(str::to_owned).collect();
    ttls.dedup();
    let outcome = call.finish(Duration::ZERO)?;
    assert!(outcome.is_whole(), "{family:?}: {outcome}");
    firewall.settled()?;
    Ok((after - before, outcome.forth.sent, ttls))
}

#[test]
fn media_is_forwarded_past_the_stack_where_that_is_safe() -> Result<()> {
    if !root_or_skip("media_is_forwarded_past_the_stack_where_that_is_safe") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    // The other ends of virtual pairs take what XDP sends them only where they have XDP themselves.
    lab.hears_xdp()?;
    xdp::pass(lab.inside(), "eth0", lab.dir())?;
    // And what such a pair hands over has no checksums yet, which XDP passes on as it is. What comes from a wire has.
    for ns in [lab.outside(), lab.inside()] {
        let output = ns.output(Command::new("ethtool").args(["-K", "eth0", "tx", "off"]))?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let rules = with_media(&Policy::default().text(&lab), "media_path = \"fast\"");
    let firewall = Firewall::start(&lab, &rules)?;
    thread::sleep(Duration::from_secs(3));
    for family in [Family::V4, Family::V6] {
        let (stack, sent, ttls) = forwarded_in_a_call(&lab, &firewall, family)?;
        assert!(stack < u64::from(sent) / 2, "{family:?}: {stack} packets by the stack of {sent} each way");
        assert_eq!(ttls, ["63"], "{family:?}: one hop");
    }
    // Netfilter is told to see what is forwarded: the stack has it again.
    let watch = "add table inet watch\n\
                 add chain inet watch c { type filter hook forward priority 0; policy accept; }\n";
    let output = lab.fw().output(Command::new("nft").arg(watch))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    thread::sleep(Duration::from_secs(4));
    for family in [Family::V4, Family::V6] {
        let (stack, _, ttls) = forwarded_in_a_call(&lab, &firewall, family)?;
        assert!(stack > 50, "{family:?}: {stack} packets by the stack");
        assert_eq!(ttls, ["63"], "{family:?}: one hop");
    }
    Ok(())
}

#[test]
fn a_rule_marks_its_media() -> Result<()> {
    if !root_or_skip("a_rule_marks_its_media") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let firewall = Firewall::start(&lab, &with_media(&Policy::default().text(&lab), "media_dscp = \"ef\""))?;
    for family in [Family::V4, Family::V6] {
        let callee = Callee::listen(lab.inside(), family.call_manager(0), Transport::Udp)?;
        let call = sip::place(lab.outside(), family.phone(0), &callee)?;
        let to = call.callee.local();
        let filter = format!("udp dst port {} and dst host {}", to.port(), to.ip());
        let seen = lab
            .inside()
            .output(Command::new("timeout").args(["5", "tcpdump", "-nvi", "eth0", "-c", "10"]).arg(filter))?;
        let text = String::from_utf8_lossy(&seen.stdout);
        let marked = text.matches(if family == Family::V4 { "tos 0xb8" } else { "class 0xb8" }).count();
        assert_eq!(marked, 10, "{text}");
        assert!(call.finish(Duration::ZERO)?.is_whole(), "checksums are right");
        firewall.settled()?;
    }
    Ok(())
}
