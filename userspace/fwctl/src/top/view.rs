//! How the screen is drawn: a head, calls, and beside or below them what is dropped, who talks, attacks and tables.

use callgate_alg::call::State;
use callgate_api::{Health, LadderRow, Page};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, TableState};

use super::state::{Call, Front, Screen};
use crate::screen::{bytes, duration, number, printable};

/// From so many columns on, what is beside the calls fits beside them.
const WIDE: u16 = 120;
/// Characters of a sparkline, from nothing to the most.
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const KEYS: &str = " ↑↓ choose  ⏎ ladder  x end  s sort  r reverse  / filter  ? help  q quit";

pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let area = frame.area();
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    frame.render_widget(summary(screen), head);
    if area.width >= WIDE {
        let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(46)]).areas(body);
        calls(frame, screen, left);
        // All tables where there is room, the fullest where there is not.
        let tables = u16::try_from(screen.now.status.tables.len()).unwrap_or(u16::MAX).saturating_add(2);
        let rest = Layout::vertical([
            Constraint::Fill(2),
            Constraint::Fill(2),
            Constraint::Fill(2),
            Constraint::Length(tables.min(right.height / 3).max(7)),
        ]);
        let [drops, talkers, attacks, tables] = rest.areas(right);
        panels(frame, screen, [drops, talkers, attacks, tables]);
    } else {
        let [above, below] = Layout::vertical([Constraint::Min(6), Constraint::Length(11)]).areas(body);
        calls(frame, screen, above);
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(below);
        let half = Layout::vertical([Constraint::Length(6), Constraint::Length(5)]);
        let ([drops, attacks], [talkers, tables]) = (half.areas(left), half.areas(right));
        panels(frame, screen, [drops, talkers, attacks, tables]);
    }
    let words = match (&screen.front, &screen.word) {
        (Front::Filter, _) => {
            format!(" filter: {}▏ (Enter keeps it, Esc clears it)", printable(&screen.filter))
        }
        (Front::Confirm(call), _) => format!(" end call {call}? y: yes, any other key: no"),
        (_, Some(word)) => format!(" {}", printable(word)),
        _ => KEYS.to_owned(),
    };
    let style = if screen.word.is_some() { tone(screen, Color::Yellow) } else { dim() };
    frame.render_widget(Paragraph::new(Span::styled(words, style)), foot);
    match &screen.front {
        Front::Help => over(frame, "keys", help(), 0),
        Front::Ladder(page, line) => over(frame, "messages", ladder(page), *line),
        _ => {}
    }
}

