#!/usr/bin/env python3
"""Writes the corpus that `tests/corpus.rs` reads: random H.323 messages, and what they say.

    python3 -m venv venv && venv/bin/pip install pycrate==0.8.1
    venv/bin/python generate.py > ../corpus/h323.txt

Messages are made from the standards' own ASN.1, compiled by pycrate, and encoded by its PER codec, which shares
nothing with ours. What they say is taken from the values they are made of. The same seed makes the same corpus.

A line is a message: its protocol, its encoding in hexadecimal, and what it says, by words apart by spaces: a bare
word is the name of a message (one that carries others is followed by theirs), `role=value` a fact of it.
"""

import random
import sys
from ipaddress import IPv6Address, ip_address

from pycrate_asn1dir import H225, H245

RAS = H225.H323_MESSAGES.RasMessage
CS = H225.H323_MESSAGES.H323_UserInformation
CONTROL = H245.MULTIMEDIA_SYSTEM_CONTROL.MultimediaSystemControlMessage
CHANNEL = H245.MULTIMEDIA_SYSTEM_CONTROL.OpenLogicalChannel

SEED = 2250
MOST_OCTETS = 700
# Most elements of lists, and depth at which nothing optional is added.
MOST_ITEMS, DEPTH = 3, 7
# So many of each kind of message.
EACH = {"ras": 6, "h225": 12, "h245": 2}
# What is compared is worth being there more often than the rest.
WANTED = {
    "mediaChannel",
    "mediaControlChannel",
    "dynamicRTPPayloadType",
    "separateStack",
    "forwardMultiplexAckParameters",
    "multiplexParameters",
    "reverseLogicalChannelParameters",
    "h245Address",
    "sourceCallSignalAddress",
    "destCallSignalAddress",
    "srcCallSignalAddress",
    "alternativeAddress",
    "replyAddress",
    "alternateEndpoints",
    "alternateGatekeeper",
    "callSignalAddress",
    "callIdentifier",
    "timeToLive",
    "keepAlive",
    "fastStart",
    "h245Control",
    "perCallInfo",
}
# These messages open channels.
OFTEN = {"openLogicalChannel": 60, "openLogicalChannelAck": 40, "communicationModeCommand": 8}

rng = random.Random(SEED)


class Unfit(Exception):
    """A value that is not wanted, or that pycrate cannot encode."""


# --- Random values of any type ------------------------------------------------------------------------------------


def bounds(constraint, least, most):
    """Least and greatest value of a constraint, within these."""
    if constraint is None:
        return least, most
    low = getattr(constraint, "lb", None)
    high = getattr(constraint, "ub", None)
    low = least if low is None else low
    return low, max(low, min(most, high)) if high is not None else max(low, most)


def value(t, depth=0):
    """A random value of type `t`."""
    kind = t.TYPE
    if kind == "SEQUENCE":
        return sequence(t, depth)
    if kind == "CHOICE":
        return choice(t, depth)
    if kind in ("SEQUENCE OF", "SET OF"):
        low, high = bounds(t._const_sz, 0, MOST_ITEMS)
        return [value(t._cont, depth + 1) for _ in range(rng.randint(low, high))]
    if kind == "BOOLEAN":
        return rng.random() < 0.5
    if kind == "NULL":
        return 0
    if kind == "INTEGER":
        # tshark reads no longer ones, where there is no constraint.
        low, high = bounds(t._const_val, -70_000, 2**31 - 1)
        # Ends of ranges are where codecs differ.
        return rng.choice([low, high, rng.randint(low, high), min(high, low + rng.randint(0, 300))])
    if kind == "ENUMERATED":
        return rng.choice([name for name in t._cont])
    if kind == "OCTET STRING":
        low, high = bounds(t._const_sz, 0, 20)
        return rng.randbytes(rng.randint(low, high))
    if kind == "BIT STRING":
        low, high = bounds(t._const_sz, 0, 40)
        length = rng.randint(low, high)
        return rng.getrandbits(length) if length else 0, length
    if kind == "OBJECT IDENTIFIER":
        return rng.choice(
            [(0, 0, 8, 2250, 0, rng.randint(1, 7)), (0, 0, 8, 460, 18, 1), (1, 2, 840, 113549), (0, 0, 8, 241, 0, 0, 1)]
        )
    if kind in ("IA5String", "BMPString", "PrintableString", "NumericString", "GeneralString"):
        low, high = bounds(t._const_sz, 0, 12)
        alphabet = getattr(t._const_alpha, "root", None) if getattr(t, "_const_alpha", None) else None
        letters = "".join(alphabet) if alphabet else "".join(map(chr, range(32, 127)))
        if kind == "BMPString":
            letters += "\u00e9\u20ac\u4f60"
        return "".join(rng.choice(letters) for _ in range(rng.randint(low, high)))
    raise Unfit(kind)


