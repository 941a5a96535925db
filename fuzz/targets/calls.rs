//! Call tracking, message by message: each record is a byte that says who speaks how, and the message.

#![no_main]

use callgate_alg::engine::Segment;
use callgate_alg::{Context, Time, Transport};
use callgate_fuzz::{ANY, check, check_end, engine, records};
use callgate_shared::policy::Inspect;
use libfuzzer_sys::fuzz_target;

const SECOND: u64 = 1_000_000_000;

fuzz_target!(|input: &[u8]| {
    let mut engine = engine();
    let mut now = Time(SECOND);
    // Bytes sent so far, by direction and protocol: what is sent next on a stream.
    let mut sent = [[0_u32; 3]; 2];
    for record in records(input) {
        let Some((&head, message)) = record.split_first() else { continue };
        now = Time(now.0 + SECOND / 10);
        let back = usize::from(head & 1);
        let (protocol, transport, stream, port) = match head >> 1 & 3 {
            0 => (Inspect::Sip, if head & 8 == 0 { Transport::Udp } else { Transport::Tcp }, 0, 5_060),
            1 => (Inspect::H225, Transport::Tcp, 1, 1_720),
            2 => (Inspect::H245, Transport::Tcp, 2, 30_000),
            _ => (Inspect::Ras, Transport::Udp, 0, 1_719),
        };
        let ends = [([192, 0, 2, 1], port).into(), ([198, 51, 100, 7], port).into()];
        let slot = if head & 16 == 0 { 0 } else { ANY };
        let context =
            Context { now, source: ends[back], destination: ends[1 - back], transport, protocol, slot };
        match transport {
            Transport::Udp => drop(engine.datagram(&context, message)),
            Transport::Tcp => {
                let acknowledgement = sent[1 - back][stream];
                let sequence = sent[back][stream];
                let segment = Segment { sequence, acknowledgement, flags: head >> 5 & 0b101 | 0x10 };
                engine.segment(&context, segment, message);
                sent[back][stream] = sequence.wrapping_add(message.len() as u32);
            }
        }
        if head & 128 != 0 {
            engine.tick(now);
        }
        check(&engine);
    }
    check_end(&mut engine, now);
});
