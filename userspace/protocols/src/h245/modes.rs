//! CommunicationModeCommand: where the MC of a conference has its members send and receive.

use std::net::SocketAddr;

use super::types::{NON_STANDARDS, TERMINAL_LABEL, mode_data_type, transport_address};
use super::{DataType, session};
use crate::per::{Reader, Result, Type};

/// The sessions of a CommunicationModeCommand, in the order of the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    places: [Option<Mode>; Self::MOST],
    count: usize,
}

/// A session of a conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// sessionID, 1 to 255.
    pub session: u8,
    /// What flows in it.
    pub data: DataType,
    /// Where RTP is to be sent; a multicast group receives it there too.
    pub media_channel: Option<SocketAddr>,
    /// Where RTCP is to be sent.
    pub media_control_channel: Option<SocketAddr>,
}

impl Modes {
    /// Most sessions that are kept: voice, picture, presentation, data.
    pub const MOST: usize = 4;

    /// The sessions.
    pub fn iter(&self) -> impl Iterator<Item = Mode> {
        self.places.into_iter().flatten()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self> {
        let preamble = r.preamble(0)?;
        let mut modes = Self::default();
        for _ in 0..=r.integer(255)? {
            let mode = Mode::read(r)?;
            if let Some(place) = modes.places.get_mut(modes.count) {
                *place = Some(mode);
                modes.count += 1;
            }
        }
        r.skip_additions(preamble)?;
        Ok(modes)
    }
}

impl Mode {
    /// Reads a CommunicationModeTableEntry.
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let mut preamble = r.preamble(7)?;
        r.skip_if(preamble.optional(), &NON_STANDARDS)?;
        let session = session(r, 254)?.saturating_add(1);
        r.skip_if(preamble.optional(), &Type::Integer(254))?; // associatedSessionID
        r.skip_if(preamble.optional(), &TERMINAL_LABEL)?;
        r.text(1, 128, 16)?; // sessionDescription
        let data = mode_data_type(r)?;
        let media_channel = if preamble.optional() { transport_address(r)? } else { None };
        if preamble.optional() {
            r.bool()?; // mediaGuaranteedDelivery
        }
        let media_control_channel = if preamble.optional() { transport_address(r)? } else { None };
        if preamble.optional() {
            r.bool()?; // mediaControlGuaranteedDelivery
        }
        r.skip_additions(preamble)?;
        Ok(Self { session, data, media_channel, media_control_channel })
    }
}
