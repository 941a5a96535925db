use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

const CALLER: [u8; 4] = [192, 0, 2, 1];
const CALLEE: [u8; 4] = [198, 51, 100, 7];

/// A UDP datagram in an Ethernet frame.
fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| u16::try_from(payload.len() + header).expect("short").to_be_bytes();
    let ([total, low], [udp, udp_low]) = (length(28), length(8));
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0, 0x45, 0, total, low, 0, 1, 0, 0, 64, 17, 0, 0]);
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend([udp, udp_low, 0, 0]);
    frame.extend(payload);
    frame
}

/// One second between two frames.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1];
    let mut file: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    for (second, frame) in frames.iter().enumerate() {
        let length = frame.len() as u32;
        file.extend([second as u32 + 1, 0, length, length].into_iter().flat_map(u32::to_le_bytes));
        file.extend(frame);
    }
    file
}

fn message(start: &str, cseq: &str, sdp: Option<(&str, u16)>) -> Vec<u8> {
    let body = sdp.map_or(String::new(), |(ip, port)| {
        format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
    });
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let to_tag = if cseq == "1 INVITE" && start.starts_with("INVITE") { "" } else { ";tag=2" };
    let branch = cseq.replace(' ', "");
    format!(
        "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@198.51.100.7>{to_tag}\r\nCall-ID: the-call\r\n\
         CSeq: {cseq}\r\nContact: <sip:x@192.0.2.1>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A call with one RTP packet each way, one from a stranger, and one after its end.
fn call() -> Vec<Vec<u8>> {
    let (caller, callee) = ((CALLER, 5060), (CALLEE, 5060));
    let rtp = |from, to| udp(from, to, &[0x80; 172]);
    let request = |method: &str, cseq: &str, sdp| {
        udp(caller, callee, &message(&format!("{method} sip:b@198.51.100.7 SIP/2.0"), cseq, sdp))
    };
    let ok = |cseq: &str, sdp| udp(callee, caller, &message("SIP/2.0 200 OK", cseq, sdp));
    vec![
        request("INVITE", "1 INVITE", Some(("192.0.2.1", 20_000))),
        ok("1 INVITE", Some(("198.51.100.7", 16_400))),
        request("ACK", "1 ACK", None),
        rtp((CALLER, 20_000), (CALLEE, 16_400)),
        rtp((CALLEE, 16_400), (CALLER, 20_000)),
        rtp(([203, 0, 113, 9], 9_999), (CALLER, 20_000)),
        request("BYE", "2 BYE", None),
        ok("2 BYE", None),
        rtp((CALLER, 20_000), (CALLEE, 16_400)),
    ]
}

struct Replay {
    folder: tempfile::TempDir,
    rules: PathBuf,
}

impl Replay {
    fn of(capture: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("capture"), capture).expect("written");
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures/replay.toml");
        Self { folder, rules }
    }

    fn run(&self, zone: Option<&str>, json: bool, verbose: bool) -> anyhow::Result<String> {
        let capture = self.folder.path().join("capture");
        let mut out = Vec::new();
        let zone = zone.map(str::to_owned);
        let args = Args { capture, rules: self.rules.clone(), zone, kernel: false, verbose };
        let outcome = run(&args, json, &mut out)?;
        assert_eq!(outcome, Outcome::Yes);
        Ok(String::from_utf8(out).expect("text"))
    }

    fn events(&self, verbose: bool) -> Vec<Value> {
        let out = self.run(None, true, verbose).expect("replayed");
        out.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect()
    }
}

#[test]
fn a_call_opens_and_closes_its_pinholes() {
    let events = Replay::of(&pcap(&call())).events(false);
    let (media, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event["event"] == "media");
    let measured: Vec<_> =
        media.iter().map(|m| (&m["frame"], &m["to"], &m["codec"], &m["packets"], &m["loss"])).collect();
    let of = |to| (json!(8), json!(to), json!("PCMU"), json!(1), json!(0.0));
    let expected = ["192.0.2.1:20000", "198.51.100.7:16400"].map(of);
    assert_eq!(measured, expected.iter().map(|(a, b, c, d, e)| (a, b, c, d, e)).collect::<Vec<_>>());
    let open = |frame, kind, from, to| {
        json!({"event": "pinhole_open", "frame": frame, "protocol": "sip", "kind": kind,
               "transport": "udp", "from": from, "to": to, "call": "the-call"})
    };
    let (caller, callee) = ("192.0.2.1", "198.51.100.7");
    let close = |to| {
        json!({"event": "pinhole_close", "frame": 8, "to": to, "transport": "udp", "reason": "bye",
               "call": "the-call"})
    };
    let drop = |frame, reason| json!({"event": "verdict", "frame": frame, "verdict": "drop", "reason": reason, "rule": null});
    assert_eq!(
        events,
        [
            open(1, "rtp", callee, "192.0.2.1:20000"),
            open(1, "rtcp", callee, "192.0.2.1:20001"),
            open(2, "rtp", caller, "198.51.100.7:16400"),
            open(2, "rtcp", caller, "198.51.100.7:16401"),
            drop(6, "pinhole-sender"),
            close("192.0.2.1:20000"),
            close("192.0.2.1:20001"),
            close("198.51.100.7:16400"),
            close("198.51.100.7:16401"),
            drop(9, "no-pinhole"),
            json!({"event": "summary", "frames": 9, "passed": 7, "dropped": 2, "calls": 1, "pinholes": 4}),
        ]
    );
}

#[test]
fn passed_frames_are_told_when_asked_for() {
    let events = Replay::of(&pcap(&call())).events(true);
    let verdicts: Vec<_> = events.iter().filter(|event| event["event"] == "verdict").collect();
    assert_eq!(verdicts.len(), 9);
    let first = json!({"event": "verdict", "frame": 1, "verdict": "pass", "reason": "rule", "rule": "sip"});
    assert_eq!(*verdicts[0], first);
    assert_eq!(verdicts[3]["reason"], "pinhole");
}

#[test]
fn people_get_tables() {
    let out = Replay::of(&pcap(&call())).run(None, false, false).expect("replayed");
    let lines: Vec<_> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "OPENED CLOSED WHY KIND FROM TO CALL",
            "1 8 bye rtp 198.51.100.7 192.0.2.1:20000/udp the-call",
            "1 8 bye rtcp 198.51.100.7 192.0.2.1:20001/udp the-call",
            "2 8 bye rtp 192.0.2.1 198.51.100.7:16400/udp the-call",
            "2 8 bye rtcp 192.0.2.1 198.51.100.7:16401/udp the-call",
            "",
            "REASON TIMES FIRST FRAME",
            "dropped no-pinhole 1 9",
            "dropped pinhole-sender 1 6",
            "",
            "9 frames: 7 passed, 2 dropped; 1 calls, 4 pinholes",
        ]
    );
}

