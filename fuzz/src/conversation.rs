//! Signalling as it ought to be: what is made bad, and what leads up to it.

mod sip;

use std::net::SocketAddr;
use std::path::Path;
use std::{fs, io};

use callgate_alg::Transport;
use callgate_protocols::build::{self, Call, Media, Parts, ras, sccp};
use callgate_protocols::sccp::Channel;
use callgate_shared::policy::Inspect;

use crate::capture::{self, Message};

/// The ends of every conversation that is built, and whom they ask.
const CALLER: [u8; 4] = [192, 0, 2, 1];
const CALLEE: [u8; 4] = [198, 51, 100, 7];
const SERVER: [u8; 4] = [203, 0, 113, 5];

/// Conversations of a protocol; those of H.245 begin with H.225.
pub fn built(protocol: Inspect) -> Vec<Vec<Message>> {
    match protocol {
        Inspect::Sip => [Transport::Udp, Transport::Tcp].into_iter().flat_map(sip::conversations).collect(),
        Inspect::H225 => vec![h225(true), h225(false)],
        Inspect::H245 => vec![h245()],
        Inspect::Ras => vec![gatekeeper()],
        Inspect::Sccp => [0, 11, 17, 22].into_iter().map(phone).chain([oldest_phone()]).collect(),
        Inspect::Mgcp => vec![gateway(), gateway_restarts()],
        Inspect::Tftp => vec![file_read(), file_written()],
        Inspect::None => Vec::new(),
    }
}

/// What the captures of a directory have of these protocols, a conversation each.
///
/// # Errors
/// If they cannot be read.
pub fn captured(directory: &Path, protocols: &[Inspect]) -> io::Result<Vec<Vec<Message>>> {
    let mut files: Vec<_> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    // In the same order everywhere.
    files.sort();
    let mut all = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "pcap")) {
        let bytes = fs::read(file)?;
        let frames =
            capture::frames(&bytes).ok_or_else(|| io::Error::other(format!("{file:?}: not pcap")))?;
        let messages = frames.into_iter().filter_map(capture::message);
        all.push(messages.filter(|message| protocols.contains(&message.protocol)).collect::<Vec<_>>());
    }
    all.retain(|messages| !messages.is_empty());
    Ok(all)
}

/// The messages of a protocol that are in the decoders' corpus, of each kind there is: a conversation of each, which
/// makes little sense as one.
///
/// # Errors
/// If it cannot be read.
pub fn corpus(file: &Path, protocol: Inspect) -> io::Result<Vec<Vec<Message>>> {
    let name = match protocol {
        Inspect::H225 => "h225",
        Inspect::H245 => "h245",
        Inspect::Ras => "ras",
        _ => return Ok(Vec::new()),
    };
    let text = fs::read_to_string(file)?;
    let encodings = text.lines().filter_map(|line| {
        let (kind, rest) = line.split_once(' ')?;
        (kind == name).then(|| octets(rest.split(' ').next().unwrap_or_default()))
    });
    let messages: Vec<_> = encodings
        .map(|encoding| match protocol {
            Inspect::Ras => {
                Between::new(protocol, Transport::Udp, (CALLER, 1_719), (SERVER, 1_719)).there(encoding)
            }
            Inspect::H245 => {
                let line = Between::new(protocol, Transport::Tcp, (CALLER, 30_000), (CALLEE, 30_001));
                line.there(build::tpkt(&encoding))
            }
            _ => {
                let line = Between::new(protocol, Transport::Tcp, (CALLER, 40_000), (CALLEE, 1_720));
                line.there(build::tpkt(&user_user(&encoding)))
            }
        })
        .collect();
    Ok(messages.chunks(8).map(<[Message]>::to_vec).collect())
}

/// Octets in hexadecimal digits; what is none is left out.
fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// A Setup with this in its User-User element.
fn user_user(h225: &[u8]) -> Vec<u8> {
    let mut message = vec![0x08, 0x02, 0, 7, 0x05, 0x7e];
    message.extend(((h225.len() + 1) as u16).to_be_bytes());
    message.push(0x05);
    message.extend(h225);
    message
}

/// Two ends, and a protocol between them.
#[derive(Clone, Copy)]
struct Between {
    protocol: Inspect,
    transport: Transport,
    ends: [SocketAddr; 2],
}

