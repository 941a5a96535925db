//! Who guesses: passwords, users and servers.
//!
//! Owns the requests outside dialogs that wait for their final response, and what is held against their senders:
//! credentials that were refused, users that were not there, challenges nobody took up, servers tried one after the
//! other. Guarantees that memory is bounded, and that nobody is accused of what a forger could do in his name without
//! it being said so: see [`Suspect::proven`]. What becomes of the accused is the daemon's business.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::sip::{Message, Method};
use callgate_rules::SipPolicy;
use callgate_rules::inspect::sip::Guard as Consequence;

use crate::action::{Context, Suspect, Time, Transport};
use crate::core::Core;
use crate::event::{Event, EventKind};
use crate::pace::Paces;

/// Most requests that wait for their final response.
pub(crate) const MAX_ATTEMPTS: usize = 65_536;
/// Most sources, and most accounts, whose failures are known.
const MAX_SOURCES: usize = 65_536;
/// Most challenges that are remembered.
const MAX_NONCES: usize = 65_536;
/// Most sources whose destinations are known, and most destinations of all of them.
const MAX_SWEEPERS: usize = 16_384;
const MAX_SWEPT: usize = 262_144;
/// Most accusations that are remembered, so that they are not repeated.
const MAX_TOLD: usize = 16_384;
/// How long a final response is waited for: a telephone may ring for some time.
const PATIENCE: Duration = Duration::from_secs(32);
const PATIENCE_INVITE: Duration = Duration::from_secs(300);
/// How long a nonce may be answered.
const NONCE_LIFE: Duration = Duration::from_secs(3_600);
/// The time in which the destinations of a sweep come.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two accusations of the same source or account.
const SILENCE: Duration = Duration::from_secs(10);
/// Failures that one success makes good.
const FORGIVEN: u32 = 2;
/// Most retransmissions of one request (RFC 3261 section 17.1.2.2: Timer E runs eleven times).
const RETRANSMISSIONS: u8 = 11;
/// Bytes of an account's name.
const MAX_ACCOUNT: usize = 64;

/// A request outside dialogs that waits for its final response.
#[derive(Debug)]
pub(super) struct Attempt {
    until: Time,
    source: SocketAddr,
    destination: IpAddr,
    transport: Transport,
    slot: u32,
    /// How often it has come again.
    again: u8,
    /// The account whose credentials it carries.
    account: Option<Account>,
    /// Its credentials answer a challenge that was sent to its source.
    proven: bool,
    /// It carries none, and is not to succeed without.
    pub(super) bare: bool,
}

/// Who credentials say they are of.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) name: Box<str>,
}

/// Addresses a source has tried within a minute.
#[derive(Debug)]
struct Sweep {
    since: Time,
    destinations: Vec<IpAddr>,
}

/// Something that is held against a source.
#[derive(Clone, Copy, Debug)]
struct Failure {
    /// See [`Suspect::proven`] and [`Suspect::passwords`].
    proven: bool,
    passwords: bool,
    what: &'static str,
}

/// A challenge that was sent to somebody.
#[derive(Clone, Copy, Debug)]
struct Nonce {
    /// Until when it may be answered.
    until: Time,
    /// It was held against its receiver, as nobody had answered it yet.
    held: bool,
}

/// What is held against whom.
#[derive(Debug)]
pub(super) struct Guard {
    attempts: HashMap<u64, Attempt>,
    sources: Paces<IpAddr>,
    accounts: Paces<u64>,
    /// Nonces by whom they were sent to.
    nonces: HashMap<(u64, IpAddr), Nonce>,
    sweeps: HashMap<IpAddr, Sweep>,
    swept: usize,
    told: HashMap<u64, Time>,
    /// Keyed by chance, so that nobody can choose what falls on the same place.
    hasher: RandomState,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            attempts: HashMap::new(),
            sources: Paces::new(MAX_SOURCES),
            accounts: Paces::new(MAX_SOURCES),
            nonces: HashMap::new(),
            sweeps: HashMap::new(),
            swept: 0,
            told: HashMap::new(),
            hasher: RandomState::new(),
        }
    }
}

impl Guard {
    /// Names a transaction for the guard: as [`super::transaction_id`], but nobody else's request is taken for its
    /// retransmission.
    pub(super) fn attempt_id(&self, source: SocketAddr, message: &Message) -> u64 {
        let via = (message.via.branch, message.via.host, message.via.port);
        self.hasher.hash_one((source, via, message.call_id, message.cseq.number, message.method()))
    }

    /// Whether a request is a retransmission of one that has been let by; it is counted as such.
    pub(super) fn is_repeated(&mut self, id: u64) -> bool {
        self.attempts.get_mut(&id).is_some_and(|attempt| {
            attempt.again = attempt.again.saturating_add(1);
            attempt.again <= RETRANSMISSIONS
        })
    }

