//! The captures of `tests/captures`, replayed: what each call must open, and that all of it is closed in the end.
//!
//! Made with third-party endpoints: two H.323 stacks and a gatekeeper, a Skinny phone and its call manager, a PBX,
//! two SIP clients. The addresses were read from them with tshark.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

struct Capture {
    name: &'static str,
    /// Streams the endpoints announced and used.
    must: &'static [&'static str],
    /// Streams they announced, or that follow by the RTP + 1 convention, without using them.
    may: &'static [&'static str],
}

const CAPTURES: &[Capture] = &[
    // Several tunnelled messages in one Q.931 message, and two TPKTs in one segment.
    Capture {
        name: "h323-ast-ast-fast-tunnel-ab",
        must: &["10.77.1.10:10134", "10.77.1.10:10135", "10.77.2.20:10264", "10.77.2.20:10265"],
        may: &[],
    },
    Capture {
        name: "h323-cg-ast-slow-sep-ras-ab",
        must: &[
            "10.77.1.10:5000",
            "10.77.1.10:5001",
            "10.77.2.20:10058",
            "10.77.2.20:10059",
            "10.77.2.20:12030",
        ],
        may: &["10.77.1.10:1720", "10.77.2.20:1720"],
    },
    // The caller announces its H.245 address in a Facility after Connect, and the callee connects back to it.
    Capture {
        name: "h323-cg-cg-fast-sep-ab",
        must: &["10.77.1.10:5000", "10.77.1.10:60287", "10.77.2.20:5000", "10.77.2.20:5001"],
        may: &["10.77.1.10:5001", "10.77.2.20:41229"],
    },
    Capture {
        name: "h323-cg-cg-fast-tunnel-ab",
        must: &["10.77.1.10:5000", "10.77.1.10:5001", "10.77.2.20:5000", "10.77.2.20:5001"],
        may: &[],
    },
    Capture {
        name: "h323-cg-cg-slow-sep-ab",
        must: &["10.77.1.10:5000", "10.77.1.10:5001", "10.77.2.20:5000", "10.77.2.20:60655"],
        may: &["10.77.2.20:5001"],
    },
    Capture {
        name: "h323-cg-cg-slow-tunnel-ab",
        must: &["10.77.1.10:5000", "10.77.2.20:5000"],
        may: &["10.77.1.10:5001", "10.77.2.20:5001"],
    },
    Capture {
        name: "h323-cg-cg-slow-tunnel-ras-ab",
        must: &["10.77.1.10:5000", "10.77.2.20:5000", "10.77.2.20:5001"],
        may: &["10.77.1.10:5001", "10.77.1.10:1720", "10.77.2.20:1720"],
    },
    // The phone fetches its configuration first, and sends RTP from another port than it receives on.
    Capture {
        name: "sccp-pyskinny",
        must: &["10.77.1.10:49948", "10.77.2.20:49997"],
        may: &["10.77.1.10:49949", "10.77.2.20:49998", "10.77.1.10:57652"],
    },
    Capture {
        name: "sip-baresip-tcp-ab",
        must: &["10.77.1.10:20088", "10.77.2.20:21042"],
        may: &["10.77.1.10:20089", "10.77.2.20:21043"],
    },
    Capture {
        name: "sip-pbx-udp-ab",
        must: &["10.77.1.10:20022", "10.77.2.30:10068"],
        may: &["10.77.1.10:20023", "10.77.2.30:10069"],
    },
    Capture {
        name: "sip-sipp-udp-ab",
        must: &["10.77.1.10:6000", "10.77.2.20:6000"],
        may: &["10.77.1.10:6001", "10.77.2.20:6001"],
    },
];

#[test]
fn every_capture_opens_what_it_announces_and_closes_it() {
    for Capture { name, must, may } in CAPTURES {
        let events = replay(name);
        let of = |kind: &str| {
            let chosen = events.iter().filter(|event| event["event"] == kind);
            chosen.map(|event| event["to"].as_str().expect("an address").to_owned()).collect::<BTreeSet<_>>()
        };
        let opened = of("pinhole_open");
        for to in *must {
            assert!(opened.contains(*to), "{name}: {to} was announced and used, and is not open");
        }
        for to in &opened {
            let announced = must.contains(&to.as_str()) || may.contains(&to.as_str());
            assert!(announced, "{name}: nothing announced {to}");
        }
        assert_eq!(opened, of("pinhole_close"), "{name}: what is open must be closed when the call is over");

        let summary = events.last().expect("a summary");
        assert_eq!(summary["event"], "summary", "{name}");
        assert!(summary["calls"].as_u64() >= Some(1), "{name}: {summary}");
    }
}

/// The events `fwctl replay` prints for a capture.
fn replay(name: &str) -> Vec<Value> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures");
    let output = Command::new(env!("CARGO_BIN_EXE_fwctl"))
        .args(["--json", "replay"])
        .arg(captures.join(name).with_extension("pcap"))
        .arg("--rules")
        .arg(captures.join("replay.toml"))
        .output()
        .expect("fwctl runs");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object per line")).collect()
}

#[test]
fn ordinary_sip_meets_none_of_the_defaults() {
    for Capture { name, .. } in CAPTURES.iter().filter(|capture| capture.name.starts_with("sip-")) {
        for event in replay(name) {
            let refused = event["reason"].as_str().is_some_and(|reason| reason.starts_with("alg-"));
            assert!(!refused && event["event"] != "suspect", "{name}: {event}");
        }
    }
}
