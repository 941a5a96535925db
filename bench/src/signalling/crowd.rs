//! Many calls at once: what one of them takes in user space.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use callgate_alg::core::Bounds;
use callgate_alg::media::Policy;
use callgate_alg::{Context, Engine, Time, Transport, Verdict};
use callgate_shared::policy::Inspect;

use crate::report::{Case, rounded};
use crate::sys;

/// The case's name.
pub(crate) const NAME: &str = "sip-100k-calls";
/// Calls at once.
const CALLS: u32 = 100_000;
/// The same where it is only shown that it works: a power of two less, so that tables are as full.
const FEW: u32 = CALLS / 32;

/// Places calls that stay, and looks at the heap and the clock before and after. Each has phones and ports of its own.
pub(crate) fn measure(quick: bool) -> Result<Case> {
    let calls = if quick { FEW } else { CALLS };
    let mut engine = Engine::new(Policy::default(), Bounds::default());
    let before = sys::heap_in_use();
    let start = sys::thread_cpu_ns()?;
    for number in 0..calls {
        place(&mut engine, number, |engine| {
            // What the daemon takes at once is not kept.
            drop(engine.take_actions());
            Ok(())
        })?;
    }
    let time = sys::thread_cpu_ns()? - start;
    let bytes = sys::heap_in_use().saturating_sub(before) as f64 / f64::from(calls);
    ensure!(engine.calls().count() == calls as usize, "{} calls of {calls}", engine.calls().count());
    ensure!(engine.pinholes().count() == 4 * calls as usize, "{} pinholes", engine.pinholes().count());
    let mut case = Case::new(NAME);
    case.time(vec![time as f64 / f64::from(calls)]);
    case.bytes = Some(rounded(bytes, 0));
    case.note = Some(format!(
        "{bytes:.0} bytes of user space for each of {calls} calls at once, with four pinholes each; `ns` is for a \
         call: INVITE, 180, 200, ACK"
    ));
    Ok(case)
}

/// Where the two phones of a call are, its caller first.
pub(crate) fn phones(number: u32) -> [Ipv4Addr; 2] {
    [10_u32, 11].map(|net| Ipv4Addr::from((net << 24) + number + 1))
}

/// Where each of them receives RTP.
pub(crate) const MEDIA_PORT: u16 = 20_000;

/// An answered call of its own two phones; `read` is called after each of its four messages was.
pub(crate) fn place(
    engine: &mut Engine,
    number: u32,
    mut read: impl FnMut(&mut Engine) -> Result<()>,
) -> Result<()> {
    let [caller, callee] = phones(number).map(|ip| SocketAddr::new(IpAddr::V4(ip), 5060));
    let call = format!("{number:08x}-2c9f-4b1e@{}", caller.ip());
    let message = |start: &str, sequence: &str, tag: &str, media: Option<IpAddr>| {
        let body = media.map_or(String::new(), |ip| {
            format!(
                "v=0\r\no=- 3890 3890 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {MEDIA_PORT} RTP/AVP 0 8 101\r\n\
                 a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
            )
        });
        format!(
            "{start}\r\nVia: SIP/2.0/UDP {caller};branch=z9hG4bK{number:08x}{}\r\nMax-Forwards: 70\r\n\
             From: \"Caller {number}\" <sip:1{number:07}@{}>;tag=a{number:08x}\r\nTo: <sip:2{number:07}@{}>{tag}\r\n\
             Call-ID: {call}\r\nCSeq: {sequence}\r\nContact: <sip:1{number:07}@{caller}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            sequence.replace(' ', ""),
            caller.ip(),
            callee.ip(),
            body.len()
        )
    };
    let tag = format!(";tag=b{number:08x}");
    let request = |method: &str| format!("{method} sip:2{number:07}@{callee} SIP/2.0");
    let exchange = [
        (true, message(&request("INVITE"), "1 INVITE", "", Some(caller.ip()))),
        (false, message("SIP/2.0 180 Ringing", "1 INVITE", &tag, None)),
        (false, message("SIP/2.0 200 OK", "1 INVITE", &tag, Some(callee.ip()))),
        (true, message(&request("ACK"), "1 ACK", &tag, None)),
    ];
    for (forth, message) in exchange {
        let (source, destination) = if forth { (caller, callee) } else { (callee, caller) };
        let context = Context {
            now: Time(1_000_000_000),
            source,
            destination,
            transport: Transport::Udp,
            protocol: Inspect::Sip,
            slot: 0,
            link: None,
        };
        let verdict = engine.datagram(&context, message.as_bytes());
        ensure!(verdict == Verdict::Pass, "call {number}: {verdict:?}");
        read(engine)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound of the full bench, at a size a test can wait for.
    #[test]
    fn a_call_takes_no_more_than_4_kib() {
        let case = measure(true).expect("calls");
        assert!(case.bytes.is_some_and(|bytes| bytes > 500.0 && bytes <= 4_096.0), "{:?}", case.bytes);
    }
}
