//! A call that is up, whatever signalled it.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::rtp::{self, Media, Path, Tally};

/// What ends a call on the wire.
pub trait Signalling: fmt::Debug + Send {
    /// Sends the protocol's release and waits for its confirmation.
    ///
    /// # Errors
    /// When it is not confirmed.
    fn release(&mut self) -> Result<()>;
}

/// A connected call with media both ways.
#[derive(Debug)]
pub struct Call {
    /// The caller's end of the stream.
    pub caller: Media,
    /// The callee's end of the stream.
    pub callee: Media,
    /// Its signalling.
    pub signalling: Box<dyn Signalling>,
}

/// What is known once a call is over.
#[derive(Debug)]
pub struct Outcome {
    /// From the caller to the callee.
    pub forth: Path,
    /// From the callee to the caller.
    pub back: Path,
    /// The caller's tally.
    pub caller: Tally,
    /// The callee's tally.
    pub callee: Tally,
}

impl Call {
    /// Lets it go on for a while, stops the media, hangs up, and compares what was sent with what was seen.
    ///
    /// # Errors
    /// When the release is not confirmed.
    pub fn finish(self, after: Duration) -> Result<Outcome> {
        std::thread::sleep(after);
        let Self { caller, callee, mut signalling } = self;
        rtp::mute_both(&caller, &callee);
        signalling.release()?;
        Ok(Outcome::of(caller.finish()?, callee.finish()?))
    }
}

impl Outcome {
    /// Compares what each end sent with what the other saw.
    pub fn of(caller: Tally, callee: Tally) -> Self {
        Self { forth: Path::of(&caller, &callee), back: Path::of(&callee, &caller), caller, callee }
    }

    /// Whether every RTP and RTCP packet arrived, both ways.
    pub fn is_whole(&self) -> bool {
        self.forth.is_whole() && self.back.is_whole()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, path) in [("to the callee", &self.forth), ("to the caller", &self.back)] {
            let Path { sent, arrived, lost, duplicates, reports } = path;
            write!(f, "{label} RTP {arrived} of {sent}, RTCP {} of {}", reports.1, reports.0)?;
            if !lost.is_empty() {
                write!(f, ", lost {lost:?}")?;
            }
            if *duplicates > 0 {
                write!(f, ", {duplicates} twice")?;
            }
            if label == "to the callee" {
                write!(f, "; ")?;
            }
        }
        Ok(())
    }
}
