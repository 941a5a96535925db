//! The decoders and tshark read the same: names of messages, and each address in its role.
//!
//! Over the captures of the repository, those of the folder that `CALLGATE_CAPTURES` names, the corpus, and what
//! the builders write.

mod dissect;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use callgate_protocols::build::{self, Call, Media, Parts, ras as build_ras};
use callgate_protocols::h225::Guid;
use callgate_protocols::ras;
use callgate_protocols::refuse::{self, Why};
use dissect::{Dissected, dissect};
use support::{corpus, said};

#[test]
fn captures_are_read_as_tshark_reads_them() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures");
    let mut count = 0;
    for folder in [Some(own), env::var_os("CALLGATE_CAPTURES").map(PathBuf::from)].into_iter().flatten() {
        for capture in captures(&folder) {
            let Some(messages) = dissect(&capture) else { return left_out() };
            count += messages.len();
            compare(&capture.display().to_string(), &messages);
        }
    }
    assert!(count >= 100, "{count} messages");
    println!("{count} messages");
}

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of captures") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(captures(&path));
        } else if path.extension().is_some_and(|kind| kind == "pcap" || kind == "pcapng") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn left_out() {
    println!("left out: there is no tshark (scripts/setup installs it)");
}

/// What the decoders say of a message, as far as tshark is asked for it.
fn comparable(message: &Dissected) -> Result<Vec<String>, String> {
    let is_role =
        |word: &str| word.split_once('=').is_none_or(|(_, value)| value.parse::<SocketAddr>().is_ok());
    let mut words = said(message.protocol, &message.encoding)?.0;
    words.retain(|word| is_role(word));
    words.sort_unstable();
    Ok(words)
}

