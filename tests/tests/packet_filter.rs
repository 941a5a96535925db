//! Odd packets one by one: each is sent alone, and both its reason and whether it arrived are held to what is
//! expected. And what the firewall says to those it rejects.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_lab::attack::Wire;
use callgate_lab::craft::{
    Pair, Piece, authentication, extension, flag, fragment_header, ip, ipv4, ipv6, protocol, tcp,
    time_exceeded, udp,
};
use callgate_lab::daemon::{Counters, Firewall};
use callgate_lab::filter::{Filter, OPEN, REJECTED};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::meter::{Direction, Meter};
use callgate_lab::root_or_skip;

/// A port nobody may reach.
const CLOSED: u16 = 8_500;
/// How long a packet may take to be counted.
const SOON: Duration = Duration::from_secs(1);

/// Sends packets one at a time, and looks what became of each.
struct Bench<'a> {
    firewall: &'a Firewall,
    wire: Wire,
    before: Counters,
    arrivals: Meter,
    arrived: u64,
    /// Source ports that were used: each packet is a stranger.
    port: u16,
    /// What was not as expected.
    wrong: Vec<String>,
}

/// What is expected of a packet.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is dropped under this reason.
    Dropped(&'static str),
    /// It passes under this reason, and arrives inside.
    Arrives(&'static str),
    /// It passes under this reason, and the stack has no use for it.
    Passes(&'static str),
}
use Fate::{Arrives, Dropped, Passes};

impl<'a> Bench<'a> {
    fn new(lab: &Lab, firewall: &'a Firewall) -> Result<Self> {
        // Neighbour discovery goes on all the time.
        let counts = [("v4", "meta protocol ip"), ("v6", "meta protocol ip6 meta l4proto != 58")];
        let arrivals = Meter::attach(lab.inside(), "eth0", Direction::In, &counts)?;
        let (wire, before) = (Wire::open(lab)?, firewall.counters_of("out0")?);
        Ok(Self { firewall, wire, before, arrivals, arrived: 0, port: 20_000, wrong: Vec::new() })
    }

    /// A source port no packet has had.
    fn port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }

    /// An IP packet.
    fn sends(&mut self, what: &str, packet: &[u8], fate: Fate) -> Result<()> {
        self.wire.ip(packet)?;
        self.looks(what, fate)
    }

    /// An IP packet behind tags.
    fn tagged(&mut self, what: &str, tags: &[(u16, u16)], packet: &[u8], fate: Fate) -> Result<()> {
        self.wire.tagged(tags, packet)?;
        self.looks(what, fate)
    }

    /// A datagram to a port of the first call manager.
    fn datagram(&mut self, what: &str, pair: Pair, to: u16, fate: Fate) -> Result<()> {
        let datagram = udp(pair, self.port(), to, b"odd");
        self.sends(what, &ip(pair, protocol::UDP, &datagram), fate)
    }

    fn looks(&mut self, what: &str, fate: Fate) -> Result<()> {
        let until = Instant::now() + SOON;
        let (reason, arrives) = match fate {
            Dropped(reason) | Passes(reason) => (reason, 0),
            Arrives(reason) => (reason, 1),
        };
        loop {
            let now = self.firewall.counters_of("out0")?;
            let (dropped, passed) = (now.dropped_since(&self.before), now.passed_since(&self.before));
            let arrived = self.arrivals.packets("v4")? + self.arrivals.packets("v6")?;
            let expected: BTreeMap<_, _> = match fate {
                Dropped(reason) => [(reason.to_owned(), 1)].into(),
                Arrives(_) | Passes(_) => BTreeMap::new(),
            };
            // What this machine itself says, and what keeps the link alive, passes meanwhile.
            let counted =
                matches!(fate, Dropped(_)) || passed.get(reason).is_some_and(|packets| *packets > 0);
            if dropped == expected && counted && arrived == self.arrived + arrives {
                (self.before, self.arrived) = (now, arrived);
                return Ok(());
            }
            if Instant::now() > until {
                let arrivals = arrived - self.arrived;
                self.wrong.push(format!(
                    "{what}: {fate:?} expected; dropped {dropped:?}, passed {passed:?}, {arrivals} arrived"
                ));
                (self.before, self.arrived) = (now, arrived);
                return Ok(());
            }
        }
    }

    fn done(self) -> Result<()> {
        ensure!(self.wrong.is_empty(), "not as expected:\n{}", self.wrong.join("\n"));
        Ok(())
    }
}

/// A filter of whose outside zone this is said.
fn stand(xdp: &'static str, tables: &'static str) -> Result<(std::sync::Arc<Lab>, Firewall)> {
    let lab = Lab::gateway()?;
    lab.hush()?;
    let firewall = Firewall::start(&lab, &Filter { xdp, tables, ..Filter::default() }.text())?;
    Ok((lab, firewall))
}

fn odd_packets(xdp: &'static str) -> Result<()> {
    let (lab, firewall) = stand(xdp, "[zone.outside]\nl2 = { cdp = \"drop\", lldp = \"drop\" }")?;
    // So that nothing is answered.
    let open = [Family::V4, Family::V6].map(|family| SocketAddr::new(family.call_manager(0), OPEN.1));
    let _open = [lab.inside().udp(open[0])?, lab.inside().udp(open[1])?];
    let mut bench = Bench::new(&lab, &firewall)?;
    for family in [Family::V4, Family::V6] {
        of_either_family(&mut bench, family)?;
    }
    options_of_ipv4(&mut bench)?;
    lengths_of_ipv4(&mut bench)?;
    extensions_of_ipv6(&mut bench)?;
    frames(&mut bench)?;
    bench.done()
}

/// Flags, ports and addresses.
fn of_either_family(bench: &mut Bench<'_>, family: Family) -> Result<()> {
    let pair = (family.attacker(), family.call_manager(0));
    bench.datagram("a datagram to the open port", pair, OPEN.1, Arrives("rule"))?;
    bench.datagram("a datagram to a closed port", pair, CLOSED, Dropped("default-drop"))?;
    bench.datagram("a datagram to port 0", pair, 0, Dropped("zero-port"))?;
    let from_zero = udp(pair, 0, OPEN.1, b"odd");
    bench.sends("a datagram from port 0", &ip(pair, protocol::UDP, &from_zero), Dropped("zero-port"))?;
    let every = flag::FIN | flag::SYN | flag::RST | flag::PSH | flag::ACK | flag::URG;
    for (what, flags, fate) in [
        ("null", 0, Dropped("tcp-flags")),
        ("xmas", flag::FIN | flag::PSH | flag::URG, Dropped("tcp-flags")),
        ("every flag", every, Dropped("tcp-flags")),
        ("SYN and FIN", flag::SYN | flag::FIN, Dropped("tcp-flags")),
        ("SYN and RST", flag::SYN | flag::RST, Dropped("tcp-flags")),
        ("FIN alone", flag::FIN, Dropped("tcp-flags")),
        ("half a handshake", flag::SYN | flag::ACK, Dropped("no-connection")),
        ("a reset of nothing", flag::RST, Dropped("no-connection")),
    ] {
        let segment = tcp(pair, bench.port(), OPEN.0, flags, 7);
        bench.sends(what, &ip(pair, protocol::TCP, &segment), fate)?;
    }
    let own = family.call_manager(0);
    bench.datagram("land", (own, own), OPEN.1, Dropped("land"))?;
    let senders: [IpAddr; 2] = match family {
        Family::V4 => [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(239, 1, 1, 1).into()],
        Family::V6 => [Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into()],
    };
    for sender in senders {
        bench.datagram(&format!("from {sender}"), (sender, own), OPEN.1, Dropped("bad-source"))?;
    }
    let quoted = ip((own, pair.0), protocol::UDP, &udp((own, pair.0), 9, 9, b"never sent"));
    bench.sends("an error about nothing", &time_exceeded(pair, &quoted), Dropped("icmp-unrelated"))
}

/// Header length, options, AH.
fn options_of_ipv4(bench: &mut Bench<'_>) -> Result<()> {
    let pair = (Family::V4.attacker(), Family::V4.call_manager(0));
    let whole = Piece::default();
    // A reader that takes the header for 20 bytes finds the open port (4000 = 0x0fa0) in the option.
    for (what, options, to, fate) in [
        ("no-operations", &[1, 1, 1, 1][..], OPEN.1, Arrives("rule")),
        ("ports in an option", &[0x94, 4, 0x0f, 0xa0], CLOSED, Dropped("default-drop")),
        ("loose source route", &[131, 7, 4, 10, 1, 1, 11, 0], OPEN.1, Dropped("source-route")),
        ("strict source route", &[137, 7, 4, 10, 1, 1, 11, 0], OPEN.1, Dropped("source-route")),
        ("source route behind others", &[1, 7, 3, 4, 131, 3, 4, 0], OPEN.1, Dropped("source-route")),
        ("an option beyond the header", &[68, 40, 5, 0], OPEN.1, Dropped("bad-options")),
        ("an option without length", &[68, 0, 0, 0], OPEN.1, Dropped("bad-options")),
    ] {
        let datagram = udp(pair, bench.port(), to, b"odd");
        bench.sends(what, &ipv4(pair, protocol::UDP, options, whole, &datagram), fate)?;
    }
    let inner = [authentication(protocol::UDP), udp(pair, bench.port(), OPEN.1, b"odd")].concat();
    bench.sends("AH over IPv4", &ip(pair, protocol::AH, &inner), Dropped("default-drop"))
}

/// Lengths and versions that contradict the frame.
fn lengths_of_ipv4(bench: &mut Bench<'_>) -> Result<()> {
    let pair = (Family::V4.attacker(), Family::V4.call_manager(0));
    for (what, at, byte, reason) in [
        ("a header of 16 bytes", 0, 0x44, "bad-ipv4"),
        ("version 5", 0, 0x55, "bad-ipv4"),
        ("less than a header", 3, 19, "bad-ipv4"),
        ("more than the frame", 3, 90, "truncated"),
        ("a datagram of 7 bytes", 25, 7, "bad-udp"),
        ("a datagram beyond its packet", 25, 90, "bad-udp"),
    ] {
        let mut packet = ip(pair, protocol::UDP, &udp(pair, bench.port(), OPEN.1, b"odd"));
        packet[at] = byte;
        bench.sends(what, &packet, Dropped(reason))?;
    }
    for (what, offset) in [("a TCP header of 16 bytes", 0x40), ("a TCP header beyond its packet", 0xf0)] {
        let mut segment = tcp(pair, bench.port(), OPEN.0, flag::SYN, 7);
        segment[12] = offset;
        bench.sends(what, &ip(pair, protocol::TCP, &segment), Dropped("bad-tcp"))?;
    }
    Ok(())
}

/// Extension headers: what stands behind them is found, whatever they look like.
fn extensions_of_ipv6(bench: &mut Bench<'_>) -> Result<()> {
    let pair = (Family::V6.attacker(), Family::V6.call_manager(0));
    let pad: &[u8] = &[1, 4, 0, 0, 0, 0];
    for (to, fate) in [(OPEN.1, Arrives("rule")), (CLOSED, Dropped("default-drop"))] {
        let atomic = fragment_header(protocol::UDP, 0xff, Piece::default());
        let options = extension(protocol::UDP, pad);
        for (what, first, headers) in [
            ("an atomic fragment, its reserved byte 255", protocol::FRAGMENT, atomic),
            ("destination options", protocol::DESTINATION_OPTIONS, options.clone()),
            ("AH", protocol::AH, authentication(protocol::UDP)),
            (
                "AH before options",
                protocol::AH,
                [authentication(protocol::DESTINATION_OPTIONS), options.clone()].concat(),
            ),
            (
                "AH behind options",
                protocol::DESTINATION_OPTIONS,
                [extension(protocol::AH, pad), authentication(protocol::UDP)].concat(),
            ),
        ] {
            let datagram = udp(pair, bench.port(), to, b"odd");
            let packet = ipv6(pair, first, &[headers, datagram].concat());
            bench.sends(&format!("{what}, to {to}"), &packet, fate)?;
        }
    }
    let datagram = udp(pair, bench.port(), OPEN.1, b"odd");
    let route = extension(
        protocol::UDP,
        &[0, 1, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11],
    );
    let packet = ipv6(pair, protocol::ROUTING, &[route, datagram.clone()].concat());
    bench.sends("a routing header of type 0", &packet, Dropped("source-route"))?;
    let many = [vec![extension(protocol::DESTINATION_OPTIONS, pad); 6], vec![extension(protocol::UDP, pad)]];
    let packet =
        ipv6(pair, protocol::DESTINATION_OPTIONS, &[many.concat().concat(), datagram.clone()].concat());
    bench.sends("seven extension headers", &packet, Dropped("ipv6-extensions"))?;
    let mut long = extension(protocol::UDP, pad);
    long[1] = 200;
    let packet = ipv6(pair, protocol::DESTINATION_OPTIONS, &[long, datagram].concat());
    bench.sends("an extension header beyond its packet", &packet, Dropped("ipv6-extensions"))?;
    let mapped = Ipv4Addr::new(203, 0, 113, 66).to_ipv6_mapped();
    bench.datagram("a mapped address", (mapped.into(), pair.1), OPEN.1, Dropped("mapped-address"))
}

/// Tags, link protocols, others.
fn frames(bench: &mut Bench<'_>) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let pair = (family.attacker(), family.call_manager(0));
        let (inner, outer) = ((0x8100, 7), (0x88a8, 5));
        for (tags, to, fate) in [
            (&[inner][..], OPEN.1, Passes("rule")),
            (&[outer, inner], OPEN.1, Passes("rule")),
            (&[outer, inner], CLOSED, Dropped("default-drop")),
            (&[outer, outer], CLOSED, Dropped("default-drop")),
            (&[outer, outer, inner], OPEN.1, Dropped("vlan-depth")),
        ] {
            let packet = ip(pair, protocol::UDP, &udp(pair, bench.port(), to, b"odd"));
            bench.tagged(&format!("tags {tags:x?}, to {to}"), tags, &packet, fate)?;
        }
    }
    let mut cdp = vec![0, 40, 0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0];
    cdp.resize(54, 1);
    bench.wire.group([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc], &cdp)?;
    bench.looks("CDP", Dropped("link-protocol"))?;
    let mut lldp = vec![0x88, 0xcc, 2, 7, 4];
    lldp.resize(54, 0);
    bench.wire.group([0x01, 0x80, 0xc2, 0, 0, 0x0e], &lldp)?;
    bench.looks("LLDP", Dropped("link-protocol"))?;
    let mut other = vec![0x88, 0xb5];
    other.resize(54, 0);
    bench.wire.group([0xff; 6], &other)?;
    bench.looks("an unknown protocol", Dropped("ether-type"))
}

