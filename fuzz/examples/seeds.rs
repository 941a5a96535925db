//! `seeds CORPUS CAPTURE…`: the beginnings of a corpus, a directory per target, from captures in pcap format.
//!
//! Every frame is a seed of `packet`, every capture one of `frames`; messages go to the targets of their ports.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use callgate_fuzz::append_record;
use callgate_protocols::{h225, q931, sip, tpkt};
use callgate_shared::packet::{Kind, parse};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let corpus = arguments.next().ok_or("usage: seeds CORPUS CAPTURE…")?;
    let mut seeds = BTreeSet::new();
    for capture in arguments {
        let bytes = fs::read(&capture)?;
        let frames = frames(&bytes).ok_or_else(|| format!("{}: not a pcap file", capture.display()))?;
        let (mut all, mut messages) = (Vec::new(), Vec::new());
        for frame in frames {
            append_record(&mut all, frame);
            seeds.insert(("packet", frame.to_vec()));
            signalling(frame, &mut seeds, &mut messages);
        }
        seeds.insert(("frames", all));
        seeds.insert(("calls", messages));
    }
    for (number, (target, seed)) in seeds.iter().enumerate() {
        let directory = Path::new(&corpus).join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{number:05}")), seed)?;
    }
    Ok(())
}

/// The frames of a capture in the format of `tcpdump` (little-endian, as nearly all are).
fn frames(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let header = bytes.split_off(..24)?;
    if !matches!(header[..4], [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) {
        return None;
    }
    let mut frames = Vec::new();
    while let Some(record) = bytes.split_off(..16) {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
        frames.push(bytes.split_off(..usize::try_from(length).ok()?)?);
    }
    Some(frames)
}

/// The messages a frame carries whole.
fn signalling(frame: &[u8], seeds: &mut BTreeSet<(&'static str, Vec<u8>)>, messages: &mut Vec<u8>) {
    let Ok(packet) = parse(&frame) else { return };
    let at = usize::from(packet.payload_at);
    let Some(payload) = frame.get(at..at + usize::from(packet.payload_length)) else { return };
    if packet.kind != Kind::Ip || payload.is_empty() {
        return;
    }
    let either = |port| packet.source_port == port || packet.destination_port == port;
    let over_tcp = packet.protocol == callgate_shared::flow::TCP;
    let back = u8::from(packet.source > packet.destination);
    let head = match over_tcp {
        _ if either(5_060) => {
            if let Some(sdp) = sip::Message::parse(payload).ok().and_then(|message| message.sdp()) {
                seeds.insert(("sdp", sdp.to_vec()));
            }
            seeds.insert(("sip", payload.to_vec()));
            if over_tcp { 8 } else { 0 }
        }
        true if either(1_720) => {
            seeds.insert(("h225", payload.to_vec()));
            if let Ok(Some(tpkt)) = tpkt::split(payload)
                && let Ok(q931::Message { user_user: Some(element), .. }) = q931::Message::parse(tpkt.payload)
                && let Ok(message) = h225::Message::parse(element)
            {
                let inner =
                    message.fast_start.chain(message.h245_control).chain(message.parallel_h245_control);
                seeds.extend(inner.map(|message| ("h245", message.to_vec())));
            }
            2
        }
        true => match tpkt::split(payload) {
            Ok(Some(tpkt)) => {
                seeds.insert(("h245", tpkt.payload.to_vec()));
                4
            }
            _ => return,
        },
        false if either(1_719) => {
            seeds.insert(("ras", payload.to_vec()));
            6
        }
        false => return,
    };
    append_record(messages, &[&[head | back | 16], payload].concat());
}
