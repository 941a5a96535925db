//! Names and numbers: messages, who sends them, codecs, devices.

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A phone, or another device that registers.
    Phone,
    /// The call manager.
    Manager,
}

/// Messages by id.
const MESSAGES: &[(u32, &str)] = &[
    (0x0000, "KeepAlive"),
    (0x0001, "Register"),
    (0x0002, "IpPort"),
    (0x0003, "KeypadButton"),
    (0x0004, "EnblocCall"),
    (0x0005, "Stimulus"),
    (0x0006, "OffHook"),
    (0x0007, "OnHook"),
    (0x0008, "HookFlash"),
    (0x0009, "ForwardStatReq"),
    (0x000a, "SpeedDialStatReq"),
    (0x000b, "LineStatReq"),
    (0x000c, "ConfigStatReq"),
    (0x000d, "TimeDateReq"),
    (0x000e, "ButtonTemplateReq"),
    (0x000f, "VersionReq"),
    (0x0010, "CapabilitiesRes"),
    (0x0012, "ServerReq"),
    (0x0020, "Alarm"),
    (0x0021, "MulticastMediaReceptionAck"),
    (0x0022, "OpenReceiveChannelAck"),
    (0x0023, "ConnectionStatisticsRes"),
    (0x0025, "SoftKeySetReq"),
    (0x0026, "SoftKeyEvent"),
    (0x0027, "Unregister"),
    (0x0028, "SoftKeyTemplateReq"),
    (0x0029, "RegisterTokenReq"),
    (0x002a, "MediaTransmissionFailure"),
    (0x002b, "HeadsetStatus"),
    (0x002c, "MediaResourceNotification"),
    (0x002d, "RegisterAvailableLines"),
    (0x002e, "DeviceToUserData"),
    (0x002f, "DeviceToUserDataResponse"),
    (0x0030, "UpdateCapabilities"),
    (0x0031, "OpenMultiMediaReceiveChannelAck"),
    (0x0033, "OffHookWithCallingPartyNumber"),
    (0x0034, "FeatureStatReq"),
    (0x0036, "ServiceURLStatReq"),
    (0x0038, "SpeedDialStatReq"),
    (0x0041, "DeviceToUserDataVersion1"),
    (0x0042, "DeviceToUserDataResponseVersion1"),
    (0x0043, "UpdateCapabilitiesV2"),
    (0x0044, "UpdateCapabilitiesV3"),
    (0x0045, "PortResponse"),
    (0x0049, "DialedPhoneBook"),
    (0x0081, "RegisterAck"),
    (0x0082, "StartTone"),
    (0x0083, "StopTone"),
    (0x0085, "SetRinger"),
    (0x0086, "SetLamp"),
    (0x0088, "SetSpeakerMode"),
    (0x0089, "SetMicroMode"),
    (0x008a, "StartMediaTransmission"),
    (0x008b, "StopMediaTransmission"),
    (0x008c, "StartMediaReception"),
    (0x008d, "StopMediaReception"),
    (0x008f, "CallInfo"),
    (0x0090, "ForwardStat"),
    (0x0092, "LineStat"),
    (0x0093, "ConfigStat"),
    (0x0094, "TimeDate"),
    (0x0095, "StartSessionTransmission"),
    (0x0096, "StopSessionTransmission"),
    (0x0097, "ButtonTemplate"),
    (0x0098, "Version"),
    (0x009b, "CapabilitiesReq"),
    (0x009d, "RegisterReject"),
    (0x009e, "ServerRes"),
    (0x009f, "Reset"),
    (0x0100, "KeepAliveAck"),
    (0x0101, "StartMulticastMediaReception"),
    (0x0102, "StartMulticastMediaTransmission"),
    (0x0103, "StopMulticastMediaReception"),
    (0x0104, "StopMulticastMediaTransmission"),
    (0x0105, "OpenReceiveChannel"),
    (0x0106, "CloseReceiveChannel"),
    (0x0107, "ConnectionStatisticsReq"),
    (0x0108, "SoftKeyTemplateRes"),
    (0x0109, "SoftKeySetRes"),
    (0x0110, "SelectSoftKeys"),
    (0x0111, "CallState"),
    (0x0112, "DisplayPromptStatus"),
    (0x0113, "ClearPromptStatus"),
    (0x0116, "ActivateCallPlane"),
    (0x0118, "UnregisterAck"),
    (0x011a, "RegisterTokenAck"),
    (0x011b, "RegisterTokenReject"),
    (0x011d, "DialedNumber"),
    (0x0131, "OpenMultiMediaReceiveChannel"),
    (0x0132, "StartMultiMediaTransmission"),
    (0x0133, "StopMultiMediaTransmission"),
    (0x0134, "MiscellaneousCommand"),
    (0x0135, "FlowControlCommand"),
    (0x0136, "CloseMultiMediaReceiveChannel"),
    (0x013f, "UserToDeviceDataVersion1"),
    (0x0147, "LineStatDynamic"),
    (0x014a, "CallInfoDynamic"),
    (0x014b, "PortRequest"),
    (0x014c, "PortClose"),
    (0x0154, "StartMediaTransmissionAck"),
    (0x0155, "StartMultiMediaTransmissionAck"),
    (0x015a, "XMLAlarm"),
    (0x8000, "SPCPRegisterTokenReq"),
    (0x8100, "SPCPRegisterTokenAck"),
    (0x8101, "SPCPRegisterTokenReject"),
];