#[test]
fn odd_packets_are_named_by_the_driver() -> Result<()> {
    if !root_or_skip("odd_packets_are_named_by_the_driver") {
        return Ok(());
    }
    odd_packets("native")
}

#[test]
fn odd_packets_are_named_by_the_stack() -> Result<()> {
    if !root_or_skip("odd_packets_are_named_by_the_stack") {
        return Ok(());
    }
    odd_packets("generic")
}

#[test]
fn link_protocols_are_dropped_where_a_zone_says_so() -> Result<()> {
    if !root_or_skip("link_protocols_are_dropped_where_a_zone_says_so") {
        return Ok(());
    }
    let (lab, firewall) = stand("native", "[zone.outside]\nl2 = { cdp = \"drop\" }")?;
    let mut lldp = vec![0x88, 0xcc, 2, 7, 4];
    lldp.resize(54, 0);
    let before = firewall.counters()?;
    Wire::open(&lab)?.group([0x01, 0x80, 0xc2, 0, 0, 0x0e], &lldp)?;
    Wire::inside(&lab)?.group([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc], &[0; 46])?;
    thread::sleep(Duration::from_millis(50));
    let after = firewall.counters()?;
    assert_eq!(after.dropped_since(&before).get("link-protocol"), None);
    assert!(after.passed_since(&before).get("builtin").is_some_and(|packets| *packets >= 2));
    Ok(())
}

