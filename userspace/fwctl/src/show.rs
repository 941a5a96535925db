//! A printer per listing. Each takes what the daemon answered and writes it for people.

mod blocks;
mod events;
mod h323;
mod history;
mod media;
mod phones;
mod sip;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use callgate_alg::call::{Medium, State};
use callgate_api::{
    CallEnd, CallPolicy, CallRow, CounterRow, ErrorReply, FlowRow, Health, Page, PinholeRow, Rates,
    ReloadReply, RuleRow, Rules, Status, StreamRow, TableSizes, XdpMode, ZoneRow,
};

use crate::screen::{Screen, Tone, bytes, duration, number, plural, printable};
use crate::table::{Cell, Table, address, count, cut, spare, text};

pub(crate) use blocks::blocks;
pub(crate) use events::{event, events, lost};
pub(crate) use h323::registrations;
pub(crate) use history::{findings, records, totals};
pub(crate) use phones::phones;
pub(crate) use sip::{bindings, ladders};

/// A heartbeat older than this is taken for a dead daemon by the kernel half.
const STALE_MS: u64 = 1_000;
/// Reasons of refusals that a status shows.
const TOP_REFUSALS: usize = 3;

pub(crate) fn status(status: &Status, screen: &mut Screen<'_>) -> io::Result<()> {
    let Status { version, uptime_s, mode, interfaces, rules, alg, packets, .. } = status;
    let mut line = Lines { screen };
    let (health, tone) = match status.health {
        Health::Good => ("good".to_owned(), Tone::Good),
        Health::Warning => (plural(status.alarms.len() as u64, "alarm"), Tone::Warn),
        Health::Critical => (format!("critical: {}", plural(status.alarms.len() as u64, "alarm")), Tone::Bad),
    };
    line.add("health", &[(health, tone)])?;
    for alarm in &status.alarms {
        let tone = if alarm.critical { Tone::Bad } else { Tone::Warn };
        line.add("", &[(printable(&alarm.text).into_owned(), tone)])?;
        line.add("", &[(format!("  {}", printable(&alarm.hint)), Tone::Dim)])?;
    }
    line.add(
        "callgated",
        &[(format!("{}, up {}, mode {mode}", printable(version), duration(*uptime_s)), Tone::Plain)],
    )?;
    for interface in interfaces {
        let zone = interface.zone.as_deref().unwrap_or("no zone");
        let tone = if interface.xdp == XdpMode::Native { Tone::Good } else { Tone::Warn };
        let mut parts = vec![
            (format!("{} ({})", printable(&interface.name), printable(zone)), Tone::Plain),
            (format!(" xdp {}", interface.xdp), tone),
        ];
        if !interface.taps.is_empty() {
            parts.push((format!(", taps {}", printable(&interface.taps.join(" "))), Tone::Plain));
        }
        line.add("interface", &parts)?;
        if let Some(note) = &interface.xdp_note {
            line.add("", &[(printable(note).into_owned(), Tone::Dim)])?;
        }
    }
    if interfaces.is_empty() {
        line.add("interface", &[("none".to_owned(), Tone::Bad)])?;
    }

    line.add("rules", &[(printable(&rules.file).into_owned(), Tone::Plain)])?;
    let rules_state = format!(
        "{}, generation {}, loaded {}",
        plural(rules.count.into(), "rule"),
        rules.generation,
        ago(rules.loaded_unix)
    );
    line.add("", &[(rules_state, Tone::Plain)])?;
    if let Some(error) = &rules.last_error {
        let failed = format!("reload failed {}: {}", ago(error.at_unix), printable(&error.message));
        line.add("", &[(failed, Tone::Bad)])?;
    }

    let tracked = [(status.calls, "call"), (status.pinholes, "pinhole"), (status.flows, "flow")];
    let tracked = tracked.map(|(n, what)| plural(n, what)).join(", ");
    line.add("tracking", &[(tracked, Tone::Plain)])?;
    let judged = format!("{} passed, {} dropped", number(packets.passed), number(packets.dropped));
    line.add("packets", &[(judged, Tone::Plain)])?;
    if status.rates.over_s > 0 {
        let Rates { passed, dropped, over_s } = status.rates;
        let rates = format!("{} passed, {} dropped a second", number(passed), number(dropped));
        line.add("", &[(rates, Tone::Plain), (format!(" (over {})", duration(over_s)), Tone::Dim)])?;
    }
    for (nth, refusal) in status.refusals.iter().take(TOP_REFUSALS).enumerate() {
        let name = if nth == 0 { "dropped by" } else { "" };
        let told = format!("{} {}", printable(&refusal.reason), number(refusal.packets));
        line.add(name, &[(told, Tone::Plain), (format!(" ({}/s)", number(refusal.per_s)), Tone::Dim)])?;
    }
    let fullest = status.tables.iter().max_by_key(|row| row.percent());
    if let Some(row) = fullest.filter(|row| row.percent() > 0) {
        let told = format!("{} {} % full", row.table, row.percent());
        line.add("tables", &[(told, if row.percent() < 80 { Tone::Plain } else { Tone::Warn })])?;
    }

    let (heartbeat, tone) = match alg.heartbeat_age_ms {
        age if age < STALE_MS => (format!("alive, heartbeat {age} ms ago"), Tone::Good),
        age => (format!("stalled: last heartbeat {} ms ago", number(age)), Tone::Bad),
    };
    line.add("alg", &[(heartbeat, tone)])?;
    line.add("messages", &[(sums(&alg.messages), Tone::Plain)])?;
    let tone = if alg.refusals.values().all(|n| *n == 0) { Tone::Plain } else { Tone::Warn };
    line.add("refused", &[(sums(&alg.refusals), tone)])?;
    for (nth, place) in status.history.iter().flat_map(|history| &history.places).enumerate() {
        let (told, tone) = history::place(place);
        line.add(if nth == 0 { "history" } else { "" }, &[(printable(&told).into_owned(), tone)])?;
    }
    Ok(())
}

