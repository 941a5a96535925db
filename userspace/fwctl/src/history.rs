//! `fwctl history` and `fwctl fraud`: calls that are over, chosen, summed up, and looked at for what is odd.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use callgate_api::{By, Finding, HistoryFilter, HistoryTotal, Page, Record};
use jiff::civil;
use jiff::tz::TimeZone;

use crate::cli::Listing;
use crate::client::Client;
use crate::{Outcome, print, show, write_json};

/// Calls that are over, the latest first
///
/// Kept where the rules file has `[history]`. All that is asked for must be true of a call; with --any, --caller or
/// --called is enough. A number may end with `*`, which stands for any rest, and may be written with separators:
/// which numbers phone 2001 has called within a week, and who has tried 1-900, is told by
/// `fwctl history --since 7d --any --caller 2001 --called '1-900*' --by called --by caller`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    which: Which,
    /// Sum them up by what they have in common; may be repeated
    #[arg(long, value_name = "WHAT", value_parser = sums(), conflicts_with = "long")]
    by: Vec<By>,
    /// Show each call's addresses, signalled names, identifier and packets too
    #[arg(long)]
    long: bool,
    /// Print comma-separated values (RFC 4180) for programs
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// What looks odd among calls that are over, the oddest first, and why
///
/// Many short calls to one place, calls at night, many failed attempts, and destinations never called before: within
/// the last week, unless --since says otherwise. SCORE goes to 100. None of it is proof.
#[derive(Debug, clap::Args)]
pub(crate) struct Fraud {
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    which: Which,
}

/// Which calls.
#[derive(Debug, Default, clap::Args)]
struct Which {
    /// Only calls by this number or name, or by those beginning so: 2001, 20*
    #[arg(long, value_name = "NUMBER")]
    caller: Option<String>,
    /// Only calls to this number or name, likewise
    #[arg(long, value_name = "NUMBER")]
    called: Option<String>,
    /// --caller or --called is enough
    #[arg(long, requires = "caller", requires = "called")]
    any: bool,
    /// Only calls by the device that is registered by this name
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Only calls whose number needs this permission: a destination class
    #[arg(long, value_name = "PERMISSION")]
    class: Option<String>,
    /// Only calls that ended so: a reason, a cause or a verdict, such as bye, "sip 486", no-permission
    #[arg(long)]
    cause: Option<String>,
    /// Only calls that this protocol signalled: sip, h225, sccp, mgcp
    #[arg(long)]
    protocol: Option<String>,
    /// Only calls that the firewall of this host name saw
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only calls begun since then: 7d, 12h, 30min ago, or 2026-11-20 or 2026-11-20T08:00 in local time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only calls begun before then, likewise
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Only calls that the firewall refused
    #[arg(long)]
    refused: bool,
    /// Only calls that were answered
    #[arg(long, conflicts_with = "unanswered")]
    answered: bool,
    /// Only calls that were not answered
    #[arg(long)]
    unanswered: bool,
    /// Only calls that lasted at least so long: 30s, 10min, 2h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    longer: Option<u64>,
    /// Only answered calls that lasted at most so long
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    shorter: Option<u64>,
}

impl Which {
    fn filter(&self) -> HistoryFilter {
        HistoryFilter {
            caller: self.caller.clone(),
            called: self.called.clone(),
            device: self.device.clone(),
            any: self.any,
            class: self.class.clone(),
            cause: self.cause.clone(),
            protocol: self.protocol.clone(),
            host: self.host.clone(),
            since_ms: self.since,
            until_ms: self.until,
            refused: self.refused.then_some(true),
            answered: if self.unanswered { Some(false) } else { self.answered.then_some(true) },
            longer_s: self.longer,
            shorter_s: self.shorter,
        }
    }

    /// Bounds that no call can be within are a mistake, not a question.
    fn check(&self) -> Result<()> {
        if let (Some(since), Some(until)) = (self.since, self.until) {
            ensure!(since < until, "--until is before --since: no call began between them");
        }
        if let (Some(longer), Some(shorter)) = (self.longer, self.shorter) {
            ensure!(longer <= shorter, "--shorter is less than --longer: no call lasted so long");
        }
        Ok(())
    }

    fn query(&self, listing: &Listing) -> String {
        let filter = self.filter().to_query();
        format!("limit={}{}{filter}", listing.limit, if filter.is_empty() { "" } else { "&" })
    }
}