/// Pieces of one datagram to the open port.
fn pieces(family: Family, port: u16, id: u16, to: u16) -> [Vec<u8>; 2] {
    let pair = (family.attacker(), family.call_manager(0));
    let datagram = udp(pair, port, to, &[0x2a; 40]);
    [piece(family, id, 0, true, &datagram[..24]), piece(family, id, 24, false, &datagram[24..])]
}

fn piece(family: Family, id: u16, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    of_protocol(family, protocol::UDP, Piece { id, offset, more }, payload)
}

fn of_protocol(family: Family, protocol: u8, piece: Piece, payload: &[u8]) -> Vec<u8> {
    let pair = (family.attacker(), family.call_manager(0));
    match family {
        Family::V4 => ipv4(pair, protocol, &[], piece, payload),
        Family::V6 => {
            let header = fragment_header(protocol, 0xff, piece);
            ipv6(pair, protocol::FRAGMENT, &[header, payload.to_vec()].concat())
        }
    }
}

#[test]
fn fragments_go_the_way_of_their_zone() -> Result<()> {
    if !root_or_skip("fragments_go_the_way_of_their_zone") {
        return Ok(());
    }
    let (lab, firewall) = stand("native", "")?;
    let mut bench = Bench::new(&lab, &firewall)?;
    for family in [Family::V4, Family::V6] {
        let pair = (family.attacker(), family.call_manager(0));
        let port = bench.port();
        let [first, last] = pieces(family, port, 100, OPEN.1);
        bench.sends("a first piece to the open port", &first, Arrives("rule"))?;
        bench.sends("the first piece again", &first, Arrives("flow"))?;
        let [other, _] = pieces(family, port + 5_000, 100, OPEN.1);
        bench.sends("another first piece", &other, Dropped("fragment-overlap"))?;
        let over = piece(family, 100, 16, false, &[0; 16]);
        bench.sends("a piece over the first", &over, Dropped("fragment-overlap"))?;
        bench.sends("its last piece", &last, Arrives("fragment-of-passed"))?;
        let [first, last] = pieces(family, bench.port(), 101, CLOSED);
        bench.sends("a first piece to a closed port", &first, Dropped("default-drop"))?;
        bench.sends("its last piece", &last, Dropped("fragment"))?;
        // It begins with what would be the ports of a datagram to the open port.
        let looks = udp(pair, bench.port(), OPEN.1, b"odd");
        let later = piece(family, 102, 24, false, &looks);
        bench.sends("a later piece that looks like a first", &later, Dropped("fragment"))?;
        let segment = tcp(pair, bench.port(), OPEN.0, flag::SYN, 7);
        let at = |offset, more| Piece { id: 103, offset, more };
        let tiny = of_protocol(family, protocol::TCP, at(0, true), &segment[..8]);
        bench.sends("a piece of a TCP header", &tiny, Dropped("tiny-fragment"))?;
        let rest = of_protocol(family, protocol::TCP, at(8, false), &segment[8..]);
        bench.sends("the rest of a TCP header", &rest, Dropped("tiny-fragment"))?;
    }

    firewall
        .reload(&Filter { tables: "[zone.outside]\nfragments = \"drop\"", ..Filter::default() }.text())?;
    for family in [Family::V4, Family::V6] {
        let [first, last] = pieces(family, bench.port(), 110, OPEN.1);
        bench.sends("drop: a first piece", &first, Dropped("fragment-refused"))?;
        bench.sends("drop: a later piece", &last, Dropped("fragment-refused"))?;
    }

    firewall
        .reload(&Filter { tables: "[zone.outside]\nfragments = \"pass\"", ..Filter::default() }.text())?;
    for family in [Family::V4, Family::V6] {
        let [first, last] = pieces(family, bench.port(), 120, OPEN.1);
        bench.sends("pass: a later piece before its first", &last, Arrives("fragment-of-passed"))?;
        bench.sends("pass: a first piece to the open port", &first, Arrives("rule"))?;
        let [first, _] = pieces(family, bench.port(), 121, CLOSED);
        bench.sends("pass: a first piece to a closed port", &first, Dropped("default-drop"))?;
    }
    bench.done()
}