impl Between {
    fn new(protocol: Inspect, transport: Transport, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Self {
        Self { protocol, transport, ends: [from.into(), to.into()] }
    }

    fn there(&self, payload: impl Into<Vec<u8>>) -> Message {
        self.message(0, payload.into())
    }

    fn back(&self, payload: impl Into<Vec<u8>>) -> Message {
        self.message(1, payload.into())
    }

    fn message(&self, from: usize, payload: Vec<u8>) -> Message {
        let Self { protocol, transport, ends } = *self;
        Message { protocol, transport, source: ends[from], destination: ends[1 - from], payload }
    }
}

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    (ip, port).into()
}

fn media(ip: [u8; 4]) -> Media {
    Media { rtp: at(ip, 20_000), rtcp: at(ip, 20_001) }
}

fn description(ip: [u8; 4]) -> String {
    let ip = std::net::Ipv4Addr::from(ip);
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=mid:0\r\na=rtcp:20005\r\na=sendrecv\r\n\
         a=candidate:1 1 UDP 2130706431 {ip} 20000 typ host\r\n\
         m=video 20010/2 RTP/AVPF 96\r\na=rtpmap:96 H264/90000\r\na=mid:1\r\na=rtcp-mux\r\na=inactive\r\n\
         m=image 0 udptl t38\r\n"
    )
}

fn h225(tunnelling: bool) -> Vec<Message> {
    let line = Between::new(Inspect::H225, Transport::Tcp, (CALLER, 30_001), (CALLEE, 1_720));
    let call = Call { reference: 5, id: [7; 16] };
    let (own, far) = (media(CALLER), media(CALLEE));
    let fast = Parts { fast_start: build::proposals(own), tunnelling, ..Parts::default() };
    let taken = Parts { fast_start: build::acceptance(far, own.rtp), tunnelling, ..Parts::default() };
    let control = vec![
        build::terminal_capability_set(false),
        build::open_logical_channel(1, 1, own.rtcp),
        build::open_logical_channel_ack(1, 1, far),
    ];
    let inner = Parts { h245_control: control, tunnelling: true, ..Parts::default() };
    let bare = Parts::default();
    vec![
        line.there(build::setup(&call, &fast)),
        line.back(build::call_proceeding(&call, &bare)),
        line.back(build::alerting(&call, &taken)),
        line.back(build::progress(&call, &bare)),
        line.back(build::connect(&call, &taken)),
        line.there(build::facility(&call, false, &inner)),
        line.back(build::facility(&call, true, &inner)),
        line.back(build::forward(&call, at(SERVER, 1_720))),
        line.back(build::release_complete(&call, true, &bare)),
    ]
}

fn h245() -> Vec<Message> {
    let line = Between::new(Inspect::H225, Transport::Tcp, (CALLER, 30_001), (CALLEE, 1_720));
    let control = Between::new(Inspect::H245, Transport::Tcp, (CALLER, 30_002), (CALLEE, 30_000));
    let call = Call { reference: 6, id: [8; 16] };
    let answer = Parts { h245_address: Some(at(CALLEE, 30_000)), ..Parts::default() };
    let (own, far) = (media(CALLER), media(CALLEE));
    let there = |message: Vec<u8>| control.there(build::tpkt(&message));
    let back = |message: Vec<u8>| control.back(build::tpkt(&message));
    vec![
        line.there(build::setup(&call, &Parts::default())),
        line.back(build::connect(&call, &answer)),
        there(build::terminal_capability_set(false)),
        back(build::terminal_capability_set_ack()),
        there(build::master_slave_determination(9)),
        back(build::master_slave_determination_ack(true)),
        there(build::open_logical_channel(1, 1, own.rtcp)),
        back(build::open_logical_channel_ack(1, 1, far)),
        back(build::open_logical_channel(1, 1, far.rtcp)),
        there(build::open_logical_channel_ack(1, 1, own)),
        there(build::open_data_channel(2, own.rtp)),
        back(build::open_logical_channel_reject(2)),
        back(build::terminal_capability_set(true)),
        there(build::close_logical_channel(1)),
        back(build::close_logical_channel_ack(1)),
        there(build::end_session()),
    ]
}

fn gatekeeper() -> Vec<Message> {
    let line = Between::new(Inspect::Ras, Transport::Udp, (CALLER, 1_719), (SERVER, 1_719));
    let (own, gatekeeper) = (at(CALLER, 1_719), at(SERVER, 1_719));
    let signal = at(CALLER, 1_720);
    vec![
        line.there(ras::gatekeeper_request(1, own)),
        line.back(ras::gatekeeper_confirm(1, gatekeeper)),
        line.there(ras::registration_request(2, signal, own, 60)),
        line.back(ras::registration_confirm(2, 60)),
        line.there(ras::admission_request(3, [7; 16])),
        line.back(ras::admission_confirm(3, at(CALLEE, 1_720))),
        line.there(ras::location_request(4, own)),
        line.back(ras::location_confirm(4, at(CALLEE, 1_720), gatekeeper)),
        line.there(ras::disengage_request(5, [7; 16])),
        line.there(ras::unregistration_request(6, signal)),
    ]
}

