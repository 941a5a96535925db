//! `mutate PROTOCOL COUNT [SEED] [decoders]`: so many bad messages through the decoders and the engine, one after the
//! other; with `decoders`, through these alone.
//!
//! Conversations are had again and again, by many ends: in order up to some message, and bad from there on. What
//! leads up to it is not counted. A connection that is refused is made again, some times. Time passes, at fifty
//! milliseconds a message.
//!
//! Exits with 1 if something panics, or if memory grows beyond [`MAX_PEAK`] or by more than [`MAX_GROWTH`] in the
//! second half; with 2 if it was asked for nonsense.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use callgate_alg::core::Bounds;
use callgate_alg::engine::Segment;
use callgate_alg::streams::flag;
use callgate_alg::{Context, Engine, Time, Transport, Verdict};
use callgate_fuzz::capture::Message;
use callgate_fuzz::mutation::{Random, mutate};
use callgate_fuzz::{ANY, check, check_end, conversation, decode, engine};
use callgate_shared::policy::Inspect;

/// Most resident memory, in KiB.
const MAX_PEAK: u64 = 512 * 1024;
/// Most that the peak may rise in the second half, in KiB: by then all that is kept has reached its bound, or is
/// forgotten as fast as it comes.
const MAX_GROWTH: u64 = 32 * 1024;
/// Between two messages.
const STEP: Duration = Duration::from_millis(50);
/// Messages between two ticks.
const TICK: u64 = 100;
/// Large enough for calls to go on, small enough to be reached.
const BOUNDS: Bounds = Bounds { calls: 512, streams_per_call: 16, pinholes: 2_048, registrations: 512 };

/// What is made bad, and who reads it.
struct Subject {
    name: &'static str,
    /// Messages of this protocol are made bad.
    protocol: Inspect,
    /// Of a message, what follows this.
    behind: Behind,
    decode: fn(&[u8]) -> bool,
}

/// Where the part that is made bad begins, and what frames it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// At the first byte; nothing frames it.
    Nothing,
    /// Behind a SIP message's header, whose Content-Length is kept right.
    Header,
    /// Behind a TPKT's header; its length is kept right, mostly.
    Tpkt,
    /// The same, but decoders read the whole stream.
    Tpkts,
    /// Behind an SCCP message's length and version; its length is kept right, mostly.
    Length,
}

const SUBJECTS: [Subject; 10] = [
    Subject { name: "sip", protocol: Inspect::Sip, behind: Behind::Nothing, decode: decode::sip },
    Subject { name: "sdp", protocol: Inspect::Sip, behind: Behind::Header, decode: decode::sdp },
    Subject { name: "tpkt", protocol: Inspect::H225, behind: Behind::Nothing, decode: decode::tpkt },
    Subject { name: "q931", protocol: Inspect::H225, behind: Behind::Tpkt, decode: decode::q931 },
    Subject { name: "h225", protocol: Inspect::H225, behind: Behind::Tpkts, decode: decode::h225 },
    Subject { name: "h245", protocol: Inspect::H245, behind: Behind::Tpkt, decode: decode::h245 },
    Subject { name: "ras", protocol: Inspect::Ras, behind: Behind::Nothing, decode: decode::ras },
    Subject { name: "sccp", protocol: Inspect::Sccp, behind: Behind::Length, decode: decode::sccp },
    Subject { name: "mgcp", protocol: Inspect::Mgcp, behind: Behind::Nothing, decode: decode::mgcp },
    Subject { name: "tftp", protocol: Inspect::Tftp, behind: Behind::Nothing, decode: decode::tftp },
];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let mut words = arguments.iter().map(String::as_str);
    let subject = words.next().and_then(|name| SUBJECTS.iter().find(|subject| subject.name == name));
    let count = words.next().and_then(|word| word.parse().ok());
    let seed = words.next().map_or(Some(1), |word| word.parse().ok());
    let alone = match words.next() {
        None => Some(false),
        Some(word) => (word == "decoders").then_some(true),
    };
    let (Some(subject), Some(count), Some(seed), Some(alone)) = (subject, count, seed, alone) else {
        let known: Vec<_> = SUBJECTS.iter().map(|subject| subject.name).collect();
        eprintln!(
            "usage: mutate PROTOCOL COUNT [SEED [decoders]], where PROTOCOL is one of {}",
            known.join(", ")
        );
        return ExitCode::from(2);
    };
    match Run::new(subject, seed, alone).and_then(|run| run.go(count)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutate: {error}");
            ExitCode::from(2)
        }
    }
}