def sequence(t, depth):
    if t._name == "h262VideoCapability" or "profileAndLevel-SPatML" in t._cont:
        # pycrate has it without its extension marker, unlike tshark.
        raise Unfit("H262VideoCapability")
    if address := transport(t, depth):
        return address
    fields = {}
    extensions = set(t._ext or [])
    # Often none at all, as old peers have it, and now and then all of them.
    eager = rng.choice([0, 0.2, 0.5, 0.9]) if depth < DEPTH else 0
    for name, field in t._cont.items():
        optional = field._opt or name in extensions
        if optional and rng.random() >= (max(eager, 0.7) if name in WANTED else eager):
            continue
        try:
            fields[name] = value(field, depth + 1)
        except Unfit:
            if not optional:
                raise
    return special(t, fields)


def transport(t, depth):
    """Addresses are worth being more likely than others."""
    if list(t._cont) == ["ip", "port"]:
        return {"ip": rng.randbytes(4 if t._cont["ip"]._const_sz.ub == 4 else 16), "port": port()}
    if list(t._cont) == ["network", "tsapIdentifier"]:
        return {"network": rng.randbytes(t._cont["network"]._const_sz.ub), "tsapIdentifier": port()}
    return None


def port():
    return rng.choice([0, 1, 1720, 65535] + [rng.randint(1024, 65535) for _ in range(8)])


def choice(t, depth):
    names = list(t._cont)
    if "ip6Address" in names or "iP6Address" in names:
        common = [n for n in names if n in ("ipAddress", "iPAddress", "ip6Address", "iP6Address")]
        names = common * 8 + names
    # The parameters of other networks are refused: see `h245.rs`.
    if "h2250LogicalChannelParameters" in names:
        names = [n for n in names if n in ("h2250LogicalChannelParameters", "none")] + ["h2250LogicalChannelParameters"] * 3
    if depth >= DEPTH:
        names = [n for n in names if t._cont[n].TYPE == "NULL"] or names
    if depth >= 3 * DEPTH:
        raise Unfit("depth")
    for _ in range(8):
        name = rng.choice(names)
        try:
            return name, value(t._cont[name], depth + 1)
        except Unfit:
            continue
    raise Unfit("choice")


def special(t, fields):
    """Octet strings that hold messages hold messages."""
    if "fastStart" in fields:
        fields["fastStart"] = [encode(CHANNEL, Carried(value(CHANNEL, 2))) for _ in range(rng.randint(1, 3))]
    for name in ("h245Control", "parallelH245Control"):
        if name in fields:
            fields[name] = [encode(CONTROL, Carried(control(2))) for _ in range(rng.randint(1, 3))]
    # What lies in these is of other protocols, or messages too: noise would be none.
    for name in ("h4501SupplementaryService", "tunnelledSignallingMessage", "returnedFunction"):
        fields.pop(name, None)
    return fields


def control(depth):
    kind = rng.choice(["request", "request", "response", "command", "indication"])
    t = CONTROL._cont[kind]
    name = rng.choice(list(t._cont) + ["openLogicalChannel"] * 6 * (kind == "request"))
    return kind, (name, value(t._cont[name], depth + 1))


class Carried:
    """A message within another, which is remembered by its encoding."""

    known = {}

    def __init__(self, content):
        self.content = content


def encode(t, content):
    carried = isinstance(content, Carried)
    content = content.content if carried else content
    try:
        t.set_val(content)
        encoding = t.to_aper()
        # What pycrate does not read back as it was is its own fault.
        t.from_aper(encoding)
        if t.to_aper() != encoding:
            raise Unfit("codec")
    except Unfit:
        raise
    except Exception as error:
        raise Unfit(str(error)) from error
    if len(encoding) > MOST_OCTETS:
        raise Unfit("length")
    if carried:
        Carried.known[t._name, encoding] = content
    return encoding