fn phone(version: u8) -> Vec<Message> {
    let line = Between::new(Inspect::Sccp, Transport::Tcp, (CALLER, 50_000), (SERVER, 2_000));
    let v = version.into();
    let channel = Channel { conference: 9, party: 501, call: 77 };
    let paging = Channel { party: 502, ..channel };
    let (own, far) = (at(CALLER, 20_000), at(CALLEE, 20_000));
    vec![
        line.there(sccp::alarm("Name=SEP0011AABBCCDD Load=8.0")),
        line.there(sccp::token_request("SEP0011AABBCCDD")),
        line.there(sccp::register("SEP0011AABBCCDD", CALLER.into(), version)),
        line.back(sccp::register_ack(30, version)),
        line.there(sccp::keep_alive()),
        line.back(sccp::call_state(v, 1, 77)),
        line.there(sccp::keypad(v, 4, 77)),
        line.there(sccp::enbloc(v, "4711")),
        line.back(sccp::dialed(v, "4711", 77)),
        line.back(sccp::call_info(v, 77, "1000", "4711")),
        line.back(sccp::open_receive(v, channel, 4, false)),
        line.there(sccp::open_receive_ack(v, channel, own, false)),
        line.back(sccp::start(v, channel, far, 4, false)),
        line.there(sccp::start_ack(v, channel, own, false)),
        line.back(sccp::open_receive(v, paging, 100, true)),
        line.there(sccp::open_receive_ack(v, paging, at(CALLER, 20_010), true)),
        line.back(sccp::start(v, paging, at(CALLEE, 20_010), 100, true)),
        line.there(sccp::port_response(v, channel, own, 20_003)),
        line.back(sccp::call_state(v, 5, 77)),
        line.there(sccp::transmission_failure(v, paging, at(CALLEE, 20_010))),
        line.back(sccp::close(v, 0x0106, channel)),
        line.back(sccp::close(v, 0x008b, channel)),
        line.back(sccp::multicast(v, 0x0101, paging, at([239, 1, 2, 3], 20_020))),
        line.back(sccp::close(v, 0x0103, paging)),
        line.there(sccp::open_receive_nak(v, paging, 1)),
        line.back(sccp::call_state(v, 2, 77)),
        line.back(sccp::reset(2)),
        line.there(sccp::unregister()),
        line.back(sccp::unregister_ack(0)),
    ]
}

fn oldest_phone() -> Vec<Message> {
    let line = Between::new(Inspect::Sccp, Transport::Tcp, (CALLER, 50_001), (SERVER, 2_000));
    vec![
        line.there(sccp::register("SEP0011AABBCCDE", CALLER.into(), 0)),
        line.there(sccp::ip_port(20_000)),
        line.back(sccp::register_ack(30, 0)),
        line.back(sccp::call_state(0, 5, 3)),
        line.back(sccp::oldest_reception(0x008c)),
        line.back(sccp::oldest_start(at(CALLEE, 20_000))),
        line.back(sccp::oldest_reception(0x008d)),
        line.back(sccp::register_reject("go away")),
    ]
}