struct Run {
    subject: &'static Subject,
    seed: u64,
    /// The decoders alone.
    alone: bool,
    conversations: Vec<Vec<Message>>,
    random: Random,
    engine: Engine,
    now: Time,
    /// Messages the engine was given; those that were bad; those of them that their decoder could read.
    given: u64,
    bad: u64,
    readable: u64,
    /// The longest the engine and the decoders took for one message.
    slowest: Duration,
    /// What is being read.
    last: Vec<u8>,
}

impl Run {
    fn new(subject: &'static Subject, seed: u64, alone: bool) -> io::Result<Self> {
        let mut protocols = vec![subject.protocol];
        if subject.protocol == Inspect::H245 {
            // It is known by what H.225 says.
            protocols.push(Inspect::H225);
        }
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
        let mut conversations = conversation::built(subject.protocol);
        conversations.extend(conversation::captured(&captures, &protocols)?);
        let corpus =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../userspace/protocols/tests/corpus/h323.txt");
        conversations.extend(conversation::corpus(&corpus, subject.protocol)?);
        conversations.retain(|messages| messages.iter().any(|message| subject.spoils(message)));
        Ok(Self {
            subject,
            seed,
            alone,
            conversations,
            random: Random::new(seed),
            engine: engine(BOUNDS),
            now: Time(1_000_000_000),
            given: 0,
            bad: 0,
            readable: 0,
            slowest: Duration::ZERO,
            last: Vec::new(),
        })
    }

    /// Reads `count` bad messages and says how that went; whether it went well.
    fn go(mut self, count: u64) -> io::Result<bool> {
        let start = Instant::now();
        let mut peaks = [0; 2];
        for (peak, until) in peaks.iter_mut().zip([count / 2, count]) {
            let read = catch_unwind(AssertUnwindSafe(|| {
                while self.bad < until {
                    self.conversation();
                }
            }));
            if read.is_err() {
                println!("{} seed {}: panic at message {}", self.subject.name, self.seed, self.bad);
                println!("{}", self.last.escape_ascii());
                return Ok(false);
            }
            *peak = peak_memory()?;
        }
        let elapsed = start.elapsed();
        let ended = catch_unwind(AssertUnwindSafe(|| check_end(&mut self.engine, self.now))).is_ok();
        let [half, peak] = peaks;
        let bounded = peak <= MAX_PEAK && peak - half <= MAX_GROWTH;
        let rate = |messages: u64| messages as f64 / elapsed.as_secs_f64();
        println!(
            "{} seed {}: {} bad messages of {} in {:.1} s, {:.0} bad ({:.0} in all) per second, one thread",
            self.subject.name,
            self.seed,
            self.bad,
            self.given,
            elapsed.as_secs_f64(),
            rate(self.bad),
            rate(self.given),
        );
        println!("  decoders read {} of the bad; the slowest message took {:?}", self.readable, self.slowest);
        for (protocol, messages) in self.engine.messages() {
            println!("  engine, {protocol:?}: {} passed, {} refused", messages.passed, messages.refused);
        }
        println!(
            "  peak memory {:.1} MiB, {:.1} MiB half way: {}",
            peak as f64 / 1_024.0,
            half as f64 / 1_024.0,
            if bounded { "bounded" } else { "NOT BOUNDED" }
        );
        Ok(bounded && ended)
    }

