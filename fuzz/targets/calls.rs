//! Call tracking, message by message: each record is the protocol, a byte that says who speaks how, and the
//! message.

#![no_main]

use callgate_alg::engine::Segment;
use callgate_alg::{Context, Time, Transport};
use callgate_fuzz::{ANY, BOUNDS, check, check_end, engine, records};
use callgate_shared::policy::Inspect;
use libfuzzer_sys::fuzz_target;

const SECOND: u64 = 1_000_000_000;

fuzz_target!(|input: &[u8]| {
    let mut engine = engine(BOUNDS);
    let mut now = Time(SECOND);
    // Bytes sent so far, by direction and protocol: what is sent next on a stream.
    let mut sent = [[0_u32; Inspect::ALL.len()]; 2];
    for record in records(input) {
        let Some((&[which, head], message)) = record.split_first_chunk() else { continue };
        now = Time(now.0 + SECOND / 10);
        let back = usize::from(head & 1);
        let stream = usize::from(which) % Inspect::ALL.len();
        let protocol = Inspect::ALL[stream];
        let (transport, ports) = match protocol {
            Inspect::H225 => (Transport::Tcp, [30_001, 1_720]),
            Inspect::H245 => (Transport::Tcp, [30_002, 30_000]),
            Inspect::Sccp => (Transport::Tcp, [50_000, 2_000]),
            Inspect::Ras => (Transport::Udp, [1_719, 1_719]),
            Inspect::Mgcp => (Transport::Udp, [2_727, 2_427]),
            // Once a request has been made, the server speaks from another port.
            Inspect::Tftp if head & 2 == 0 => (Transport::Udp, [49_152, 69]),
            Inspect::Tftp => (Transport::Udp, [49_152, 33_000]),
            _ => (if head & 2 == 0 { Transport::Udp } else { Transport::Tcp }, [5_060, 5_060]),
        };
        let ends = [([192, 0, 2, 1], ports[0]).into(), ([198, 51, 100, 7], ports[1]).into()];
        let slot = if head & 4 == 0 { 0 } else { ANY };
        // Who is told apart by the network card, where it is known.
        let link = (head & 64 != 0).then_some([2, 0, 0, 0, 0, head & 1]);
        let (source, destination) = (ends[back], ends[1 - back]);
        let context = Context { now, source, destination, link, transport, protocol, slot };
        match transport {
            Transport::Udp => drop(engine.datagram(&context, message)),
            Transport::Tcp => {
                let acknowledgement = sent[1 - back][stream];
                let sequence = sent[back][stream];
                // FIN, SYN and RST.
                let segment = Segment { sequence, acknowledgement, flags: head >> 3 & 0b111 | 0x10 };
                engine.segment(&context, segment, message);
                sent[back][stream] = sequence.wrapping_add(message.len() as u32);
            }
        }
        if head & 128 != 0 {
            engine.tick(now);
        }
        check(&engine, BOUNDS);
    }
    check_end(&mut engine, now);
});
