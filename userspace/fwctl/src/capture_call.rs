//! `fwctl capture`: the packets of one call, as a capture file.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use callgate_api::explain::from_hex;
use callgate_api::{
    CapturePage, CaptureRequest, CaptureStarted, CaptureTake, CapturedFrame, MAX_CAPTURE_BYTES, MAX_CAPTURE_S,
};

use crate::Outcome;
use crate::client::Client;

/// Write the packets of one call to a capture file (pcap)
///
/// Its signalling as far back as the daemon remembers it, and what comes until the call is over; by TCP all
/// of the connection. With --media also its media, as the pinholes admit it from now on. Only root and the
/// daemon's own user may do this, and each capture is written to the daemon's audit log.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The call's number, or its identifier in the protocol (Call-ID)
    #[arg(long, value_name = "ID")]
    call: String,
    /// Its media too
    #[arg(long)]
    media: bool,
    /// For how many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = up_to(MAX_CAPTURE_S))]
    seconds: u64,
    /// How many bytes of packets at most
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = up_to(MAX_CAPTURE_BYTES))]
    bytes: u64,
    /// The file; - for stdout
    file: PathBuf,
}

/// A number from 1 to `most`.
fn up_to(most: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=most)
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) fn run(client: &Client, args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let request = CaptureRequest {
        call: args.call.clone(),
        media: args.media,
        seconds: args.seconds,
        bytes: args.bytes,
    };
    let started: CaptureStarted = client.post("/v1/capture", &request)?;
    if args.file.as_os_str() == "-" {
        return copy(client, &started, out);
    }
    // Whoever may read it listens in.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&args.file);
    let file = file.with_context(|| format!("cannot write {}", args.file.display()))?;
    copy(client, &started, &mut BufWriter::new(file))
}

/// Copies frames until the capture is over.
fn copy(client: &Client, started: &CaptureStarted, out: &mut dyn Write) -> Result<Outcome> {
    head(out)?;
    out.flush()?;
    let mut count = 0_u64;
    loop {
        let take = CaptureTake { capture: started.capture };
        let page: CapturePage = client.post("/v1/capture/take", &take)?;
        for captured in &page.frames {
            count += u64::from(frame(out, captured)?);
        }
        // Whoever interrupts has all there is.
        out.flush()?;
        if let Some(over) = page.over {
            let lost = if page.lost > 0 { format!(", {} lost", page.lost) } else { String::new() };
            writeln!(io::stderr().lock(), "{count} packets of call {}{lost}: {over}", started.call)?;
            return Ok(if count > 0 { Outcome::Yes } else { Outcome::No });
        }
        if page.frames.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
}

/// The file's header: pcap with nanoseconds, link type Ethernet, in this machine's byte order.
fn head(out: &mut dyn Write) -> io::Result<()> {
    const NANOSECONDS: u32 = 0xa1b2_3c4d;
    const SNAP: u32 = 65_536;
    const ETHERNET: u32 = 1;
    out.write_all(&NANOSECONDS.to_ne_bytes())?;
    out.write_all(&2_u16.to_ne_bytes())?;
    out.write_all(&4_u16.to_ne_bytes())?;
    for word in [0, 0, SNAP, ETHERNET] {
        out.write_all(&u32::to_ne_bytes(word))?;
    }
    Ok(())
}

/// A packet; whether it is one.
fn frame(out: &mut dyn Write, captured: &CapturedFrame) -> io::Result<bool> {
    const SECOND: u64 = 1_000_000_000;
    let Some(bytes) = from_hex(&captured.frame) else { return Ok(false) };
    let Ok(length) = u32::try_from(bytes.len()) else { return Ok(false) };
    // Seconds do not fit from 2106 on.
    let seconds = u32::try_from(captured.at_unix_ns / SECOND).unwrap_or(u32::MAX);
    let rest = (captured.at_unix_ns % SECOND) as u32;
    for word in [seconds, rest, length, length] {
        out.write_all(&word.to_ne_bytes())?;
    }
    out.write_all(&bytes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture;

    #[test]
    fn a_capture_reads_as_it_was_written() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut out = BufWriter::new(file.reopen().expect("a file"));
        head(&mut out).expect("room");
        let at_unix_ns = 1_795_000_000_123_456_789;
        let captured = CapturedFrame { at_unix_ns, frame: "02040608".repeat(5) };
        assert!(frame(&mut out, &captured).expect("room"));
        assert!(!frame(&mut out, &CapturedFrame { frame: "0g".to_owned(), ..captured }).expect("room"));
        out.flush().expect("room");
        let mut found = Vec::new();
        capture::read(file.path(), |frame| {
            found.push((frame.time.0, frame.bytes.len()));
            std::ops::ControlFlow::<()>::Continue(())
        })
        .expect("a capture");
        assert_eq!(found, [(at_unix_ns, 20)]);
    }
}
