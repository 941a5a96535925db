//! Phones that register by SCCP.

use std::io;

use callgate_alg::sccp::Standing;
use callgate_api::{Page, PhoneRow};

use super::finish;
use crate::screen::{Screen, Tone, duration};
use crate::table::{Cell, Table, address, count, cut, spare, text};

pub(crate) fn phones(page: &Page<PhoneRow>, long: bool, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        cut("NAME", 15),
        spare("MODEL", 5),
        address("ADDRESS", 12),
        text("STATE"),
        count("SINCE"),
        address("CALL MANAGER", 12),
    ]);
    for phone in &page.rows {
        let tone = match phone.state {
            Standing::Registered => Tone::Good,
            Standing::Lost => Tone::Bad,
            Standing::Unregistered => Tone::Dim,
            Standing::Connected | Standing::Registering | Standing::Unregistering => Tone::Warn,
        };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        table.row([
            Cell::new(or_dash(&phone.name), if phone.unknown { Tone::Warn } else { Tone::Plain }),
            or_dash(&phone.model).into(),
            phone.address.ip().to_string().into(),
            Cell::new(phone.state.name(), tone),
            duration(phone.since_s).into(),
            phone.manager.ip().to_string().into(),
        ]);
        if long {
            table.note(phone_line(phone));
        }
    }
    finish(&table, page, "phone", screen)
}

fn phone_line(phone: &PhoneRow) -> String {
    let mut parts = vec![format!("{} → {}", phone.address, phone.manager)];
    if let Some(announced) =
        phone.announced.filter(|announced| phone.address.is_ipv4() && phone.address.ip() != *announced)
    {
        parts.push(format!("says {announced}"));
    }
    if let Some(version) = phone.version {
        parts.push(format!("version {version}"));
    }
    if let Some(lines) = phone.lines {
        parts.push(format!("{lines} line{}", if lines == 1 { "" } else { "s" }));
    }
    if !phone.load.is_empty() {
        parts.push(phone.load.clone());
    }
    if phone.picked_up {
        parts.push("registration not seen".to_owned());
    }
    if phone.unknown {
        parts.push("unknown".to_owned());
    }
    parts.join(", ")
}
