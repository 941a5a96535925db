//! A flood of signalling from as many sources as there are: the daemon's memory settles below a bound that is stated,
//! and calls work during it and afterwards.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use std::{array, thread};

use anyhow::{Context, Result, ensure};
use callgate_lab::attack::Wire;
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};
use etherparse::PacketBuilder;

/// Packets of one round, and rounds.
const ROUND: u32 = 12_000;
const ROUNDS: usize = 6;
/// Connections that begin a message and never end it, and how much of it each has sent.
const CONNECTIONS: u16 = 300;
const UNFINISHED: usize = 60_000;
/// What the daemon may take at most under these settings, kB: see `docs/operations.md`.
const BOUND: u64 = 128 * 1024;
/// By how much it may grow once its tables have been full, kB.
const SLACK: u64 = 16 * 1024;

/// The daemon's memory, in kB: what it takes now, and the most it has ever taken.
fn memory(firewall: &Firewall) -> Result<[u64; 2]> {
    let status = fs::read_to_string(format!("/proc/{}/status", firewall.pid().context("it runs")?))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().split(' ').next()?.parse().ok()
    };
    Ok([field("VmRSS").context("VmRSS")?, field("VmHWM").context("VmHWM")?])
}

/// Waits until the daemon has read what there is to be read: its messages of all protocols.
fn read(firewall: &Firewall) -> Result<u64> {
    let count = || -> Result<u64> { Ok(firewall.status()?.alg.messages.values().sum()) };
    let mut before = count()?;
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = count()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

/// Number `n` of a sequence in which no packet has the source, the call or the transaction of another.
fn packet(n: u32, manager: Ipv4Addr) -> Result<Vec<u8>> {
    let [_, _, c, d] = n.to_be_bytes();
    let source = Ipv4Addr::new(10, 20, c, d.max(20));
    let text = |method: &str, more: &str, body: &str| {
        format!(
            "{method} sip:desk{n}@{manager} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {source};branch=z9hG4bK-{n}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:phone{n}@{source}>;tag=t{n}\r\n\
             To: <sip:desk{n}@{manager}>\r\n\
             Call-ID: flood-{n}\r\n\
             CSeq: 1 {method}\r\n\
             Contact: <sip:phone{n}@{source}>\r\n\
             {more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let media = SocketAddr::new(source.into(), 16_384 + (n % 8_000) as u16 * 2);
    let sdp = sip::description(media);
    let junk: [u8; 256] = array::from_fn(|place| (n as usize * 31 + place * 17) as u8);
    let (port, payload) = match n % 8 {
        0..3 => (5_060, text("INVITE", "Content-Type: application/sdp\r\n", &sdp).into_bytes()),
        3 => (5_060, text("REGISTER", "Expires: 3600\r\n", "").into_bytes()),
        4 => (5_060, text("OPTIONS", "Accept: application/sdp\r\n", "").into_bytes()),
        5 => (5_060, text("SUBSCRIBE", "Event: dialog\r\nExpires: 3600\r\n", "").into_bytes()),
        // Half a message, and none at all: to SIP, RAS and TFTP.
        6 => (5_060, text("INVITE", "Content-Type: application/sdp\r\n", &sdp).as_bytes()[..200].to_vec()),
        _ => ([5_060, 1_719, 69][n as usize / 8 % 3], junk.to_vec()),
    };
    let mut packet = Vec::new();
    let ip = PacketBuilder::ipv4(source.octets(), manager.octets(), 64);
    // Every port of SIP is asked for from another place.
    ip.udp(5_060 + (n % 50_000) as u16, port).write(&mut packet, &payload)?;
    Ok(packet)
}

/// Connections to H.323's port whose peer says a message of 64 KiB is coming, and sends most of it.
fn unfinished(lab: &Lab, manager: IpAddr) -> Result<Vec<TcpStream>> {
    let to = SocketAddr::new(manager, 1_720);
    let listener = lab.inside().listen(to)?;
    let accept = thread::spawn(move || -> Vec<TcpStream> {
        listener.incoming().flatten().take(CONNECTIONS.into()).collect()
    });
    let mut streams = Vec::new();
    let mut bytes = vec![0; UNFINISHED];
    // A TPKT header (RFC 1006 section 6).
    bytes[..4].copy_from_slice(&[3, 0, 0xff, 0xff]);
    for number in 0..CONNECTIONS {
        let from = SocketAddr::new(Family::V4.phone((number % 3) as u8), 0);
        let mut stream = lab.outside().connect(from, to, Duration::from_secs(5))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        // The firewall may end it: that bounds memory too.
        let _ = stream.write_all(&bytes);
        streams.push(stream);
    }
    streams.extend(accept.join().expect("it does not panic"));
    Ok(streams)
}

/// The INVITEs that have come, and from whom.
fn invites(desk: &UdpSocket) -> Vec<(SocketAddr, String)> {
    let mut buffer = [0; 4_096];
    let mut invites = Vec::new();
    while let Ok((length, peer)) = desk.recv_from(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with("INVITE") && text.contains("Call-ID") {
            invites.push((peer, text));
        }
    }
    invites
}

/// "Busy here" to an INVITE.
fn busy(invite: &str) -> String {
    let copied = invite.lines().filter_map(|line| match line.split(':').next()? {
        "To" => Some(format!("{line};tag=busy\r\n")),
        "Via" | "From" | "Call-ID" | "CSeq" => Some(format!("{line}\r\n")),
        _ => None,
    });
    format!("SIP/2.0 486 Busy Here\r\n{}Content-Length: 0\r\n\r\n", copied.collect::<String>())
}

#[test]
fn memory_settles_under_a_flood_of_signalling() -> Result<()> {
    if !root_or_skip("memory_settles_under_a_flood_of_signalling") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    // Small tables, so that the flood fills them.
    let settings = "[settings]\ntables = { calls = 3000, pinholes = 12000 }";
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab).replace("[settings]", settings))?;
    let manager = Family::V4.call_manager(0);
    let IpAddr::V4(target) = manager else { unreachable!("IPv4") };
    let desk = lab.inside().udp(SocketAddr::new(manager, sip::PORT))?;
    desk.set_nonblocking(true)?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(1), Transport::Udp)?;
    let place = || sip::place(lab.outside(), Family::V4.phone(0), &callee);
    let standing = place()?;
    let [idle, _] = memory(&firewall)?;

    let _held = unfinished(&lab, manager)?;
    let mut wire = Wire::open(&lab)?;
    let (mut taken, mut asked) = (Vec::new(), Vec::new());
    let before = read(&firewall)?;
    for round in 0..ROUNDS {
        for n in 0..ROUND {
            wire.ip(&packet(round as u32 * ROUND + n, target)?)?;
            // No faster than it is read: what finds no room in the tap would flood nobody.
            if n % 500 == 499 {
                firewall.status()?;
                asked.extend(invites(&desk));
            }
        }
        let messages = read(&firewall)? - before;
        asked.extend(invites(&desk));
        let calls = firewall.status()?.calls;
        ensure!(calls <= 3_000, "{calls} calls");
        let [now, most] = memory(&firewall)?;
        eprintln!("round {round}: {messages} messages read, {now} kB, at most {most} kB; {idle} kB at first");
        taken.push((now, most));
    }
    ensure!(read(&firewall)? - before > u64::from(ROUND) * ROUNDS as u64 / 2, "most of it was read");
    let full = taken[ROUNDS / 2 - 1].0;
    let (last, most) = taken[ROUNDS - 1];
    ensure!(most <= BOUND, "{most} kB at most, {BOUND} are stated: {taken:?}");
    ensure!(last <= full + SLACK, "it grows on: {taken:?}");
    let status = firewall.status()?;
    ensure!(status.alarms.iter().any(|alarm| alarm.name == "table-fill"), "{:?}", status.alarms);

    // The call that was there goes on; the others are refused by whom they reached, and there is room again.
    let outcome = standing.finish(Duration::from_millis(100))?;
    ensure!(outcome.is_whole(), "{outcome}");
    ensure!(!asked.is_empty(), "calls of the flood found room");
    for (place, (caller, invite)) in asked.iter().enumerate() {
        desk.send_to(busy(invite).as_bytes(), *caller)?;
        if place % 500 == 499 {
            firewall.status()?;
        }
    }
    read(&firewall)?;
    let outcome = place()?.finish(Duration::from_millis(100))?;
    ensure!(outcome.is_whole(), "{outcome}");
    firewall.stop()
}