    /// Has one conversation.
    fn conversation(&mut self) {
        let which = self.random.below(self.conversations.len());
        let messages = std::mem::take(&mut self.conversations[which]);
        // Mostly soon, and now and then anywhere: captures are long.
        let length = if self.random.one_in(16) { messages.len() } else { messages.len().min(16) };
        let spoilt_from = self.random.below(length);
        let mut ends = Ends::new(&mut self.random);
        for (at, message) in messages.iter().enumerate() {
            let spoilt = at >= spoilt_from && self.subject.spoils(message);
            let payload = if spoilt {
                let lender = self.random.below(messages.len());
                self.subject.spoil(&mut self.random, &message.payload, &messages[lender].payload)
            } else {
                message.payload.clone()
            };
            let passed = self.message(&mut ends, message, payload, spoilt);
            if !passed && message.transport == Transport::Tcp && !ends.again(message, spoilt) {
                break;
            }
        }
        self.conversations[which] = messages;
    }

    /// Has the engine read a message; whether it passed.
    fn message(&mut self, ends: &mut Ends, message: &Message, payload: Vec<u8>, spoilt: bool) -> bool {
        if self.alone && !spoilt {
            return true;
        }
        self.now = self.now + STEP;
        self.given += 1;
        let context = Context {
            now: self.now,
            source: ends.moved(message.source),
            destination: ends.moved(message.destination),
            link: Some(ends.link(message.source)),
            transport: message.transport,
            protocol: message.protocol,
            slot: ends.slot,
        };
        self.last = payload;
        let start = Instant::now();
        if spoilt {
            self.bad += 1;
            self.readable += u64::from((self.subject.decode)(self.subject.part(&self.last).1));
        }
        if self.alone {
            self.slowest = self.slowest.max(start.elapsed());
            return true;
        }
        let verdict = match message.transport {
            Transport::Udp => self.engine.datagram(&context, &self.last),
            Transport::Tcp => ends.send(&mut self.engine, &mut self.random, &context, &self.last),
        };
        self.slowest = self.slowest.max(start.elapsed());
        if self.given.is_multiple_of(TICK) {
            self.engine.tick(self.now);
            drop(self.engine.take_actions());
            check(&self.engine, BOUNDS);
        }
        verdict == Verdict::Pass
    }
}

impl Subject {
    /// Whether this message is one that is made bad.
    fn spoils(&self, message: &Message) -> bool {
        message.protocol == self.protocol && !self.part(&message.payload).1.is_empty()
    }

    /// A message's header and the part that is made bad.
    fn part<'a>(&self, payload: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let header = match self.behind {
            Behind::Nothing => 0,
            Behind::Header => {
                payload.windows(4).position(|end| end == b"\r\n\r\n").map_or(payload.len(), |at| at + 4)
            }
            Behind::Tpkt => 4,
            // Their decoders read the whole stream.
            Behind::Tpkts | Behind::Length => 0,
        };
        payload.split_at(header.min(payload.len()))
    }

    /// The same message, bad.
    fn spoil(&self, random: &mut Random, payload: &[u8], other: &[u8]) -> Vec<u8> {
        let framed = match self.behind {
            Behind::Tpkt | Behind::Tpkts => 4,
            Behind::Length => 8,
            Behind::Nothing | Behind::Header => self.part(payload).0.len(),
        };
        // The frame as well, now and then: all that is behind it is lost.
        let keeps = self.behind == Behind::Header || framed > 0 && !random.one_in(8);
        if !keeps || payload.len() < framed {
            let mut whole = payload.to_vec();
            mutate(random, &mut whole, other);
            return whole;
        }
        let (header, rest) = payload.split_at(framed);
        let (mut header, mut rest) = (header.to_vec(), rest.to_vec());
        mutate(random, &mut rest, other);
        match self.behind {
            Behind::Tpkt | Behind::Tpkts => {
                header[2..].copy_from_slice(&((rest.len() + 4) as u16).to_be_bytes())
            }
            Behind::Length => {
                header[..4].copy_from_slice(&(rest.len() as u32).to_le_bytes());
                if random.one_in(4) {
                    header[4] = random.below(23) as u8;
                }
            }
            Behind::Header => header = with_length(&header, rest.len()),
            Behind::Nothing => {}
        }
        header.extend(rest);
        header
    }
}

/// A SIP header with this Content-Length.
fn with_length(header: &[u8], length: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(header);
    let lines = text.split_inclusive("\r\n");
    let kept =
        lines.filter(|line| !line.to_ascii_lowercase().starts_with("content-length") && *line != "\r\n");
    format!("{}Content-Length: {length}\r\n\r\n", kept.collect::<String>()).into_bytes()
}

