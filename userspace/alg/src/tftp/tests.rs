use callgate_rules::{Pattern, TftpPolicy};
use proptest::prelude::*;

use super::*;
use crate::action::{Action, Transport};
use crate::core::Bounds;
use crate::media::Policy;

const PHONE: &str = "192.0.2.10:49152";
const SERVER: &str = "203.0.113.5:69";
/// The server's fresh port.
const FRESH: &str = "203.0.113.5:33000";
const ELSEWHERE: &str = "203.0.113.5:33001";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn read(file: &str, options: &[(&str, &str)]) -> Vec<u8> {
    request(1, file, options)
}

fn request(opcode: u8, file: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = vec![0, opcode];
    let words = [file, "octet"].into_iter().chain(options.iter().flat_map(|(name, value)| [*name, *value]));
    for word in words {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

fn option_ack(options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = vec![0, 6];
    for word in options.iter().flat_map(|(name, value)| [*name, *value]) {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

fn data(block: u16, length: usize) -> Vec<u8> {
    let mut packet = vec![0, 3];
    packet.extend_from_slice(&block.to_be_bytes());
    packet.resize(4 + length, b'x');
    packet
}

fn ack(block: u16) -> Vec<u8> {
    let [high, low] = block.to_be_bytes();
    vec![0, 4, high, low]
}

const NOT_FOUND: &[u8] = b"\0\x05\0\x01File not found\0";

/// A firewall and a clock.
struct Lab {
    core: Core,
    tracker: Tracker,
    now: Time,
    phones: Vec<&'static str>,
}

impl Lab {
    fn new() -> Self {
        Self::with(TftpPolicy::default())
    }

    fn with(tftp: TftpPolicy) -> Self {
        let core = Core::new(Policy { tftp, ..Policy::default() }, Bounds::default());
        Self { core, tracker: Tracker::default(), now: Time(1_000_000_000), phones: Vec::new() }
    }

    fn verdict(&mut self, from: &str, to: &str, packet: &[u8]) -> Verdict {
        self.now = self.now + Duration::from_millis(10);
        let context = Context {
            now: self.now,
            source: at(from),
            destination: at(to),
            transport: Transport::Udp,
            protocol: Inspect::Tftp,
            slot: 0,
            link: None,
        };
        let phones = self.phones.clone();
        self.tracker.datagram(&mut self.core, &context, packet, |_| phones.into_iter())
    }

    /// Sends a packet that must pass; what it does, in words.
    fn pass(&mut self, from: &str, to: &str, packet: &[u8]) -> Vec<String> {
        assert_eq!(self.verdict(from, to, packet), Verdict::Pass, "{}", packet.escape_ascii());
        self.told()
    }

    fn refuse(&mut self, from: &str, to: &str, packet: &[u8]) -> Vec<String> {
        let verdict = self.verdict(from, to, packet);
        assert_eq!(verdict, Verdict::Drop(Reason::AlgRefused), "{}", packet.escape_ascii());
        self.told()
    }

    fn wait(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        self.tracker.tick(&mut self.core, self.now);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        let told = self.core.take_actions();
        told.iter()
            .filter_map(|action| match action {
                Action::Open(spec) => {
                    let from: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
                    Some(format!("open {} {} from {}", spec.kind.name(), spec.to, from.join(",")))
                }
                Action::Update(spec) => Some(format!("update {}", spec.to)),
                Action::Close { to, reason, .. } => Some(format!("close {to} {}", reason.name())),
                Action::Refused { address, refusal, .. } => {
                    Some(format!("refuse {address} {}", refusal.name()))
                }
                Action::Ended(_, reason) => Some(format!("end {}", reason.name())),
                Action::Event(event) => Some(format!("{} {}: {}", event.kind, event.subject, event.text)),
                Action::Path(_) | Action::Say(_) => None,
                Action::Call(_) | Action::Finished(_) | Action::Suspect(_) => None,
            })
            .collect()
    }
}

#[test]
fn a_read_opens_the_pair_of_ports_and_no_more() {
    let mut lab = Lab::new();
    let told = lab.pass(PHONE, SERVER, &read("RINGLIST.XML", &[]));
    assert_eq!(told, ["file-asked RINGLIST.XML: ", "open tftp 192.0.2.10:49152 from 203.0.113.5"]);
    assert_eq!(lab.pass(FRESH, PHONE, &data(1, 512)), ["close 192.0.2.10:49152 locked"], "locked");
    lab.refuse(ELSEWHERE, PHONE, &data(1, 512));
    lab.refuse(PHONE, ELSEWHERE, &ack(1));
    lab.refuse("203.0.113.9:33000", PHONE, &data(1, 512));
    assert_eq!(lab.pass(PHONE, FRESH, &ack(1)), [""; 0]);
    assert_eq!(lab.pass(FRESH, PHONE, &data(1, 512)), [""; 0], "sent again");
    let told = lab.pass(FRESH, PHONE, &data(2, 100));
    assert_eq!(told, ["file-fetched RINGLIST.XML: read, 612 bytes, plain", "end completed"]);
    // The last acknowledgement, and the last block again because it was lost.
    lab.pass(PHONE, FRESH, &ack(2));
    lab.pass(FRESH, PHONE, &data(2, 100));
    assert_eq!(lab.wait(16), [""; 0]);
    lab.refuse(FRESH, PHONE, &data(2, 100));
    assert!(lab.tracker.transfers.is_empty() && lab.core.calls().next().is_none());
}

#[test]
fn a_negotiated_block_size_tells_the_last_block() {
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("SEP001122334455.cnf.xml.sgn", &[("blksize", "1428"), ("tsize", "0")]));
    let answer = option_ack(&[("blksize", "1024"), ("tsize", "1100")]);
    assert_eq!(lab.pass(FRESH, PHONE, &answer), ["close 192.0.2.10:49152 locked"]);
    lab.pass(PHONE, FRESH, &ack(0));
    assert_eq!(lab.pass(FRESH, PHONE, &data(1, 1024)), [""; 0]);
    let too_long = lab.verdict(FRESH, PHONE, &data(2, 1025));
    assert_eq!(too_long, Verdict::Drop(Reason::AlgMalformed));
    let told = lab.pass(FRESH, PHONE, &data(2, 76));
    assert_eq!(told[0], "file-fetched SEP001122334455.cnf.xml.sgn: read, 1100 bytes, signed");
}

#[test]
fn a_server_may_only_lower_the_block_size() {
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("a", &[("blksize", "1024")]));
    let higher = lab.verdict(FRESH, PHONE, &option_ack(&[("blksize", "1025")]));
    assert_eq!(higher, Verdict::Drop(Reason::AlgMalformed));
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("a", &[]));
    let unasked = lab.verdict(FRESH, PHONE, &option_ack(&[("blksize", "512")]));
    assert_eq!(unasked, Verdict::Drop(Reason::AlgMalformed));
}

#[test]
fn an_empty_last_block_ends_a_file_of_whole_blocks() {
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("a", &[]));
    lab.pass(FRESH, PHONE, &data(1, 512));
    assert_eq!(lab.pass(FRESH, PHONE, &data(2, 0)).last().map(String::as_str), Some("end completed"));
}

