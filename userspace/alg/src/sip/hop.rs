//! One call on one hop: its dialogs, its open transactions, and how each message moves them on.

use std::fmt::Write;
use std::net::SocketAddr;

use callgate_protocols::sip::{Message, Replaces};

use super::media::{self, Line};
use super::release::{self, Connection, LastWords, Named, Way};
use super::{CANCEL_GRACE, OFFER_PATIENCE};
use crate::action::{Context, EndReason, Time};
use crate::call::{Call, CallId, Party, State};
use crate::core::Core;
use crate::farewell::Farewells;
use crate::finished::{Cause, ReleasedBy};

/// Most dialogs of one call: forks that have answered.
const MAX_DIALOGS: usize = 16;
/// Most transactions of one call that are remembered.
const MAX_TRANSACTIONS: usize = 16;
/// Bytes of [`Call::memo`].
const MAX_MEMO: usize = 1024;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The INVITE that starts dialogs.
    Invite {
        /// Branch its offer was entered under; its first dialog takes it over.
        branch: u32,
    },
    /// A request within a dialog that carries an offer, or asks for one.
    Offer {
        /// The dialog's.
        branch: u32,
    },
    /// BYE.
    Bye {
        /// The dialog's.
        branch: u32,
    },
}

/// A request whose responses matter.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    id: u64,
    number: u32,
    pub(super) by: Party,
    pub(super) purpose: Purpose,
    offer: Option<Vec<Line>>,
    /// When it counts as failed (a cancelled INVITE, an offer) or as answered (BYE).
    deadline: Option<Time>,
    /// The dialog an INVITE asks to take the place of.
    pub(super) replaces: Option<Box<Replaces<'static>>>,
    /// An INVITE: a 2xx was seen, more may follow from other forks.
    answered: bool,
    cancelled: bool,
    /// Order among the offers of this call.
    serial: u64,
}

impl Transaction {
    /// `id` and `number` name it; see [`super::transaction_id`].
    pub(super) fn new(
        id: u64,
        number: u32,
        by: Party,
        purpose: Purpose,
        offer: Option<Vec<Line>>,
        deadline: Option<Time>,
    ) -> Self {
        Self {
            id,
            number,
            by,
            purpose,
            offer,
            deadline,
            replaces: None,
            answered: false,
            cancelled: false,
            serial: 0,
        }
    }

    /// Whether a message with this name belongs to it.
    pub(super) fn is(&self, id: u64, number: u32) -> bool {
        self.id == id && self.number == number
    }

    fn starts_dialogs(&self) -> bool {
        matches!(self.purpose, Purpose::Invite { .. })
    }
}

/// A dialog, early or confirmed (RFC 3261 section 12).
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// The callee's tag.
    tag: String,
    /// [`crate::call::StreamKey::branch`] of its streams.
    pub(super) branch: u32,
    confirmed: bool,
    /// The INVITE that started it.
    invite: u64,
    /// What a response has offered (by whom), to be answered in ACK or PRACK.
    offer: Option<(Party, Vec<Line>, u32)>,
    /// [`Transaction::serial`] of its latest offer: answers to older ones come too late.
    latest: u64,
    /// How its parties' requests reach each other, by sender, where that was seen.
    ways: [Option<Box<Way>>; 2],
}

impl Dialog {
    /// One that this INVITE has just begun.
    fn early(tag: &str, branch: u32, invite: u64) -> Self {
        Self {
            tag: tag.to_owned(),
            branch,
            confirmed: false,
            invite,
            offer: None,
            latest: 0,
            ways: [const { None }; 2],
        }
    }
}

/// One call on one hop.
#[derive(Debug)]
pub(super) struct Hop {
    /// Its record.
    pub(super) id: CallId,
    /// Its signalling peers, by [`Party`].
    peers: [SocketAddr; 2],
    caller_tag: String,
    pub(super) transactions: Vec<Transaction>,
    pub(super) dialogs: Vec<Dialog>,
    /// When the session is over unless it is refreshed (RFC 4028).
    pub(super) session_until: Option<Time>,
    /// The call has ended; the hop is to be forgotten.
    pub(super) over: bool,
    serial: u64,
    /// How the callee's requests will reach the caller, by its latest INVITE.
    back: Option<Box<Way>>,
    /// What From and To call the parties.
    uris: Option<Box<[String; 2]>>,
}