fn compare(source: &str, messages: &[Dissected]) {
    let mut wrong = Vec::new();
    for message in messages {
        let mut wanted = message.words.clone();
        wanted.sort_unstable();
        match comparable(message) {
            Ok(words) if words == wanted => {}
            Err(_) if message.malformed => {}
            read => wrong.push(format!(
                "packet {} {}{}\n  tshark {wanted:?}\n  read   {read:?}",
                message.packet,
                message.protocol,
                if message.malformed { " (malformed, says tshark)" } else { "" }
            )),
        }
    }
    assert!(wrong.is_empty(), "{source}: {} of {}:\n{}", wrong.len(), messages.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_is_read_as_tshark_reads_it() {
    let packets: Vec<_> = corpus()
        .map(|(protocol, encoding, _)| match protocol {
            "ras" => Packet::Ras(encoding),
            "h225" => Packet::Signalling(q931(&encoding)),
            // An H.245 connection is known by what has been said before: tunnelling needs no more.
            _ => {
                let parts = Parts { h245_control: vec![encoding], tunnelling: true, ..Parts::default() };
                Packet::Signalling(build::facility(&CALL, true, &parts))
            }
        })
        .collect();
    let Some(messages) = dissect_packets("corpus", &packets) else { return left_out() };
    compare("corpus", &messages);
    assert_eq!(messages.len(), packets.len());
}

/// tshark reads each to its end, and as the decoders do; their names are these.
fn written_well(capture: &str, packets: &[Packet], names: &[&str]) {
    let Some(messages) = dissect_packets(capture, packets) else { return left_out() };
    compare(capture, &messages);
    let got: Vec<_> = messages.iter().map(|message| message.words[0].as_str()).collect();
    assert_eq!(got, names);
    let malformed: Vec<_> = messages.iter().filter(|message| message.malformed).collect();
    assert!(malformed.is_empty(), "{malformed:?}");
}

const REASONS: [Why; 3] = [Why::Forbidden, Why::Exhausted, Why::Unauthenticated];
const CALL: Call = Call { reference: 7, id: *b"callgate's tests" };

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

#[test]
fn refusals_are_written_well() {
    let (call_signal, ras) = (at("192.0.2.1:1720"), at("[2001:db8::1]:1719"));
    let requests = [
        (build_ras::gatekeeper_request(1, ras), "gatekeeperReject"),
        (build_ras::registration_request(65_535, call_signal, ras, 60), "registrationReject"),
        (build_ras::unregistration_request(3, call_signal), "unregistrationReject"),
        (build_ras::admission_request(4, CALL.id), "admissionReject"),
        (build_ras::bandwidth_request(5, CALL.id, 640), "bandwidthReject"),
        (build_ras::disengage_request(6, CALL.id), "disengageReject"),
        (build_ras::location_request(7, ras), "locationReject"),
    ];
    let (mut packets, mut names) = (Vec::new(), Vec::new());
    for why in REASONS {
        for (request, name) in &requests {
            let request = ras::Message::parse(request).expect("a request");
            packets.push(Packet::Ras(refuse::ras_reject(&request, why).expect("a rejection")));
            names.push(*name);
        }
        for call in [Some(Guid(CALL.id)), None] {
            packets.push(Packet::Signalling(refuse::release_complete(0x1234, true, call, why)));
            names.push("releaseComplete");
        }
    }
    written_well("refusals", &packets, &names);
}

#[test]
fn what_tests_say_is_written_well() {
    for host in ["192.0.2.1", "[2001:db8::1]"] {
        let place = |port: u16| at(&format!("{host}:{port}"));
        let own = Media { rtp: place(20_000), rtcp: place(20_001) };
        let full = |fast_start| Parts {
            h245_address: Some(place(30_000)),
            fast_start,
            tunnelling: true,
            h245_control: vec![
                build::terminal_capability_set(false),
                build::master_slave_determination(7),
                build::open_logical_channel(1, 1, own.rtcp),
                build::open_logical_channel_ack(1, 1, own),
                build::open_data_channel(2, place(1503)),
                build::close_logical_channel(1),
                build::end_session(),
            ],
        };
        let (offer, answer) =
            (full(build::offer(own, 7)), full(build::acceptance(own, at("198.51.100.7:20000"))));
        let signalling = [
            (build::setup(&CALL, &offer), "setup"),
            (build::call_proceeding(&CALL, &answer), "callProceeding"),
            (build::alerting(&CALL, &answer), "alerting"),
            (build::progress(&CALL, &answer), "progress"),
            (build::connect(&CALL, &answer), "connect"),
            (build::facility(&CALL, true, &answer), "facility"),
            (build::forward(&CALL, place(1720)), "facility"),
            (build::release_complete(&CALL, true, &Parts::default()), "releaseComplete"),
        ];
        let ras = [
            (build_ras::registration_confirm(2, 90), "registrationConfirm"),
            (build_ras::admission_confirm(4, place(1720)), "admissionConfirm"),
            (build_ras::location_confirm(6, place(1720), place(1719)), "locationConfirm"),
            (build_ras::gatekeeper_confirm(6, place(1719)), "gatekeeperConfirm"),
        ];
        let names: Vec<_> =
            signalling.iter().map(|(_, name)| *name).chain(ras.iter().map(|(_, n)| *n)).collect();
        let packets: Vec<_> = signalling
            .into_iter()
            .map(|(message, _)| Packet::Signalling(message))
            .chain(ras.into_iter().map(|(message, _)| Packet::Ras(message)))
            .collect();
        written_well("builders", &packets, &names);
    }
}

/// A User-User element's contents in a Setup, as a TPKT.
fn q931(h225: &[u8]) -> Vec<u8> {
    let mut message = vec![0x08, 0x02, 0, 7, 0x05, 0x7e];
    message.extend(((h225.len() + 1) as u16).to_be_bytes());
    message.push(0x05);
    message.extend(h225);
    build::tpkt(&message)
}

/// A message on its way.
enum Packet {
    Ras(Vec<u8>),
    Signalling(Vec<u8>),
}

impl Packet {
    /// An Ethernet frame with it, from a port of its own.
    fn frame(&self, number: u16) -> Vec<u8> {
        let own = (40_000 + number).to_be_bytes();
        let (protocol, transport) = match self {
            Self::Ras(message) => {
                let mut udp = [own, 1719_u16.to_be_bytes()].concat();
                udp.extend(((message.len() + 8) as u16).to_be_bytes());
                udp.extend([0, 0]);
                (17, [udp, message.clone()].concat())
            }
            Self::Signalling(message) => {
                let mut tcp = [own, 1720_u16.to_be_bytes()].concat();
                tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
                (6, [tcp, message.clone()].concat())
            }
        };
        let mut frame = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0];
        frame.extend(((transport.len() + 20) as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7]);
        frame.extend(transport);
        frame
    }
}

/// What tshark makes of these packets.
fn dissect_packets(name: &str, packets: &[Packet]) -> Option<Vec<Dissected>> {
    let mut capture = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 1] {
        capture.extend(word.to_le_bytes());
    }
    // The version is two numbers of two octets.
    capture[4..8].copy_from_slice(&[2, 0, 4, 0]);
    for (packet, number) in packets.iter().zip(0..) {
        let frame = packet.frame(number);
        for word in [u32::from(number), 0, frame.len() as u32, frame.len() as u32] {
            capture.extend(word.to_le_bytes());
        }
        capture.extend(frame);
    }
    let path = env::temp_dir().join(format!("callgate-{name}-{}.pcap", process::id()));
    fs::write(&path, capture).expect("a capture is written");
    let messages = dissect(&path);
    fs::remove_file(&path).expect("a capture is removed");
    messages
}
