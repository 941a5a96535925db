//! The rules file of the packet filter's tests: one service for everybody, one for phones, one rejected; nothing
//! else, from either side.

/// TCP port and UDP port that everybody may reach.
pub const OPEN: (u16, u16) = (8_080, 4_000);
/// TCP port that phones alone may reach.
pub const PHONES_ONLY: u16 = 2_000;
/// TCP and UDP port where everybody is rejected.
pub const REJECTED: u16 = 23;

/// What differs between tests.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// `auto`, `native` or `generic`.
    pub xdp: &'static str,
    /// Tables below `[zone]` and others, such as `[scan]`.
    pub tables: &'static str,
    /// More keys of `[settings]`.
    pub settings: &'static str,
}

impl Default for Filter {
    fn default() -> Self {
        Self { xdp: "auto", tables: "", settings: "" }
    }
}

impl Filter {
    /// The rules file for a lab whose firewall routes.
    pub fn text(&self) -> String {
        let Self { xdp, tables, settings } = self;
        format!(
            r#"version = 1

[zones]
outside = ["out0"]
inside  = ["in0"]

{tables}

[groups]
callmanagers = ["10.1.1.10", "10.1.1.11", "2001:db8:1::10", "2001:db8:1::11"]
phones       = ["10.20.0.0/16", "2001:db8:20::/64"]

[settings]
xdp     = "{xdp}"
default = {{ outside = "drop", inside = "drop", self = "track" }}
{settings}

[[rule]]
name    = "open"
in      = "outside"
to      = "callmanagers"
service = ["tcp/8080", "udp/4000"]
action  = "track"

[[rule]]
name    = "phones"
in      = "outside"
from    = "phones"
to      = "callmanagers"
service = "tcp/2000"
action  = "track"

[[rule]]
name    = "late"
in      = "outside"
service = ["icmp/time-exceeded", "icmpv6/time-exceeded"]
action  = "track"

[[rule]]
name    = "rejected"
in      = "outside"
to      = "callmanagers"
service = ["tcp/23", "udp/23"]
action  = "reject"
"#
        )
    }
}
