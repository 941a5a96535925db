//! Syslog, file and webhook, each beside a real other end.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate_history::{History, HistoryPlace, Record};
use callgate_rules::ruleset::{Database, History as Settings, Syslog};

fn record(call: u64) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    Record {
        host: "fw1".to_owned(),
        call,
        caller: "2001".to_owned(),
        called: "19005551234".to_owned(),
        called_signalled: "sip:919005551234@pbx".to_owned(),
        started_ms: u64::try_from(now.as_millis()).expect("a time"),
        ..Record::default()
    }
}

fn settings(directory: &Path) -> Settings {
    Settings { database: Database::Sqlite(directory.join("calls.db")), ..Settings::default() }
}

fn until(history: &History, kind: &str, what: impl Fn(&HistoryPlace) -> bool) -> HistoryPlace {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let places = history.status().places;
        let place = places.into_iter().find(|place| place.kind == kind).expect("such a place");
        if what(&place) {
            return place;
        }
        assert!(Instant::now() < deadline, "it never came about: {place:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn syslog_is_told_by_udp() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let syslog = Some(Syslog::Udp(server.local_addr().expect("its address")));
    let history = History::start(&Settings { syslog, mask: 4, ..settings(directory.path()) });
    history.record(record(7));
    let mut datagram = [0; 4_096];
    let length = server.recv(&mut datagram).expect("a datagram");
    let text = std::str::from_utf8(&datagram[..length]).expect("text");
    assert!(text.starts_with("<134>1 ") && text.contains(" fw1 callgated "), "{text}");
    assert!(text.contains("called=\"1900555xxxx\"") && !text.contains("1234"), "{text}");
}

#[test]
fn syslog_is_told_by_a_socket_also_when_it_was_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let server = UnixDatagram::bind(&path).expect("a socket");
    let history =
        History::start(&Settings { syslog: Some(Syslog::Unix(path.clone())), ..settings(directory.path()) });
    history.record(record(1));
    until(&history, "syslog", |place| place.written == 1);
    drop(server);
    history.record(record(2));
    let place = until(&history, "syslog", |place| place.lost == 1);
    assert!(place.trouble.is_some());
    fs::remove_file(&path).expect("the old socket");
    let server = UnixDatagram::bind(&path).expect("a socket");
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    history.record(record(3));
    let mut datagram = [0; 4_096];
    let length = server.recv(&mut datagram).expect("a datagram");
    assert!(String::from_utf8_lossy(&datagram[..length]).contains(" id=\"3\""));
    until(&history, "syslog", |place| place.trouble.is_none());
}

#[test]
fn a_file_has_a_line_of_json_for_each_call_and_may_be_rotated() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, rotated) = (directory.path().join("calls.json"), directory.path().join("calls.json.1"));
    let history = History::start(&Settings { file: Some(path.clone()), ..settings(directory.path()) });
    history.record(record(1));
    until(&history, "file", |place| place.written == 1);
    fs::rename(&path, &rotated).expect("rotation");
    history.record(record(2));
    history.record(record(3));
    until(&history, "file", |place| place.written == 3);
    let calls = |path: &Path| -> Vec<u64> {
        let text = fs::read_to_string(path).expect("a file");
        text.lines().map(|line| serde_json::from_str::<Record>(line).expect("a record").call).collect()
    };
    assert_eq!((calls(&rotated), calls(&path)), (vec![1], vec![2, 3]));
    history.close(Duration::from_secs(5));
}

/// A server that answers requests by these statuses in turn, the last one for ever; and the bodies it was sent.
fn server(statuses: &'static [&'static str]) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (told, bodies) = channel();
    std::thread::spawn(move || {
        for (turn, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let mut reader = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let status = statuses[turn.min(statuses.len() - 1)];
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
            if told.send(String::from_utf8(body).expect("text")).is_err() {
                return;
            }
        }
    });
    (address, bodies)
}

#[test]
fn a_webhook_is_told_again_until_it_takes_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (address, bodies) = server(&["503 Busy", "429 Later", "204 No Content"]);
    let webhook = Some(format!("http://{address}/calls?key=1"));
    let history = History::start(&Settings { webhook, ..settings(directory.path()) });
    history.record(record(5));
    let place = until(&history, "webhook", |place| place.written == 1);
    assert_eq!((place.lost, place.trouble), (0, None));
    assert_eq!(place.place, format!("http://{address}/calls"), "its query is not shown");
    let told: Vec<String> = bodies.try_iter().collect();
    assert_eq!(told.len(), 3);
    let read: Record = serde_json::from_str(&told[2]).expect("a record");
    assert_eq!((read.call, read.called.as_str()), (5, "19005551234"));
}

#[test]
fn a_webhook_that_says_no_is_not_asked_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (address, bodies) = server(&["400 Bad Request", "200 OK"]);
    let history = History::start(&Settings {
        webhook: Some(format!("http://{address}/")),
        ..settings(directory.path())
    });
    history.record(record(1));
    let place = until(&history, "webhook", |place| place.lost == 1);
    assert!(place.trouble.as_deref().is_some_and(|trouble| trouble.contains("400")), "{place:?}");
    history.record(record(2));
    let place = until(&history, "webhook", |place| place.written == 1);
    assert_eq!(place.trouble, None);
    assert_eq!(bodies.try_iter().count(), 2);
}

#[test]
fn a_webhook_that_hangs_holds_up_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    // It accepts, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let webhook = Some(format!("http://{}/", listener.local_addr().expect("its address")));
    let file = Some(directory.path().join("calls.json"));
    let history = History::start(&Settings { webhook, file, ..settings(directory.path()) });
    (1..=200).for_each(|call| history.record(record(call)));
    for kind in ["database", "file"] {
        assert_eq!(until(&history, kind, |place| place.written == 200).lost, 0);
    }
    assert_eq!(until(&history, "webhook", |_| true).waiting, 200);
}
