//! The packets of one call, for a capture file.

use serde::{Deserialize, Serialize};

/// Longest capture, in seconds.
pub const MAX_CAPTURE_S: u64 = 3_600;
/// Largest capture, in bytes of frames.
pub const MAX_CAPTURE_BYTES: u64 = 1 << 28;

/// Asks for the packets of a call: what the daemon remembers of its signalling, and what comes from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// The call's number here, or its identifier in the protocol.
    pub call: String,
    /// Its media too.
    #[serde(default)]
    pub media: bool,
    /// For how long, in seconds; at most [`MAX_CAPTURE_S`].
    pub seconds: u64,
    /// At most so many bytes of frames; at most [`MAX_CAPTURE_BYTES`].
    pub bytes: u64,
}

/// A capture has begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStarted {
    /// Its number, for [`CaptureTake`].
    pub capture: u64,
    /// The call's number here.
    pub call: u64,
    /// The call's identifier in the protocol.
    pub key: String,
}

/// Asks for what has been captured since it was asked for last. A capture that nobody asks for ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureTake {
    /// Its number.
    pub capture: u64,
}

/// What has been captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturePage {
    /// In order of time, as far as one answer goes.
    pub frames: Vec<CapturedFrame>,
    /// Frames that found no room since the beginning.
    pub lost: u64,
    /// Why nothing comes after these; `None` where something may.
    pub over: Option<String>,
}

/// A frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedFrame {
    /// When it was seen, in nanoseconds of Unix time.
    pub at_unix_ns: u64,
    /// From its Ethernet header on, in hexadecimal.
    pub frame: String,
}