pub(crate) fn calls(page: &Page<CallRow>, long: bool, screen: &mut Screen<'_>) -> io::Result<()> {
    let [id, protocol, state, age, caller, callee, media] = [
        count("ID"),
        text("PROTO"),
        text("STATE"),
        count("AGE"),
        cut("CALLER", 12),
        cut("CALLEE", 12),
        spare("MEDIA", 9),
    ];
    // A call policy is in force, or was.
    if page.rows.iter().any(|call| call.policy.is_some()) {
        let permission = spare("PERMISSION", 10);
        let mut table = Table::new([id, protocol, state, age, caller, callee, permission, media]);
        for call in &page.rows {
            let [id, protocol, state, age, caller, callee, media] = call_cells(call);
            let permission = call.policy.as_ref().map_or("-", |policy| &policy.permission).into();
            table.row([id, protocol, state, age, caller, callee, permission, media]);
            call_notes(&mut table, call, long);
        }
        return finish(&table, page, "call", screen);
    }
    let mut table = Table::new([id, protocol, state, age, caller, callee, media]);
    for call in &page.rows {
        table.row(call_cells(call));
        call_notes(&mut table, call, long);
    }
    finish(&table, page, "call", screen)
}

fn call_cells(call: &CallRow) -> [Cell; 7] {
    let (state, tone) = match call.state {
        State::Calling => ("calling", Tone::Dim),
        State::Ringing => ("ringing", Tone::Warn),
        State::Connected => ("connected", Tone::Good),
    };
    let mut media: Vec<String> = call.streams.iter().map(|stream| stream_label(stream).to_owned()).collect();
    media.dedup();
    [
        call.id.to_string().into(),
        (&call.protocol).into(),
        Cell::new(state, tone),
        duration(call.connected_s.unwrap_or(call.age_s)).into(),
        call_end(&call.caller).into(),
        call_end(&call.callee).into(),
        media.join(" ").into(),
    ]
}

fn call_notes<const N: usize>(table: &mut Table<N>, call: &CallRow, long: bool) {
    if !long {
        return;
    }
    table.note(format!("{} → {}, {}", call.caller.signalling, call.callee.signalling, call.key));
    if let Some(policy) = &call.policy {
        table.note(policy_line(policy));
    }
    for line in call.h323.as_ref().map(h323::call_lines).unwrap_or_default() {
        table.note(line);
    }
    for stream in &call.streams {
        table.note(stream_line(stream));
    }
}