fn tone(screen: &Screen, colour: Color) -> Style {
    if screen.colour { Style::new().fg(colour) } else { Style::new() }
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn summary(screen: &Screen) -> Paragraph<'static> {
    let status = &screen.now.status;
    let (health, colour) = match status.health {
        Health::Good => ("good", Color::Green),
        Health::Warning => ("warning", Color::Yellow),
        Health::Critical => ("CRITICAL", Color::Red),
    };
    let uptime = format!("  up {}  mode {}  ", duration(status.uptime_s), status.mode);
    let first = Line::from(vec![
        Span::styled(" callgate ", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(uptime),
        Span::styled(health, tone(screen, colour).add_modifier(Modifier::BOLD)),
    ]);
    let rates = &status.rates;
    let second = Line::raw(format!(
        " calls {}  pinholes {}  flows {}  passed {}/s {}  dropped {}/s",
        number(status.calls),
        number(status.pinholes),
        number(status.flows),
        number(rates.passed),
        spark(screen.passed.iter().copied(), 12),
        number(rates.dropped),
    ));
    let third = match status.alarms.first() {
        Some(alarm) => {
            let more = match status.alarms.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            Line::styled(format!(" ! {}{more}", printable(&alarm.text)), tone(screen, colour))
        }
        None => Line::styled(format!(" rules {}", printable(&status.rules.file)), dim()),
    };
    Paragraph::new(vec![first, second, third])
}

fn calls(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let calls = screen.calls();
    let arrow = if screen.descending { '↓' } else { '↑' };
    let filter =
        if screen.filter.is_empty() { String::new() } else { format!(", \"{}\"", printable(&screen.filter)) };
    let title = format!(
        " calls: {} of {}, by {} {arrow}{filter} ",
        calls.len(),
        screen.now.calls_total.max(calls.len() as u64),
        screen.sort.name()
    );
    // Numbers of calls are long: where there is no room for them the parties matter more; a ladder has its call's number.
    let first = usize::from(frame.area().width < WIDE);
    let head = ["ID", "PROTO", "STATE", "AGE", "CALLER", "CALLEE", "→CALLER", "→CALLEE"];
    let head = Row::new(head.into_iter().skip(first)).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = calls.iter().map(|call| Row::new(cells(screen, call).into_iter().skip(first)));
    let widths = [
        Constraint::Length(13),
        Constraint::Length(5),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    let table = Table::new(rows, widths.into_iter().skip(first))
        .header(head)
        .block(Block::bordered().title(title))
        .row_highlight_style(chosen);
    let mut state = TableState::default().with_selected(screen.place());
    frame.render_stateful_widget(table, area, &mut state);
}

fn cells(screen: &Screen, call: &Call) -> [Text<'static>; 8] {
    let (state, colour) = match call.row.state {
        State::Calling => ("calling", Color::Gray),
        State::Ringing => ("ringing", Color::Yellow),
        State::Connected => ("connected", Color::Green),
    };
    let end = |end: &callgate_api::CallEnd| {
        let party = printable(&end.party);
        if party.is_empty() { end.signalling.ip().to_string() } else { party.into_owned() }
    };
    let row = &call.row;
    [
        Text::raw(row.id.to_string()),
        Text::raw(row.protocol.clone()),
        Text::styled(state, tone(screen, colour)),
        Text::raw(duration(row.connected_s.unwrap_or(row.age_s))),
        Text::raw(end(&row.caller)),
        Text::raw(end(&row.callee)),
        Text::raw(call.quality[0].clone()),
        Text::raw(call.quality[1].clone()),
    ]
}

fn panels(frame: &mut Frame<'_>, screen: &Screen, [drops, talkers, attacks, tables]: [Rect; 4]) {
    let panel = |title: &'static str, lines: Vec<Line<'static>>| {
        Paragraph::new(lines).block(Block::bordered().title(format!(" {title} ")))
    };
    let none = || vec![Line::styled("none", dim())];
    let or_none = |lines: Vec<Line<'static>>| if lines.is_empty() { none() } else { lines };

    let width = usize::from(drops.width.saturating_sub(2));
    let refusals = screen.now.status.refusals.iter().map(|row| {
        let rates = screen.dropped.get(&row.reason).into_iter().flatten().copied();
        let count = format!("{}/s", number(row.per_s));
        let name = width.saturating_sub(count.len() + 14);
        Line::raw(format!("{:<name$.name$} {} {count:>}", printable(&row.reason), spark(rates, 12)))
    });
    frame.render_widget(panel("dropped", or_none(refusals.collect())), drops);

    let said =
        screen.talkers.iter().map(|(address, sent)| Line::raw(format!("{:>10}  {address}", bytes(*sent))));
    frame.render_widget(panel("top talkers (since the last look)", or_none(said.collect())), talkers);

    let told = screen.now.attacks.iter().rev().map(|event| {
        let text = format!("{} {} {}", event.kind.name(), event.source.ip(), printable(&event.text));
        Line::styled(text, tone(screen, Color::Red))
    });
    frame.render_widget(panel("attacks, the latest first", or_none(told.collect())), attacks);

    let filled = screen.now.status.tables.iter().map(|row| {
        let percent = row.percent();
        let colour = match percent {
            0..80 => Color::Green,
            80..95 => Color::Yellow,
            _ => Color::Red,
        };
        let cells = usize::try_from(percent.min(100) / 10).unwrap_or(10);
        let bar = format!("{}{}", "█".repeat(cells), "░".repeat(10 - cells));
        Line::from(vec![
            Span::raw(format!("{:<21}", row.table)),
            Span::styled(bar, tone(screen, colour)),
            Span::raw(format!(" {percent:>3} %")),
        ])
    });
    // The fullest ones first, where there is no room for all.
    let mut lines: Vec<(u64, Line<'static>)> =
        screen.now.status.tables.iter().map(|row| row.percent()).zip(filled).collect();
    lines.sort_by_key(|(percent, _)| std::cmp::Reverse(*percent));
    let lines = lines.into_iter().map(|(_, line)| line).collect();
    frame.render_widget(panel("tables", or_none(lines)), tables);
}

/// The last values, each as high as it is beside the highest of them.
fn spark(values: impl DoubleEndedIterator<Item = u64>, width: usize) -> String {
    let mut last: Vec<u64> = values.rev().take(width).collect();
    last.reverse();
    let most = last.iter().copied().max().unwrap_or(0).max(1);
    let blank = std::iter::repeat_n(' ', width - last.len());
    let top = SPARKS.len() as u64 - 1;
    let height = |value: u64| usize::try_from(value.saturating_mul(top).div_ceil(most)).unwrap_or(0);
    blank.chain(last.iter().map(|value| SPARKS[height(*value).min(SPARKS.len() - 1)])).collect()
}

fn over(frame: &mut Frame<'_>, title: &str, lines: Vec<Line<'static>>, line: u16) {
    let area = frame.area();
    let (width, height) = (area.width.saturating_sub(6), area.height.saturating_sub(4));
    let place = Rect { x: 3, y: 2, width, height };
    let last = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(height.saturating_sub(2));
    frame.render_widget(Clear, place);
    let text = Paragraph::new(lines).scroll((line.min(last), 0));
    frame.render_widget(text.block(Block::bordered().title(format!(" {title} "))), place);
}

fn help() -> Vec<Line<'static>> {
    [
        "↑ ↓ PgUp PgDn Home End   choose a call",
        "Enter                    its messages; any other key leaves them",
        "x                        end it: its media closes at once (operators)",
        "s, r                     sort by another column; the other way round",
        "/                        show only calls with this text in them",
        "q, Esc                   leave",
        "",
        "→CALLER, →CALLEE         quality of the media towards them: MOS, else",
        "                         loss and jitter; - where it is not measured",
    ]
    .map(Line::raw)
    .into()
}

fn ladder(page: &Page<LadderRow>) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for call in &page.rows {
        let ended = call.ended.as_deref().map(|reason| format!(", ended: {reason}")).unwrap_or_default();
        let (caller, callee) = (printable(&call.caller.party), printable(&call.callee.party));
        let title = format!("{} {} {caller} → {callee}{ended}", call.protocol, call.id);
        lines.push(Line::styled(title, Style::new().add_modifier(Modifier::BOLD)));
        for step in &call.steps {
            let refused = if step.refused { "  REFUSED" } else { "" };
            let media = if step.media { "  (media)" } else { "" };
            let (seconds, ms) = (step.after_ms / 1_000, step.after_ms % 1_000);
            let ends =
                if step.direction == "->" { "caller ──▶ callee" } else { "caller ◀── callee" };
            let message = printable(&step.message);
            lines.push(Line::raw(format!("{seconds:>6}.{ms:03}  {ends}  {message}{media}{refused}")));
        }
        if call.left_out > 0 {
            lines.push(Line::styled(format!("        {} left out", number(call.left_out)), dim()));
        }
    }
    if lines.is_empty() {
        lines.push(Line::styled("the call is not known any more", dim()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use callgate_api::{Alarm, CallRow, Page, Status};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use serde_json::{Value, json};

    use super::super::state::{Snapshot, Wish};
    use super::*;

    fn status() -> Status {
        let mut status: Status = serde_json::from_value(json!({
            "version": "0.1.0", "uptime_s": 3_725, "mode": "enforce", "interfaces": [], "calls": 2, "pinholes": 8,
            "flows": 1_234, "packets": { "passed": 10, "dropped": 5 },
            "rules": { "file": "/etc/callgate/rules.toml", "loaded_unix": 1, "generation": 1, "count": 1, "last_error": null },
            "alg": { "heartbeat_age_ms": 1, "messages": {}, "refusals": {} },
            "rates": { "passed": 5_000, "dropped": 70, "over_s": 5 },
            "refusals": [{ "reason": "default-drop", "packets": 900, "per_s": 60 }, { "reason": "spoofed", "packets": 9, "per_s": 10 }],
            "tables": [
                { "table": "flows", "used": 10, "capacity": 100 }, { "table": "peer flows", "used": 0, "capacity": 100 },
                { "table": "pinholes", "used": 85, "capacity": 100 }, { "table": "blocks", "used": 99, "capacity": 100 }
            ],
        }))
        .expect("a status");
        status.health = Health::Warning;
        status.alarms = vec![Alarm {
            name: "table-fill".into(),
            critical: false,
            text: "the table of pinholes is 85 % full".into(),
            hint: String::new(),
        }];
        status
    }

    fn call(id: u64, state: &str, caller: &str, callee: &str, [to_caller, to_callee]: [Value; 2]) -> CallRow {
        let end = |party: &str| json!({ "signalling": "192.0.2.1:5060", "party": party });
        let stream = json!({
            "branch": 0, "index": 0, "medium": "audio", "codec": "", "held": false, "mux": false,
            "caller": null, "caller_rtcp": null, "callee": null, "callee_rtcp": null, "to_caller": to_caller, "to_callee": to_callee,
        });
        let row = json!({
            "id": id, "protocol": "sip", "key": format!("k{id}"), "state": state, "caller": end(caller),
            "callee": end(callee), "age_s": id * 10, "connected_s": null, "rule": "sip", "streams": [stream],
        });
        serde_json::from_value(row).expect("a call")
    }

    /// What was measured in one direction.
    fn heard(mos: Option<f64>) -> Value {
        json!({
            "packets": 1_000, "bytes": 200_000, "lost": 15, "loss": 0.015, "out_of_order": 0, "duplicates": 0,
            "jitter_ms": 12.0, "longest_gap_ms": 20, "rating": null, "mos": mos, "dscps": [46], "ssrc": 1, "refused": 0,
            "refused_last": null, "enforced": true, "path": "stack", "by_stack": 0, "silent_s": 0, "reported": null,
            "round_trip_ms": null,
        })
    }

    fn snapshot() -> Snapshot {
        let rows = vec![
            call(7, "connected", "2001", "2002", [heard(Some(4.3)), heard(None)]),
            call(8, "ringing", "alice\u{1b}[2J", "", [Value::Null, Value::Null]),
        ];
        let flow = serde_json::from_value(json!({
            "protocol": "udp", "from": "198.51.100.7:4000", "to": "192.0.2.1:5060", "state": "open", "zone": "outside",
            "rule": null, "inspect": null, "packets": [1, 1], "bytes": [5_000_000, 10], "age_s": 1, "idle_s": 0,
        }));
        let attack = serde_json::from_value(json!({
            "number": 1, "at_unix": 1, "kind": "attack", "protocol": "sip", "source": "203.0.113.9:5060", "subject": "",
            "text": "guesses passwords",
        }));
        let flows = flow.map(|flow| vec![flow]).unwrap_or_default();
        let media = serde_json::from_value(json!([
            { "to": "192.0.2.1:20000", "transport": "udp", "kind": "rtp", "from": ["192.0.2.99"], "call": 7, "call_key": "k7",
              "packets": 9_000, "bytes": 3_000_000, "idle_s": 0, "idle_left_s": 1, "expiry_left_s": 1 },
        ]));
        let media = media.expect("a pinhole");
        Snapshot::new(status(), Page { rows, total: 2 }, (flows, media), vec![attack.expect("an event")])
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, screen)).expect("it can be drawn");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    fn press(screen: &mut Screen, keys: &[KeyCode]) -> Wish {
        let mut wish = Wish::Nothing;
        for key in keys {
            wish = screen.key(KeyEvent::new(*key, KeyModifiers::NONE));
        }
        wish
    }

    #[test]
    fn everything_is_to_be_seen_at_80_by_24_and_wide() {
        for (width, height) in [(80, 24), (160, 50)] {
            let lines = drawn(&Screen::new(snapshot(), true), width, height);
            let text = lines.join("\n");
            for wanted in [
                "callgate   up 1h",
                "mode enforce",
                "warning",
                "passed 5",
                "! the table of pinholes is 85 % full",
                "calls: 2 of 2, by number",
                "connected",
                "2001",
                "2002",
                "4.3",
                "ringing",
                "dropped",
                "default-drop",
                "60/s",
                "top talkers",
                "attacks",
                "attack 203.0.113.9",
                "tables",
                "blocks",
                "99 %",
                "q quit",
            ] {
                assert!(text.contains(wanted), "{wanted:?} at {width}×{height}:\n{text}");
            }
            assert!(!text.contains('\u{1b}'), "a party's name takes over no terminal");
            assert_eq!(lines.len(), usize::from(height));
        }
    }

    #[test]
    fn who_sends_media_talks_too() {
        let mut screen = Screen::new(snapshot(), false);
        let mut more = snapshot();
        more.bytes.insert("192.0.2.99".parse().expect("an address"), 4_500_000);
        screen.take(more);
        let text = drawn(&screen, 80, 24).join("\n");
        assert!(text.contains("192.0.2.99"), "{text}");
    }

    #[test]
    fn a_call_has_its_whole_number_where_there_is_room() {
        let mut now = snapshot();
        now.calls[0].row.id = 62_017_429_212;
        let screen = Screen::new(now, false);
        assert!(drawn(&screen, 160, 50).join("\n").contains("62017429212"));
        assert!(!drawn(&screen, 80, 24).join("\n").contains("6201742"), "no part of it is shown");
    }

    #[test]
    fn a_window_of_any_size_is_drawn() {
        let mut screen = Screen::new(snapshot(), false);
        for front in [Front::Nothing, Front::Help, Front::Ladder(Page { rows: vec![], total: 0 }, 9)] {
            screen.front = front;
            for (width, height) in [(1, 1), (10, 3), (40, 10), (79, 23), (120, 5), (300, 100)] {
                drawn(&screen, width, height);
            }
        }
    }

    #[test]
    fn quality_is_told_by_direction_and_a_dash_where_it_is_not_measured() {
        let lines = drawn(&Screen::new(snapshot(), true), 160, 50);
        let measured = lines.iter().find(|line| line.contains("2001")).expect("the call");
        assert!(measured.contains("4.3") && measured.contains("1.5% 12"), "{measured}");
        let not = lines.iter().find(|line| line.contains("ringing")).expect("the call");
        assert!(not.split_whitespace().filter(|word| word.trim_matches('│') == "-").count() == 2, "{not}");
    }

    #[test]
    fn calls_are_chosen_sorted_and_filtered() {
        let mut screen = Screen::new(snapshot(), true);
        let order = |screen: &Screen| screen.calls().iter().map(|call| call.row.id).collect::<Vec<_>>();
        assert_eq!(order(&screen), [8, 7]);
        press(&mut screen, &[KeyCode::Char('r')]);
        assert_eq!(order(&screen), [7, 8]);
        press(&mut screen, &[KeyCode::Down]);
        assert_eq!(press(&mut screen, &[KeyCode::Enter]), Wish::Ladder(8));
        press(&mut screen, &[KeyCode::Char('r')]);
        assert_eq!(press(&mut screen, &[KeyCode::Enter]), Wish::Ladder(8), "what is chosen stays so");
        press(&mut screen, &[KeyCode::Char('s'), KeyCode::Char('s'), KeyCode::Char('s')]);
        assert_eq!(order(&screen), [8, 7], "by caller, downwards: alice before 2001");
        let filter = "/2002".chars().map(KeyCode::Char).collect::<Vec<_>>();
        press(&mut screen, &filter);
        assert_eq!(order(&screen), [7]);
        assert!(drawn(&screen, 80, 24).join("\n").contains("filter: 2002"));
        press(&mut screen, &[KeyCode::Enter]);
        assert_eq!(press(&mut screen, &[KeyCode::Enter]), Wish::Ladder(7));
    }

    #[test]
    fn a_call_is_ended_only_when_that_is_confirmed() {
        let mut screen = Screen::new(snapshot(), true);
        press(&mut screen, &[KeyCode::Char('x')]);
        assert!(drawn(&screen, 80, 24).join("\n").contains("end call 8? y"));
        assert_eq!(press(&mut screen, &[KeyCode::Enter]), Wish::Nothing);
        assert_eq!(press(&mut screen, &[KeyCode::Char('x'), KeyCode::Char('y')]), Wish::HangUp(8));
        screen.say("user 1000 has viewer; /v1/calls/end takes operator".to_owned());
        assert!(drawn(&screen, 80, 24).join("\n").contains("takes operator"));
        assert_eq!(press(&mut screen, &[KeyCode::Char('q')]), Wish::Quit);
    }

    #[test]
    fn a_ladder_is_read_over_the_screen_and_left_again() {
        let mut screen = Screen::new(snapshot(), true);
        let end = json!({ "signalling": "192.0.2.1:5060", "party": "2001" });
        let step = |n: u64, direction: &str, message: &str| {
            json!({
                "at_unix_ms": n, "after_ms": n, "direction": direction, "from": "192.0.2.1:5060",
                "to": "192.0.2.2:5060", "message": message, "media": true, "refused": false,
            })
        };
        let mut steps = vec![step(0, "->", "INVITE"), step(180, "<-", "180 INVITE")];
        steps.extend((0..60).map(|n| step(1_000 + n, "->", &format!("INFO {n}"))));
        let page = json!({
            "rows": [{ "id": 8, "protocol": "sip", "key": "k", "caller": end, "callee": end, "ended": null, "left_out": 3, "steps": steps }],
            "total": 1,
        });
        screen.show_ladder(serde_json::from_value(page).expect("a ladder"));
        let text = drawn(&screen, 80, 24).join("\n");
        assert!(text.contains("caller ──▶ callee  INVITE  (media)") && text.contains("0.180"), "{text}");
        press(&mut screen, &[KeyCode::PageDown; 20]);
        let text = drawn(&screen, 80, 24).join("\n");
        assert!(
            text.contains("INFO 59") && text.contains("3 left out") && !text.contains("180 INVITE"),
            "{text}"
        );
        press(&mut screen, &[KeyCode::Esc]);
        assert_eq!(screen.front, Front::Nothing);
    }

    #[test]
    fn talkers_are_those_who_have_sent_since_the_last_look() {
        let mut screen = Screen::new(snapshot(), true);
        assert!(screen.talkers.is_empty());
        screen.take(snapshot());
        assert!(screen.talkers.is_empty(), "nothing more was sent");
    }

    #[test]
    fn sparks_are_as_high_as_they_are_beside_the_highest() {
        assert_eq!(spark([0, 1, 4, 8].into_iter(), 4), "▁▂▅█");
        assert_eq!(spark([5].into_iter(), 3), "  █");
        assert_eq!(spark([1, 2, 0, 0].into_iter(), 2), "▁▁");
        assert_eq!(spark(std::iter::empty(), 2), "  ");
    }
}