#[test]
fn an_error_or_silence_ends_a_transfer() {
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("a", &[]));
    let told = lab.pass(FRESH, PHONE, NOT_FOUND);
    assert_eq!(
        told,
        [
            "close 192.0.2.10:49152 locked",
            "file-failed a: error 1: File not found, after 0 bytes",
            "end failed"
        ]
    );
    assert_eq!(lab.pass(FRESH, PHONE, NOT_FOUND), [""; 0]);

    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("a", &[]));
    assert_eq!(lab.wait(15), [""; 0]);
    let told = lab.wait(1);
    assert_eq!(
        told,
        ["file-failed a: silence, after 0 bytes", "close 192.0.2.10:49152 inactivity", "end inactivity"]
    );
    lab.refuse(FRESH, PHONE, &data(1, 512));

    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("a", &[("timeout", "10")]));
    assert_eq!(lab.wait(29), [""; 0], "they repeat packets more slowly");
    assert_eq!(lab.wait(2).len(), 3);
}

#[test]
fn a_request_sent_again_opens_the_port_again() {
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("a", &[]));
    assert_eq!(lab.pass(PHONE, SERVER, &read("a", &[])), [""; 0], "it is open");
    lab.pass(FRESH, PHONE, &data(1, 512));
    let told = lab.pass(PHONE, SERVER, &read("a", &[]));
    assert_eq!(told, ["open tftp 192.0.2.10:49152 from 203.0.113.5"], "the first block was lost");
    lab.pass(ELSEWHERE, PHONE, &data(1, 512));
    lab.refuse(FRESH, PHONE, &data(2, 512));
    // Another file from the same port is another transfer.
    let told = lab.pass(PHONE, SERVER, &read("b", &[]));
    assert_eq!(told[0], "end moved");
    assert_eq!(lab.core.calls().map(|call| call.key.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn writing_is_refused_unless_it_is_permitted() {
    let mut lab = Lab::new();
    let told = lab.refuse(PHONE, SERVER, &request(2, "core.dump", &[]));
    assert_eq!(told, ["refused core.dump: writing is not permitted"]);

    let mut lab = Lab::with(TftpPolicy { write: true, ..TftpPolicy::default() });
    lab.pass(PHONE, SERVER, &request(2, "core.dump", &[]));
    lab.pass(FRESH, PHONE, &ack(0));
    lab.refuse(FRESH, PHONE, &data(1, 10));
    lab.refuse(PHONE, FRESH, &ack(1));
    lab.pass(PHONE, FRESH, &data(1, 512));
    let told = lab.pass(PHONE, FRESH, &data(2, 1));
    assert_eq!(told[0], "file-fetched core.dump: written, 513 bytes, plain");
}

#[test]
fn only_files_that_are_named_may_be_read() {
    let files = ["SEP*", "*.loads"].iter().filter_map(|text| Pattern::new(text)).collect();
    let mut lab = Lab::with(TftpPolicy { files, ..TftpPolicy::default() });
    let told = lab.refuse(PHONE, SERVER, &read("/etc/passwd", &[]));
    assert_eq!(told, ["refused /etc/passwd: no pattern permits the file"]);
    lab.refuse(PHONE, SERVER, &read("SEP/../../etc/shadow", &[]));
    lab.refuse(PHONE, SERVER, &read("SEP\\..\\boot.ini", &[]));
    lab.pass(PHONE, SERVER, &read("term62.default.loads", &[]));
}

#[test]
fn a_phone_reads_its_own_files_only() {
    let mut lab = Lab::new();
    lab.phones = vec!["SEP001122334455"];
    for file in ["SEPAABBCCDDEEFF.cnf.xml", "CTLSEPAABBCCDDEEFF.tlv", "x/sepaabbccddeeff.cnf.xml.sgn"] {
        let told = lab.refuse(PHONE, SERVER, &read(file, &[]));
        assert_eq!(told, [format!("refused {file}: the file of another phone")]);
    }
    for file in ["SEP001122334455.cnf.xml", "ITLSEP001122334455.tlv", "XMLDefault.cnf.xml", "SEPDefault.cnf"]
    {
        lab.pass(PHONE, SERVER, &read(file, &[]));
    }
    lab.phones = vec!["CIPC1"];
    lab.pass(PHONE, SERVER, &read("SEPAABBCCDDEEFF.cnf.xml", &[]));
    let mut lab = Lab::with(TftpPolicy { match_mac: false, ..TftpPolicy::default() });
    lab.phones = vec!["SEP001122334455"];
    lab.pass(PHONE, SERVER, &read("SEPAABBCCDDEEFF.cnf.xml", &[]));
}

#[test]
fn a_trust_list_that_phones_cannot_load_is_flagged_once() {
    let large = "trust-list-too-large CTLSEP001122334455.tlv: ";
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("CTLSEP001122334455.tlv", &[("tsize", "0")]));
    let told = lab.pass(FRESH, PHONE, &option_ack(&[("tsize", "65537")]));
    assert!(told.iter().any(|told| told.starts_with(large)), "{told:?}");

    for (blocks, last, flagged) in [(128, 0, 0), (128, 1, 1), (130, 5, 1)] {
        let mut lab = Lab::new();
        lab.pass(PHONE, SERVER, &read("CTLSEP001122334455.tlv", &[]));
        let mut told = Vec::new();
        for block in 1..=blocks {
            told.extend(lab.pass(FRESH, PHONE, &data(block, 512)));
        }
        told.extend(lab.pass(FRESH, PHONE, &data(blocks + 1, last)));
        assert_eq!(told.iter().filter(|told| told.starts_with(large)).count(), flagged);
        assert!(told.iter().any(|told| told.ends_with("a signed trust list")), "{told:?}");
    }
}

#[test]
fn block_numbers_go_around() {
    let mut lab = Lab::new();
    lab.pass(PHONE, SERVER, &read("big.sbn", &[("blksize", "8")]));
    lab.pass(FRESH, PHONE, &option_ack(&[("blksize", "8")]));
    for n in 1..=65_540_u32 {
        lab.verdict(FRESH, PHONE, &data((n & 0xffff) as u16, 8));
    }
    let told = lab.pass(FRESH, PHONE, &data(5, 3));
    assert!(told.contains(&"file-fetched big.sbn: read, 524323 bytes, plain".to_owned()), "{told:?}");
}

#[test]
fn what_belongs_to_no_request_is_refused() {
    let mut lab = Lab::new();
    lab.refuse(FRESH, PHONE, &data(1, 512));
    lab.refuse(PHONE, FRESH, &read("a", &[]));
    lab.pass(PHONE, SERVER, &read("a", &[]));
    lab.refuse(PHONE, FRESH, &ack(1));
    assert_eq!(lab.verdict(PHONE, SERVER, b"\0\x09"), Verdict::Drop(Reason::AlgMalformed));
    let told = lab.pass("192.0.2.10:500", SERVER, &read("a", &[]));
    assert_eq!(told[1], "refuse 192.0.2.10:500 privileged-port");
}

#[test]
fn a_transfer_goes_on_after_a_restart_of_the_firewall() {
    for locked in [false, true] {
        let mut lab = Lab::new();
        lab.pass(PHONE, SERVER, &read("a", &[("blksize", "1024")]));
        if locked {
            lab.pass(FRESH, PHONE, &option_ack(&[("blksize", "1024")]));
        }
        let calls: Vec<Call> = lab.core.calls().cloned().collect();
        let mut after = Lab::new();
        after.core.restore(calls, after.now);
        after.tracker.restore(after.core.calls(), after.now);
        assert_eq!(after.core.pinholes().count(), usize::from(!locked));
        after.pass(FRESH, PHONE, &data(if locked { 77 } else { 1 }, 1024));
        assert_eq!(after.core.pinholes().count(), 0);
        after.pass(PHONE, FRESH, &ack(77));
        after.refuse(ELSEWHERE, PHONE, &data(78, 1024));
        assert_eq!(after.wait(61).last().map(String::as_str), Some("end inactivity"));
    }
}

#[test]
fn transfers_are_bounded() {
    let mut lab = Lab::new();
    for n in 0..MAX_TRANSFERS {
        let client = format!("192.0.{}.{}:49152", n / 250, n % 250 + 1);
        lab.pass(&client, SERVER, &read("a", &[]));
    }
    let verdict = lab.verdict("198.51.100.1:49152", SERVER, &read("a", &[]));
    assert_eq!(verdict, Verdict::Drop(Reason::AlgMemory));
}

proptest! {
    /// Whatever is sent in whatever order, nothing is open but a client's own port for the server it asked,
    /// and nothing is when all have been silent.
    #[test]
    fn only_the_asking_port_is_ever_open(
        steps in prop::collection::vec((0..8_usize, 0..4_u16, 0..2_usize, 0..2_usize), 0..60)
    ) {
        let mut lab = Lab::new();
        for (kind, block, client, server) in steps {
            let client = [PHONE, "192.0.2.11:50000"][client];
            let server = [FRESH, ELSEWHERE][server];
            match kind {
                0 | 1 => drop(lab.verdict(client, SERVER, &read("a", &[]))),
                2 => drop(lab.verdict(client, server, &ack(block))),
                3 => drop(lab.verdict(server, client, NOT_FOUND)),
                4 => drop(lab.verdict(server, client, &data(block, 3))),
                5 => drop(lab.verdict(server, client, &option_ack(&[("tsize", "9")]))),
                6 => drop(lab.wait(u64::from(block) * 3)),
                _ => drop(lab.verdict(server, client, &data(block, 512))),
            }
            for spec in lab.core.pinholes() {
                prop_assert!(spec.to == at(PHONE) || spec.to == at("192.0.2.11:50000"));
                prop_assert!(spec.senders.iter().all(|sender| sender.ip == at(SERVER).ip()));
            }
            let alive = lab.tracker.transfers.values().filter(|transfer| !transfer.over).count();
            prop_assert_eq!(alive, lab.core.calls().count());
            // An open pinhole is that of a transfer nobody has answered.
            let open = lab.tracker.transfers.values().filter(|t| t.port.is_none()).count();
            prop_assert_eq!(open, lab.core.pinholes().count());
        }
        lab.wait(61);
        prop_assert!(lab.core.pinholes().count() == 0 && lab.tracker.transfers.is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)
    ) {
        let mut lab = Lab::new();
        lab.pass(PHONE, SERVER, &read("a", &[]));
        for packet in packets {
            lab.verdict(FRESH, PHONE, &packet);
            lab.verdict(PHONE, SERVER, &packet);
        }
        prop_assert!(lab.core.pinholes().count() <= 1);
    }
}