#[test]
fn a_silent_call_ends_by_the_captures_clock() {
    let mut file = pcap(&[&call()[..5], &[udp((CALLER, 9), (CALLEE, 9), b"x")]].concat());
    let late = file.len() - (16 + 14 + 20 + 8 + 1);
    file[late..late + 4].copy_from_slice(&1_000_u32.to_le_bytes());
    let events = Replay::of(&file).events(false);
    let closed: Vec<_> = events.iter().filter(|event| event["event"] == "pinhole_close").collect();
    assert_eq!(closed.len(), 4);
    assert!(closed.iter().all(|event| event["frame"] == 6 && event["reason"] == "inactivity"), "{closed:?}");
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let whole = pcap(&call());
    let error = |replay: Replay, zone| format!("{:#}", replay.run(zone, true, false).expect_err("no answer"));
    let truncated = error(Replay::of(&whole[..whole.len() - 1]), None);
    assert!(
        truncated.ends_with("truncated: it ends in the middle of the record after frame 8"),
        "{truncated}"
    );
    assert!(error(Replay::of(b"not a capture at all, is it?"), None).ends_with("neither pcap nor pcapng"));
    let zone = error(Replay::of(&whole), Some("cellar"));
    assert_eq!(zone, "no zone or interface `cellar` in the rules file; its zones are: none, self");
}
