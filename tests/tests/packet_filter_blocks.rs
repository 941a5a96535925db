//! Blocks: who scans is blocked, who floods is where a rule says so, whom an operator names is; and nobody can have a
//! phone blocked by scanning in its name.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_api::{BlockCause, BlockRow};
use callgate_lab::attack::Wire;
use callgate_lab::craft::{flag, ip, protocol, tcp, udp};
use callgate_lab::daemon::Firewall;
use callgate_lab::h323::ras::{self, Registration};
use callgate_lab::h323::session::{self, Dialogue, Host, Ras};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::root_or_skip;

/// UDP port that everybody may reach, and one where whoever sends too fast is blocked.
const OPEN: u16 = 4_000;
const PACED: u16 = 4_001;
/// Refused places that make a scan.
const PLACES: u16 = 10;
/// How long a block for a scan lasts, seconds.
const BLOCK_S: u64 = 60;
/// How long anything may take.
const SOON: Duration = Duration::from_secs(3);
/// How long a datagram is waited for that must not come.
const QUIET: Duration = Duration::from_millis(150);

/// Nobody outside is named by a rule; whoever registers may call. `settings` are more keys of that table.
fn rules(settings: &str) -> String {
    format!(
        r#"version = 1

[zones]
outside = ["out0"]
inside  = ["in0"]

[groups]
callmanagers = ["10.1.1.10", "10.1.1.11", "2001:db8:1::10", "2001:db8:1::11"]

[settings]
media_ports = "16384-32767"
default     = {{ outside = "drop", inside = "drop", self = "track" }}
{settings}

[scan]
enabled = true
ports   = {PLACES}
window  = "20s"
block   = "{BLOCK_S}s"

[[rule]]
name    = "h323"
to      = "callmanagers"
service = ["h225", "ras"]
action  = "inspect"
inspect = "h323"

[[rule]]
name    = "open"
to      = "callmanagers"
service = "udp/{OPEN}"
action  = "track"

[[rule]]
name    = "paced"
to      = "callmanagers"
service = "udp/{PACED}"
action  = "track"
limit   = {{ packets = "10/s", burst = 10, per = "source", above = {{ block = "1m" }} }}
"#
    )
}

/// A firewall, and what reaches the first call manager.
struct Stage {
    firewall: Firewall,
    lab: Arc<Lab>,
    manager: IpAddr,
    /// The open port, of either family.
    open: [UdpSocket; 2],
    wire: Wire,
}

impl Stage {
    fn new(settings: &str) -> Result<Self> {
        let lab = Lab::gateway()?;
        let firewall = Firewall::start(&lab, &rules(settings))?;
        let [manager, other] = [Family::V4, Family::V6].map(|family| family.call_manager(0));
        let open = |manager| lab.inside().udp(SocketAddr::new(manager, OPEN));
        let open = [open(manager)?, open(other)?];
        Ok(Self { wire: Wire::open(&lab)?, firewall, lab, manager, open })
    }

    /// Runs a test with each family, behind one firewall.
    fn each_family(settings: &str, run: impl Fn(&mut Self, Family) -> Result<()>) -> Result<()> {
        let mut stage = Self::new(settings)?;
        for family in [Family::V4, Family::V6] {
            stage.manager = family.call_manager(0);
            run(&mut stage, family).with_context(|| format!("{family:?}"))?;
        }
        Ok(())
    }

    /// Whether a datagram from this address reaches the open port.
    fn reaches(&self, from: IpAddr) -> Result<bool> {
        let sender = self.lab.outside().udp(SocketAddr::new(from, 0))?;
        let open = &self.open[usize::from(from.is_ipv6())];
        sender.send_to(b"anybody there?", open.local_addr()?)?;
        open.set_read_timeout(Some(QUIET))?;
        let heard = open.recv_from(&mut [0; 64]);
        Ok(heard.is_ok_and(|(_, sender)| sender.ip() == from))
    }

