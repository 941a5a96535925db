//! `fwctl blocks`, `block` and `unblock`: addresses whose packets are dropped.

use std::io::Write;
use std::net::IpAddr;

use anyhow::Result;
use callgate_api::{BlockRequest, BlockRow, MAX_BLOCK_S, UnblockRequest};

use crate::client::Client;
use crate::screen::{duration, printable};
use crate::{Outcome, write_json};

/// Drop whatever comes from an address, for a time
///
/// Addresses of `never_block` and this machine's own cannot be blocked. Blocks survive a restart of the daemon.
/// This takes the role of an operator.
#[derive(Debug, clap::Args)]
pub(crate) struct Block {
    /// The address
    address: IpAddr,
    /// For how long: 90s, 10m, 1h, 7d; at most 30d
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = seconds)]
    time: u64,
}

/// Let an address by again
#[derive(Debug, clap::Args)]
pub(crate) struct Unblock {
    /// The address
    address: IpAddr,
}

pub(crate) fn block(client: &Client, args: &Block, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let request = BlockRequest { address: args.address, seconds: Some(args.time) };
    let row: BlockRow = client.post("/v1/block", &request)?;
    if json {
        write_json(&row, out)?;
    } else {
        writeln!(out, "{} blocked for {}", row.address, duration(row.left_s))?;
    }
    Ok(Outcome::Yes)
}

pub(crate) fn unblock(client: &Client, args: &Unblock, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let row: BlockRow = client.post("/v1/unblock", &UnblockRequest { address: args.address })?;
    if json {
        write_json(&row, out)?;
    } else {
        let left = duration(row.left_s);
        let why = if row.text.is_empty() { String::new() } else { format!(": {}", printable(&row.text)) };
        writeln!(out, "{} let by again ({}{why}, {left} were left)", row.address, row.cause.name())?;
    }
    Ok(Outcome::Yes)
}

/// A time such as `10m`, in seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("a number and a unit is needed: 90s, 10m, 1h, 7d".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a number and a unit is needed: 90s, 10m, 1h, 7d")?;
    let seconds = number.checked_mul(unit).filter(|seconds| (1..=MAX_BLOCK_S).contains(seconds));
    seconds
        .ok_or_else(|| "between 1s and 30d; what is to be refused for good belongs in the rules".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, expected) in [("90s", 90), ("10m", 600), ("10min", 600), ("1h", 3_600), ("30d", 2_592_000)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "1", "h", "0s", "31d", "-1h", "1.5h", "1 h", "1y", "99999999999999999999d", "1hé"]
        {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