impl Hop {
    /// A call that has begun with a message between these peers.
    pub(super) fn new(id: CallId, peers: [SocketAddr; 2], caller_tag: &str) -> Self {
        Self {
            id,
            peers,
            caller_tag: caller_tag.to_owned(),
            transactions: Vec::new(),
            dialogs: Vec::new(),
            session_until: None,
            over: false,
            serial: 0,
            back: None,
            uris: None,
        }
    }

    /// Whether an initial INVITE with this From tag belongs here: it comes the same way. (The way back is
    /// another hop, of a proxy that sends the call to where it came from.) Ports may differ, a client takes
    /// another one when it repeats the request, unless nothing else tells the peers apart.
    pub(super) fn continues(&self, tag: &str, context: &Context) -> bool {
        let (caller, callee) = (self.peers[0], self.peers[1]);
        let same_way = caller.ip() == context.source.ip() && callee.ip() == context.destination.ip();
        let same_ports = caller == context.source && callee == context.destination;
        tag == self.caller_tag && same_way && (caller.ip() != callee.ip() || same_ports)
    }

    /// An INVITE tells how its callee will reach its caller.
    pub(super) fn learn_back(&mut self, back: Option<Way>, uris: Option<[String; 2]>) {
        (self.back, self.uris) = (back.map(Box::new), uris.map(Box::new));
    }

    /// A request within a dialog tells how its sender reaches the other party, and by its contact how it is reached.
    pub(super) fn learn(
        &mut self,
        dialog: usize,
        sender: Party,
        context: &Context,
        message: &Message,
        contact: Option<&str>,
    ) {
        let dialog = &mut self.dialogs[dialog];
        let way = Way::of(context, message, dialog.ways[sender as usize].as_deref());
        dialog.ways[sender as usize] = way.map(Box::new);
        if let (Some(contact), Some(way)) = (contact, &mut dialog.ways[sender.other() as usize]) {
            way.refresh(contact);
        }
    }

    /// Whether a request that passes none of the peers is this hop's all the same: the party that sent it is, and
    /// reaches the other one without whoever stands between them.
    pub(super) fn is_only_way(&self, sender: Party, context: &Context) -> bool {
        self.peers[sender as usize].ip() == context.source.ip()
    }

    /// Tells both parties of each dialog that it is over; gives what only the last words of a connection can tell.
    pub(super) fn say_bye(
        &self,
        core: &mut Core,
        farewells: &mut Farewells<u64>,
        call_id: &str,
        now: Time,
    ) -> Vec<LastWords> {
        let mut last = Vec::new();
        let Some(uris) = self.uris.as_deref() else { return last };
        for dialog in self.dialogs.iter().filter(|dialog| dialog.confirmed) {
            let named = Named { call_id, uris, tags: [&self.caller_tag, &dialog.tag] };
            for (by, way) in [Party::Caller, Party::Callee].into_iter().zip(&dialog.ways) {
                if let Some(way) = way {
                    last.extend(release::say_bye(farewells, core, now, self.id, (by, way), named));
                }
            }
        }
        last
    }

    /// The connections its messages have taken, or would take by TCP.
    pub(super) fn connections(&self) -> impl Iterator<Item = Connection> {
        let ways = self.dialogs.iter().flat_map(|dialog| &dialog.ways).flatten();
        let ways = ways.filter_map(|way| way.connection());
        ways.chain(std::iter::once(Connection::of(self.peers[0], self.peers[1])))
    }

    /// Where it was called.
    pub(super) fn callee(&self) -> SocketAddr {
        self.peers[1]
    }

    /// How well a request from `sender` fits this hop's peers: 2 exactly, 1 by address, 0 not at all.
    pub(super) fn nearness(&self, sender: Party, context: &Context) -> u8 {
        let (from, to) = (self.peers[sender as usize], self.peers[sender.other() as usize]);
        if from == context.source && to == context.destination {
            2
        } else {
            u8::from(from.ip() == context.source.ip() && to.ip() == context.destination.ip())
        }
    }

    /// The dialog a request with these tags belongs to, and which party sent it.
    pub(super) fn dialog(&self, from: &str, to: &str) -> Option<(Party, usize)> {
        let place = |tag: &str| self.dialogs.iter().position(|dialog| dialog.tag == tag);
        if from == self.caller_tag
            && let Some(place) = place(to)
        {
            return Some((Party::Caller, place));
        }
        (to == self.caller_tag).then(|| place(from).map(|place| (Party::Callee, place))).flatten()
    }