fn gateway() -> Vec<Message> {
    let near = Between::new(Inspect::Mgcp, Transport::Udp, (SERVER, 2_727), (CALLER, 2_427));
    let far = Between::new(Inspect::Mgcp, Transport::Udp, (SERVER, 2_727), (CALLEE, 2_427));
    let (own, other) = (description(CALLER), description(CALLEE));
    vec![
        near.back("NTFY 4001 aaln/1@gw.example MGCP 1.0\r\nN: ca@203.0.113.5:2727\r\nX: 1\r\nO: L/hd\r\n"),
        near.there(
            "200 4001 OK\r\n.\r\nRQNT 1 aaln/1@gw.example MGCP 1.0\r\nX: 2\r\nR: L/hu(N), D/[0-9#*](D)\r\n",
        ),
        near.there("CRCX 2 aaln/1@gw.example MGCP 1.0\r\nC: A1\r\nL: p:20, a:PCMU\r\nM: recvonly\r\n"),
        near.back(format!("200 2 OK\r\nI: FDE1\r\nZ: aaln/1@gw.example\r\n\r\n{own}")),
        far.there(format!("CRCX 3 aaln/$@far.example MGCP 1.0\r\nC: A1\r\nM: sendrecv\r\n\r\n{own}")),
        far.back("100 3 PENDING\r\n"),
        far.back(format!("200 3 OK\r\nK: 1-2\r\nI: 32F3\r\nZ: aaln/2@far.example\r\n\r\n{other}")),
        far.there("000 3\r\n"),
        near.there(format!(
            "MDCX 4 aaln/1@gw.example MGCP 1.0\r\nC: A1\r\nI: FDE1\r\nM: sendrecv\r\n\r\n{other}"
        )),
        near.back("200 4 OK\r\n"),
        near.there("AUCX 5 aaln/1@gw.example MGCP 1.0\r\nI: FDE1\r\nF: C,LC,RC\r\n"),
        near.back(format!("200 5 OK\r\nC: A1\r\n\r\n{own}\r\n{other}")),
        near.there("AUEP 6 *@gw.example MGCP 1.0\r\nF: I\r\n"),
        near.back("200 6 OK\r\nI: FDE1, FDE2\r\nZ: aaln/1\r\nZ: aaln/2\r\n"),
        near.there("DLCX 7 aaln/1@gw.example MGCP 1.0\r\nC: A1\r\nI: FDE1\r\n"),
        near.back("250 7 OK\r\nP: PS=1245, OS=62345, PR=780\r\n"),
        far.there("DLCX 8 aaln/*@far.example MGCP 1.0\r\nC: A1\r\n"),
        far.back("250 8 OK\r\n"),
    ]
}

fn gateway_restarts() -> Vec<Message> {
    let line = Between::new(Inspect::Mgcp, Transport::Udp, (SERVER, 2_727), (CALLER, 2_427));
    vec![
        line.there(format!("CRCX 21 t1/ch1@gw MGCP 1.0\nC: B2\nM: sendrecv\n\n{}", description(CALLEE))),
        line.back(format!("200 21 OK\nI: 9\n\n{}", description(CALLER))),
        line.back("DLCX 31 t1/ch1@gw MGCP 1.0\r\nC: B2\r\nI: 9\r\nE: 900 lost\r\n"),
        line.there("250 31 OK\r\n"),
        line.back("RSIP 32 */*@gw MGCP 1.0\r\nRM: forced\r\n"),
        line.there("200 32 OK\r\nN: ca2@203.0.113.6\r\n"),
        line.back("RSIP 33 t1/*@gw MGCP 1.0\r\nRM: graceful\r\nRD: 300\r\n"),
        line.there("521 33 another agent\r\nN: ca2@203.0.113.6\r\n"),
    ]
}

fn file_read() -> Vec<Message> {
    let ask = Between::new(Inspect::Tftp, Transport::Udp, (CALLER, 49_152), (SERVER, 69));
    let line = Between::new(Inspect::Tftp, Transport::Udp, (CALLER, 49_152), (SERVER, 33_000));
    vec![
        ask.there(b"\0\x01SEP0011AABBCCDD.cnf.xml\0octet\0blksize\x001024\0tsize\x000\0timeout\x005\0"),
        line.back(b"\0\x06blksize\x001024\0tsize\x001500\0timeout\x005\0"),
        line.there(b"\0\x04\0\0"),
        line.back([&b"\0\x03\0\x01"[..], &[b'x'; 1_024]].concat()),
        line.there(b"\0\x04\0\x01"),
        line.back([&b"\0\x03\0\x02"[..], &[b'x'; 476]].concat()),
        line.there(b"\0\x04\0\x02"),
        ask.there(b"\0\x01CTLSEP0011AABBCCDD.tlv\0octet\0"),
        line.back(b"\0\x05\0\x01File not found\0"),
    ]
}

fn file_written() -> Vec<Message> {
    let ask = Between::new(Inspect::Tftp, Transport::Udp, (CALLER, 49_153), (SERVER, 69));
    let line = Between::new(Inspect::Tftp, Transport::Udp, (CALLER, 49_153), (SERVER, 33_001));
    vec![
        ask.there(b"\0\x02log/phone.txt\0netascii\0windowsize\x004\0"),
        line.back(b"\0\x06windowsize\x004\0"),
        line.there([&b"\0\x03\0\x01"[..], &[b'y'; 512]].concat()),
        line.back(b"\0\x04\0\x01"),
        line.there(b"\0\x03\0\x02end"),
        line.back(b"\0\x04\0\x02"),
    ]
}
