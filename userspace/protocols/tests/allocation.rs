//! The decoders of H.323 and SIP allocate nothing, whatever a message says of lengths and counts.

#[allow(dead_code, reason = "what messages say is not compared here")]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use callgate_protocols::h245::OpenLogicalChannel;
use callgate_protocols::{build, h225, h245, q931, ras, sip, tpkt};
use support::corpus;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts what a thread asks for.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `read` allocates.
fn allocations(read: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    read();
    ALLOCATIONS.with(Cell::get) - before
}

/// Reads a message as far as its parts go.
fn read(protocol: &str, encoding: &[u8]) {
    match protocol {
        "ras" => {
            if let Ok(message) = ras::Message::parse(encoding)
                && let ras::Body::RegistrationRequest { call_signal, aliases, .. } = message.body
            {
                black_box((call_signal.iter().count(), aliases.iter().count()));
            }
        }
        "h225" => {
            let Ok(message) = h225::Message::parse(encoding) else { return };
            black_box((message.source.iter().count(), message.features.iter().count()));
            for channel in message.fast_start {
                let _ = black_box(OpenLogicalChannel::parse(channel));
            }
            for control in message.h245_control.chain(message.parallel_h245_control) {
                let _ = black_box(h245::Message::parse(control));
            }
        }
        _ => _ = black_box(h245::Message::parse(encoding)),
    }
}

#[test]
fn no_message_makes_the_decoders_allocate() {
    for (protocol, encoding, words) in corpus() {
        assert_eq!(allocations(|| read(protocol, &encoding)), 0, "{words:?}");
        // Nor do lengths beyond what is there, wherever they stand.
        for place in 0..encoding.len() {
            let mut damaged = encoding.clone();
            damaged[place] = 0xbf;
            assert_eq!(allocations(|| read(protocol, &damaged)), 0, "{words:?}, octet {place}");
        }
    }
}

#[test]
fn nor_does_what_carries_them() {
    let call = build::Call { reference: 7, id: *b"callgate's tests" };
    let stream = build::setup(&call, &build::Parts::default()).repeat(3);
    let read = || {
        let mut rest = stream.as_slice();
        while let Ok(Some(frame)) = tpkt::split(rest) {
            assert!(q931::Message::parse(frame.payload).is_ok_and(|message| message.user_user.is_some()));
            rest = frame.rest;
        }
    };
    assert_eq!(allocations(read), 0);
    assert_eq!(allocations(|| drop(black_box(vec![1]))), 1, "allocations are counted");
}

/// An INVITE with most of what one may have.
const INVITE: &str = "INVITE sip:b@198.51.100.7;transport=tcp SIP/2.0\r\n\
    Via: SIP/2.0/TCP 192.0.2.1;rport;branch=z9hG4bK1, SIP/2.0/UDP [2001:db8::1];received=192.0.2.9\r\n\
    v: SIP/2.0/UDP h.example\r\nMax-Forwards: 70\r\nFrom: \"A, \\\"B\\\"\" <sip:a@192.0.2.1>;tag=1\r\n\
    To:\r\n <sip:b@198.51.100.7>\r\ni: one@192.0.2.1\r\nCSeq: 7 INVITE\r\n\
    m: <sip:a@192.0.2.1:5060>;q=0.5;expires=60, *\r\nRoute: <sip:r;lr>\r\nSupported: timer, 100rel\r\n\
    Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\"\r\nReplaces: c;to-tag=1;from-tag=2\r\n\
    Event: x;id=1\r\nRAck: 1 2 INVITE\r\nReason: Q.850;cause=16\r\nx: 90;refresher=uac\r\n\
    Content-Type: multipart/mixed;boundary=b\r\nContent-Length: 57\r\n\r\n\
    --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--\r\n0123456";

/// Reads a SIP message as far as its parts go; whether it is one.
fn read_sip(bytes: &[u8]) -> bool {
    black_box(sip::frame_length(bytes));
    let Ok(message) = sip::Message::parse(bytes) else { return false };
    black_box((message.vias().count(), message.contacts().count(), message.longest_uri(), message.sdp()));
    black_box((
        message.credentials().filter_map(|credentials| credentials.username()).count(),
        message.replaces(),
    ));
    black_box((message.event(), message.rack(), message.reasons().count(), message.refresher()));
    black_box((message.supports("timer"), message.fields().count()));
    true
}

#[test]
fn no_sip_message_makes_the_reader_allocate() {
    assert!(read_sip(INVITE.as_bytes()));
    for place in 0..INVITE.len() {
        for byte in [b'\0', b'\r', b'\n', b'"', b'<', b'9', b'%', 0xff] {
            let mut damaged = INVITE.as_bytes().to_vec();
            damaged[place] = byte;
            assert_eq!(allocations(|| _ = read_sip(&damaged)), 0, "octet {place} is {byte:#04x}");
        }
        assert_eq!(allocations(|| _ = read_sip(&INVITE.as_bytes()[..place])), 0, "{place} octets");
    }
}
