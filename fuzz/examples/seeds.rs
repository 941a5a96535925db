//! `seeds CORPUS CAPTURE…`: the beginnings of a corpus, a directory per target, from captures in pcap format and
//! from the conversations `mutate` knows.
//!
//! Every frame is a seed of `packet`, every capture one of `frames`; messages go to the targets of their protocols.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use callgate_alg::Transport;
use callgate_fuzz::capture::{self, Message};
use callgate_fuzz::{append_record, conversation};
use callgate_protocols::{h225, q931, sip, tpkt};
use callgate_shared::policy::Inspect;

type Seeds = BTreeSet<(&'static str, Vec<u8>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let corpus = arguments.next().ok_or("usage: seeds CORPUS CAPTURE…")?;
    let mut seeds = Seeds::new();
    for capture in arguments {
        let bytes = fs::read(&capture)?;
        let frames =
            capture::frames(&bytes).ok_or_else(|| format!("{}: not a pcap file", capture.display()))?;
        let mut all = Vec::new();
        for frame in &frames {
            append_record(&mut all, frame);
            seeds.insert(("packet", frame.to_vec()));
        }
        seeds.insert(("frames", all));
        let messages: Vec<_> = frames.into_iter().filter_map(capture::message).collect();
        tracked(&messages, &mut seeds);
    }
    for protocol in Inspect::ALL {
        conversation::built(protocol).iter().for_each(|messages| tracked(messages, &mut seeds));
    }
    let corpus_file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../userspace/protocols/tests/corpus/h323.txt");
    for protocol in [Inspect::H225, Inspect::H245, Inspect::Ras] {
        let messages = conversation::corpus(&corpus_file, protocol)?;
        messages.iter().flatten().for_each(|message| decoded(message, &mut seeds));
    }
    for (number, (target, seed)) in seeds.iter().enumerate() {
        let directory = Path::new(&corpus).join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{number:05}")), seed)?;
    }
    Ok(())
}

/// Messages one after the other are a seed of `calls`, each alone one of its protocol's target.
fn tracked(messages: &[Message], seeds: &mut Seeds) {
    let mut calls = Vec::new();
    for message in messages {
        decoded(message, seeds);
        let index = Inspect::ALL.iter().position(|protocol| *protocol == message.protocol).unwrap_or(0);
        let back = u8::from(message.source > message.destination);
        let tcp = u8::from(message.transport == Transport::Tcp) * 2;
        // Anybody's addresses may be announced.
        append_record(&mut calls, &[&[index as u8, back | tcp | 4], &message.payload[..]].concat());
    }
    seeds.insert(("calls", calls));
}

fn decoded(message: &Message, seeds: &mut Seeds) {
    let payload = &message.payload;
    let target = match message.protocol {
        Inspect::Sip => {
            if let Some(sdp) = sip::Message::parse(payload).ok().and_then(|message| message.sdp()) {
                seeds.insert(("sdp", sdp.to_vec()));
            }
            "sip"
        }
        Inspect::H225 => {
            seeds.insert(("tpkt", payload.clone()));
            if let Ok(Some(tpkt)) = tpkt::split(payload) {
                seeds.insert(("q931", tpkt.payload.to_vec()));
                if let Ok(q931::Message { user_user: Some(element), .. }) = q931::Message::parse(tpkt.payload)
                    && let Ok(message) = h225::Message::parse(element)
                {
                    let inner =
                        message.fast_start.chain(message.h245_control).chain(message.parallel_h245_control);
                    seeds.extend(inner.map(|message| ("h245", message.to_vec())));
                }
            }
            "h225"
        }
        Inspect::H245 => {
            if let Ok(Some(tpkt)) = tpkt::split(payload) {
                seeds.insert(("h245", tpkt.payload.to_vec()));
            }
            return;
        }
        Inspect::Ras => "ras",
        Inspect::Sccp => "sccp",
        Inspect::Mgcp => "mgcp",
        Inspect::Tftp => "tftp",
        Inspect::None => return,
    };
    seeds.insert((target, payload.clone()));
}
