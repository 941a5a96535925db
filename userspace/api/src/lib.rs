//! The control protocol's types: what `callgated` answers on its Unix socket and `fwctl` reads.
//!
//! HTTP/1.1 with JSON bodies, so that `curl --unix-socket` reads it too:
//!
//! | Request             | Body              | Answer                       |
//! |---------------------|-------------------|------------------------------|
//! | `GET /v1/status`    |                   | [`Status`]                   |
//! | `GET /v1/calls`     |                   | [`Page`] of [`CallRow`]      |
//! | `GET /v1/pinholes`  |                   | [`Page`] of [`PinholeRow`]   |
//! | `GET /v1/flows`     |                   | [`Page`] of [`FlowRow`]      |
//! | `GET /v1/rules`     |                   | [`Rules`]                    |
//! | `GET /v1/counters`  |                   | [`Page`] of [`CounterRow`]   |
//! | `GET /v1/phones`    |                   | [`Page`] of [`PhoneRow`]     |
//! | `GET /v1/events`    |                   | [`EventPage`]                |
//! | `GET /v1/h323/registrations` |          | [`Page`] of [`RegistrationRow`] |
//! | `GET /v1/sip/registrations` |           | [`Page`] of [`BindingRow`] |
//! | `GET /v1/calls/ladder` |                | [`Page`] of [`LadderRow`]: `?call=` as [`CallQuery::to_query`] writes it |
//! | `GET /v1/blocks`    |                   | [`Page`] of [`BlockRow`]     |
//! | `GET /v1/history`   |                   | [`Page`] of [`Record`], the latest first |
//! | `GET /v1/history/totals` |              | [`Page`] of [`HistoryTotal`]: `?by=` a [`By`] |
//! | `GET /v1/history/fraud` |               | [`Page`] of [`Finding`], the oddest first |
//! | `POST /v1/block`    | [`BlockRequest`]  | [`BlockRow`]                 |
//! | `POST /v1/unblock`  | [`UnblockRequest`] | [`BlockRow`], as it was     |
//! | `POST /v1/flows/kill` |                 | [`Killed`]                   |
//! | `POST /v1/reload`   | [`ReloadRequest`] | [`ReloadReply`]              |
//! | `POST /v1/explain`  | [`ExplainRequest`] | [`Explanation`]             |
//! | `POST /v1/calls/end` | [`HangupRequest`] | [`HungUp`]                  |
//! | `POST /v1/diff`     | [`DiffRequest`]   | [`Diff`]                     |
//! | `POST /v1/confirm`  |                   | [`Confirmed`]                |
//! | `POST /v1/rollback` |                   | [`ReloadReply`]              |
//! | `GET /v1/version`   |                   | [`Version`]                  |
//! | `GET /v1/metrics`   |                   | text, as Prometheus reads it |
//! | `POST /v1/capture`  | [`CaptureRequest`] | [`CaptureStarted`]           |
//! | `POST /v1/capture/take` | [`CaptureTake`] | [`CapturePage`]             |
//!
//! Pages of calls, pinholes, flows, phones, registrations and blocks take `?limit=N`; flows, listed or killed, are
//! chosen by what [`FlowFilter::to_query`] writes, records by [`HistoryFilter::to_query`]; events take `limit=N`, `after=NUMBER` and `kind=NAME` (which
//! may be repeated). Whatever goes wrong is an [`ErrorReply`] under a status
//! of 400 or above. Durations are whole seconds (`_s`), moments are Unix time in seconds (`_unix`), counters
//! never go back while the pinned maps live.
//!
//! - [`status`]: the daemon as a whole
//! - [`calls`]: calls, their streams and pinholes
//! - [`traffic`]: flows, rules and counters
//! - [`filter`]: which flows are wanted
//! - [`blocks`]: blocked addresses
//! - [`phones`]: phones that register
//! - [`ladder`]: the messages of a call
//! - [`media`]: what was measured of media
//! - [`capture`]: the packets of a call
//! - [`sip`]: registrations of SIP clients
//! - [`h323`]: registrations with gatekeepers, and details of H.323 calls
//! - [`history`]: calls that are over
//! - [`events`]: what happened to phones, gateways and files
//! - [`explain`]: what would become of a packet, and why
//! - [`change`]: requests that change something, and errors
//! - [`operation`]: roles, ending calls, trying rules out, alarms

#![forbid(unsafe_code)]

pub mod blocks;
pub mod calls;
pub mod capture;
pub mod change;
pub mod events;
pub mod explain;
pub mod filter;
pub mod h323;
pub mod history;
pub mod ladder;
pub mod media;
pub mod operation;
pub mod phones;
pub mod sip;
pub mod status;
pub mod traffic;

use serde::{Deserialize, Serialize};

pub use blocks::{BlockCause, BlockRequest, BlockRow, DEFAULT_BLOCK_S, MAX_BLOCK_S, UnblockRequest};
pub use calls::{CallEnd, CallPolicy, CallRow, Peer, PinholeRow, StreamRow};
pub use capture::{
    CapturePage, CaptureRequest, CaptureStarted, CaptureTake, CapturedFrame, MAX_CAPTURE_BYTES, MAX_CAPTURE_S,
};
pub use change::{ErrorReply, MAX_CONFIRM_S, ReloadReply, ReloadRequest};
pub use events::{EventPage, EventRow, PacketRow};
pub use explain::{ExplainRequest, ExplainedRule, ExplainedStep, Explanation};
pub use filter::{BadFilter, FlowFilter};
pub use h323::{H323Call, RegistrationRow};
pub use history::{By, Finding, HistoryFilter, HistoryPlace, HistoryStatus, HistoryTotal, Record};
pub use ladder::{CallQuery, LadderRow, StepRow};
pub use media::{MediaRow, Reported};
pub use operation::{
    API, Alarm, Change, Confirmed, Diff, DiffRequest, Difference, HangupRequest, Health, HungUp, Rates,
    RefusalRow, RefusedCall, RefusedFlow, Role, TableRow, Unconfirmed, Version,
};
pub use phones::PhoneRow;
pub use sip::BindingRow;
pub use status::{Alg, Interface, Mode, ReloadError, RulesFile, Status, Totals, XdpMode};
pub use traffic::{
    BuiltinRow, CounterRow, DefaultRow, FlowRow, FlowState, Killed, RuleRow, Rules, TableSizes, ZoneRow,
};

/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/run/callgate/control.sock";
/// Rows of a page when the request names no limit.
pub const DEFAULT_LIMIT: usize = 1_000;
/// Most rows a page can have, whatever the request says.
pub const MAX_LIMIT: usize = 100_000;

/// Rows of a listing, and how many there are in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The first rows, up to the request's limit.
    pub rows: Vec<T>,
    /// Rows there are; more than `rows` holds when the limit was reached.
    pub total: u64,
}

impl<T> Page<T> {
    /// At most `limit` of `rows`, all of them counted.
    pub fn of(rows: impl IntoIterator<Item = T>, limit: usize) -> Self {
        let mut rows = rows.into_iter();
        let page: Vec<T> = rows.by_ref().take(limit).collect();
        let total = (page.len() + rows.count()) as u64;
        Self { rows: page, total }
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_counts_what_it_leaves_out() {
        assert_eq!(Page::of(0..5, 3), Page { rows: vec![0, 1, 2], total: 5 });
        assert_eq!(Page::of(0..2, 3), Page { rows: vec![0, 1], total: 2 });
        assert_eq!(Page::of(0..2, 0), Page { rows: vec![], total: 2 });
    }
}
