//! Reasons of rejections, by their names in the standard.

use crate::h225::types::ALIASES;
use crate::per::{Alternative, Reader, Result};

/// GatekeeperRejectReason.
pub(super) fn gatekeeper(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 4] = ["resourceUnavailable", "terminalExcluded", "invalidRevision", "undefinedReason"];
    const ADDED: [&str; 4] =
        ["securityDenial", "genericDataReason", "neededFeatureNotSupported", "securityError"];
    Ok(r.one_of(4)?.name(&ROOT, &ADDED))
}

/// RegistrationRejectReason.
pub(super) fn registration(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 8] = [
        "discoveryRequired",
        "invalidRevision",
        "invalidCallSignalAddress",
        "invalidRASAddress",
        "duplicateAlias",
        "invalidTerminalType",
        "undefinedReason",
        "transportNotSupported",
    ];
    const ADDED: [&str; 11] = [
        "transportQOSNotSupported",
        "resourceUnavailable",
        "invalidAlias",
        "securityDenial",
        "fullRegistrationRequired",
        "additiveRegistrationNotSupported",
        "invalidTerminalAliases",
        "genericDataReason",
        "neededFeatureNotSupported",
        "securityError",
        "registerWithAssignedGK",
    ];
    let taken = r.one_of(8)?;
    // duplicateAlias is the only one of the root that is no NULL.
    r.skip_if(taken == Alternative::Root(4), &ALIASES)?;
    Ok(taken.name(&ROOT, &ADDED))
}

/// UnregRejectReason.
pub(super) fn unregistration(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 3] = ["notCurrentlyRegistered", "callInProgress", "undefinedReason"];
    const ADDED: [&str; 3] = ["permissionDenied", "securityDenial", "securityError"];
    Ok(r.one_of(3)?.name(&ROOT, &ADDED))
}

/// AdmissionRejectReason.
pub(super) fn admission(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 8] = [
        "calledPartyNotRegistered",
        "invalidPermission",
        "requestDenied",
        "undefinedReason",
        "callerNotRegistered",
        "routeCallToGatekeeper",
        "invalidEndpointIdentifier",
        "resourceUnavailable",
    ];
    const ADDED: [&str; 15] = [
        "securityDenial",
        "qosControlNotSupported",
        "incompleteAddress",
        "aliasesInconsistent",
        "routeCallToSCN",
        "exceedsCallCapacity",
        "collectDestination",
        "collectPIN",
        "genericDataReason",
        "neededFeatureNotSupported",
        "securityError",
        "securityDHmismatch",
        "noRouteToDestination",
        "unallocatedNumber",
        "registerWithAssignedGK",
    ];
    Ok(r.one_of(8)?.name(&ROOT, &ADDED))
}

/// BandRejectReason.
pub(super) fn bandwidth(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 6] = [
        "notBound",
        "invalidConferenceID",
        "invalidPermission",
        "insufficientResources",
        "invalidRevision",
        "undefinedReason",
    ];
    const ADDED: [&str; 2] = ["securityDenial", "securityError"];
    Ok(r.one_of(6)?.name(&ROOT, &ADDED))
}

/// DisengageRejectReason.
pub(super) fn disengagement(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 2] = ["notRegistered", "requestToDropOther"];
    const ADDED: [&str; 2] = ["securityDenial", "securityError"];
    Ok(r.one_of(2)?.name(&ROOT, &ADDED))
}

/// LocationRejectReason.
pub(super) fn location(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 4] = ["notRegistered", "invalidPermission", "requestDenied", "undefinedReason"];
    const ADDED: [&str; 12] = [
        "securityDenial",
        "aliasesInconsistent",
        "routeCalltoSCN",
        "resourceUnavailable",
        "genericDataReason",
        "neededFeatureNotSupported",
        "hopCountExceeded",
        "incompleteAddress",
        "securityError",
        "securityDHmismatch",
        "noRouteToDestination",
        "unallocatedNumber",
    ];
    Ok(r.one_of(4)?.name(&ROOT, &ADDED))
}

/// InfoRequestNakReason.
pub(super) fn info(r: &mut Reader<'_>) -> Result<&'static str> {
    const ROOT: [&str; 3] = ["notRegistered", "securityDenial", "undefinedReason"];
    Ok(r.one_of(3)?.name(&ROOT, &["securityError"]))
}