#[test]
fn sources_are_those_of_their_zone() -> Result<()> {
    if !root_or_skip("sources_are_those_of_their_zone") {
        return Ok(());
    }
    let strict = "[zone.outside]\nanti_spoof = \"strict\"\n\
                  networks = [\"203.0.113.0/24\", \"2001:db8:66::/64\", \"10.20.0.0/16\", \"2001:db8:20::/64\"]";
    let (lab, firewall) = stand("native", strict)?;
    let mut bench = Bench::new(&lab, &firewall)?;
    let v6 = |text: &str| text.parse::<IpAddr>();
    let managers = [Family::V4, Family::V6].map(|family| family.call_manager(0));
    let own = [Family::V4, Family::V6].map(Family::firewall);
    let attackers = [Family::V4, Family::V6].map(Family::attacker);
    let unrouted: [IpAddr; 2] = [Ipv4Addr::new(198, 51, 100, 7).into(), v6("2001:db8:7777::7")?];
    for (i, manager) in managers.into_iter().enumerate() {
        bench.datagram("strict: of its networks", (attackers[i], manager), OPEN.1, Arrives("rule"))?;
        bench.datagram("strict: of no network", (unrouted[i], manager), OPEN.1, Dropped("spoofed"))?;
        let other = [Family::V4, Family::V6][i].call_manager(1);
        bench.datagram("strict: of the inside", (other, manager), OPEN.1, Dropped("spoofed"))?;
        bench.datagram("strict: the firewall's own", (own[i], manager), OPEN.1, Dropped("spoofed"))?;
    }
    firewall
        .reload(&Filter { tables: "[zone.outside]\nanti_spoof = \"loose\"", ..Filter::default() }.text())?;
    for (i, manager) in managers.into_iter().enumerate() {
        bench.datagram("loose: with a way back", (attackers[i], manager), OPEN.1, Arrives("rule"))?;
        bench.datagram("loose: without one", (unrouted[i], manager), OPEN.1, Dropped("no-route-back"))?;
        bench.datagram("loose: the firewall's own", (own[i], manager), OPEN.1, Dropped("spoofed"))?;
    }
    let bogons = "[zone.outside]\nbogons = \"drop\"\nnetworks = [\"203.0.113.0/24\", \"2001:db8:66::/64\"]";
    firewall.reload(&Filter { tables: bogons, ..Filter::default() }.text())?;
    let public: [IpAddr; 2] = [Ipv4Addr::new(8, 8, 8, 8).into(), v6("2a00:1450::8")?];
    let private: [IpAddr; 2] = [Ipv4Addr::new(192, 168, 7, 7).into(), v6("fd00::7")?];
    for (i, manager) in managers.into_iter().enumerate() {
        bench.datagram("bogons: a public address", (public[i], manager), OPEN.1, Arrives("rule"))?;
        bench.datagram("bogons: its own networks", (attackers[i], manager), OPEN.1, Arrives("rule"))?;
        bench.datagram("bogons: a private address", (private[i], manager), OPEN.1, Dropped("spoofed"))?;
        bench.datagram("bogons: documentation", (unrouted[i], manager), OPEN.1, Dropped("spoofed"))?;
    }
    bench.done()
}