/// The name of a message; `None` for those that say nothing to a firewall.
pub fn message_name(id: u32) -> Option<&'static str> {
    MESSAGES.binary_search_by_key(&id, |(id, _)| *id).ok().map(|place| MESSAGES[place].1)
}

/// Whether an id is known: up to `max`, and those of the small-business dialect (SPCP).
pub fn known(id: u32, max: u32) -> bool {
    id <= max || (0x8000..=0x8101).contains(&id)
}

/// Who alone may send a message; `None` where both do, or nobody knows.
pub fn sender(id: u32) -> Option<Side> {
    match id {
        0x0000..=0x004f | 0x0154 | 0x0155 | 0x015a | 0x8000 => Some(Side::Phone),
        0x0081..=0x009f | 0x0100..=0x0121 | 0x0131..=0x0136 | 0x013f | 0x0142..=0x014c | 0x8100 | 0x8101 => {
            Some(Side::Manager)
        }
        _ => None,
    }
}

/// The name of a payload type, or its number.
pub fn codec_name(codec: u32) -> String {
    let name = match codec {
        2 => "G.711 A-law 64k",
        3 => "G.711 A-law 56k",
        4 => "G.711 u-law 64k",
        5 => "G.711 u-law 56k",
        6 => "G.722 64k",
        7 => "G.722 56k",
        8 => "G.722 48k",
        9 => "G.723.1",
        10 => "G.728",
        11 => "G.729",
        12 => "G.729A",
        15 => "G.729B",
        16 => "G.729AB",
        18 => "GSM full rate",
        19 => "GSM half rate",
        20 => "GSM enhanced",
        25 => "wideband 256k",
        40 => "G.722.1 32k",
        41 => "G.722.1 24k",
        86 => "iLBC",
        89 => "iSAC",
        90 => "Opus",
        100 => "H.261",
        101 => "H.263",
        102 => "H.263+",
        103 => "H.264",
        _ => return format!("payload {codec}"),
    };
    name.to_owned()
}

/// The model behind a device type, or `type` and its number.
pub fn device_name(device: u32) -> String {
    let name = match device {
        5 => "30VIP",
        6 => "7910",
        7 => "7960",
        8 => "7940",
        9 => "7935",
        12 => "ATA 186",
        50..=53 => "conference bridge",
        70 => "music on hold",
        72 => "CTI port",
        83 | 110 | 111 => "media termination point",
        115 => "7941",
        119 => "7971",
        302 => "7985",
        307 => "7911",
        308 => "7961G-GE",
        309 => "7941G-GE",
        365 => "7921",
        369 => "7906",
        404 => "7962",
        431 => "7937",
        434 => "7942",
        435 => "7945",
        436 => "7965",
        437 => "7975",
        484 => "7925",
        547 => "6901",
        548 => "6911",
        495 => "6921",
        496 => "6941",
        497 => "6961",
        20_000 => "7905",
        30_002 => "7920",
        30_006 => "7970",
        30_007 => "7912",
        30_008 => "7902",
        30_016 => "IP Communicator",
        30_018 => "7961",
        30_019 => "7936",
        30_027 => "analog phone",
        _ => return format!("type {device}"),
    };
    name.to_owned()
}
