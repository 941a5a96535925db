//! Names of messages, in the order of their standards.

use crate::per::Alternative;

/// The names of a CHOICE's alternatives.
pub(super) struct Names {
    root: &'static [&'static str],
    added: &'static [&'static str],
}

impl Names {
    pub(super) fn of(&self, taken: Alternative) -> &'static str {
        taken.name(self.root, self.added)
    }
}

pub(super) const REQUEST: Names = Names {
    root: &[
        "nonStandard",
        "masterSlaveDetermination",
        "terminalCapabilitySet",
        "openLogicalChannel",
        "closeLogicalChannel",
        "requestChannelClose",
        "multiplexEntrySend",
        "requestMultiplexEntry",
        "requestMode",
        "roundTripDelayRequest",
        "maintenanceLoopRequest",
    ],
    added: &[
        "communicationModeRequest",
        "conferenceRequest",
        "multilinkRequest",
        "logicalChannelRateRequest",
        "genericRequest",
    ],
};

pub(super) const RESPONSE: Names = Names {
    root: &[
        "nonStandard",
        "masterSlaveDeterminationAck",
        "masterSlaveDeterminationReject",
        "terminalCapabilitySetAck",
        "terminalCapabilitySetReject",
        "openLogicalChannelAck",
        "openLogicalChannelReject",
        "closeLogicalChannelAck",
        "requestChannelCloseAck",
        "requestChannelCloseReject",
        "multiplexEntrySendAck",
        "multiplexEntrySendReject",
        "requestMultiplexEntryAck",
        "requestMultiplexEntryReject",
        "requestModeAck",
        "requestModeReject",
        "roundTripDelayResponse",
        "maintenanceLoopAck",
        "maintenanceLoopReject",
    ],
    added: &[
        "communicationModeResponse",
        "conferenceResponse",
        "multilinkResponse",
        "logicalChannelRateAcknowledge",
        "logicalChannelRateReject",
        "genericResponse",
    ],
};

pub(super) const COMMAND: Names = Names {
    root: &[
        "nonStandard",
        "maintenanceLoopOffCommand",
        "sendTerminalCapabilitySet",
        "encryptionCommand",
        "flowControlCommand",
        "endSessionCommand",
        "miscellaneousCommand",
    ],
    added: &[
        "communicationModeCommand",
        "conferenceCommand",
        "h223MultiplexReconfiguration",
        "newATMVCCommand",
        "mobileMultilinkReconfigurationCommand",
        "genericCommand",
    ],
};

pub(super) const INDICATION: Names = Names {
    root: &[
        "nonStandard",
        "functionNotUnderstood",
        "masterSlaveDeterminationRelease",
        "terminalCapabilitySetRelease",
        "openLogicalChannelConfirm",
        "requestChannelCloseRelease",
        "multiplexEntrySendRelease",
        "requestMultiplexEntryRelease",
        "requestModeRelease",
        "miscellaneousIndication",
        "jitterIndication",
        "h223SkewIndication",
        "newATMVCIndication",
        "userInput",
    ],
    added: &[
        "h2250MaximumSkewIndication",
        "mcLocationIndication",
        "conferenceIndication",
        "vendorIdentification",
        "functionNotSupported",
        "multilinkIndication",
        "logicalChannelRateRelease",
        "flowControlIndication",
        "mobileMultilinkReconfigurationIndication",
        "genericIndication",
    ],
};

/// Messages of H.239, by their subMessageIdentifier.
pub(super) const H239: [&str; 7] = [
    "unknown",
    "flowControlReleaseRequest",
    "flowControlReleaseResponse",
    "presentationTokenRequest",
    "presentationTokenResponse",
    "presentationTokenRelease",
    "presentationTokenIndicateOwner",
];
