//! nmap against the protected side: it finds what the rules permit and nothing else, and every probe is accounted
//! for, either dropped under its reason or arrived.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use callgate_lab::daemon::Firewall;
use callgate_lab::filter::{Filter, OPEN, PHONES_ONLY, REJECTED};
use callgate_lab::fixture::{Shared, Turn};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::meter::{Direction, Meter};
use callgate_lab::root_or_skip;
use callgate_lab::tools::{Scan, nmap};

/// nmap is to hear the rejections.
static STAND: Shared = Shared::under(hearing, |_| {
    // An inside address from outside is a decoy's.
    let tables =
        "[zone.outside]\nnetworks = [\"!10.1.1.0/24\", \"!2001:db8:1::/64\"]\nanti_spoof = \"strict\"";
    Filter { xdp: "native", tables, ..Filter::default() }.text()
});

fn hearing() -> Result<Arc<Lab>> {
    let lab = Lab::gateway()?;
    lab.hears_xdp()?;
    Ok(lab)
}

/// UDP ports: what a voice network has, a sample of the media range, and the open one.
const UDP: &str = "53,69,123,161,500,1719,2427,4000,5060,8500,16384-16484,20000,32767";

/// What a scan has found, and what became of its probes.
struct Outcome {
    scan: Scan,
    /// Dropped, by reason.
    dropped: BTreeMap<String, u64>,
    /// Arrived inside at ports everybody may reach, and elsewhere.
    arrived: [u64; 2],
}

impl Outcome {
    fn dropped(&self, reason: &str) -> u64 {
        self.dropped.get(reason).copied().unwrap_or(0)
    }
}

/// Services inside, open to whoever gets there; UDP ones answer.
struct Services {
    _tcp: Vec<TcpListener>,
    udp: UdpSocket,
}

impl Services {
    fn start(lab: &Lab, manager: IpAddr) -> Result<Self> {
        let tcp = [22, 53, 443, PHONES_ONLY, 2_443, 5_060, OPEN.0];
        let listen = |port| lab.inside().listen(SocketAddr::new(manager, port));
        let udp = lab.inside().udp(SocketAddr::new(manager, OPEN.1))?;
        udp.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { _tcp: tcp.into_iter().map(listen).collect::<Result<_>>()?, udp })
    }

    /// Answers datagrams while `work` goes on.
    fn during<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut datagram = [0; 1_500];
                while !done.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = self.udp.recv_from(&mut datagram) {
                        // An answer that is lost is asked for again.
                        let _ = self.udp.send_to(&datagram[..length.max(1)], from);
                    }
                }
            });
            let outcome = work();
            done.store(true, Ordering::Relaxed);
            outcome
        })
    }
}

/// Scans the first call manager from the attacker's address.
fn scan(turn: &Turn, family: Family, arguments: &str) -> Result<Outcome> {
    let (lab, firewall): (&Lab, &Firewall) = (&turn.lab, &turn.firewall);
    let manager = family.call_manager(0);
    let services = Services::start(lab, manager)?;
    let counts = [
        ("open", "meta l4proto { tcp, udp } th dport { 8080, 4000 }"),
        ("elsewhere", "meta l4proto { tcp, udp } th dport != { 8080, 4000 }"),
    ];
    let arrivals = Meter::attach(lab.inside(), lab.arrival(), Direction::In, &counts)?;
    let before = firewall.counters()?;
    let started = Instant::now();
    let scan = services.during(|| nmap(lab, manager, arguments))?;
    println!("nmap {arguments}: {:.1} s, found {:?}", started.elapsed().as_secs_f64(), scan.found());
    let dropped = firewall.counters()?.dropped_since(&before);
    println!("  dropped: {dropped:?}");
    let arrived = [arrivals.packets("open")?, arrivals.packets("elsewhere")?];
    Ok(Outcome { scan, dropped, arrived })
}

#[test]
fn a_syn_scan_of_all_ports_finds_the_open_one() -> Result<()> {
    if !root_or_skip("a_syn_scan_of_all_ports_finds_the_open_one") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    let outcome =
        scan(&turn, Family::V4, "-sS -p- --min-rate 15000 --max-retries 1 --initial-rtt-timeout 400ms")?;
    // A reset is no less an answer than a connection: the rejected port says so by rule.
    assert_eq!(outcome.scan.found(), [(REJECTED, "closed"), (OPEN.0, "open")]);
    assert_eq!(outcome.scan.tried(), 65_535);
    assert_eq!(outcome.arrived[1], 0, "{} got through", outcome.arrived[1]);
    // Every other port was tried, and refused by default.
    assert!(outcome.dropped("default-drop") >= 65_533, "{:?}", outcome.dropped);
    assert!(outcome.dropped("reject") >= 1, "{:?}", outcome.dropped);
    Ok(())
}

#[test]
fn a_syn_scan_over_ipv6_finds_the_open_one() -> Result<()> {
    if !root_or_skip("a_syn_scan_over_ipv6_finds_the_open_one") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    let outcome = scan(&turn, Family::V6, "-sS -p 1-9000 --min-rate 8000 --max-retries 1")?;
    assert_eq!(outcome.scan.found(), [(REJECTED, "closed"), (OPEN.0, "open")]);
    assert_eq!(outcome.scan.tried(), 9_000);
    assert_eq!(outcome.arrived[1], 0);
    assert!(outcome.dropped("default-drop") >= 8_998, "{:?}", outcome.dropped);
    Ok(())
}