# --- What they say ------------------------------------------------------------------------------------------------


def endpoint(content):
    """The address in a TransportAddress, as it is shown; none for what is not IP or has port 0."""
    kind, inner = content
    if kind in ("unicastAddress", "multicastAddress"):
        kind, inner = inner
    if kind not in ("ipAddress", "ip6Address", "iPAddress", "iP6Address"):
        return None
    address = ip_address(inner.get("ip", inner.get("network")))
    number = inner.get("port", inner.get("tsapIdentifier"))
    if number == 0:
        return None
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return f"{mapped}:{number}" if mapped else f"[{address}]:{number}"
    return f"{address}:{number}"


def addresses(role, contents):
    # No more than four are kept.
    found = [a for a in map(endpoint, contents) if a]
    return [f"{role}={a}" for a in found[:4]]


def address(role, fields, name=None):
    name = name or role
    return addresses(role, [fields[name]]) if name in fields else []


def tokens(fields):
    return [f"{n}=1" for n in ("tokens", "cryptoTokens") if fields.get(n)]


def features(fields, *lists):
    """Numbers below 64 that feature sets and generic data name."""
    found = set()
    items = list(fields.get("genericData", []))
    for name in ("neededFeatures", "desiredFeatures", "supportedFeatures"):
        if name in lists:
            items += fields.get(name, [])
        items += fields.get("featureSet", {}).get(name, []) if "featureSet" in fields else []
    for item in items:
        kind, number = item["id"]
        if kind == "standard" and number < 64:
            found.add(number)
    return [f"feature={n}" for n in sorted(found)]


def call(fields):
    return [f"call={fields['callIdentifier']['guid'].hex()}"] if "callIdentifier" in fields else []


def facts(fields, names):
    return [f"{n}={fields[n]}" for n in names if n in fields]


def aliases(role, contents):
    """Those that are of digits, and how many there are."""
    said = [f"{role}.count={len(contents)}"] if contents else []
    for kind, content in contents:
        if kind == "partyNumber":
            kind, content = "dialledDigits", content[1]
            if isinstance(content, dict):
                content = content.get("publicNumberDigits") or content["privateNumberDigits"]
        if kind == "dialledDigits":
            said.append(f"{role}={content}")
    return said


def ras(content):
    kind, f = content
    if kind == "admissionConfirmSequence":
        said = [kind]
        if f:
            said.append(f"requestSeqNum={f[0]['requestSeqNum']}")
        for confirm in f:
            said += admission(confirm)
        return said
    said = [kind] + facts(f, ["requestSeqNum"]) + tokens(f)
    said += features(f) if kind != "serviceControlIndication" or not f["serviceControl"] else []
    if kind == "serviceControlIndication" and f["serviceControl"]:
        said = [kind] + facts(f, ["requestSeqNum"])
    if kind in ("infoRequestNak",):
        said = [s for s in said if not s.endswith("okens=1")]
    if "rejectReason" in f:
        said.append(f"reason={f['rejectReason'][0]}")
    if "nakReason" in f:
        said.append(f"reason={f['nakReason'][0]}")
    if kind in ("gatekeeperRequest", "gatekeeperConfirm", "locationConfirm", "infoRequestResponse"):
        said += address("rasAddress", f)
    if kind == "registrationRequest":
        said += addresses("rasAddress", f["rasAddress"]) + facts(f, ["timeToLive"])
        said += [f"keepAlive={int(f.get('keepAlive', False))}"]
        said += aliases("terminalAlias", f.get("terminalAlias", []))
    if kind == "registrationConfirm":
        said += facts(f, ["timeToLive"])
    if kind in ("registrationRequest", "registrationConfirm", "unregistrationRequest", "infoRequestResponse"):
        said += addresses("callSignalAddress", f["callSignalAddress"])
    if kind == "locationConfirm":
        said += address("callSignalAddress", f)
    if kind in ("gatekeeperConfirm", "registrationConfirm"):
        said += addresses("alternate", [g["rasAddress"] for g in f.get("alternateGatekeeper", [])])
    if kind == "locationConfirm":
        said += alternates(f)
    if kind == "admissionConfirm":
        said += admission(f)
    if kind == "admissionRequest":
        said += address("srcCallSignalAddress", f) + address("destCallSignalAddress", f)
        said += aliases("srcInfo", f["srcInfo"]) + aliases("destinationInfo", f.get("destinationInfo", []))
        said += [f"answerCall={int(f['answerCall'])}"]
    if kind in ("admissionRequest", "bandwidthRequest", "bandwidthConfirm"):
        said += facts(f, ["bandWidth"])
    if kind in ("admissionRequest", "bandwidthRequest", "disengageRequest", "infoRequest"):
        said += facts(f, ["callReferenceValue"]) + call(f)
    if kind in ("locationRequest", "infoRequest"):
        said += address("replyAddress", f)
    if kind == "locationRequest":
        said += aliases("destinationInfo", f["destinationInfo"]) + aliases("sourceInfo", f.get("sourceInfo", []))
    if kind == "infoRequestResponse":
        for per_call in f.get("perCallInfo", []):
            said += facts(per_call, ["callReferenceValue"]) + call(per_call)
    if kind == "requestInProgress":
        said += facts(f, ["delay"])
    return said