#[test]
fn who_is_rejected_is_told_by_the_driver_at_once() -> Result<()> {
    if !root_or_skip("who_is_rejected_is_told_by_the_driver_at_once") {
        return Ok(());
    }
    who_is_rejected_is_told("native")
}

#[test]
fn who_is_rejected_is_told_by_the_stack_at_once() -> Result<()> {
    if !root_or_skip("who_is_rejected_is_told_by_the_stack_at_once") {
        return Ok(());
    }
    who_is_rejected_is_told("generic")
}

fn who_is_rejected_is_told(xdp: &'static str) -> Result<()> {
    let (lab, firewall) = stand(xdp, "")?;
    lab.hears_xdp()?;
    for family in [Family::V4, Family::V6] {
        let (own, port) =
            (SocketAddr::new(family.attacker(), 0), SocketAddr::new(family.call_manager(0), REJECTED));
        let before = firewall.counters_of("out0")?;
        let started = Instant::now();
        let error =
            lab.outside().connect(own, port, SOON).err().context("a rejected connection was opened")?;
        let kind = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused), "{family:?}: {error:#}");
        println!("{family:?}: refused in {:?}", started.elapsed());
        assert!(started.elapsed() < SOON / 2, "{family:?}: {:?}", started.elapsed());

        let socket = lab.outside().udp(own)?;
        socket.connect(port)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.send(b"anybody there?")?;
        let error = socket.recv(&mut [0; 64]).err().context("a rejected datagram was answered")?;
        // As Linux translates them: ICMP type 3, code 13, and ICMPv6 type 1, code 1.
        let (code, name) = match family {
            Family::V4 => (113, "EHOSTUNREACH"),
            Family::V6 => (13, "EACCES"),
        };
        assert_eq!(error.raw_os_error(), Some(code), "{family:?}: {name} expected: {error}");
        let dropped = firewall.counters_of("out0")?.dropped_since(&before);
        assert_eq!(dropped, [("reject".to_owned(), 2)].into(), "{family:?}");
    }
    Ok(())
}