pub(crate) fn run(client: &Client, args: &Args, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    args.which.check()?;
    let query = args.which.query(&args.listing);
    if args.by.is_empty() {
        let page: Page<Record> = client.get(&format!("/v1/history?{query}"))?;
        if args.csv {
            records_csv(&page.rows, out)?;
            return Ok(Outcome::Yes);
        }
        return print(&page, json, out, |page, screen| show::records(page, args.long, screen));
    }
    let mut all = Vec::new();
    for by in &args.by {
        let page: Page<HistoryTotal> = client.get(&format!("/v1/history/totals?by={}&{query}", by.name()))?;
        all.push((by.name(), page));
    }
    if args.csv {
        totals_csv(&all, out)?;
    } else if json {
        let all: serde_json::Map<_, _> = all
            .into_iter()
            .map(|(by, page)| Ok((by.to_owned(), serde_json::to_value(page)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        write_json(&all, out)?;
    } else {
        for (place, (by, page)) in all.iter().enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            print(page, false, out, |page, screen| show::totals(by, page, screen))?;
        }
    }
    Ok(Outcome::Yes)
}

pub(crate) fn fraud(client: &Client, args: &Fraud, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    args.which.check()?;
    let page: Page<Finding> =
        client.get(&format!("/v1/history/fraud?{}", args.which.query(&args.listing)))?;
    print(&page, json, out, show::findings)
}

/// Columns of records as comma-separated values: their fields, in an order for people.
const COLUMNS: [&str; 36] = [
    "host",
    "call",
    "protocol",
    "key",
    "caller",
    "called",
    "caller_signalled",
    "called_signalled",
    "device",
    "caller_address",
    "called_address",
    "started_ms",
    "connected_ms",
    "ended_ms",
    "duration_ms",
    "reason",
    "cause",
    "released_by",
    "permission",
    "verdict",
    "refused",
    "emergency",
    "rule",
    "packets_to_caller",
    "bytes_to_caller",
    "packets_to_called",
    "bytes_to_called",
    "loss",
    "jitter_ms",
    "mos",
    "loss_to_caller",
    "jitter_ms_to_caller",
    "mos_to_caller",
    "loss_to_called",
    "jitter_ms_to_called",
    "mos_to_called",
];

/// Every field of every record, under a line of their names.
fn records_csv(records: &[Record], out: &mut dyn Write) -> io::Result<()> {
    line(COLUMNS.into_iter(), out)?;
    for record in records {
        let fields = serde_json::to_value(record)?;
        let values: Vec<_> = COLUMNS.iter().map(|name| plain(&fields[*name])).collect();
        line(values.iter().map(String::as_str), out)?;
    }
    Ok(())
}

fn totals_csv(all: &[(&str, Page<HistoryTotal>)], out: &mut dyn Write) -> io::Result<()> {
    line(
        ["by", "name", "calls", "answered", "refused", "duration_s", "first_ms", "last_ms"].into_iter(),
        out,
    )?;
    for (by, page) in all {
        for row in &page.rows {
            let numbers = [row.calls, row.answered, row.refused, row.duration_s, row.first_ms, row.last_ms];
            let numbers = numbers.map(|number| number.to_string());
            let values = [*by, row.name.as_str()].into_iter().chain(numbers.iter().map(String::as_str));
            line(values, out)?;
        }
    }
    Ok(())
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A line of values (RFC 4180 section 2).
fn line<'v>(values: impl Iterator<Item = &'v str>, out: &mut dyn Write) -> io::Result<()> {
    for (place, value) in values.enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        let value = harmless(value);
        if value.contains(['"', ',', '\r', '\n']) {
            write!(out, "\"{}\"", value.replace('"', "\"\""))?;
        } else {
            out.write_all(value.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

/// A caller's name must not become a formula in the spreadsheet that opens the file: what looks like one gets an
/// apostrophe before it. Numbers stay as they are.
fn harmless(value: &str) -> String {
    let is_number = value.len() > 1 && value[1..].chars().all(|c| c.is_ascii_digit() || "x.*#".contains(c));
    if value.starts_with(['=', '+', '-', '@', '\t', '\r']) && !(value.starts_with(['+', '-']) && is_number) {
        return format!("'{value}");
    }
    value.to_owned()
}

/// The names of what can be summed up by, so that a wrong one is told with the right ones.
fn sums() -> impl clap::builder::TypedValueParser<Value = By> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(By::ALL.map(By::name))
        .try_map(|name| By::from_name(&name).ok_or("nothing to sum up by"))
}

/// A moment, in ms of Unix time: so long ago, or a date or a date and a time where this machine is.
fn moment(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = seconds(text.trim_end_matches("ago").trim_end()) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        return Ok(now.saturating_sub(seconds.saturating_mul(1_000)));
    }
    let local = text.parse::<civil::DateTime>();
    let local = local.or_else(|_| text.parse::<civil::Date>().map(civil::DateTime::from));
    let local = local.map_err(|_| "use 7d, 12h, 30min, 2026-11-20 or 2026-11-20T08:00".to_owned())?;
    let moment = local.to_zoned(TimeZone::system()).map_err(|error| error.to_string())?;
    Ok(u64::try_from(moment.timestamp().as_millisecond()).unwrap_or_default())
}

/// A number and a unit, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err("use a number and a unit: 30s, 10min, 2h, 7d, 4w".to_owned()),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| "use a number and a unit: 30s, 10min, 2h, 7d, 4w".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64;
        for (text, ago) in [("7d", 604_800_000), ("30min", 1_800_000), ("1w ago", 604_800_000)] {
            let read = moment(text).expect(text);
            assert!(read.abs_diff(now - ago) < 10_000, "{text}: {read}");
        }
        assert_eq!(
            moment("2026-11-20T08:00").expect("a time") - moment("2026-11-20").expect("a date"),
            28_800_000
        );
        for wrong in ["", "yesterday", "7", "2026-13-01", "99999999999999999999d"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        assert_eq!((seconds("10min"), seconds("2h")), (Ok(600), Ok(7_200)));
    }

    #[test]
    fn what_is_asked_for_is_sent() {
        let which = Which {
            caller: Some("2001".to_owned()),
            called: Some("1-900*".to_owned()),
            any: true,
            refused: true,
            unanswered: true,
            longer: Some(60),
            ..Which::default()
        };
        assert_eq!(
            which.query(&Listing { limit: 5 }),
            "limit=5&caller=2001&called=1-900%2A&any=true&refused=true&answered=false&longer_s=60"
        );
        assert_eq!(Which::default().query(&Listing { limit: 5 }), "limit=5");
    }

    #[test]
    fn bounds_that_no_call_is_within_are_told() {
        let told = |which: Which| which.check().err().map(|error| error.to_string()).unwrap_or_default();
        let which = Which { since: Some(2), until: Some(1), ..Which::default() };
        assert!(told(which).starts_with("--until is before --since"));
        let which = Which { longer: Some(60), shorter: Some(30), ..Which::default() };
        assert!(told(which).starts_with("--shorter is less than --longer"));
        let which =
            Which { since: Some(1), until: Some(2), longer: Some(5), shorter: Some(5), ..Which::default() };
        assert_eq!(told(which), "");
    }

    #[test]
    fn values_are_separated_and_harmless() {
        let told = |values: &[&str]| {
            let mut out = Vec::new();
            line(values.iter().copied(), &mut out).expect("room");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            told(&["a", "b,c", "say \"no\"", "", "x\ny"]),
            "a,\"b,c\",\"say \"\"no\"\"\",,\"x\ny\"\r\n"
        );
        assert_eq!(
            told(&["=1+1", "@SUM(A1)", "-2+3", "+19005551234", "-5", "+cmd|x"]),
            "'=1+1,'@SUM(A1),'-2+3,+19005551234,-5,'+cmd|x\r\n"
        );
    }

    #[test]
    fn every_field_of_a_record_has_a_column() {
        let record = Record { caller: "Zoë, 2nd floor".to_owned(), mos: Some(4.4), ..Record::default() };
        let mut out = Vec::new();
        records_csv(&[record], &mut out).expect("room");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], COLUMNS.join(","));
        let fields = serde_json::to_value(Record::default()).expect("a record");
        let mut columns = COLUMNS;
        columns.sort_unstable();
        let mut names: Vec<_> = fields.as_object().expect("fields").keys().collect();
        names.sort_unstable();
        assert_eq!(names, columns);
        assert!(lines[1].contains("\"Zoë, 2nd floor\"") && lines[1].contains("4.4"), "{}", lines[1]);
    }
}
