//! Blocked addresses.

use std::io;

use callgate_api::{BlockRow, Page};

use super::{ago, finish};
use crate::screen::{Screen, duration};
use crate::table::{Table, address, count, spare, text};

pub(crate) fn blocks(page: &Page<BlockRow>, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table =
        Table::new([address("ADDRESS", 15), text("CAUSE"), text("SINCE"), count("LEFT"), spare("WHY", 10)]);
    for block in &page.rows {
        table.row([
            block.address.to_string().into(),
            block.cause.name().into(),
            block.since_unix.map(ago).unwrap_or_default().into(),
            duration(block.left_s).into(),
            (&block.text).into(),
        ]);
    }
    finish(&table, page, "block", screen)
}
