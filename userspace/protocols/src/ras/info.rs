//! What an InfoRequestResponse says of each call.

use crate::h225::Guid;
use crate::h225::types::{NON_STANDARD, TRANSPORT, call_identifier};
use crate::per::Field::{May, Must};
use crate::per::Type::{self, Bytes, Integer, ListOf};
use crate::per::{List, Reader, Result, open};

/// The calls of an InfoRequestResponse, in the order of the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls<'a>(List<'a>);

/// A call that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCall {
    /// callReferenceValue.
    pub reference: u16,
    /// conferenceID.
    pub conference: Guid,
    /// callIdentifier.
    pub call: Option<Guid>,
}

impl<'a> Calls<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self> {
        r.list(PerCall::read).map(Self)
    }

    /// The calls.
    pub fn iter(self) -> impl Iterator<Item = PerCall> {
        self.0.iter(PerCall::read)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Calls<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Calls<'_> {}

impl PerCall {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let mut preamble = r.preamble(5)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let reference = r.u16()?;
        let conference = Guid(r.array()?);
        if preamble.optional() {
            r.bool()?; // originator
        }
        r.skip_if(preamble.optional(), &ListOf(&RTP_SESSION))?; // audio
        r.skip_if(preamble.optional(), &ListOf(&RTP_SESSION))?; // video
        r.skip_if(preamble.optional(), &ListOf(&CHANNEL))?; // data
        r.skip(&CHANNEL)?; // h245
        r.skip(&CHANNEL)?; // callSignaling
        r.one_of(4)?; // callType
        r.integer(u32::MAX)?; // bandWidth
        r.one_of(2)?; // callModel
        let mut call = None;
        for index in r.additions(preamble)? {
            match index {
                0 => call = Some(r.open(call_identifier)??),
                _ => r.skip_open()?,
            }
        }
        Ok(Self { reference, conference, call })
    }
}

/// TransportChannelInfo.
const CHANNEL: Type = open(&[
    May(TRANSPORT), // sendAddress
    May(TRANSPORT), // recvAddress
]);

const RTP_SESSION: Type = open(&[
    Must(CHANNEL),               // rtpAddress
    Must(CHANNEL),               // rtcpAddress
    Must(Bytes),                 // cname
    Must(Integer(u32::MAX - 1)), // ssrc
    Must(Integer(254)),          // sessionId
    Must(ListOf(&Integer(254))), // associatedSessionIds
]);
