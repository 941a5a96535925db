//! What people see at 80 columns, as golden texts.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::*;

fn shown<T: DeserializeOwned>(
    answer: Value,
    show: impl FnOnce(&T, &mut Screen<'_>) -> io::Result<()>,
) -> String {
    let answer = serde_json::from_value(answer).expect("an answer of the daemon");
    let mut out = Vec::new();
    show(&answer, &mut Screen::plain(&mut out, Some(80))).expect("memory takes it");
    let text = String::from_utf8(out).expect("UTF-8");
    for line in text.lines() {
        assert!(line.width() <= 80, "too wide: {line}");
    }
    text
}

fn stream(medium: &str, codec: &str, caller: &str, callee: Option<&str>) -> Value {
    json!({"branch": 0, "index": 0, "medium": medium, "codec": codec, "held": medium == "video", "mux": callee.is_none(), "secure": codec == "PCMU", "ice": false, "learned": false,
           "caller": caller, "caller_rtcp": null, "callee": callee, "callee_rtcp": null})
}

fn two_calls() -> Value {
    json!({"total": 2, "rows": [
        {"id": 12, "protocol": "sip", "key": "a84b4c76e66710@pc33.example.com", "state": "connected",
         "caller": {"signalling": "192.0.2.1:5060", "party": "alice"},
         "callee": {"signalling": "198.51.100.7:5060", "party": "Conference room on the third floor, \u{1b}[2J"},
         "age_s": 200, "connected_s": 192, "rule": "sip trunks", "streams": [
            stream("audio", "PCMU", "192.0.2.1:16400", Some("198.51.100.7:17002")),
            stream("video", "H264", "192.0.2.1:16402", Some("198.51.100.7:17004")),
        ]},
        {"id": 1013, "protocol": "h225", "key": "c0ffee", "state": "ringing",
         "caller": {"signalling": "[2001:db8::15]:49170", "party": ""},
         "callee": {"signalling": "[2001:db8::10]:1720", "party": "4711"},
         "age_s": 4, "connected_s": null, "rule": null, "streams": [
            stream("audio", "", "[2001:db8::15]:16400", None),
        ]},
    ]})
}

#[test]
fn calls_at_80_columns() {
    let expected = "\
\x20 ID  PROTO  STATE        AGE  CALLER        CALLEE                    MEDIA
  12  sip    connected  3m12s  alice         Conference room on the …  PCMU H264
1013  h225   ringing       4s  2001:db8::15  4711                      audio
";
    assert_eq!(shown(two_calls(), |page, screen| calls(page, false, screen)), expected);
}

#[test]
fn calls_with_their_permission() {
    let mut page = two_calls();
    page["rows"][0]["policy"] = json!({"permission": "premium", "numbers": ["1001", "+19005550100"],
                                       "device": "SEP0011AABBCCDD", "emergency": false});
    let text = shown(page, |page, screen| calls(page, true, screen));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("  PERMISSION  MEDIA"), "{text}");
    assert!(lines[1].contains("  premium     PCMU H264"), "{text}");
    let expected = "policy: 1001 calls +19005550100, permission premium, device SEP0011AABBCCDD";
    assert_eq!(lines[3].trim(), expected, "{text}");
    assert!(
        lines.iter().any(|line| line.starts_with("1013") && line.contains("  -           audio")),
        "{text}"
    );
}