/// Headers between IPv6 and UDP, and the first one's number.
fn chains() -> [(&'static str, u8, Vec<u8>); 4] {
    let pad: &[u8] = &[1, 4, 0, 0, 0, 0];
    let atomic = fragment_header(protocol::UDP, 0, Piece { id: 7, ..Piece::default() });
    let options = extension(protocol::UDP, pad);
    let hops = [extension(protocol::DESTINATION_OPTIONS, pad), options.clone()].concat();
    [
        ("nothing", protocol::UDP, Vec::new()),
        ("an atomic fragment", protocol::FRAGMENT, atomic),
        ("destination options", protocol::DESTINATION_OPTIONS, options),
        ("hop-by-hop and destination options", protocol::HOP_BY_HOP, hops),
    ]
}

#[test]
fn errors_about_packets_with_extension_headers_are_heard() -> Result<()> {
    if !root_or_skip("errors_about_packets_with_extension_headers_are_heard") {
        return Ok(());
    }
    let (lab, firewall) = stand("native", "")?;
    let (outside, manager) = (Family::V6.attacker(), Family::V6.call_manager(0));
    let back = (manager, outside);
    // The stack's own: nobody listens at the open port.
    let errors = [("errors", "icmpv6 type destination-unreachable")];
    let heard = Meter::attach(lab.outside(), "eth0", Direction::In, &errors)?;
    let (mut wire, before) = (Wire::open(&lab)?, firewall.counters()?);
    for (n, (what, first, headers)) in chains().into_iter().enumerate() {
        let datagram = udp((outside, manager), 21_000 + n as u16, OPEN.1, b"odd");
        wire.ip(&ipv6((outside, manager), first, &[headers, datagram].concat()))?;
        let until = Instant::now() + SOON;
        while heard.packets("errors")? <= n as u64 {
            ensure!(
                Instant::now() < until,
                "behind {what}: {:?}",
                firewall.counters()?.dropped_since(&before)
            );
        }
    }
    let dropped = firewall.counters()?.dropped_since(&before);
    ensure!(dropped.is_empty(), "{dropped:?}");

    // A router's outside, about what the inside has sent; and about what it has not.
    let _open = lab.inside().udp(SocketAddr::new(manager, OPEN.1))?;
    let mut bench = Bench::new(&lab, &firewall)?;
    for (what, first, headers) in chains() {
        let port = bench.port();
        let datagram = ip((outside, manager), protocol::UDP, &udp((outside, manager), port, OPEN.1, b"odd"));
        bench.sends("a datagram to the open port", &datagram, Arrives("rule"))?;
        for (to, fate) in [(port, Passes("related")), (port ^ 0x4000, Dropped("icmp-unrelated"))] {
            let answer = udp(back, OPEN.1, to, b"odd");
            let quoted = ipv6(back, first, &[headers.clone(), answer].concat());
            bench.sends(
                &format!("an error, behind {what}"),
                &time_exceeded((outside, manager), &quoted),
                fate,
            )?;
        }
    }
    bench.done()
}

#[test]
fn a_connection_outlives_blind_resets_and_hears_of_errors() -> Result<()> {
    if !root_or_skip("a_connection_outlives_blind_resets_and_hears_of_errors") {
        return Ok(());
    }
    let (lab, firewall) = stand("native", "")?;
    let mut wire = Wire::open(&lab)?;
    for family in [Family::V4, Family::V6] {
        let (phone, manager) = (family.phone(0), SocketAddr::new(family.call_manager(0), OPEN.0));
        let listener = lab.inside().listen(manager)?;
        let mut near = lab.outside().connect(SocketAddr::new(phone, 0), manager, SOON)?;
        let (mut far, _) = listener.accept()?;
        let port = near.local_addr()?.port();
        let errors = [("errors", "meta l4proto { icmp, ipv6-icmp } @th,0,8 { 3, 11 }")];
        let arrivals = Meter::attach(lab.inside(), "eth0", Direction::In, &errors)?;
        let before = firewall.counters_of("out0")?;

        // Whoever does not see the connection has to guess: four of four thousand million numbers.
        let pair = (phone, manager.ip());
        for guess in 0..4_u32 {
            let sequence = 0x1234_5678_u32.wrapping_add(guess << 30);
            wire.ip(&ip(pair, protocol::TCP, &tcp(pair, port, manager.port(), flag::RST, sequence)))?;
        }
        let back = (manager.ip(), phone);
        let of_it = ip(back, protocol::TCP, &tcp(back, manager.port(), port, flag::ACK, 7));
        let of_another = ip(back, protocol::TCP, &tcp(back, manager.port(), port ^ 1, flag::ACK, 7));
        let router = (family.attacker(), manager.ip());
        wire.ip(&time_exceeded(router, &of_it))?;
        wire.ip(&time_exceeded(router, &of_another))?;
        // Its sender is not the one it tells.
        let told = (family.attacker(), family.call_manager(1));
        wire.ip(&time_exceeded(told, &of_it))?;
        thread::sleep(Duration::from_millis(100));

        let after = firewall.counters_of("out0")?;
        let expected = [("tcp-window".to_owned(), 4), ("icmp-unrelated".to_owned(), 2)].into();
        assert_eq!(after.dropped_since(&before), expected, "{family:?}");
        assert_eq!(after.passed_since(&before).get("related"), Some(&1), "{family:?}");
        assert_eq!(arrivals.packets("errors")?, 1, "{family:?}");

        far.set_read_timeout(Some(SOON))?;
        near.set_read_timeout(Some(SOON))?;
        let mut words = [0; 5];
        near.write_all(b"still")?;
        far.read_exact(&mut words)?;
        far.write_all(b"there")?;
        near.read_exact(&mut words)?;
        assert_eq!(&words, b"there");
    }
    Ok(())
}