    /// An INVITE that starts dialogs.
    pub(super) fn invite(
        &mut self,
        core: &mut Core,
        context: &Context,
        id: u64,
        number: u32,
        offer: Option<Vec<Line>>,
        replaces: Option<Replaces>,
    ) {
        if self.transactions.iter().any(|transaction| transaction.is(id, number)) || !self.make_room() {
            return;
        }
        let branch = self.free_branch();
        if let Some(offer) = &offer {
            media::propose(core, context, self.id, branch, Party::Caller, offer, true, negotiation(id));
        }
        let mut invite = Transaction::new(id, number, Party::Caller, Purpose::Invite { branch }, offer, None);
        invite.replaces = replaces.map(|replaces| Box::new(replaces.into_owned()));
        self.begin(invite);
    }

    /// A request of `by` within a dialog, with an offer or asking for one.
    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    pub(super) fn offer(
        &mut self,
        core: &mut Core,
        context: &Context,
        dialog: usize,
        by: Party,
        id: u64,
        number: u32,
        offer: Option<Vec<Line>>,
    ) {
        if self.transactions.iter().any(|transaction| transaction.is(id, number)) {
            return;
        }
        let branch = self.dialogs[dialog].branch;
        let offers = offer.is_some();
        if let Some(offer) = &offer {
            media::withdraw(core, self.id, branch, EndReason::Moved);
            media::propose(core, context, self.id, branch, by, offer, false, negotiation(id));
        }
        let deadline = offers.then(|| context.now + OFFER_PATIENCE);
        let serial = self.begin(Transaction::new(id, number, by, Purpose::Offer { branch }, offer, deadline));
        if offers {
            self.dialogs[dialog].latest = serial;
        }
    }

    /// Whether a response has offered something that `by` has to answer.
    pub(super) fn awaits_answer(&self, dialog: usize, by: Party) -> bool {
        self.dialogs[dialog].offer.as_ref().is_some_and(|(offerer, ..)| *offerer == by.other())
    }

    /// The answer, in ACK or PRACK, to what a response has offered.
    pub(super) fn answer_offer_of_response(
        &mut self,
        core: &mut Core,
        context: &Context,
        dialog: usize,
        answer: &[Line],
    ) {
        let dialog = &mut self.dialogs[dialog];
        if let Some((by, offer, negotiation)) = dialog.offer.take() {
            media::agree(core, context, self.id, dialog.branch, by.other(), &offer, answer, negotiation);
        }
    }

    /// CANCEL asks for the end; the final response, nearly always 487, is the end.
    pub(super) fn cancel(&mut self, id: u64, now: Time) {
        for transaction in &mut self.transactions {
            if transaction.id == id && transaction.starts_dialogs() && !transaction.answered {
                transaction.cancelled = true;
                transaction.deadline = Some(now + CANCEL_GRACE);
            }
        }
    }

    /// A response to an INVITE that starts dialogs.
    pub(super) fn invite_response(
        &mut self,
        core: &mut Core,
        context: &Context,
        place: usize,
        status: u16,
        tag: &str,
        described: Option<&[Line]>,
    ) {
        if status >= 300 {
            return self.invite_failed(core, place, status);
        }
        if status == 100 {
            return;
        }
        if status < 200 {
            core.set_state(context.now, self.id, State::Ringing);
            if tag.is_empty() && described.is_none() {
                return;
            }
        }
        let Some(dialog) = self.dialog_of(place, tag) else { return };
        if let Some(described) = described {
            self.described(core, context, place, dialog, described);
        }
        if status >= 200 {
            let transaction = &mut self.transactions[place];
            (transaction.answered, transaction.deadline) = (true, None);
            let answered = &mut self.dialogs[dialog];
            answered.confirmed = true;
            if answered.ways[Party::Callee as usize].is_none() {
                answered.ways[Party::Callee as usize] = self.back.clone();
            }
            self.close_other_forks(core, dialog);
            core.set_state(context.now, self.id, State::Connected);
        }
    }

    /// A response to a request within a dialog.
    pub(super) fn offer_response(
        &mut self,
        core: &mut Core,
        context: &Context,
        place: usize,
        status: u16,
        described: Option<&[Line]>,
    ) {
        let Purpose::Offer { branch } = self.transactions[place].purpose else { return };
        let dialog = self.dialogs.iter().position(|dialog| dialog.branch == branch);
        if status < 300
            && let (Some(dialog), Some(described)) = (dialog, described)
        {
            self.described(core, context, place, dialog, described);
        }
        if status >= 200 {
            self.offer_over(core, place);
        }
    }