/// What the call policy says of a call.
fn policy_line(policy: &CallPolicy) -> String {
    let of = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text).into_owned() };
    let [calling, called] = &policy.numbers;
    let mut line =
        format!("policy: {} calls {}, permission {}", of(calling), of(called), of(&policy.permission));
    if !policy.device.is_empty() {
        line.push_str(&format!(", device {}", printable(&policy.device)));
    }
    if policy.emergency {
        line.push_str(", emergency");
    }
    line
}

pub(crate) fn pinholes(page: &Page<PinholeRow>, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        address("TO", 21),
        text("KIND"),
        address("FROM", 15),
        count("CALL"),
        count("PACKETS"),
        count("BYTES"),
        count("LEFT"),
    ]);
    for hole in &page.rows {
        let from = match hole.from.as_slice() {
            [] => "-".to_owned(),
            [peer] => peer.to_string(),
            [peer, others @ ..] => format!("{} +{}", peer, others.len()),
        };
        let silent = if hole.packets == 0 { Tone::Dim } else { Tone::Plain };
        table.row([
            hole.to.to_string().into(),
            if hole.learned { format!("{} learned", hole.kind) } else { hole.kind.clone() }.into(),
            from.into(),
            if hole.call == 0 { "-".to_owned() } else { hole.call.to_string() }.into(),
            Cell::new(number(hole.packets), silent),
            Cell::new(bytes(hole.bytes), silent),
            duration(hole.idle_left_s.min(hole.expiry_left_s)).into(),
        ]);
    }
    finish(&table, page, "pinhole", screen)
}

pub(crate) fn flows(page: &Page<FlowRow>, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        text("PROTO"),
        address("FROM", 15),
        address("TO", 15),
        text("STATE"),
        count("PACKETS"),
        count("IDLE"),
        spare("RULE", 4),
    ]);
    for flow in &page.rows {
        let protocol = flow.inspect.as_ref().unwrap_or(&flow.protocol);
        table.row([
            protocol.into(),
            flow.from.to_string().into(),
            flow.to.to_string().into(),
            format!("{}{}", flow.state.name(), if flow.peer { "*" } else { "" }).into(),
            number(flow.packets.iter().sum()).into(),
            duration(flow.idle_s).into(),
            flow.rule.as_deref().unwrap_or("-").into(),
        ]);
    }
    finish(&table, page, "flow", screen)
}

pub(crate) fn rules(rules: &Rules, long: bool, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        count("#"),
        cut("RULE", 12),
        text("ACTION"),
        count("PACKETS"),
        count("BYTES"),
        count("LIMITED"),
        cut("ADVISORY", 10),
    ]);
    for rule in &rules.rules {
        let tone = match rule.action.as_str() {
            _ if !rule.active => Tone::Dim,
            "drop" | "reject" => Tone::Bad,
            _ => Tone::Plain,
        };
        let limited = if rule.limited > 0 { Tone::Warn } else { Tone::Dim };
        let idle = if rule.packets == 0 { Tone::Dim } else { Tone::Plain };
        let action = match &rule.inspect {
            Some(protocol) => format!("{} {protocol}", rule.action),
            None => rule.action.clone(),
        };
        table.row([
            rule.number.to_string().into(),
            (&rule.name).into(),
            Cell::new(action, tone),
            Cell::new(number(rule.packets), idle),
            Cell::new(bytes(rule.bytes), idle),
            Cell::new(if rule.limit.is_some() { number(rule.limited) } else { "-".to_owned() }, limited),
            rule.advisory.as_deref().unwrap_or_default().into(),
        ]);
        if long {
            table.note(rule_line(rule));
        }
    }
    table.print(screen)?;
    screen.end_line()?;
    let defaults: Vec<String> =
        rules.defaults.iter().map(|default| format!("{} {}", default.zone, default.action)).collect();
    let mut lines = Lines { screen };
    lines.add("no match", &[(printable(&defaults.join(", ")).into_owned(), Tone::Plain)])?;
    for zone in &rules.zones {
        let (sources, more) = zone_lines(zone);
        lines.add("zone", &[(printable(&sources).into_owned(), Tone::Plain)])?;
        if !more.is_empty() {
            lines.add("", &[(printable(&more).into_owned(), Tone::Plain)])?;
        }
    }
    if !rules.tables.form.is_empty() {
        lines.add("tables", &[(tables_line(rules), Tone::Plain)])?;
        lines.add("", &[(contents_line(&rules.tables), Tone::Plain)])?;
        lines.add("classes", &[(classes_line(&rules.tables), Tone::Plain)])?;
    }
    for builtin in &rules.builtin {
        let passed = format!("{}: {}", printable(&builtin.name), printable(&builtin.about));
        lines.add("built in", &[(passed, Tone::Dim)])?;
    }
    Ok(())
}

