//! What Prometheus may fetch: the text format (version 0.0.4) over HTTP, at the address `[control]` names.
//!
//! Names follow Prometheus' conventions: base units, `_total` for what only grows. [`FAMILIES`] is the whole list;
//! `docs/metrics.md` and the dashboard are held against it by tests. What a peer can make this hold is bounded:
//! [`CONNECTIONS`] at once, one request each, no body, [`REQUEST_TIME`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callgate_api::{Health, XdpMode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::control::Command;
use crate::firewall::{Firewall, now, unix};
use crate::tally::Histogram;

/// The media type of an answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections served at once; more wait in the socket's backlog.
pub const CONNECTIONS: usize = 4;
/// For one connection, from accept to the last byte of the answer.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Rules that have counters of their own here: those that were hit, in the order of the file.
pub const RULES: usize = 1_000;

/// Every metric: name, type, and what it is.
pub const FAMILIES: [(&str, &str, &str); 34] = [
    ("callgate_build_info", "gauge", "Always 1; the daemon's version is its label."),
    ("callgate_start_time_seconds", "gauge", "When the daemon started, in seconds since 1970."),
    ("callgate_health", "gauge", "0 good, 1 an alarm, 2 a critical one."),
    ("callgate_alarm", "gauge", "1 for each alarm there is."),
    ("callgate_packets_total", "counter", "Packets judged, by interface, verdict and reason."),
    ("callgate_bytes_total", "counter", "Their bytes."),
    ("callgate_rule_packets_total", "counter", "Packets a rule has decided."),
    ("callgate_rule_bytes_total", "counter", "Their bytes."),
    ("callgate_rule_limited_packets_total", "counter", "Packets that were above a rule's limit."),
    ("callgate_calls", "gauge", "Calls being tracked, by protocol."),
    ("callgate_calls_ended_total", "counter", "Calls that are over, by what ended them."),
    ("callgate_messages_total", "counter", "Messages of signalling read, by protocol and verdict."),
    (
        "callgate_announcements_refused_total",
        "counter",
        "Media announcements that opened nothing, by reason.",
    ),
    ("callgate_call_mos", "histogram", "Estimated MOS of each direction of audio of calls that are over."),
    ("callgate_call_loss_ratio", "histogram", "Share of packets that were lost of the same."),
    ("callgate_call_jitter_seconds", "histogram", "Interarrival jitter of the same."),
    (
        "callgate_unheard_streams",
        "gauge",
        "Audio streams of which a party has heard nothing for `audio_alarm`.",
    ),
    ("callgate_registrations", "gauge", "Phones and contacts that are registered, by protocol."),
    ("callgate_table_entries", "gauge", "Entries of a bounded table."),
    ("callgate_table_capacity", "gauge", "Entries it can have."),
    ("callgate_blocked_addresses", "gauge", "Addresses whose packets are dropped, by cause."),
    (
        "callgate_interface_native",
        "gauge",
        "1 where XDP runs in an interface's driver, 0 where in the stack.",
    ),
    ("callgate_rules", "gauge", "Rules in force."),
    ("callgate_rules_generation", "counter", "Loads of rules since the maps were pinned."),
    ("callgate_rules_loaded_timestamp_seconds", "gauge", "When the rules in force were loaded."),
    ("callgate_rules_last_reload_successful", "gauge", "0 where the last reload failed."),
    ("callgate_rules_unconfirmed", "gauge", "1 while new rules wait to be confirmed."),
    ("callgate_heartbeat_age_seconds", "gauge", "Since the kernel half last heard of the daemon."),
    ("callgate_history_written_total", "counter", "Records of calls that got to a place."),
    ("callgate_history_lost_total", "counter", "Records that never will."),
    ("callgate_history_waiting", "gauge", "Records that wait for a place."),
    ("process_resident_memory_bytes", "gauge", "Memory of the daemon that is in RAM."),
    ("process_cpu_seconds_total", "counter", "Time the daemon has spent on processors."),
    ("process_open_fds", "gauge", "File descriptors the daemon has open."),
];

/// The text, family by family.
#[derive(Debug, Default)]
struct Page {
    samples: BTreeMap<usize, String>,
}

impl Page {
    /// The samples of a family; a name that is not in [`FAMILIES`] is left out (and found by a test).
    fn samples(&mut self, name: &str) -> Option<&mut String> {
        let family = FAMILIES.iter().position(|(known, ..)| *known == name);
        debug_assert!(family.is_some(), "{name} is no metric");
        Some(self.samples.entry(family?).or_default())
    }