def admission(f):
    said = address("destCallSignalAddress", f) + facts(f, ["bandWidth"]) + [f"callModel={f['callModel'][0]}"]
    return said + alternates(f)


def alternates(f):
    found = [a for e in f.get("alternateEndpoints", []) for a in e.get("callSignalAddress", [])]
    return addresses("alternate", found)


def call_signalling(content):
    pdu = content["h323-uu-pdu"]
    kind, f = pdu["h323-message-body"]
    f = f if isinstance(f, dict) else {}
    said = [kind]
    if kind == "notify":
        said += call(f) + tokens(f)
    else:
        said += call(f) + tokens(f)
        listed = ("neededFeatures", "desiredFeatures", "supportedFeatures") if kind == "setup" else ()
        merged = dict(f, genericData=pdu.get("genericData", []))
        said += features(merged, *listed)
    if kind == "notify":
        said += features({"genericData": pdu.get("genericData", [])})
    said += address("h245Address", f)
    if kind == "setup":
        said += address("sourceCallSignalAddress", f) + address("destCallSignalAddress", f)
        said += aliases("sourceAddress", f.get("sourceAddress", []))
        said += aliases("destinationAddress", f.get("destinationAddress", []))
    if kind == "facility":
        said += address("alternativeAddress", f) + [f"reason={f['reason'][0]}"]
    if kind == "releaseComplete" and "reason" in f:
        said.append(f"reason={f['reason'][0]}")
    if "fastConnectRefused" in f:
        said.append("fastConnectRefused=1")
    said.append(f"h245Tunnelling={int(pdu.get('h245Tunnelling', False))}")
    for encoding in f.get("fastStart", []):
        said += ["openLogicalChannel"] + channel(Carried.known["OpenLogicalChannel", encoding])
    for encoding in pdu.get("h245Control", []) + f.get("parallelH245Control", []):
        said += h245(Carried.known["MultimediaSystemControlMessage", encoding])
    return said


def h245(content):
    _, (kind, f) = content
    said = [kind]
    if kind == "openLogicalChannel":
        return said + channel(f)
    if kind == "openLogicalChannelAck":
        said += [f"number={f['forwardLogicalChannelNumber']}"]
        said += h2250("forward", f.get("forwardMultiplexAckParameters"))
        reverse = f.get("reverseLogicalChannelParameters")
        if reverse:
            said += [f"reverseNumber={reverse['reverseLogicalChannelNumber']}"]
            said += h2250("reverse", reverse.get("multiplexParameters"))
        return said + stack(f)
    if kind == "communicationModeCommand":
        for entry in f["communicationModeTable"][:4]:
            said += [f"session={entry['sessionID']}"]
            said += address("mediaChannel", entry) + address("mediaControlChannel", entry)
    if kind in (
        "openLogicalChannelReject",
        "openLogicalChannelConfirm",
        "closeLogicalChannel",
        "closeLogicalChannelAck",
        "requestChannelClose",
    ):
        said += [f"number={f['forwardLogicalChannelNumber']}"]
    if kind == "terminalCapabilitySet":
        said += [f"empty={int('multiplexCapability' not in f and 'capabilityTable' not in f)}"]
    return said