    /// Closed ports are tried from this address, or in its name: half of them by TCP.
    fn scan(&mut self, from: IpAddr, places: u16) -> Result<()> {
        let pair = (from, self.manager);
        for port in 9_000..9_000 + places {
            let packet = match port % 2 {
                0 => ip(pair, protocol::UDP, &udp(pair, 30_000, port, b"scan")),
                _ => ip(pair, protocol::TCP, &tcp(pair, 30_000, port, flag::SYN, 7)),
            };
            self.wire.ip(&packet)?;
        }
        Ok(())
    }

    fn block_of(&self, address: IpAddr) -> Result<Option<BlockRow>> {
        Ok(self.firewall.blocks()?.into_iter().find(|row| row.address == address))
    }

    /// Waits until the address is blocked.
    fn blocked(&self, address: IpAddr) -> Result<BlockRow> {
        let until = Instant::now() + SOON;
        loop {
            if let Some(row) = self.block_of(address)? {
                return Ok(row);
            }
            ensure!(Instant::now() < until, "{address} is not blocked: {:?}", self.firewall.blocks()?);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Who is blocked, of the family that is tried.
    fn all_blocked(&self) -> Result<Vec<IpAddr>> {
        let blocked = self.firewall.blocks()?.into_iter().map(|row| row.address);
        Ok(blocked.filter(|address| address.is_ipv4() == self.manager.is_ipv4()).collect())
    }

    /// An event of this kind about the address, since number `last`; its text.
    fn told(&self, last: u64, kind: &str, address: IpAddr) -> Result<String> {
        let events = self.firewall.events(last)?;
        let event = events.iter().find(|row| row.kind.name() == kind && row.source.ip() == address);
        Ok(event.with_context(|| format!("no {kind} of {address}: {events:?}"))?.text.clone())
    }

    /// Runs fwctl; whether it says yes, and its words.
    fn fwctl(&self, line: &str) -> Result<(bool, String)> {
        let output = self.firewall.fwctl(&line.split(' ').collect::<Vec<_>>())?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }
}

#[test]
fn a_scanner_is_blocked() -> Result<()> {
    if !root_or_skip("a_scanner_is_blocked") {
        return Ok(());
    }
    Stage::each_family("", |stage, family| {
        let (attacker, bystander) = (family.attacker(), family.phone(0));
        ensure!(stage.reaches(attacker)? && stage.reaches(bystander)?, "the open port is closed");
        let last = stage.firewall.last_event()?;
        stage.scan(attacker, PLACES - 1)?;
        thread::sleep(Duration::from_millis(300));
        ensure!(stage.block_of(attacker)?.is_none(), "blocked too early");
        stage.scan(attacker, PLACES)?;
        let row = stage.blocked(attacker)?;
        ensure!(row.cause == BlockCause::Scan && row.text == "10 places within 20 s", "{row:?}");
        ensure!((BLOCK_S - 5..=BLOCK_S).contains(&row.left_s) && row.since_unix.is_some(), "{row:?}");
        ensure!(stage.told(last, "blocked", attacker)?.starts_with("scan: 10 places"), "{row:?}");
        let listing = stage.firewall.listing("blocks")?;
        ensure!(listing.contains(&attacker.to_string()) && listing.contains("scan"), "{listing}");

        // Where it was let by before too; and nobody else.
        let before = stage.firewall.counters_of("out0")?;
        ensure!(!stage.reaches(attacker)?, "a blocked address is let by");
        let dropped = stage.firewall.counters_of("out0")?.dropped_since(&before);
        ensure!(dropped == [("blocked".to_owned(), 1)].into(), "{dropped:?}");
        ensure!(stage.reaches(bystander)?, "a bystander is blocked");
        ensure!(stage.all_blocked()? == [attacker], "{:?}", stage.all_blocked()?);

        let (yes, said) = stage.fwctl(&format!("unblock {attacker}"))?;
        ensure!(yes && said.contains("10 places"), "{said}");
        stage.told(last, "unblocked", attacker)?;
        ensure!(stage.reaches(attacker)?, "still blocked");
        Ok(())
    })
}

#[test]
fn a_forged_scan_does_not_block_a_registered_phone() -> Result<()> {
    if !root_or_skip("a_forged_scan_does_not_block_a_registered_phone") {
        return Ok(());
    }
    Stage::each_family("", |stage, family| {
        let phone = Host::new(stage.lab.outside(), family.phone(0));
        let (stranger, another) = (family.phone(1), family.phone(2));
        let gatekeeper = Host::new(stage.lab.inside(), stage.manager);
        let desk = session::desk(&gatekeeper)?;
        let mut ras = Ras::between(&phone, &gatekeeper)?;
        let mut registration = Registration {
            call_signal: phone.at(17_300),
            ras: ras.address()?,
            life: 60,
            keep_alive: false,
            alias: "1000",
            token: false,
            feature: None,
        };
        let mut register = |keep_alive| {
            registration.keep_alive = keep_alive;
            ras.exchange(
                |sequence| ras::registration_request(sequence, &registration),
                |sequence| ras::registration_confirm(sequence, 60),
            )
        };
        register(false)?;

        // The samples come one after the other: once the stranger is blocked, the phone's scan has been weighed.
        stage.scan(phone.ip, 3 * PLACES)?;
        stage.scan(stranger, PLACES)?;
        stage.blocked(stranger)?;
        ensure!(stage.block_of(phone.ip)?.is_none(), "a forged scan has blocked the phone");
        register(true)?;

        let (mut dialogue, stream) = Dialogue::fast(&phone, &desk)?;
        stage.scan(phone.ip, 3 * PLACES)?;
        stage.scan(another, PLACES)?;
        stage.blocked(another)?;
        stream.whole()?;
        dialogue.release()?;
        register(true)?;
        let blocked = stage.all_blocked()?;
        ensure!(blocked.len() == 2 && !blocked.contains(&phone.ip), "{blocked:?}");
        ensure!(stage.reaches(phone.ip)? && !stage.reaches(stranger)?, "{blocked:?}");
        Ok(())
    })
}

#[test]
fn an_operator_blocks_whom_he_wants() -> Result<()> {
    if !root_or_skip("an_operator_blocks_whom_he_wants") {
        return Ok(());
    }
    let family = Family::V4;
    let never = format!("never_block = \"{}\"", family.management());
    let mut stage = Stage::new(&never)?;
    let (attacker, phone) = (family.attacker(), family.phone(0));
    let (yes, said) = stage.fwctl(&format!("block {attacker}"))?;
    ensure!(yes, "{said}");
    let row = stage.blocked(attacker)?;
    ensure!(row.cause == BlockCause::Operator && (3_590..=3_600).contains(&row.left_s), "{row:?}");
    ensure!(!stage.reaches(attacker)?, "a blocked address is let by");

    // For a time, after which it ends by itself.
    let last = stage.firewall.last_event()?;
    let (yes, said) = stage.fwctl(&format!("block {phone} --for 1s"))?;
    ensure!(yes && !stage.reaches(phone)?, "{said}");
    thread::sleep(Duration::from_millis(2_300));
    ensure!(stage.reaches(phone)? && stage.block_of(phone)?.is_none(), "it has not ended");
    stage.told(last, "unblocked", phone)?;

    for (line, words) in [
        (format!("block {}", family.management()), "never_block"),
        (format!("block {}", family.firewall()), "own"),
        (format!("unblock {phone}"), "not blocked"),
    ] {
        let (yes, said) = stage.fwctl(&line)?;
        ensure!(!yes && said.contains(words), "fwctl {line}: {said}");
    }

    // While the daemon is away, and when it is back.
    stage.firewall.kill()?;
    ensure!(!stage.reaches(attacker)?, "a block ends with the daemon");
    stage.firewall.restart()?;
    let row = stage.blocked(attacker)?;
    ensure!(row.cause == BlockCause::EarlierRun && row.left_s > 3_500, "{row:?}");
    ensure!(!stage.reaches(attacker)?, "a block ends with the daemon");

    // Rules that exempt it lift it.
    stage.firewall.reload(&rules(&format!("never_block = \"{attacker}\"")))?;
    ensure!(stage.reaches(attacker)? && stage.firewall.blocks()?.is_empty(), "still blocked");
    Ok(())
}

#[test]
fn nobody_scans_who_is_never_to_be_blocked() -> Result<()> {
    if !root_or_skip("nobody_scans_who_is_never_to_be_blocked") {
        return Ok(());
    }
    let settings =
        "never_block = [\"10.9.9.5\", \"2001:db8:9::5\"]\nprotected = [\"10.20.0.10\", \"2001:db8:20::10\"]";
    Stage::each_family(settings, |stage, family| {
        let (exempt, known, manager) = (family.management(), family.phone(0), family.call_manager(1));
        // A rule names that one, and the last is this machine's own.
        for source in [exempt, known, manager, family.firewall()] {
            stage.scan(source, 2 * PLACES)?;
        }
        stage.scan(family.attacker(), PLACES)?;
        stage.blocked(family.attacker())?;
        let blocked = stage.all_blocked()?;
        ensure!(blocked == [family.attacker()], "{blocked:?}");
        Ok(())
    })
}

#[test]
fn who_is_above_a_limit_is_blocked_where_its_rule_says_so() -> Result<()> {
    if !root_or_skip("who_is_above_a_limit_is_blocked_where_its_rule_says_so") {
        return Ok(());
    }
    Stage::each_family("protected = [\"10.20.0.11\", \"2001:db8:20::11\"]", |stage, family| {
        let (attacker, known) = (family.attacker(), family.phone(1));
        let paced = stage.lab.inside().udp(SocketAddr::new(stage.manager, PACED))?;
        paced.set_read_timeout(Some(QUIET))?;
        let arrive = |from: IpAddr, count: u32| -> Result<u32> {
            let sender = stage.lab.outside().udp(SocketAddr::new(from, 0))?;
            for _ in 0..count {
                sender.send_to(b"paced", paced.local_addr()?)?;
            }
            let mut arrived = 0;
            while paced.recv(&mut [0; 64]).is_ok() {
                arrived += 1;
            }
            Ok(arrived)
        };
        let (modest, last) = (family.phone(0), stage.firewall.last_event()?);
        ensure!(arrive(modest, 8)? == 8, "within the limit");
        let arrived = arrive(attacker, 30)?;
        ensure!((10..20).contains(&arrived), "{arrived} have arrived");
        let row = stage.blocked(attacker)?;
        ensure!(row.cause == BlockCause::Limit && row.text.contains("\"paced\""), "{row:?}");
        ensure!((BLOCK_S - 5..=BLOCK_S).contains(&row.left_s), "{row:?}");
        stage.told(last, "blocked", attacker)?;
        // Other services too.
        ensure!(!stage.reaches(attacker)?, "a blocked address is let by");

        // A known peer is held to the limit, and no more than that.
        let before = stage.firewall.counters_of("out0")?;
        let arrived = arrive(known, 30)?;
        ensure!((10..20).contains(&arrived), "{arrived} have arrived");
        let dropped = stage.firewall.counters_of("out0")?.dropped_since(&before);
        ensure!(dropped.get("limit") == Some(&u64::from(30 - arrived)), "{dropped:?}");
        ensure!(stage.reaches(known)? && stage.reaches(modest)?, "{:?}", stage.firewall.blocks()?);
        ensure!(stage.all_blocked()? == [attacker], "{:?}", stage.all_blocked()?);
        Ok(())
    })
}