    /// One sample.
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let Some(text) = self.samples(name) else { return };
        text.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{label}=\"{}\"", if place == 0 { '{' } else { ',' }, escaped(value));
        }
        let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A histogram: its buckets, their sum and their number.
    fn put_histogram(&mut self, name: &str, histogram: &Histogram) {
        let Some(text) = self.samples(name) else { return };
        let mut all = 0;
        for (bound, count) in histogram.buckets() {
            let bound = bound.map_or("+Inf".to_owned(), |bound| bound.to_string());
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
            all = count;
        }
        let _ = writeln!(text, "{name}_sum {}\n{name}_count {all}", histogram.sum);
    }

    fn finish(self) -> String {
        let mut page = String::new();
        for (family, samples) in self.samples {
            let (name, kind, help) = FAMILIES[family];
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        page
    }
}

/// A label's value, as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Firewall {
    /// Everything that is counted.
    pub(crate) fn metrics(&mut self) -> String {
        let status = self.status();
        let mut page = Page::default();
        page.put("callgate_build_info", &[("version", &status.version)], 1);
        let started = unix(std::time::SystemTime::now()).saturating_sub(status.uptime_s);
        page.put("callgate_start_time_seconds", &[], started);
        let health = match status.health {
            Health::Good => 0,
            Health::Warning => 1,
            Health::Critical => 2,
        };
        page.put("callgate_health", &[], health);
        let mut alarms: BTreeMap<(&str, bool), u32> = BTreeMap::new();
        for alarm in &status.alarms {
            *alarms.entry((&alarm.name, alarm.critical)).or_default() += 1;
        }
        for ((name, critical), count) in alarms {
            let critical = if critical { "true" } else { "false" };
            page.put("callgate_alarm", &[("alarm", name), ("critical", critical)], count);
        }
        let mut counted: BTreeMap<(String, &str, String), (u64, u64)> = BTreeMap::new();
        for row in self.counter_rows().rows {
            let verdict = if row.dropped { "dropped" } else { "passed" };
            let sum = counted.entry((row.interface, verdict, row.reason)).or_default();
            *sum = (sum.0 + row.packets, sum.1 + row.bytes);
        }
        for ((interface, verdict, reason), (packets, bytes)) in &counted {
            let labels =
                [("interface", interface.as_str()), ("verdict", *verdict), ("reason", reason.as_str())];
            page.put("callgate_packets_total", &labels, packets);
            page.put("callgate_bytes_total", &labels, bytes);
        }
        self.put_rules(&mut page);
        let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
        for call in self.shown_calls() {
            *calls.entry(call.protocol.name()).or_default() += 1;
        }
        for (protocol, count) in calls {
            page.put("callgate_calls", &[("protocol", protocol)], count);
        }
        for (reason, count) in &self.ended {
            page.put("callgate_calls_ended_total", &[("reason", reason)], count);
        }
        for (protocol, count) in self.engine.messages() {
            for (verdict, count) in [("passed", count.passed), ("refused", count.refused)] {
                let labels = [("protocol", protocol.name()), ("verdict", verdict)];
                page.put("callgate_messages_total", &labels, count);
            }
        }
        for (refusal, count) in self.engine.refusals() {
            page.put("callgate_announcements_refused_total", &[("reason", refusal.name())], count);
        }
        let tally = &self.watch.tally;
        page.put_histogram("callgate_call_mos", &tally.mos);
        page.put_histogram("callgate_call_loss_ratio", &tally.loss);
        page.put_histogram("callgate_call_jitter_seconds", &tally.jitter);
        page.put("callgate_unheard_streams", &[], self.watch.unheard());
        for (protocol, count) in [
            ("sccp", self.engine.phones().count()),
            ("h323", self.engine.registrations().count()),
            ("sip", self.engine.bindings().count()),
        ] {
            page.put("callgate_registrations", &[("protocol", protocol)], count);
        }
        for row in &status.tables {
            page.put("callgate_table_entries", &[("table", &row.table)], row.used);
            page.put("callgate_table_capacity", &[("table", &row.table)], row.capacity);
        }
        let mut blocks: BTreeMap<&str, u64> = BTreeMap::new();
        for block in self.defence.blocks.rows(now()) {
            *blocks.entry(block.cause.name()).or_default() += 1;
        }
        for (cause, count) in blocks {
            page.put("callgate_blocked_addresses", &[("cause", cause)], count);
        }
        for interface in &status.interfaces {
            let native = u8::from(interface.xdp == XdpMode::Native);
            page.put("callgate_interface_native", &[("interface", &interface.name)], native);
        }
        page.put("callgate_rules", &[], status.rules.count);
        page.put("callgate_rules_generation", &[], status.rules.generation);
        page.put("callgate_rules_loaded_timestamp_seconds", &[], status.rules.loaded_unix);
        let good = u8::from(status.rules.last_error.is_none());
        page.put("callgate_rules_last_reload_successful", &[], good);
        page.put("callgate_rules_unconfirmed", &[], u8::from(status.unconfirmed.is_some()));
        page.put("callgate_heartbeat_age_seconds", &[], status.alg.heartbeat_age_ms as f64 / 1_000.0);
        for place in status.history.iter().flat_map(|history| &history.places) {
            let labels = [("kind", place.kind.as_str())];
            page.put("callgate_history_written_total", &labels, place.written);
            page.put("callgate_history_lost_total", &labels, place.lost);
            page.put("callgate_history_waiting", &labels, place.waiting);
        }
        put_process(&mut page);
        page.finish()
    }

    fn put_rules(&self, page: &mut Page) {
        let rows = self.rule_rows().rules;
        let hit = rows.iter().filter(|rule| rule.packets > 0 || rule.limited > 0);
        for rule in hit.take(RULES) {
            let labels = [("rule", rule.name.as_str())];
            page.put("callgate_rule_packets_total", &labels, rule.packets);
            page.put("callgate_rule_bytes_total", &labels, rule.bytes);
            page.put("callgate_rule_limited_packets_total", &labels, rule.limited);
        }
    }
}