    /// An offer within a dialog has its final response, or will have none. Where it was refused, or answered with
    /// nothing, what was agreed before stays.
    fn offer_over(&mut self, core: &mut Core, place: usize) {
        let transaction = self.transactions.remove(place);
        let Purpose::Offer { branch } = transaction.purpose else { return };
        let mut dialogs = self.dialogs.iter().filter(|dialog| dialog.branch == branch);
        if transaction.offer.is_some() && dialogs.any(|dialog| dialog.latest == transaction.serial) {
            media::withdraw(core, self.id, branch, EndReason::Failed);
        }
    }

    /// Another call has taken the place of the dialog with these tags, as its party at `by` has agreed (RFC 3891
    /// section 3). What it had answered is over; an early one is as good as cancelled, and may be answered yet.
    pub(super) fn replaced(&mut self, core: &mut Core, replaces: &Replaces, by: &Context) {
        let Some((other, dialog)) = self.dialog(&replaces.from_tag, &replaces.to_tag) else { return };
        if self.peers[other.other() as usize].ip() != by.source.ip() {
            return;
        }
        let Dialog { branch, confirmed, invite, .. } = self.dialogs[dialog];
        if confirmed && !replaces.early_only {
            return self.end_dialog(core, branch, EndReason::Replaced);
        }
        // Only who has called can give up an early dialog.
        if !confirmed && other == Party::Callee {
            self.cancel(invite, by.now);
            self.close(core, vec![branch], EndReason::Replaced);
        }
    }

    /// The dialog with this branch is over, and whatever shares its tags; the call is, if it was the last one.
    pub(super) fn end_dialog(&mut self, core: &mut Core, branch: u32, reason: EndReason) {
        let Some(tag) = self.dialogs.iter().find(|dialog| dialog.branch == branch).map(|d| d.tag.clone())
        else {
            return;
        };
        let over =
            self.dialogs.extract_if(.., |dialog| dialog.tag == tag).map(|dialog| dialog.branch).collect();
        self.close_or_end(core, over, reason);
    }

    /// Enters a transaction, unless it is known already, and returns its serial. Where there is no room its
    /// responses will say nothing.
    pub(super) fn begin(&mut self, mut transaction: Transaction) -> u64 {
        let known = self.transactions.iter().any(|other| other.is(transaction.id, transaction.number));
        if known || !self.make_room() {
            return self.serial;
        }
        self.serial += 1;
        transaction.serial = self.serial;
        // Most calls have one of each.
        self.transactions.reserve_exact(1);
        self.transactions.push(transaction);
        self.serial
    }

    /// Whether there is room for a transaction; forgets the oldest that holds nothing open, if need be.
    fn make_room(&mut self) -> bool {
        if self.transactions.len() >= MAX_TRANSACTIONS
            && let Some(oldest) = self.transactions.iter().position(|t| t.answered || !t.starts_dialogs())
        {
            self.transactions.remove(oldest);
        }
        self.transactions.len() < MAX_TRANSACTIONS
    }

    /// Closes what has waited too long.
    pub(super) fn tick(&mut self, core: &mut Core, now: Time) {
        if self.session_until.is_some_and(|until| until <= now) {
            core.end_call(self.id, EndReason::Expired);
            self.over = true;
        }
        let late = |transaction: &Transaction| transaction.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(place) = self.transactions.iter().position(late).filter(|_| !self.over) {
            match self.transactions[place].purpose {
                Purpose::Bye { branch } => {
                    let bye = self.transactions.remove(place);
                    core.ends(self.id, Some(bye.by.into()), None);
                    self.end_dialog(core, branch, EndReason::Bye);
                }
                Purpose::Offer { .. } => self.offer_over(core, place),
                Purpose::Invite { .. } => self.invite_failed(core, place, 487),
            }
            self.remember(core);
        }
    }

    /// Writes into the call's record what [`Self::restore`] needs.
    pub(super) fn remember(&self, core: &mut Core) {
        let memo = self.memo();
        if core.call(self.id).is_some_and(|call| call.memo != memo) {
            core.change_call(self.id, |call| call.memo = memo);
        }
    }