    /// A request that is waiting for its response.
    pub(super) fn attempt(&self, id: u64, requester: SocketAddr) -> Option<&Attempt> {
        self.attempts.get(&id).filter(|attempt| attempt.source.ip() == requester.ip())
    }

    /// Whose credentials a request carries: the first that name an account.
    pub(super) fn account(&self, message: &Message) -> Option<Account> {
        let credentials = message.credentials().find(|credentials| credentials.username().is_some())?;
        let name = String::from_utf8_lossy(credentials.username()?);
        let id = self.hasher.hash_one((name.as_ref(), credentials.realm().unwrap_or_default()));
        Some(Account { id, name: name[..name.floor_char_boundary(MAX_ACCOUNT)].into() })
    }

    /// Whether an account has failed too often for credentials to be tried from elsewhere than where it is registered.
    pub(super) fn is_guessed(&self, policy: &SipPolicy, account: &Account, now: Time) -> bool {
        policy.guard != Consequence::Off && self.accounts.is_spent(account.id, now, policy.account_failures)
    }

    /// A request outside dialogs goes on; `known` is whether its sender is registered, or a registrar.
    pub(super) fn enter(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        (id, bare, known): (u64, bool, bool),
    ) {
        let invite = message.method() == Method::Invite;
        let account = self.account(message);
        let proven = self.takes_up(core, context, message);
        if self.has_room() || self.attempts.contains_key(&id) {
            let attempt = Attempt {
                until: context.now + if invite { PATIENCE_INVITE } else { PATIENCE },
                source: context.source,
                destination: context.destination.ip(),
                transport: context.transport,
                slot: context.slot,
                again: 0,
                account,
                proven,
                bare,
            };
            self.attempts.insert(id, attempt);
        }
        if !known {
            self.sweep(core, context);
        }
    }

    /// Whether a request answers a challenge that was sent to its source.
    fn takes_up(&mut self, core: &Core, context: &Context, message: &Message) -> bool {
        let rate = core.policy().sip(context.slot).auth_failures;
        let mut proven = false;
        for nonce in message.credentials().filter_map(|credentials| credentials.nonce()) {
            let key = (self.hasher.hash_one(nonce), context.source.ip());
            let Some(nonce) = self.nonces.get_mut(&key).filter(|nonce| nonce.until > context.now) else {
                continue;
            };
            proven = true;
            if std::mem::take(&mut nonce.held) {
                self.sources.forgive(context.source.ip(), context.now, rate, 1);
            }
        }
        proven
    }

    /// Requests that wait for their answers.
    pub(super) fn waiting(&self) -> usize {
        self.attempts.len()
    }

    /// Whether there is room for one more request that is not to succeed as it is.
    pub(super) fn has_room(&self) -> bool {
        self.attempts.len() < MAX_ATTEMPTS
    }

    /// A scanner has said what it is.
    pub(super) fn scanner(&mut self, core: &mut Core, context: &Context, agent: &[u8]) {
        let agent = String::from_utf8_lossy(&agent[..agent.len().min(MAX_ACCOUNT)]).into_owned();
        let proven = context.transport == Transport::Tcp;
        self.accuse(core, context, context.source, (proven, false), &format!("a scanner: {agent}"));
    }

    /// A final response to a request outside dialogs, or one that stands for it; `known` is whether the requester is
    /// registered, or a registrar.
    pub(super) fn answered(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        (id, status, known): (u64, u16, bool),
    ) {
        let requester = context.destination;
        if status < 200 {
            return;
        }
        let Some(attempt) = self.attempts.get(&id).filter(|attempt| attempt.source.ip() == requester.ip())
        else {
            return;
        };
        let (account, slot) = (attempt.account.clone(), attempt.slot);
        let proven = attempt.proven || attempt.transport == Transport::Tcp;
        let destination = attempt.destination;
        // A forbidden answer is to be refused however often it comes.
        if !(attempt.bare && (200..300).contains(&status)) {
            self.attempts.remove(&id);
        }
        let policy = core.policy().sip(slot);
        if policy.guard == Consequence::Off {
            return;
        }
        let (source_rate, account_rate) = (policy.auth_failures, policy.account_failures);
        let method = message.method();
        if matches!(status, 401 | 407) {
            self.note_challenges(message, requester.ip(), context.now, account.is_none());
        }
        let counts = matches!(method, Method::Register | Method::Invite);
        let told = Context { slot, ..*context };
        match status {
            200..300 => {
                // Who is welcome there has not tried it in vain.
                if let Some(sweep) = self.sweeps.get_mut(&requester.ip()) {
                    let before = sweep.destinations.len();
                    sweep.destinations.retain(|tried| *tried != destination);
                    self.swept -= before - sweep.destinations.len();
                }
                if !counts {
                    return;
                }
                self.sources.forgive(requester.ip(), context.now, source_rate, FORGIVEN);
                if let Some(account) = account {
                    self.accounts.forgive(account.id, context.now, account_rate, account_rate.events);
                }
            }
            401 | 407 if account.is_some() && message.challenges().any(|challenge| challenge.is_stale()) => {}
            403 if !counts => {}
            401 | 407 | 403 if account.is_some() => {
                if let Some(account) = account.filter(|_| counts && status != 403) {
                    self.account_failed(core, &told, requester, &account);
                }
                let failure = Failure { proven, passwords: true, what: "credentials were refused" };
                self.failed(core, &told, requester, known, failure);
            }
            401 | 407 => {
                let failure = Failure { proven, passwords: false, what: "challenges were not taken up" };
                self.failed(core, &told, requester, known, failure);
            }
            404 => {
                let failure = Failure { proven, passwords: false, what: "users were not found" };
                self.failed(core, &told, requester, known, failure);
            }
            _ => {}
        }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Time) {
        self.attempts.retain(|_, attempt| attempt.until > now);
        self.sources.tick(now);
        self.accounts.tick(now);
        self.nonces.retain(|_, nonce| nonce.until > now);
        self.sweeps.retain(|_, sweep| now.since(sweep.since) < SWEEP);
        self.swept = self.sweeps.values().map(|sweep| sweep.destinations.len()).sum();
        self.told.retain(|_, until| *until > now);
    }