pub(crate) fn counters(page: &Page<CounterRow>, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table =
        Table::new([cut("INTERFACE", 9), text("VERDICT"), text("REASON"), count("PACKETS"), count("BYTES")]);
    for counter in &page.rows {
        let (verdict, tone) = if counter.dropped { ("drop", Tone::Bad) } else { ("pass", Tone::Good) };
        table.row([
            (&counter.interface).into(),
            Cell::new(verdict, tone),
            (&counter.reason).into(),
            number(counter.packets).into(),
            bytes(counter.bytes).into(),
        ]);
    }
    finish(&table, page, "counter", screen)
}

/// A reload that was done; its warnings go to `talk`.
pub(crate) fn reloaded(reply: &ReloadReply, out: &mut dyn Write, talk: &mut dyn Write) -> io::Result<()> {
    for warning in &reply.warnings {
        writeln!(talk, "{}\n", lines_printable(warning))?;
    }
    let ReloadReply { file, generation, count, .. } = reply;
    writeln!(
        out,
        "{}: {} in force, generation {generation}",
        printable(file),
        plural((*count).into(), "rule")
    )
}

/// A no of the daemon.
pub(crate) fn refused(reply: &ErrorReply, talk: &mut dyn Write) -> io::Result<()> {
    for detail in &reply.details {
        writeln!(talk, "{}\n", lines_printable(detail))?;
    }
    writeln!(talk, "fwctl: {}", printable(&reply.error))?;
    if !reply.hint.is_empty() {
        writeln!(talk, "       {}", printable(&reply.hint))?;
    }
    Ok(())
}

/// Prints a listing; an empty one, or one that was cut off, says so on stderr.
fn finish<const N: usize, T>(
    table: &Table<N>,
    page: &Page<T>,
    what: &str,
    screen: &mut Screen<'_>,
) -> io::Result<()> {
    if page.rows.is_empty() {
        return writeln!(io::stderr().lock(), "no {what}s");
    }
    table.print(screen)?;
    let shown = page.rows.len() as u64;
    if page.total > shown {
        screen.flush()?;
        let all = number(page.total);
        writeln!(io::stderr().lock(), "{} of {all} {what}s; use --limit to see more", number(shown))?;
    }
    Ok(())
}

/// Labelled lines, such as `rules      12 rules`.
struct Lines<'a, 'b> {
    screen: &'a mut Screen<'b>,
}

impl Lines<'_, '_> {
    fn add(&mut self, label: &str, parts: &[(String, Tone)]) -> io::Result<()> {
        self.screen.put(format_args!("{label:<11}"), Tone::Head)?;
        for (text, tone) in parts {
            self.screen.put(text, *tone)?;
        }
        self.screen.end_line()
    }
}

/// Counts by name, those that are zero left out.
fn sums(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(name, n)| format!("{} {}", printable(name), number(*n)))
        .collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// A party by its name, or else by its address.
fn call_end(end: &CallEnd) -> String {
    if end.party.is_empty() { end.signalling.ip().to_string() } else { end.party.clone() }
}

fn stream_label(stream: &StreamRow) -> &str {
    if stream.codec.is_empty() { medium(stream.medium) } else { &stream.codec }
}