/// Who has a conversation this time, and where their streams are.
struct Ends {
    slot: u32,
    /// What the last two bytes of addresses are changed by.
    moved: u16,
    /// Connections are seen from their handshakes on.
    handshakes: bool,
    /// How often connections are made again.
    patience: u8,
    /// The next sequence number, by sender and receiver.
    next: HashMap<(SocketAddr, SocketAddr), u32>,
}

impl Ends {
    fn new(random: &mut Random) -> Self {
        // Their messages tell addresses: moved, they tell those of others.
        let moved = if random.one_in(4) { random.below(4_096) as u16 } else { 0 };
        let slot = if random.one_in(4) { 0 } else { ANY };
        Self { slot, moved, handshakes: !random.one_in(8), patience: 8, next: HashMap::new() }
    }

    fn moved(&self, address: SocketAddr) -> SocketAddr {
        let IpAddr::V4(ip) = address.ip() else { return address };
        SocketAddr::new(IpAddr::V4((ip.to_bits() ^ u32::from(self.moved)).into()), address.port())
    }

    /// The connection of a message was refused: another takes its place, where a bad message was to blame and
    /// there is patience left.
    fn again(&mut self, message: &Message, spoilt: bool) -> bool {
        let (source, destination) = (self.moved(message.source), self.moved(message.destination));
        self.next.retain(|ends, _| *ends != (source, destination) && *ends != (destination, source));
        self.patience = self.patience.saturating_sub(1);
        spoilt && self.patience > 0
    }

    /// A network card for each address.
    fn link(&self, address: SocketAddr) -> [u8; 6] {
        let IpAddr::V4(ip) = self.moved(address).ip() else { return [2; 6] };
        let [a, b, c, d] = ip.octets();
        [2, 0, a, b, c, d]
    }

    /// Sends a piece of a stream, in one segment or two.
    fn send(&mut self, engine: &mut Engine, random: &mut Random, context: &Context, bytes: &[u8]) -> Verdict {
        let there = (context.source, context.destination);
        let back = (context.destination, context.source);
        if !self.next.contains_key(&there) {
            let begin = random.bits() as u32;
            if self.handshakes {
                self.shake_hands(engine, context, begin);
            }
            self.next.extend([(there, begin.wrapping_add(1)), (back, begin.wrapping_add(1))]);
        }
        let cut = if random.one_in(8) { random.below(bytes.len()) } else { bytes.len() };
        let (head, tail) = bytes.split_at(cut);
        let mut verdict = Verdict::Pass;
        for piece in [head, tail].into_iter().filter(|piece| !piece.is_empty()) {
            let (sequence, acknowledgement) = (self.next[&there], self.next[&back]);
            let segment = Segment { sequence, acknowledgement, flags: flag::ACK };
            verdict = engine.segment(context, segment, piece);
            self.next.insert(there, sequence.wrapping_add(piece.len() as u32));
            if verdict.reason().is_some() {
                break;
            }
        }
        // Half of the connections that are refused are reset, as they ought to be; some end in good order.
        let end = match verdict {
            Verdict::Pass if random.one_in(64) => flag::FIN | flag::ACK,
            Verdict::Pass | Verdict::Replace(_) => return verdict,
            _ if random.one_in(2) => flag::RST,
            _ => return verdict,
        };
        let (sequence, acknowledgement) = (self.next[&there], self.next[&back]);
        engine.segment(context, Segment { sequence, acknowledgement, flags: end }, b"");
        verdict
    }

    fn shake_hands(&self, engine: &mut Engine, context: &Context, begin: u32) {
        let syn = Segment { sequence: begin, acknowledgement: 0, flags: flag::SYN };
        engine.segment(context, syn, b"");
        let answer = Context { source: context.destination, destination: context.source, ..*context };
        let flags = flag::SYN | flag::ACK;
        engine.segment(
            &answer,
            Segment { sequence: begin, acknowledgement: begin.wrapping_add(1), flags },
            b"",
        );
    }
}

/// The most memory this process had resident so far, in KiB (`VmHWM`, proc_pid_status(5)).
fn peak_memory() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("/proc/self/status has no VmHWM"))
}