#[test]
fn a_udp_scan_finds_the_open_port_and_no_media() -> Result<()> {
    if !root_or_skip("a_udp_scan_finds_the_open_port_and_no_media") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    for family in [Family::V4, Family::V6] {
        // From the port of a name server, too: no rule asks for source ports.
        for trick in ["", "-g 53"] {
            let arguments = format!("-sU -p {UDP} --min-rate 300 --max-retries 1 {trick}");
            let outcome = scan(&turn, family, &arguments)?;
            assert_eq!(outcome.scan.found(), [(OPEN.1, "open")], "{family:?} {trick}");
            assert_eq!(outcome.arrived[1], 0, "{family:?} {trick}");
            assert!(outcome.dropped("no-pinhole") >= 103, "{family:?} {trick}: {:?}", outcome.dropped);
            assert!(outcome.dropped("default-drop") >= 9, "{family:?} {trick}: {:?}", outcome.dropped);
        }
    }
    Ok(())
}

#[test]
fn odd_flags_find_nothing() -> Result<()> {
    if !root_or_skip("odd_flags_find_nothing") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    for family in [Family::V4, Family::V6] {
        for (kind, reason) in [("-sF", "tcp-flags"), ("-sN", "tcp-flags"), ("-sX", "tcp-flags")] {
            let arguments = format!("{kind} -p 1-500,2000,8080 --min-rate 1000 --max-retries 0");
            let outcome = scan(&turn, family, &arguments)?;
            assert_eq!(outcome.scan.found(), [], "{family:?} {kind}");
            assert_eq!(outcome.arrived, [0, 0], "{family:?} {kind}");
            assert_eq!(outcome.dropped, [(reason.to_owned(), 502)].into(), "{family:?} {kind}");
        }
        // An ACK to the open port belongs to a connection it may have begun before the firewall did.
        let arguments = "-sA -p 24-500,2000,8080 --min-rate 1000 --max-retries 0";
        let outcome = scan(&turn, family, arguments)?;
        assert_eq!(outcome.scan.found(), [(OPEN.0, "unfiltered")], "{family:?}");
        assert_eq!(outcome.arrived[1], 0, "{family:?}");
        assert_eq!(outcome.dropped, [("default-drop".to_owned(), 478)].into(), "{family:?}");
    }
    Ok(())
}

#[test]
fn a_source_port_opens_nothing() -> Result<()> {
    if !root_or_skip("a_source_port_opens_nothing") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    for family in [Family::V4, Family::V6] {
        for port in [20, 53, 80, 5_060] {
            let arguments =
                format!("-sS -g {port} -p 22,53,443,2000,2443,5060,8080 --max-retries 1 --min-rate 100");
            let outcome = scan(&turn, family, &arguments)?;
            assert_eq!(outcome.scan.found(), [(OPEN.0, "open")], "{family:?} from {port}");
            assert_eq!(outcome.arrived[1], 0, "{family:?} from {port}");
            assert!(outcome.dropped("default-drop") >= 6, "{family:?} from {port}: {:?}", outcome.dropped);
        }
    }
    Ok(())
}

#[test]
fn fragments_find_nothing() -> Result<()> {
    if !root_or_skip("fragments_find_nothing") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    const PORTS: &str = "-p 22,53,443,2000,2443,5060,8080 --max-retries 0 --min-rate 100";
    for kind in ["-sS", "-sF"] {
        // Pieces of 8 and of 16 bytes: none holds a whole TCP header, so not even the open port can be asked for.
        for pieces in ["-f", "-f -f"] {
            let outcome = scan(&turn, Family::V4, &format!("{kind} {pieces} {PORTS}"))?;
            assert_eq!(outcome.scan.found(), [], "{kind} {pieces}");
            assert_eq!(outcome.arrived, [0, 0], "{kind} {pieces}");
            assert!(outcome.dropped("tiny-fragment") >= 14, "{kind} {pieces}: {:?}", outcome.dropped);
        }
    }
    // Pieces of 24 bytes hold the header: later ones follow the verdict on the first.
    let outcome = scan(&turn, Family::V4, &format!("-sS --mtu 24 --data-length 40 {PORTS}"))?;
    assert_eq!(outcome.scan.found(), [(OPEN.0, "open")]);
    // Its two later pieces, which have no ports.
    assert_eq!(outcome.arrived[1], 2);
    assert_eq!(outcome.dropped("default-drop"), 6, "{:?}", outcome.dropped);
    assert_eq!(outcome.dropped("fragment"), 12, "{:?}", outcome.dropped);
    Ok(())
}

#[test]
fn decoys_hide_nothing() -> Result<()> {
    if !root_or_skip("decoys_hide_nothing") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    // Others' addresses, and one of the inside itself.
    const DECOYS: &str = "-D 198.51.100.7,10.1.1.11,ME,192.0.2.9";
    let arguments = format!("-sS {DECOYS} -p 22,53,443,2443,5060,8080 --max-retries 0 --min-rate 200");
    let outcome = scan(&turn, Family::V4, &arguments)?;
    assert_eq!(outcome.scan.found(), [(OPEN.0, "open")]);
    assert_eq!(outcome.arrived[1], 0);
    assert_eq!(outcome.dropped("spoofed"), 6, "{:?}", outcome.dropped);
    assert_eq!(outcome.dropped("default-drop"), 15, "{:?}", outcome.dropped);
    Ok(())
}