    /// A hop as [`Self::remember`] has left it.
    pub(super) fn restore(call: &Call) -> Self {
        let mut hop = Self::new(call.id, call.signalling, "");
        for line in call.memo.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("caller"), Some(tag), ..) => hop.caller_tag = tag.to_owned(),
                (Some("until"), Some(until), ..) => hop.session_until = until.parse().ok().map(Time),
                (Some("invite"), Some(id), Some(number), Some(branch)) => {
                    let (Ok(id), Ok(number), Ok(branch)) = (id.parse(), number.parse(), branch.parse())
                    else {
                        continue;
                    };
                    let purpose = Purpose::Invite { branch };
                    let offer = offer_of(call, branch);
                    hop.begin(Transaction::new(id, number, Party::Caller, purpose, offer, None));
                }
                (Some(kind @ ("early" | "confirmed")), Some(branch), Some(invite), Some(tag)) => {
                    let (Ok(branch), Ok(invite)) = (branch.parse(), invite.parse()) else { continue };
                    let confirmed = kind == "confirmed";
                    hop.dialogs.push(Dialog { confirmed, ..Dialog::early(tag, branch, invite) });
                }
                (Some("uris"), Some(caller), Some(callee), ..) => {
                    hop.uris = Some(Box::new([caller, callee].map(str::to_owned)));
                }
                (Some("way"), Some(party), Some(tag), Some(_)) => {
                    let way = line.splitn(4, ' ').last().and_then(Way::from_memo);
                    let dialog = hop.dialogs.iter_mut().find(|dialog| dialog.tag == tag);
                    if let (Some(way), Some(dialog)) = (way, dialog) {
                        dialog.ways[usize::from(party != "caller")] = Some(Box::new(way));
                    }
                }
                _ => {}
            }
        }
        hop
    }

    /// As much as fits, the most important first.
    fn memo(&self) -> String {
        let mut memo = format!("caller {}\n", self.caller_tag);
        if let Some(until) = self.session_until {
            let _ = writeln!(memo, "until {}", until.0);
        }
        let mut add = |line: String| {
            if memo.len() + line.len() <= MAX_MEMO {
                memo.push_str(&line);
            }
        };
        for transaction in self.transactions.iter().filter(|transaction| !transaction.answered) {
            if let Purpose::Invite { branch } = transaction.purpose {
                add(format!("invite {} {} {branch}\n", transaction.id, transaction.number));
            }
        }
        for confirmed in [true, false] {
            for dialog in self.dialogs.iter().filter(|dialog| dialog.confirmed == confirmed) {
                let kind = if confirmed { "confirmed" } else { "early" };
                add(format!("{kind} {} {} {}\n", dialog.branch, dialog.invite, dialog.tag));
            }
        }
        // How its parties are told that it is over.
        if let Some([caller, callee]) = self.uris.as_deref()
            && ![caller, callee].iter().any(|uri| uri.is_empty() || uri.contains(char::is_whitespace))
        {
            add(format!("uris {caller} {callee}\n"));
        }
        for dialog in self.dialogs.iter().filter(|dialog| dialog.confirmed) {
            for (party, way) in ["caller", "callee"].into_iter().zip(&dialog.ways) {
                if let Some(way) = way.as_deref().and_then(Way::memo) {
                    add(format!("way {party} {} {way}\n", dialog.tag));
                }
            }
        }
        memo
    }

    /// A description in a response: the answer to the request's offer, or an offer where it made none.
    fn described(
        &mut self,
        core: &mut Core,
        context: &Context,
        place: usize,
        dialog: usize,
        described: &[Line],
    ) {
        let (transaction, dialog) = (&self.transactions[place], &mut self.dialogs[dialog]);
        if transaction.serial < dialog.latest {
            return;
        }
        let (by, first) = (transaction.by.other(), transaction.starts_dialogs());
        let negotiation = negotiation(transaction.id);
        match &transaction.offer {
            Some(offer) => {
                media::agree(core, context, self.id, dialog.branch, by, offer, described, negotiation);
            }
            None => {
                media::propose(core, context, self.id, dialog.branch, by, described, first, negotiation);
                dialog.offer = Some((by, described.to_vec(), negotiation));
            }
        }
    }

    /// The dialog that this response to an INVITE belongs to, begun where it is new. (A client that sends one
    /// call from several sockets may get one tag for several INVITEs: each keeps its own media until BYE.)
    fn dialog_of(&mut self, place: usize, tag: &str) -> Option<usize> {
        let invite = self.transactions[place].id;
        let known = |dialog: &Dialog| dialog.tag == tag && dialog.invite == invite;
        if let Some(place) = self.dialogs.iter().position(known) {
            return Some(place);
        }
        if self.dialogs.len() >= MAX_DIALOGS {
            return None;
        }
        let transaction = &self.transactions[place];
        let Purpose::Invite { branch } = transaction.purpose else { return None };
        let taken = self.dialogs.iter().any(|dialog| dialog.branch == branch);
        let branch = if taken { self.free_branch() } else { branch };
        self.dialogs.reserve_exact(1);
        self.dialogs.push(Dialog::early(tag, branch, invite));
        Some(self.dialogs.len() - 1)
    }

    /// A final response of 300 to 699 to an INVITE that starts dialogs: its early dialogs are over.
    fn invite_failed(&mut self, core: &mut Core, place: usize, status: u16) {
        let transaction = self.transactions.remove(place);
        let Purpose::Invite { branch } = transaction.purpose else { return };
        let reason = match transaction.cancelled || status == 487 {
            true => EndReason::Cancel,
            false => EndReason::Failed,
        };
        let early = |dialog: &mut Dialog| dialog.invite == transaction.id && !dialog.confirmed;
        let mut over: Vec<_> = self.dialogs.extract_if(.., early).map(|dialog| dialog.branch).collect();
        if !self.dialogs.iter().any(|dialog| dialog.branch == branch) {
            over.push(branch);
        }
        // The same call comes again, with credentials (RFC 3261 section 22) or a longer session interval (RFC
        // 4028 section 7.3).
        match status {
            401 | 407 | 422 => self.close(core, over, reason),
            _ => {
                if self.is_over() {
                    let by = if transaction.cancelled { ReleasedBy::Caller } else { ReleasedBy::Callee };
                    core.ends(self.id, Some(by), Some(Cause::Sip(status)));
                }
                self.close_or_end(core, over, reason)
            }
        }
    }

    /// Closes these branches; ends the call when nothing is left of it.
    fn close_or_end(&mut self, core: &mut Core, branches: Vec<u32>, reason: EndReason) {
        if !self.is_over() {
            return self.close(core, branches, reason);
        }
        core.end_call(self.id, reason);
        self.over = true;
    }

    /// Whether neither a dialog nor an INVITE is left of it.
    fn is_over(&self) -> bool {
        let waiting = self.transactions.iter().any(|t| t.starts_dialogs() && !t.answered);
        !waiting && self.dialogs.is_empty()
    }

    fn close(&self, core: &mut Core, branches: Vec<u32>, reason: EndReason) {
        for branch in branches {
            let waits =
                |t: &Transaction| !t.answered && t.offer.is_some() && Self::offered_branch(t) == Some(branch);
            // Another fork may answer the offer that this one has answered first.
            match self.transactions.iter().any(waits) {
                true => media::unanswer(core, self.id, branch, reason),
                false => media::close_branch(core, self.id, branch, reason),
            }
        }
    }

    /// One fork of an INVITE has answered with 2xx: its other early dialogs are over.
    fn close_other_forks(&mut self, core: &mut Core, answered: usize) {
        let invite = self.dialogs[answered].invite;
        let fork = |dialog: &mut Dialog| dialog.invite == invite && !dialog.confirmed;
        let over = self.dialogs.extract_if(.., fork).map(|dialog| dialog.branch).collect();
        self.close(core, over, EndReason::ChannelClosed);
    }

    fn offered_branch(transaction: &Transaction) -> Option<u32> {
        match transaction.purpose {
            Purpose::Invite { branch } => Some(branch),
            _ => None,
        }
    }

    /// The least branch number not in use.
    fn free_branch(&self) -> u32 {
        let used = |branch: &u32| {
            self.dialogs.iter().any(|dialog| dialog.branch == *branch)
                || self.transactions.iter().any(|t| Self::offered_branch(t) == Some(*branch))
        };
        (0..).find(|branch| !used(branch)).unwrap_or(u32::MAX >> 1)
    }
}

/// Tells an offer and its answer from others, and is the same for what repeats them: of a transaction's name.
const fn negotiation(id: u64) -> u32 {
    (id ^ id >> 32) as u32
}

/// What the caller had offered under this branch before a restart.
fn offer_of(call: &Call, branch: u32) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    for (key, stream) in call.streams.iter().filter(|(key, _)| key.branch == branch) {
        let index =
            usize::try_from(key.index).ok().filter(|index| *index < callgate_protocols::sdp::MAX_MEDIA)?;
        lines.resize(index.max(lines.len()), Line::absent());
        lines.push(Line::of_stream(stream, Party::Caller));
    }
    (!lines.is_empty()).then_some(lines)
}