#[test]
fn calls_with_their_streams() {
    let text = shown(two_calls(), |page, screen| calls(page, true, screen));
    let notes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let expected = [
        "192.0.2.1:5060 → 198.51.100.7:5060, a84b4c76e66710@pc33.example.com",
        "audio 192.0.2.1:16400 — 198.51.100.7:17002 PCMU, encrypted",
        "video 192.0.2.1:16402 — 198.51.100.7:17004 H264, on hold",
        "[2001:db8::15]:49170 → [2001:db8::10]:1720, c0ffee",
        "audio [2001:db8::15]:16400 — ?, rtcp-mux",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn pinholes_at_80_columns() {
    let hole = |to: &str, kind: &str, from: Value, packets: u64| {
        json!({"to": to, "transport": "udp", "kind": kind, "from": from, "call": 1014, "call_key": "x",
               "packets": packets, "bytes": packets * 200, "idle_s": 3, "idle_left_s": 117, "expiry_left_s": 86_000})
    };
    let page = json!({"total": 3, "rows": [
        hole("198.51.100.7:17002", "rtp", json!(["192.0.2.1", "192.0.2.9"]), 1_234_567),
        hole("198.51.100.7:17003", "rtcp", json!(["192.0.2.1:16401"]), 38),
        hole("[2001:db8:0:1::15]:16400", "rtcp-mux", json!(["2001:db8:0:1::10"]), 0),
    ]});
    let expected = "\
TO                     KIND      FROM              CALL    PACKETS  BYTES   LEFT
198.51.100.7:17002     rtp       192.0.2.1 +1      1014  1,234,567   246M  1m57s
198.51.100.7:17003     rtcp      192.0.2.1:16401   1014         38   7.6k  1m57s
[2001:d…:1::15]:16400  rtcp-mux  2001:db8:0:1::10  1014          0      0  1m57s
";
    assert_eq!(shown(page, pinholes), expected);
}

#[test]
fn flows_at_80_columns() {
    let flow = |protocol: &str, from: &str, to: &str, inspect: Option<&str>, rule: Option<&str>| {
        json!({"protocol": protocol, "from": from, "to": to, "state": "established", "zone": "outside", "rule": rule,
               "inspect": inspect, "packets": [120, 118], "bytes": [1, 2], "age_s": 400, "idle_s": 75})
    };
    let page = json!({"total": 2, "rows": [
        flow("tcp", "10.20.0.115:49170", "10.1.1.10:2000", Some("sccp"), Some("sccp from phones")),
        flow("tcp", "[2001:db8:0:1::15]:50123", "[2001:db8:0:1::10]:443", None, None),
    ]});
    let expected = "\
PROTO  FROM                TO                  STATE        PACKETS   IDLE  RULE
sccp   10.20.0.115:49170   10.1.1.10:2000      established      238  1m15s  scc…
tcp    [2001:…::15]:50123  [2001:…:1::10]:443  established      238  1m15s  -
";
    assert_eq!(shown(page, flows), expected);
}

#[test]
fn rules_at_80_columns() {
    let rule = |number: u32,
                name: &str,
                action: &str,
                inspect: Option<&str>,
                limit: Option<&str>,
                packets: u64| {
        json!({"number": number, "name": name, "action": action, "inspect": inspect, "zones": [], "from": ["phones"],
               "to": [], "service": ["tcp/2000", "tcp/2443"], "limit": limit, "log": limit.is_none(),
               "advisory": limit.map(|_| "CSCsf10805"), "packets": packets, "bytes": packets * 60, "limited": 12})
    };
    let answer = json!({
        "builtin": [{"name": "arp", "about": "address resolution"}],
        "rules": [
            rule(1, "sccp from phones that register at home", "inspect", Some("sccp"), Some("20/s"), 1_234_567),
            rule(2, "sccp from anyone else", "drop", None, None, 0),
        ],
        "defaults": [{"zone": "outside", "action": "drop"}, {"zone": "self", "action": "track"}],
    });
    let expected = "\
#  RULE                      ACTION          PACKETS  BYTES  LIMITED  ADVISORY
1  sccp from phones that r…  inspect sccp  1,234,567  74.0M       12  CSCsf10805
    phones → any, tcp/2000 tcp/2443, 20/s
2  sccp from anyone else     drop                  0      0        -
    phones → any, tcp/2000 tcp/2443, logged

no match   outside drop, self track
built in   arp: address resolution
";
    assert_eq!(shown(answer, |answer, screen| rules(answer, true, screen)), expected);
}

#[test]
fn rules_tell_zones_tables_and_what_is_not_in_force() {
    let answer = json!({
        "builtin": [],
        "rules": [{"number": 1, "name": "office", "action": "reject", "inspect": null, "zones": [], "from": [], "to": [],
                   "service": ["tcp/80"], "limit": null, "when": "mon-fri 08:00-18:00", "active": false, "log": false,
                   "advisory": null, "packets": 0, "bytes": 0, "limited": 0}],
        "defaults": [{"zone": "outside", "action": "drop"}],
        "generation": 7,
        "tables": {"form": "vectors", "entries": 1234, "classes": {"vlans": 1, "source_ports": 2, "sources": 10001},
                   "cells": 0, "vectors": 20003, "chunks": 3, "prefixes": 12, "bytes": 42_000_000},
        "zones": [{"zone": "outside", "interfaces": ["eth0"], "networks": [], "anti_spoof": "loose", "bogons": "drop",
                   "fragments": "track", "link_drops": ["cdp", "lldp"]},
                  {"zone": "inside", "interfaces": ["eth1"], "networks": ["10.0.0.0/8"], "anti_spoof": "strict",
                   "bogons": "pass", "fragments": "pass", "link_drops": []}],
    });
    let text = shown(answer, |answer, screen| rules(answer, true, screen));
    let lines: Vec<&str> = text.lines().skip(2).collect();
    let expected = [
        "    any → any, tcp/80, mon-fri 08:00-18:00 (not now)",
        "",
        "no match   outside drop",
        "zone       outside (eth0): anti-spoof loose, bogons drop, fragments track",
        "           drops cdp lldp",
        "zone       inside (eth1): anti-spoof strict, bogons pass, fragments pass",
        "           networks 10.0.0.0/8",
        "tables     vectors, 42.0M bytes, generation 7",
        "           1,234 rows, 20,003 vectors, 3 chunks, 12 networks",
        "classes    2 source ports, 10,001 sources",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn blocks_at_80_columns() {
    let block = |address: &str, cause: &str, text: &str, since: Option<u64>| json!({"address": address, "cause": cause, "text": text, "since_unix": since, "left_s": 544});
    let page = json!({"total": 3, "rows": [
        block("192.0.2.7", "scan", "20 places within 60 s", Some(u64::MAX)),
        block("198.51.100.77", "earlier-run", "", None),
        block("2001:db8:0:1::15", "limit", "above the limit of rule \"sip from the world\"", Some(u64::MAX)),
    ]});
    let expected = "\
ADDRESS           CAUSE        SINCE    LEFT  WHY
192.0.2.7         scan         0s ago  9m04s  20 places within 60 s
198.51.100.77     earlier-run          9m04s
2001:db8:0:1::15  limit        0s ago  9m04s  above the limit of rule \"sip from…
";
    assert_eq!(shown(page, blocks), expected);
}

#[test]
fn status_names_what_is_wrong() {
    let answer = json!({
        "version": "0.1.0", "uptime_s": 273_600, "mode": "enforce",
        "interfaces": [
            {"name": "eth0", "zone": "outside", "xdp": "native", "xdp_note": null, "taps": ["cg2"]},
            {"name": "wlan0", "zone": null, "xdp": "generic", "xdp_note": "its driver has no XDP", "taps": []},
        ],
        "rules": {"file": "/etc/callgate/rules.toml", "loaded_unix": u64::MAX, "generation": 3, "count": 1,
                  "last_error": {"at_unix": u64::MAX, "message": "rules.toml:12:9: no group"}},
        "calls": 1, "pinholes": 4, "flows": 1284, "packets": {"passed": 81_234_567, "dropped": 43_210},
        "alg": {"heartbeat_age_ms": 1500, "messages": {"sip": 1234}, "refusals": {"port-range": 0, "privileged-port": 3}},
        "health": "critical",
        "alarms": [
            {"name": "heartbeat", "critical": true, "text": "no heartbeat", "hint": "look at the load"},
            {"name": "audit", "critical": false, "text": "disk\u{1b}[2J full", "hint": "free it"},
        ],
        "rates": {"passed": 5_000, "dropped": 12, "over_s": 5},
        "refusals": [{"reason": "default-drop", "packets": 43_000, "per_s": 12}, {"reason": "spoofed", "packets": 210, "per_s": 0}],
        "tables": [{"table": "flows", "used": 1, "capacity": 1_000}, {"table": "pinholes", "used": 85, "capacity": 100}],
    });
    let expected = "\
health     critical: 2 alarms
           no heartbeat
             look at the load
           disk\\u{1b}[2J full
             free it
callgated  0.1.0, up 3d04h, mode enforce
interface  eth0 (outside) xdp native, taps cg2
interface  wlan0 (no zone) xdp generic
           its driver has no XDP
rules      /etc/callgate/rules.toml
           1 rule, generation 3, loaded 0s ago
           reload failed 0s ago: rules.toml:12:9: no group
tracking   1 call, 4 pinholes, 1,284 flows
packets    81,234,567 passed, 43,210 dropped
           5,000 passed, 12 dropped a second (over 5s)
dropped by default-drop 43,000 (12/s)
           spoofed 210 (0/s)
tables     pinholes 85 % full
alg        stalled: last heartbeat 1,500 ms ago
messages   sip 1,234
refused    privileged-port 3
";
    assert_eq!(shown(answer, status), expected);
}

fn four_events() -> Value {
    let event = |number: u64, kind: &str, protocol: &str, source: &str, subject: &str, text: &str| {
        json!({"number": number, "at_unix": 1_795_221_667 + number, "kind": kind, "protocol": protocol,
               "source": source, "subject": subject, "text": text})
    };
    json!({"next": 4, "lost": 0, "rows": [
        event(0, "registered", "sccp", "10.20.0.115:49170", "SEP0011AABBCCDD", "7960, version 20"),
        event(1, "unregistered-abnormally", "sccp", "[2001:db8:0:1::15]:50123", "SEP0011AABBCCDE", ""),
        event(2, "alarm", "sccp", "10.20.0.115:49170", "SEP0011AABBCCDD", "25: Name=SEP0011 \u{1b}[2J"),
        event(3, "file-fetched", "tftp", "10.20.0.115:1024", "SEP0011AABBCCDD.cnf.xml.sgn", "signed"),
    ]})
}

#[test]
fn events_at_80_columns() {
    let expected = "\
UTC             EVENT                    PROTO  FROM             SUBJECT
11-21 00:41:07  registered               sccp   10.20.0.115      SEP0011AABBCCDD
    7960, version 20
11-21 00:41:08  unregistered-abnormally  sccp   2001:…8:0:1::15  SEP0011AABBCCDE
11-21 00:41:09  alarm                    sccp   10.20.0.115      SEP0011AABBCCDD
    25: Name=SEP0011 \\u{1b}[2J
11-21 00:41:10  file-fetched             tftp   10.20.0.115      SEP0011AABBCCD…
    signed
";
    assert_eq!(shown(four_events(), events), expected);
}

#[test]
fn events_that_come_one_by_one_are_lines() {
    let page: callgate_api::EventPage =
        serde_json::from_value(four_events()).expect("an answer of the daemon");
    let mut out = Vec::new();
    for row in &page.rows {
        event(row, &mut Screen::plain(&mut out, Some(80))).expect("memory takes it");
    }
    let expected = "\
11-21 00:41:07  registered               sccp  10.20.0.115:49170  SEP0011AABBCCDD  7960, version 20
11-21 00:41:08  unregistered-abnormally  sccp  [2001:db8:0:1::15]:50123  SEP0011AABBCCDE
11-21 00:41:09  alarm                    sccp  10.20.0.115:49170  SEP0011AABBCCDD  25: Name=SEP0011 \\u{1b}[2J
11-21 00:41:10  file-fetched             tftp  10.20.0.115:1024  SEP0011AABBCCDD.cnf.xml.sgn  signed
";
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
}

fn phone_rows() -> Value {
    let phone = |name: &str, model: &str, address: &str, manager: &str, state: &str, known: bool| {
        json!({"name": name, "model": model, "version": known.then_some(20), "address": address, "announced": "10.20.0.116",
               "manager": manager, "lines": known.then_some(1), "load": if known { "SCCP42.9-4-2SR3-1S" } else { "" },
               "state": state, "since_s": 7_800, "picked_up": !known, "unknown": known})
    };
    let managers = ["10.1.1.10:2000", "[2001:db8:0:1::10]:2000"];
    json!({"total": 3, "rows": [
        phone("", "", "10.20.0.116:50000", managers[0], "registered", false),
        phone("CIPC-RECEPTION1", "IP Communicator", "10.20.0.115:49170", managers[0], "unregistering", true),
        phone("SEP0011AABBCCDD", "7942", "[2001:db8:0:1::15]:50123", managers[1], "lost", true),
    ]})
}

#[test]
fn phones_at_80_columns() {
    let expected = "\
NAME             MODEL  ADDRESS           STATE          SINCE  CALL MANAGER
-                -      10.20.0.116       registered     2h10m  10.1.1.10
CIPC-RECEPTION1  IP C…  10.20.0.115       unregistering  2h10m  10.1.1.10
SEP0011AABBCCDD  7942   2001:db8:0:1::15  lost           2h10m  2001:db8:0:1::10
";
    assert_eq!(shown(phone_rows(), |page, screen| phones(page, false, screen)), expected);
}

#[test]
fn phones_with_what_they_say_of_themselves() {
    let text = shown(phone_rows(), |page, screen| phones(page, true, screen));
    let notes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let expected = [
        "10.20.0.116:50000 → 10.1.1.10:2000, registration not seen",
        "10.20.0.115:49170 → 10.1.1.10:2000, says 10.20.0.116, version 20, 1 line,",
        "SCCP42.9-4-2SR3-1S, unknown",
        "[2001:db8:0:1::15]:50123 → [2001:db8:0:1::10]:2000, version 20, 1 line,",
        "SCCP42.9-4-2SR3-1S, unknown",
    ];
    assert_eq!(notes, expected);
}