    /// Nonces a server sends to `requester`: who answers one is there.
    fn note_challenges(&mut self, message: &Message, requester: IpAddr, now: Time, held: bool) {
        for nonce in message.challenges().filter_map(|challenge| challenge.nonce()).take(4) {
            if self.nonces.len() >= MAX_NONCES {
                return;
            }
            let key = (self.hasher.hash_one(nonce), requester);
            self.nonces.entry(key).or_insert(Nonce { until: now + NONCE_LIFE, held });
        }
    }

    fn sweep(&mut self, core: &mut Core, context: &Context) {
        let policy = core.policy().sip(context.slot);
        let most = usize::try_from(policy.sweep).unwrap_or(usize::MAX);
        if policy.guard == Consequence::Off {
            return;
        }
        let source = context.source.ip();
        if self.sweeps.len() >= MAX_SWEEPERS && !self.sweeps.contains_key(&source) {
            return;
        }
        let sweep =
            self.sweeps.entry(source).or_insert(Sweep { since: context.now, destinations: Vec::new() });
        if context.now.since(sweep.since) >= SWEEP {
            self.swept -= sweep.destinations.len();
            (sweep.since, sweep.destinations) = (context.now, Vec::new());
        }
        let destination = context.destination.ip();
        if sweep.destinations.contains(&destination) {
            return;
        }
        if sweep.destinations.len() < most {
            if self.swept < MAX_SWEPT {
                self.swept += 1;
                sweep.destinations.push(destination);
            }
            return;
        }
        let text = format!("more than {most} addresses were tried within a minute");
        let proven = context.transport == Transport::Tcp;
        self.accuse(core, context, context.source, (proven, false), &text);
    }

    fn failed(
        &mut self,
        core: &mut Core,
        context: &Context,
        source: SocketAddr,
        known: bool,
        failure: Failure,
    ) {
        let rate = core.policy().sip(context.slot).auth_failures;
        if !known && self.sources.keeps(source.ip(), context.now, rate) == Some(false) {
            let text = format!("too many failures: {}", failure.what);
            self.accuse(core, context, source, (failure.proven, failure.passwords), &text);
        }
    }

    fn account_failed(&mut self, core: &mut Core, context: &Context, source: SocketAddr, account: &Account) {
        let rate = core.policy().sip(context.slot).account_failures;
        if self.accounts.keeps(account.id, context.now, rate) == Some(false)
            && self.tells(self.hasher.hash_one(account.id), context.now)
        {
            let text = "credentials of this account are being guessed";
            let event =
                Event::at(context.now, EventKind::Attack, context.protocol, source, &account.name, text);
            core.tell(event);
        }
    }

    /// Tells of a source, and has it blocked where the rules say so.
    fn accuse(
        &mut self,
        core: &mut Core,
        context: &Context,
        source: SocketAddr,
        (proven, passwords): (bool, bool),
        text: &str,
    ) {
        let policy = core.policy().sip(context.slot);
        let (consequence, life) = (policy.guard, policy.guard_block);
        if consequence == Consequence::Off || !self.tells(self.hasher.hash_one(source.ip()), context.now) {
            return;
        }
        core.tell(Event::at(context.now, EventKind::Attack, context.protocol, source, "", text));
        if consequence == Consequence::Block {
            core.suspect(Suspect { source: source.ip(), proven, passwords, life, text: text.to_owned() });
        }
    }

    /// Whether something is told that was not told a moment ago.
    fn tells(&mut self, what: u64, now: Time) -> bool {
        if self.told.get(&what).is_some_and(|until| *until > now) {
            return false;
        }
        if self.told.len() < MAX_TOLD {
            self.told.insert(what, now + SILENCE);
        }
        true
    }
}