/// The daemon itself, as proc_pid_stat(5) tells it.
fn put_process(page: &mut Page) {
    // SAFETY: it touches no memory.
    let [ticks, size] = [libc::_SC_CLK_TCK, libc::_SC_PAGESIZE].map(|name| unsafe { libc::sysconf(name) });
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name stands in parentheses and may hold anything; fields are counted behind it, from the third on.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        page.put("process_cpu_seconds_total", &[], (user + system) as f64 / ticks.max(1) as f64);
    }
    if let Some(pages) = field(24) {
        page.put("process_resident_memory_bytes", &[], pages * size.max(0).unsigned_abs());
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.put("process_open_fds", &[], open.count().saturating_sub(1));
    }
}

/// Where metrics can be fetched, as the rules in force want it.
#[derive(Debug)]
pub struct Exporter {
    commands: mpsc::Sender<Command>,
    serving: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Exporter {
    /// Nowhere yet.
    pub fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, serving: None }
    }

    /// Serves there and nowhere else. An address that cannot be had is logged and tried again at the next call.
    pub async fn follow(&mut self, address: Option<SocketAddr>) {
        if self.serving.as_ref().map(|(at, _)| *at) == address {
            return;
        }
        if let Some((at, task)) = self.serving.take() {
            task.abort();
            let _ = task.await;
            debug!(%at, "metrics: no longer served");
        }
        let Some(address) = address else { return };
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if !address.ip().is_loopback() {
                    warn!(%address, "metrics are served to whoever reaches this address, without a password");
                }
                info!(%address, "metrics are served");
                let task = tokio::spawn(serve(listener, self.commands.clone()));
                self.serving = Some((address, task));
            }
            Err(error) => warn!(%address, %error, "metrics cannot be served"),
        }
    }
}

async fn serve(listener: TcpListener, commands: mpsc::Sender<Command>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let commands = commands.clone();
                tokio::spawn(async move {
                    connection(stream, &commands).await;
                    drop(place);
                });
            }
            // Out of file descriptors, as a rule: they come back when connections end.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(stream: TcpStream, commands: &mpsc::Sender<Command>) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, commands).await)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(5))
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(REQUEST_TIME, connection).await;
}