fn stream_line(stream: &StreamRow) -> String {
    let place =
        |address: Option<SocketAddr>| address.map_or_else(|| "?".to_owned(), |address| address.to_string());
    let mut line = format!("{} {} — {}", medium(stream.medium), place(stream.caller), place(stream.callee));
    if !stream.codec.is_empty() {
        line.push_str(&format!(" {}", stream.codec));
    }
    let notes = [
        (stream.mux, ", rtcp-mux"),
        (stream.secure, ", encrypted"),
        (stream.ice, ", ICE"),
        (stream.learned, ", learned"),
        (stream.held, ", on hold"),
    ];
    line.extend(notes.into_iter().filter(|(is, _)| *is).map(|(_, note)| note));
    line
}

fn rule_line(rule: &RuleRow) -> String {
    let list = |names: &[String], any: &str| if names.is_empty() { any.to_owned() } else { names.join(" ") };
    let mut line = String::new();
    if !rule.zones.is_empty() {
        line.push_str(&format!("in {}, ", rule.zones.join(" ")));
    }
    line.push_str(&format!(
        "{} → {}, {}",
        list(&rule.from, "any"),
        list(&rule.to, "any"),
        list(&rule.service, "any")
    ));
    if let Some(limit) = &rule.limit {
        line.push_str(&format!(", {limit}"));
    }
    if let Some(when) = &rule.when {
        line.push_str(&format!(", {when}{}", if rule.active { "" } else { " (not now)" }));
    }
    if rule.log {
        line.push_str(", logged");
    }
    line
}

fn tables_line(rules: &Rules) -> String {
    let TableSizes { form, bytes: size, .. } = &rules.tables;
    format!("{}, {} bytes, generation {}", printable(form), bytes(*size), rules.generation)
}

/// What the tables hold; kinds of which there is none are left out.
fn contents_line(tables: &TableSizes) -> String {
    let TableSizes { entries, cells, vectors, chunks, prefixes, .. } = *tables;
    let kinds = [(cells, "cell"), (vectors, "vector"), (chunks, "chunk"), (prefixes, "network")];
    let kinds = kinds.into_iter().filter(|(n, _)| *n > 0);
    [(entries, "row")]
        .into_iter()
        .chain(kinds)
        .map(|(n, what)| plural(n, what))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Classes by field; those of fields that no rule tells apart are left out.
fn classes_line(tables: &TableSizes) -> String {
    let classes = tables.classes.iter().filter(|(_, n)| **n > 1);
    let classes: Vec<String> = classes
        .map(|(field, n)| format!("{} {}", number((*n).into()), printable(field).replace('_', " ")))
        .collect();
    if classes.is_empty() { "one of each field".to_owned() } else { classes.join(", ") }
}

/// What is said of a zone, and its networks and dropped link protocols.
fn zone_lines(zone: &ZoneRow) -> (String, String) {
    let ZoneRow { zone, interfaces, networks, anti_spoof, bogons, fragments, link_drops } = zone;
    let interfaces = interfaces.join(" ");
    let sources =
        format!("{zone} ({interfaces}): anti-spoof {anti_spoof}, bogons {bogons}, fragments {fragments}");
    let networks = match networks.len() {
        0 => None,
        1..=4 => Some(format!("networks {}", networks.join(" "))),
        many => Some(format!("{} networks", number(many as u64))),
    };
    let drops = (!link_drops.is_empty()).then(|| format!("drops {}", link_drops.join(" ")));
    (sources, networks.into_iter().chain(drops).collect::<Vec<_>>().join(", "))
}

const fn medium(medium: Medium) -> &'static str {
    match medium {
        Medium::Audio => "audio",
        Medium::Video => "video",
        Medium::Image => "t38",
        Medium::Data => "data",
        Medium::Control => "h245",
        Medium::H225 => "h225",
        Medium::Ras => "ras",
        Medium::Sip | Medium::SipTcp => "sip",
        Medium::File => "file",
        Medium::Other => "other",
    }
}

fn ago(moment_unix: u64) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    format!("{} ago", duration(now.saturating_sub(moment_unix)))
}

/// [`printable`], line by line.
fn lines_printable(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