def channel(f):
    forward = f["forwardLogicalChannelParameters"]
    said = [f"number={f['forwardLogicalChannelNumber']}"] + data("forward", forward["dataType"])
    said += h2250("forward", forward["multiplexParameters"])
    if "replacementFor" in forward:
        said.append(f"replacementFor={forward['replacementFor']}")
    if reverse := f.get("reverseLogicalChannelParameters"):
        said += data("reverse", reverse["dataType"]) + h2250("reverse", reverse.get("multiplexParameters"))
    return said + stack(f)


def stack(f):
    where = f.get("separateStack", {}).get("networkAddress", ("none", 0))
    return addresses("separateStack", [where[1]]) if where[0] == "localAreaAddress" else []


def data(role, content):
    said = [f"{role}.class={media_class(content)}"]
    kind, inner = content[1]["mediaType"] if content[0] == "h235Media" else content
    if kind == "videoData" and inner[0] == "extendedVideoCapability":
        said.append(f"{role}.extended=1")
    return said


def media_class(content):
    """What kind of data it is; of composed ones, what the first is that is neither composed nor encrypted."""
    kind, inner = content
    if kind == "h235Media":
        inner = inner["mediaType"]
        return media_class(inner) if inner[0] in ("videoData", "audioData", "data") else "Other"
    if kind == "redundancyEncoding":
        method = inner["redundancyEncodingMethod"][0]
        return {"rtpAudioRedundancyEncoding": "Audio", "rtpH263VideoRedundancyEncoding": "Video"}.get(method, "Other")
    if kind == "multiplePayloadStream":
        for element in inner["elements"]:
            kind = element["dataType"][0]
            if kind in ("videoData", "audioData", "data"):
                return media_class(element["dataType"])
            if kind in ("nonStandard", "encryptionData"):
                break
        return "Other"
    if kind == "data":
        name, application = inner["application"]
        if name == "t38fax":
            return "Data" if application["t38FaxProtocol"][0] == "tcp" else "Fax"
        return {"t120": "T120", "h224": "Other", "t140": "Other", "genericDataCapability": "Other"}.get(name, "Data")
    return {"nullData": "Null", "audioData": "Audio", "videoData": "Video"}.get(kind, "Other")


def h2250(role, content):
    if not content or not content[0].startswith("h2250"):
        return []
    f = content[1]
    said = [f"{role}.session={f['sessionID']}"] if "sessionID" in f else []
    said += address(f"{role}.mediaChannel", f, "mediaChannel")
    said += address(f"{role}.mediaControlChannel", f, "mediaControlChannel")
    if "dynamicRTPPayloadType" in f:
        said.append(f"{role}.payloadType={f['dynamicRTPPayloadType']}")
    return said


# --- The corpus ---------------------------------------------------------------------------------------------------


def of_kind(protocol, make, t, say, count, seen):
    """Lines of so many different messages that `make` makes."""
    lines, tries = [], 0
    while len(lines) < count and tries < 60 * count:
        tries += 1
        try:
            content = make()
            encoding = encode(t, content)
        except Unfit:
            continue
        if encoding in seen:
            continue
        seen.add(encoding)
        lines.append(f"{protocol} {encoding.hex()} {' '.join(say(content))}")
    return lines


def main():
    seen = set()
    lines = []
    for name, t in RAS._cont.items():
        lines += of_kind("ras", lambda: (name, value(t, 1)), RAS, ras, EACH["ras"], seen)
    body = CS._cont["h323-uu-pdu"]._cont["h323-message-body"]

    def user_information(name):
        content = value(CS)
        content["h323-uu-pdu"]["h323-message-body"] = (name, value(body._cont[name], 2))
        return content

    for name in body._cont:
        lines += of_kind("h225", lambda: user_information(name), CS, call_signalling, EACH["h225"], seen)
    for kind, t in CONTROL._cont.items():
        for name, inner in t._cont.items():
            count = OFTEN.get(name, EACH["h245"])
            lines += of_kind("h245", lambda: (kind, (name, value(inner, 2))), CONTROL, h245, count, seen)
    sys.stdout.write("".join(line + "\n" for line in lines))
    print(f"{len(lines)} messages", file=sys.stderr)


if __name__ == "__main__":
    main()