async fn answer(request: &Request<Incoming>, commands: &mpsc::Sender<Command>) -> Response<Full<Bytes>> {
    let plain = |status, text: String, kind| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    let words = "text/plain; charset=utf-8";
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned(), words);
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "there is /metrics\n".to_owned(), words);
    }
    let (reply, page) = oneshot::channel();
    let asked = commands.send(Command::Metrics(reply)).await.is_ok();
    match page.await {
        Ok(Ok(page)) if asked => plain(StatusCode::OK, page, CONTENT_TYPE),
        _ => plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is going down\n".to_owned(), words),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const DASHBOARD: &str = include_str!("../../../docs/grafana/callgate.json");
    const MANUAL: &str = include_str!("../../../docs/metrics.md");

    /// Every name in a text that looks like one of ours.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("callgate_") || word.starts_with("process_")).collect()
    }

    fn known() -> BTreeSet<&'static str> {
        FAMILIES.iter().map(|(name, ..)| *name).collect()
    }

    #[test]
    fn the_dashboard_names_metrics_that_exist() {
        let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
        let mut queries = Vec::new();
        let mut panels = 0;
        for panel in dashboard["panels"].as_array().expect("panels") {
            panels += 1;
            for target in panel["targets"].as_array().into_iter().flatten() {
                queries.push(target["expr"].as_str().expect("a query").to_owned());
            }
        }
        assert!(panels >= 10 && queries.len() >= panels, "{panels} panels, {} queries", queries.len());
        for query in &queries {
            let histogram =
                |name: &str| FAMILIES.iter().any(|(known, kind, _)| *known == name && *kind == "histogram");
            let names: BTreeSet<&str> = named(query)
                .into_iter()
                .map(|name| name.strip_suffix("_bucket").filter(|base| histogram(base)).unwrap_or(name))
                .collect();
            assert!(!names.is_empty(), "{query}");
            assert!(names.is_subset(&known()), "{query}: {names:?}");
        }
    }

    #[test]
    fn the_manual_has_every_metric_and_no_other() {
        let rows: BTreeSet<&str> = MANUAL
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            .collect();
        assert_eq!(rows, known());
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for (name, kind, help) in FAMILIES {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            let total = name.ends_with("_total") || name == "callgate_rules_generation";
            assert_eq!(kind == "counter", total, "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
        assert_eq!(known().len(), FAMILIES.len());
    }

    #[test]
    fn a_page_has_each_family_once_and_its_labels_escaped() {
        let mut page = Page::default();
        page.put("callgate_rule_packets_total", &[("rule", "a \"b\"\\\nc")], 7);
        page.put("callgate_health", &[], 0);
        page.put("callgate_rule_packets_total", &[("rule", "d")], 8);
        let text = page.finish();
        assert_eq!(
            text,
            "# HELP callgate_health 0 good, 1 an alarm, 2 a critical one.\n# TYPE callgate_health gauge\n\
             callgate_health 0\n\
             # HELP callgate_rule_packets_total Packets a rule has decided.\n\
             # TYPE callgate_rule_packets_total counter\n\
             callgate_rule_packets_total{rule=\"a \\\"b\\\"\\\\\\nc\"} 7\n\
             callgate_rule_packets_total{rule=\"d\"} 8\n"
        );
    }

    #[test]
    fn histograms_have_buckets_a_sum_and_a_count() {
        let mut page = Page::default();
        page.put_histogram("callgate_call_mos", &crate::tally::Tally::default().mos);
        let text = page.finish();
        assert!(
            text.contains("# TYPE callgate_call_mos histogram\ncallgate_call_mos_bucket{le=\"2.58\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("{le=\"+Inf\"} 0\ncallgate_call_mos_sum 0\ncallgate_call_mos_count 0\n"),
            "{text}"
        );
    }

    #[test]
    fn the_process_tells_of_itself() {
        let mut page = Page::default();
        put_process(&mut page);
        let text = page.finish();
        for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
            let line = text.lines().find(|line| line.starts_with(name)).expect(name);
            let value: f64 = line.split(' ').nth(1).expect("a value").parse().expect("a number");
            assert!(value >= 0.0 && (name.contains("cpu") || value > 0.0), "{line}");
        }
    }

    async fn fetch(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    #[tokio::test]
    async fn metrics_are_fetched_where_the_rules_say_and_nowhere_else() {
        let (sender, mut receiver) = crate::control::queue();
        tokio::spawn(async move {
            while let Some(command) = receiver.recv().await {
                if let Command::Metrics(reply) = command {
                    reply.send(Ok("callgate_health 0\n".to_owned())).expect("the server waits");
                }
            }
        });
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a port");
        let mut exporter = Exporter::new(sender);
        exporter.follow(Some(address)).await;
        let answer = fetch(address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("callgate_health 0\n"), "{answer}");
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        let other = fetch(address, "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(other.starts_with("HTTP/1.1 404"), "{other}");
        let other = fetch(address, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        assert!(other.starts_with("HTTP/1.1 405"), "{other}");
        exporter.follow(None).await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
