//! What was measured of a call's media.

use std::io;

use callgate_api::{MediaRow, StreamRow};

use crate::screen::{Screen, Tone, number};
use crate::table::{Cell, Table, address, count, cut, text};

/// A row for each direction of each stream, and below it what stands out; nothing where nothing flows.
pub(crate) fn streams(rows: &[StreamRow], screen: &mut Screen<'_>) -> io::Result<()> {
    let mut empty = true;
    let mut table = Table::new([
        text("MEDIA"),
        text("TO"),
        address("RECEIVED AT", 15),
        cut("CODEC", 5),
        count("PACKETS"),
        count("LOSS"),
        count("JITTER"),
        count("MOS"),
        text("PATH"),
    ]);
    for stream in rows {
        let directions =
            [("caller", stream.caller, &stream.to_caller), ("callee", stream.callee, &stream.to_callee)];
        for (party, to, measured) in directions {
            let (Some(to), Some(row)) = (to, measured) else { continue };
            empty = false;
            let held = if stream.held { ", held" } else { "" };
            table.row([
                format!("{:?}{held}", stream.medium).to_lowercase().into(),
                party.into(),
                to.to_string().into(),
                stream.codec.as_str().into(),
                number(row.packets).into(),
                Cell::new(percent(row.loss), loss_tone(row.loss)),
                with(row.jitter_ms, |ms| format!("{ms:.1}ms")).into(),
                Cell::new(with(row.mos, |mos| format!("{mos:.2}")), mos_tone(row.mos)),
                row.path.as_str().into(),
            ]);
            notes(row).into_iter().for_each(|note| table.note(note));
        }
    }
    if empty { Ok(()) } else { table.print(screen) }
}

/// What is worth a line of its own.
fn notes(row: &MediaRow) -> Vec<String> {
    let mut sequence = Vec::new();
    let counts = [(row.lost, "lost"), (row.out_of_order, "out of order"), (row.duplicates, "twice")];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        sequence.push(format!("{} {what}", number(count)));
    }
    if row.packets > 1 {
        sequence.push(format!("longest gap {} ms", number(row.longest_gap_ms.into())));
    }
    if let Some(silent) = row.silent_s.filter(|silent| *silent > 1) {
        sequence.push(format!("silent for {silent} s"));
    }
    if !row.dscps.is_empty() {
        let dscps: Vec<_> = row.dscps.iter().map(u8::to_string).collect();
        sequence.push(format!("DSCP {}", dscps.join(", ")));
    }
    if let Some(ssrc) = row.ssrc {
        sequence.push(format!("SSRC {ssrc:#010x}"));
    }
    if row.by_stack > 0 && row.path == "fast" {
        sequence.push(format!("{} by the stack", number(row.by_stack.into())));
    }
    let mut notes: Vec<String> = (!sequence.is_empty()).then(|| sequence.join(", ")).into_iter().collect();
    if let Some(reported) = row.reported {
        let jitter = with(reported.jitter_ms, |ms| format!("{ms:.1} ms"));
        let trip = with(row.round_trip_ms, |ms| format!("{ms:.0} ms"));
        let loss = percent(Some(reported.loss));
        notes.push(format!("its receiver reports loss {loss}, jitter {jitter}; round trip {trip}"));
    }
    if row.refused > 0 {
        let verb = if row.enforced { "dropped" } else { "would be dropped" };
        let last = row.refused_last.as_deref().unwrap_or("unknown");
        notes.push(format!("{} {verb}, the last for: {last}", number(row.refused.into())));
    }
    notes
}

fn with(value: Option<f64>, shown: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}

fn percent(share: Option<f64>) -> String {
    with(share, |share| format!("{:.2}%", share * 100.0))
}

/// What people notice (ITU-T G.114, G.113): from 1 % on some do, from 5 % on all.
fn loss_tone(loss: Option<f64>) -> Tone {
    match loss {
        Some(loss) if loss >= 0.05 => Tone::Bad,
        Some(loss) if loss >= 0.01 => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// The categories of ITU-T G.109: below 3.6 many are dissatisfied, below 3.1 nearly all.
fn mos_tone(mos: Option<f64>) -> Tone {
    match mos {
        Some(mos) if mos < 3.1 => Tone::Bad,
        Some(mos) if mos < 3.6 => Tone::Warn,
        Some(mos) if mos >= 4.03 => Tone::Good,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use callgate_alg::call::Medium;
    use callgate_api::Reported;

    use super::*;

    fn measured() -> MediaRow {
        MediaRow {
            packets: 12_345,
            lost: 124,
            loss: Some(0.00995),
            duplicates: 1,
            jitter_ms: Some(3.44),
            longest_gap_ms: 120,
            mos: Some(4.187),
            dscps: vec![0, 46],
            ssrc: Some(0xbeef),
            refused: 7,
            refused_last: Some("payload-type".to_owned()),
            path: "fast".to_owned(),
            silent_s: Some(12),
            reported: Some(Reported { loss: 0.25, lost: 9, jitter_ms: None }),
            ..MediaRow::default()
        }
    }

    #[test]
    fn each_direction_has_a_row_and_what_stands_out_below() {
        let stream = StreamRow {
            branch: 0,
            index: 0,
            medium: Medium::Audio,
            codec: "PCMU".to_owned(),
            held: false,
            mux: false,
            secure: false,
            ice: false,
            learned: false,
            caller: Some("192.0.2.1:20000".parse().expect("an address")),
            caller_rtcp: None,
            callee: Some("198.51.100.7:30000".parse().expect("an address")),
            callee_rtcp: None,
            to_caller: Some(measured()),
            to_callee: Some(MediaRow { path: "stack".to_owned(), ..MediaRow::default() }),
        };
        let mut shown = Vec::new();
        streams(&[stream], &mut Screen::plain(&mut shown, Some(120))).expect("room");
        let shown = String::from_utf8(shown).expect("text");
        let lines: Vec<_> = shown.lines().map(str::trim).collect();
        assert!(lines[1].starts_with("audio") && lines[1].contains("192.0.2.1:20000"), "{shown}");
        for part in [number(12_345).as_str(), "1.00%", "3.4ms", "4.19", "fast"] {
            assert!(lines[1].contains(part), "{part}: {shown}");
        }
        assert!(
            lines[2].contains("twice, longest gap 120 ms, silent for 12 s, DSCP 0, 46, SSRC 0x0000beef"),
            "{shown}"
        );
        assert_eq!(lines[3], "its receiver reports loss 25.00%, jitter -; round trip -");
        assert_eq!(lines[4], "7 would be dropped, the last for: payload-type");
        assert!(lines[5].contains("callee") && lines[5].contains("stack"), "{shown}");
        assert_eq!(lines.len(), 6, "{shown}");
    }

    #[test]
    fn nothing_measured_is_nothing_shown() {
        let mut shown = Vec::new();
        streams(&[], &mut Screen::plain(&mut shown, Some(80))).expect("room");
        assert!(shown.is_empty());
    }
}
