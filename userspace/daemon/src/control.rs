//! The control socket: HTTP + JSON for `fwctl`, `curl` and whoever else is let in.
//!
//! Owns the Unix socket, the protocol on it and the question of who may do what. It knows nothing of the
//! firewall: each request becomes a [`Command`] to the main loop, which answers when it has time. What a peer
//! can make the daemon hold is bounded: [`CONNECTIONS`] at once, one request each, [`REQUEST_TIME`] for all of
//! it, [`BODY_BYTES`] of body, [`QUEUE`] commands waiting.
//!
//! Who may connect is decided by the socket's owner, group and access list; what a peer may ask for by its role
//! ([`access`]), held against each request's ([`routes`]). Each change, refused or done, is audited
//! ([`crate::audit`]).

pub mod access;
pub mod routes;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callgate_alg::event::EventKind;
use callgate_api::{
    API, BadFilter, BindingRow, BlockRequest, BlockRow, By, CallQuery, CallRow, CapturePage, CaptureRequest,
    CaptureStarted, CaptureTake, Confirmed, CounterRow, DEFAULT_BLOCK_S, DEFAULT_LIMIT, Diff, DiffRequest,
    ErrorReply, EventPage, ExplainRequest, Explanation, Finding, FlowFilter, FlowRow, HangupRequest,
    HistoryFilter, HistoryTotal, HungUp, Killed, LadderRow, MAX_CONFIRM_S, MAX_LIMIT, Page, PhoneRow,
    PinholeRow, Record, RegistrationRow, ReloadReply, ReloadRequest, Role, Rules, Status, UnblockRequest,
    Version,
};
use callgate_rules::ruleset::Control;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

pub use self::access::Peer;
use self::access::{Access, group_id, let_in};
use self::routes::{ROUTES, Route};
use crate::audit::Audit;

/// Connections served at once; more wait in the socket's backlog.
pub const CONNECTIONS: usize = 8;
/// Commands that may wait for the main loop.
pub const QUEUE: usize = 16;
/// Largest request body.
pub const BODY_BYTES: usize = 16 * 1024;
/// For one connection, from accept to the last byte of the answer.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);
/// For the main loop to answer one command.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Where the answer to a command goes. Dropping it tells the peer that the daemon is going down.
pub type Reply<T> = oneshot::Sender<Result<T, ErrorReply>>;

/// What a peer asks of the main loop. By the time it gets there the peer has been found entitled to it.
#[derive(Debug)]
pub enum Command {
    /// How the firewall is doing.
    Status(Reply<Status>),
    /// The first `limit` calls.
    Calls {
        /// Most rows wanted.
        limit: usize,
        /// The answer.
        reply: Reply<Page<CallRow>>,
    },
    /// The first `limit` pinholes.
    Pinholes {
        /// Most rows wanted.
        limit: usize,
        /// The answer.
        reply: Reply<Page<PinholeRow>>,
    },
    /// The first `limit` flows that are wanted.
    Flows {
        /// Which of them.
        filter: FlowFilter,
        /// Most rows wanted.
        limit: usize,
        /// The answer.
        reply: Reply<Page<FlowRow>>,
    },
    /// Forget the flows that are wanted.
    KillFlows {
        /// Which of them.
        filter: FlowFilter,
        /// The answer.
        reply: Reply<Killed>,
    },
    /// The first `limit` blocked addresses.
    Blocks {
        /// Most rows wanted.
        limit: usize,
        /// The answer.
        reply: Reply<Page<BlockRow>>,
    },
    /// Block an address.
    Block {
        /// Which, and for how long.
        request: BlockRequest,
        /// The answer.
        reply: Reply<BlockRow>,
    },
    /// Let an address by again.
    Unblock {
        /// Which.
        address: IpAddr,
        /// The answer: the block as it was.
        reply: Reply<BlockRow>,
    },
    /// The rules and what they have done.
    Rules(Reply<Rules>),
    /// Packets by interface and reason.
    Counters(Reply<Page<CounterRow>>),
    /// The first `limit` phones.
    Phones {
        /// Most rows wanted.
        limit: usize,
        /// The answer.
        reply: Reply<Page<PhoneRow>>,
    },
    /// The first `limit` registrations with H.323 gatekeepers.
    Registrations {
        /// Most rows wanted.
        limit: usize,
        /// The answer.
        reply: Reply<Page<RegistrationRow>>,
    },
    /// The first `limit` registrations of SIP clients.
    Bindings {
        /// Most rows wanted.
        limit: usize,
        /// The answer.
        reply: Reply<Page<BindingRow>>,
    },
    /// The messages of a call.
    Ladder {
        /// Which one.
        query: CallQuery,
        /// The answer.
        reply: Reply<Page<LadderRow>>,
    },
    /// Capture a call's packets.
    Capture {
        /// Which call, and for how long.
        request: CaptureRequest,
        /// The answer.
        reply: Reply<CaptureStarted>,
    },
    /// What has been captured since that was asked last.
    CaptureTake {
        /// By which capture.
        request: CaptureTake,
        /// The answer.
        reply: Reply<CapturePage>,
    },
    /// What happened.
    Events {
        /// Which of it is wanted.
        query: EventQuery,
        /// The answer.
        reply: Reply<EventPage>,
    },
    /// The latest calls that are over and wanted.
    History {
        /// Which of them.
        filter: HistoryFilter,
        /// Most rows wanted.
        limit: usize,
        /// The answer, which comes from another thread.
        reply: Reply<Page<Record>>,
    },
    /// Sums of calls that are over.
    HistoryTotals {
        /// Of which.
        filter: HistoryFilter,
        /// By what they have in common.
        by: By,
        /// Most rows wanted.
        limit: usize,
        /// The answer, likewise.
        reply: Reply<Page<HistoryTotal>>,
    },
    /// What looks odd among calls that are over.
    Fraud {
        /// Among which.
        filter: HistoryFilter,
        /// Most rows wanted.
        limit: usize,
        /// The answer, likewise.
        reply: Reply<Page<Finding>>,
    },
    /// What would become of a packet.
    Explain {
        /// The packet, and where it would come from.
        request: ExplainRequest,
        /// The answer.
        reply: Reply<Explanation>,
    },
    /// End a call.
    Hangup {
        /// Which one.
        query: CallQuery,
        /// The answer.
        reply: Reply<HungUp>,
    },
    /// What a rules file would change.
    Diff {
        /// The file; `None` for the one in force, as it now is. Absolute.
        file: Option<PathBuf>,
        /// The answer.
        reply: Reply<Diff>,
    },
    /// The rules in force are to stay.
    Confirm(Reply<Confirmed>),
    /// The rules before those in force are to come back.
    Rollback(Reply<ReloadReply>),
    /// Everything that is counted, as Prometheus reads it.
    Metrics(Reply<String>),
    /// Read the rules again.
    Reload {
        /// The file to go over to; `None` for the one in force. Absolute.
        file: Option<PathBuf>,
        /// The rules in force come back after this time unless the new ones are confirmed.
        confirm: Option<Duration>,
        /// The answer.
        reply: Reply<ReloadReply>,
    },
}

/// Which events are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Those after this number; `None` for the last ones.
    pub after: Option<u64>,
    /// Those of these kinds; none for all.
    pub kinds: Vec<EventKind>,
    /// At most so many.
    pub limit: usize,
}

/// The control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers on it.
    #[error("{} is in use: is another callgated running? Stop it, or choose another --socket", .0.display())]
    InUse(PathBuf),
    /// Something else has its name.
    #[error("{} is not a socket: remove it, or choose another --socket", .0.display())]
    NotASocket(PathBuf),
    /// The group that is to read from it is not known.
    #[error("no group {0:?} in /etc/group: add it with groupadd, or give its number")]
    NoGroup(String),
    /// The system refused a step.
    #[error("cannot {step} {}", path.display())]
    System {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The listening socket. Dropping it takes the file away.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    entrance: Entrance,
    commands: mpsc::Sender<Command>,
}

/// The audit, as the control socket and the firewall share it.
pub type SharedAudit = Arc<Mutex<Audit>>;

/// Who is let in; changes with the rules.
#[derive(Clone, Debug)]
pub struct Entrance {
    path: PathBuf,
    own_uid: u32,
    group: Option<u32>,
    /// As last followed.
    control: Control,
    access: Arc<Mutex<Access>>,
    audit: SharedAudit,
}

impl Entrance {
    /// Goes by what the rules in force say from now on, for connections to come.
    pub fn follow(&mut self, control: &Control) {
        if *control == self.control {
            return;
        }
        let access = Access::granted(self.own_uid, self.group, control);
        for group in &access.unknown {
            warn!(group, "[control] names a group that is not in /etc/group: it gives nobody anything");
        }
        if let Err(error) = let_in(&self.path, &access.groups()) {
            warn!(%error, socket = %self.path.display(), "the control socket cannot be opened to all its groups");
        }
        locked(&self.audit).set_syslog(control.syslog.as_ref());
        *locked(&self.access) = access;
        self.control = control.clone();
    }
}

/// What is behind a lock; a thread that has panicked with it leaves it as it was.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Listens at `path`, making its directory if need be; `group` (name or number) may read besides root and
    /// the daemon's own user; more by [`Entrance::follow`]. A socket left behind by a dead daemon is replaced. To
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]: the name is taken, the group unknown, or the system refuses.
    pub fn bind(
        path: &Path,
        group: Option<&str>,
        audit: SharedAudit,
        commands: mpsc::Sender<Command>,
    ) -> Result<Self, BindError> {
        let no_group = |name: &str| BindError::NoGroup(name.to_owned());
        let gid = group.map(|name| group_id(name).ok_or_else(|| no_group(name))).transpose()?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(directory) = directory {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(failed("create the directory", directory))?;
        }
        check_vacant(path)?;

        // Made under another name and moved into place when its mode is right: nobody slips in before.
        let nascent = path.with_extension("new");
        match fs::remove_file(&nascent) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &nascent)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&nascent).map_err(failed("listen on", &nascent))?;
        if let Some(gid) = gid {
            std::os::unix::fs::chown(&nascent, None, Some(gid))
                .map_err(failed("change the group of", &nascent))?;
        }
        fs::set_permissions(&nascent, fs::Permissions::from_mode(0o660))
            .map_err(failed("change the mode of", &nascent))?;
        let own_uid = fs::metadata(&nascent).map_err(failed("inspect", &nascent))?.uid();
        fs::rename(&nascent, path).map_err(failed("put in place", path))?;
        let access = Access::granted(own_uid, gid, &Control::default());
        let entrance = Entrance {
            path: path.to_owned(),
            own_uid,
            group: gid,
            control: Control::default(),
            access: Arc::new(Mutex::new(access)),
            audit,
        };
        Ok(Self { listener, path: path.to_owned(), entrance, commands })
    }

    /// Who is let in.
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Serves until the future is dropped.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, as a rule: they come back when connections end.
                    warn!(%error, "control socket: cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let peer = locked(&self.entrance.access).peer(&stream);
            let peer = match peer {
                Ok(peer) => Caller { peer, audit: Arc::clone(&self.entrance.audit) },
                Err(error) => {
                    warn!(%error, "control socket: a peer without credentials is refused");
                    continue;
                }
            };
            let commands = self.commands.clone();
            tokio::spawn(async move {
                serve(stream, peer, commands).await;
                drop(place);
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!(%error, path = %self.path.display(), "control socket: cannot be removed");
        }
    }
}

/// A queue for commands: the server sends, the main loop receives.
pub fn queue() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(QUEUE)
}

/// Who is at the other end, and where what it changes is noted.
#[derive(Clone, Debug)]
struct Caller {
    peer: Peer,
    audit: SharedAudit,
}

impl Caller {
    /// Refuses one whose role is not enough.
    fn must_be(&self, route: &Route) -> Result<Role, Failure> {
        let Peer { uid, role, .. } = self.peer;
        if let Some(role) = role.filter(|role| *role >= route.role) {
            return Ok(role);
        }
        let wanted = route.role;
        let has = role.map_or("no role", Role::name);
        if route.method != Method::GET {
            let why = format!("refused: {has}, and it takes {wanted}");
            locked(&self.audit).record(&self.peer, route.path, "", Err(&why));
        }
        Err(Failure::new(
            StatusCode::FORBIDDEN,
            format!("user {uid} has {has}; {} takes {wanted}", route.path),
            format!("run the command as root, or as a member of a group that `{wanted}s` of [control] names"),
        ))
    }

    /// Writes down who has changed what.
    fn audit(&self, change: &str, what: &str, answer: &Answer) {
        let outcome = answer.as_ref().map(drop).map_err(|failure| failure.reply.error.as_str());
        locked(&self.audit).record(&self.peer, change, what, outcome);
    }
}

/// A status of 400 or above and what is said under it.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    allow: Option<&'static str>,
    reply: ErrorReply,
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        let reply = ErrorReply { error: error.into(), hint: hint.into(), details: Vec::new() };
        Self { status, allow: None, reply }
    }
}

type Answer = Result<Response<Full<Bytes>>, Failure>;

async fn serve(stream: UnixStream, peer: Caller, commands: mpsc::Sender<Command>) {
    let service = service_fn(|request: Request<Incoming>| async {
        let answer = answer(request, &peer, &commands).await;
        let mut response = answer.unwrap_or_else(refusal);
        response.headers_mut().insert("callgate-api", HeaderValue::from(API));
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(5))
        .max_buf_size(BODY_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(REQUEST_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, uid = peer.peer.uid, "control socket: connection failed"),
        Err(_) => debug!(uid = peer.peer.uid, "control socket: connection took too long"),
    }
}

async fn answer(request: Request<Incoming>, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let route = Route::of(path).ok_or_else(|| not_found(path))?;
    if parts.method != route.method {
        let mut failure = Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{path} does not know {}", parts.method),
            format!("use {}", route.method),
        );
        failure.allow = Some(if route.method == Method::GET { "GET" } else { "POST" });
        return Err(failure);
    }
    let role = caller.must_be(route)?;
    let limit = || limit(parts.uri.query());
    match path {
        "/v1/version" => {
            let version = Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: API, role };
            json(StatusCode::OK, &version)
        }
        "/v1/status" => ask(commands, Command::Status).await,
        "/v1/calls" => {
            let limit = limit()?;
            ask(commands, |reply| Command::Calls { limit, reply }).await
        }
        "/v1/pinholes" => {
            let limit = limit()?;
            ask(commands, |reply| Command::Pinholes { limit, reply }).await
        }
        "/v1/flows" => {
            let (filter, limit) = flow_query(parts.uri.query())?;
            ask(commands, |reply| Command::Flows { filter, limit, reply }).await
        }
        "/v1/flows/kill" => kill(parts.uri.query(), caller, commands).await,
        "/v1/blocks" => {
            let limit = limit()?;
            ask(commands, |reply| Command::Blocks { limit, reply }).await
        }
        "/v1/capture" => capture(body, caller, commands).await,
        "/v1/capture/take" => take_captured(body, commands).await,
        "/v1/block" => block(body, caller, commands).await,
        "/v1/unblock" => unblock(body, caller, commands).await,
        "/v1/rules" => ask(commands, Command::Rules).await,
        "/v1/counters" => ask(commands, Command::Counters).await,
        "/v1/phones" => {
            let limit = limit()?;
            ask(commands, |reply| Command::Phones { limit, reply }).await
        }
        "/v1/h323/registrations" => {
            let limit = limit()?;
            ask(commands, |reply| Command::Registrations { limit, reply }).await
        }
        "/v1/sip/registrations" => {
            let limit = limit()?;
            ask(commands, |reply| Command::Bindings { limit, reply }).await
        }
        "/v1/calls/ladder" => {
            let query = parts.uri.query().unwrap_or_default();
            let query = CallQuery::from_query(query)
                .ok_or_else(|| unreadable(query, "use ?call=NUMBER or ?call=CALL-ID"))?;
            ask(commands, |reply| Command::Ladder { query, reply }).await
        }
        "/v1/events" => {
            let query = event_query(parts.uri.query())?;
            ask(commands, |reply| Command::Events { query, reply }).await
        }
        "/v1/history" => {
            let (filter, _, limit) = history_query(parts.uri.query())?;
            ask(commands, |reply| Command::History { filter, limit, reply }).await
        }
        "/v1/history/totals" => {
            let (filter, by, limit) = history_query(parts.uri.query())?;
            ask(commands, |reply| Command::HistoryTotals { filter, by, limit, reply }).await
        }
        "/v1/history/fraud" => {
            let (filter, _, limit) = history_query(parts.uri.query())?;
            ask(commands, |reply| Command::Fraud { filter, limit, reply }).await
        }
        "/v1/explain" => {
            let request =
                read(body, "send {\"from\": \"zone or interface\", \"frame\": \"hexadecimal\"}").await?;
            let request = request.unwrap_or_default();
            ask(commands, |reply| Command::Explain { request, reply }).await
        }
        "/v1/metrics" => text(ask_for(commands, Command::Metrics).await?),
        "/v1/calls/end" => hangup(body, caller, commands).await,
        "/v1/diff" => diff(body, caller, commands).await,
        "/v1/confirm" => {
            let answer = ask(commands, Command::Confirm).await;
            caller.audit("confirm", "", &answer);
            answer
        }
        "/v1/rollback" => {
            let answer = ask(commands, Command::Rollback).await;
            caller.audit("rollback", "", &answer);
            answer
        }
        "/v1/reload" => reload(body, caller, commands).await,
        _ => Err(not_found(path)),
    }
}

async fn reload(body: Incoming, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    let ReloadRequest { file, confirm_s } = reload_request(body).await?;
    let mut what = named(file.as_deref());
    if let Some(seconds) = confirm_s {
        what = format!("{what}, to be confirmed within {seconds} s");
    }
    let confirm = confirm_s.map(Duration::from_secs);
    let answer = ask(commands, |reply| Command::Reload { file, confirm, reply }).await;
    caller.audit("reload", &what, &answer);
    answer
}

fn named(file: Option<&Path>) -> String {
    file.map_or_else(|| "(in force)".to_owned(), |file| file.display().to_string())
}

async fn diff(body: Incoming, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    const HINT: &str = "send nothing, or {\"file\": \"/absolute/path\"}";
    let request: DiffRequest = read(body, HINT).await?.unwrap_or_default();
    let file = absolute(request.file, HINT)?;
    // It changes nothing, but whoever asks has the daemon read a file.
    let what = named(file.as_deref());
    let answer = ask(commands, |reply| Command::Diff { file, reply }).await;
    caller.audit("diff", &what, &answer);
    answer
}

async fn hangup(body: Incoming, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    const HINT: &str = "send {\"call\": \"NUMBER or CALL-ID\"}";
    let request: Option<HangupRequest> = read(body, HINT).await?;
    let HangupRequest { call } = request.ok_or_else(|| unreadable_body("it is empty", HINT))?;
    if call.is_empty() {
        return Err(unreadable_body("no call is named", HINT));
    }
    let what = call.clone();
    let answer = ask(commands, |reply| Command::Hangup { query: CallQuery(call), reply }).await;
    caller.audit("hangup", &what, &answer);
    answer
}

async fn block(body: Incoming, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    const HINT: &str = "send {\"address\": \"192.0.2.1\", \"seconds\": 3600}";
    let request: BlockRequest =
        read(body, HINT).await?.ok_or_else(|| unreadable_body("it is empty", HINT))?;
    let seconds = request.seconds.unwrap_or(DEFAULT_BLOCK_S);
    let what = format!("{} for {seconds} s", request.address);
    let answer = ask(commands, |reply| Command::Block { request, reply }).await;
    caller.audit("block", &what, &answer);
    answer
}

/// Whoever captures listens in: that is for those alone who may change something.
async fn capture(body: Incoming, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    const HINT: &str =
        "send {\"call\": \"NUMBER or identifier\", \"media\": false, \"seconds\": 60, \"bytes\": 1000000}";
    let request: Option<CaptureRequest> = read(body, HINT).await?;
    let request = request.ok_or_else(|| unreadable_body("it is empty", HINT))?;
    let media = if request.media { " with its media" } else { "" };
    let what = format!("{}{media} for {} s", request.call, request.seconds);
    let answer = ask(commands, |reply| Command::Capture { request, reply }).await;
    caller.audit("capture", &what, &answer);
    answer
}

async fn take_captured(body: Incoming, commands: &mpsc::Sender<Command>) -> Answer {
    const HINT: &str = "send {\"capture\": NUMBER}";
    let request: Option<CaptureTake> = read(body, HINT).await?;
    let request = request.ok_or_else(|| unreadable_body("it is empty", HINT))?;
    ask(commands, |reply| Command::CaptureTake { request, reply }).await
}

async fn unblock(body: Incoming, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    const HINT: &str = "send {\"address\": \"192.0.2.1\"}";
    let request: Option<UnblockRequest> = read(body, HINT).await?;
    let UnblockRequest { address } = request.ok_or_else(|| unreadable_body("it is empty", HINT))?;
    let answer = ask(commands, |reply| Command::Unblock { address, reply }).await;
    caller.audit("unblock", &address.to_string(), &answer);
    answer
}

async fn kill(query: Option<&str>, caller: &Caller, commands: &mpsc::Sender<Command>) -> Answer {
    let mut filter = FlowFilter::default();
    pairs(query).try_for_each(|pair| filter.take(pair)).map_err(|error| bad_filter(&error))?;
    if filter.is_empty() {
        let error = "every flow would be killed";
        return Err(Failure::new(StatusCode::BAD_REQUEST, error, "say which: by from, to, port …"));
    }
    let what = filter.to_query();
    let answer = ask(commands, |reply| Command::KillFlows { filter, reply }).await;
    caller.audit("kill flows", &what, &answer);
    answer
}

async fn reload_request(body: Incoming) -> Result<ReloadRequest, Failure> {
    const HINT: &str = "send nothing, or {\"file\": \"/absolute/path\", \"confirm_s\": 60}";
    let request: ReloadRequest = read(body, HINT).await?.unwrap_or_default();
    let ReloadRequest { file, confirm_s } = request;
    if let Some(seconds) = confirm_s.filter(|seconds| !(1..=MAX_CONFIRM_S).contains(seconds)) {
        return Err(unreadable_body(format!("{seconds} s is not within 1 and {MAX_CONFIRM_S}"), HINT));
    }
    Ok(ReloadRequest { file: absolute(file, HINT)?, confirm_s })
}

/// The daemon's directory is nobody's business.
fn absolute(file: Option<PathBuf>, hint: &str) -> Result<Option<PathBuf>, Failure> {
    match file {
        Some(file) if !file.is_absolute() => {
            Err(unreadable_body(format!("{} is not absolute", file.display()), hint))
        }
        file => Ok(file),
    }
}

/// A request's body; `None` where it has none.
async fn read<T: DeserializeOwned>(body: Incoming, hint: &str) -> Result<Option<T>, Failure> {
    let bytes = Limited::new(body, BODY_BYTES)
        .collect()
        .await
        .map_err(|error| unreadable_body(error.to_string(), hint))?
        .to_bytes();
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable_body(error.to_string(), hint))
}

fn unreadable_body(error: impl std::fmt::Display, hint: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, format!("the request cannot be read: {error}"), hint)
}

/// Sends a command and turns the main loop's answer into a response.
async fn ask<T: Serialize>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Answer {
    json(StatusCode::OK, &ask_for(commands, command).await?)
}

/// Sends a command and waits for the main loop's answer.
async fn ask_for<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Result<T, Failure> {
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    };
    let down = |error: &str| {
        let hint = "see the daemon's log; the kernel half goes on filtering without it";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, error, hint)
    };
    match timeout(ANSWER_TIME, exchange).await {
        Ok(Some(Ok(value))) => Ok(value),
        Ok(Some(Err(reply))) => Err(Failure { status: StatusCode::UNPROCESSABLE_ENTITY, allow: None, reply }),
        Ok(None) => Err(down("the daemon is going down")),
        Err(_) => Err(down("the daemon's main loop does not answer")),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value)
        .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), ""))?;
    body.push(b'\n');
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn text(text: String) -> Answer {
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(crate::metrics::CONTENT_TYPE));
    Ok(response)
}

fn not_found(path: &str) -> Failure {
    let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    let hint = format!("this is version {API} of the protocol; there are {}", known.join(", "));
    Failure::new(StatusCode::NOT_FOUND, format!("nothing at {path}"), hint)
}

fn refusal(failure: Failure) -> Response<Full<Bytes>> {
    let mut response = json(failure.status, &failure.reply).unwrap_or_else(|failure| {
        let mut bare = Response::new(Full::default());
        *bare.status_mut() = failure.status;
        bare
    });
    if let Some(allow) = failure.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// `limit=N` of a query; the default where there is none, never above [`MAX_LIMIT`].
fn limit(query: Option<&str>) -> Result<usize, Failure> {
    let mut limit = DEFAULT_LIMIT;
    for pair in pairs(query) {
        let number = pair.strip_prefix("limit=").and_then(|number| number.parse::<usize>().ok());
        limit = number.ok_or_else(|| unreadable(pair, "use ?limit=NUMBER"))?;
    }
    Ok(limit.min(MAX_LIMIT))
}

/// Which flows are wanted, and `limit=N` of them at most.
fn flow_query(query: Option<&str>) -> Result<(FlowFilter, usize), Failure> {
    let mut filter = FlowFilter::default();
    let mut wanted = DEFAULT_LIMIT;
    for pair in pairs(query) {
        if pair.starts_with("limit=") {
            wanted = limit(Some(pair))?;
        } else {
            filter.take(pair).map_err(|error| bad_filter(&error))?;
        }
    }
    Ok((filter, wanted))
}

/// Which records are wanted, what they are summed up by, and `limit=N` of them at most.
fn history_query(query: Option<&str>) -> Result<(HistoryFilter, By, usize), Failure> {
    let mut filter = HistoryFilter::default();
    let (mut by, mut wanted) = (By::Class, DEFAULT_LIMIT);
    for pair in pairs(query) {
        if pair.starts_with("limit=") {
            wanted = limit(Some(pair))?;
        } else if let Some(name) = pair.strip_prefix("by=") {
            let hint = "use ?by=class, caller, called, protocol, verdict or host";
            by = By::from_name(name).ok_or_else(|| unreadable(pair, hint))?;
        } else {
            filter.take(pair).map_err(|error| bad_filter(&error))?;
        }
    }
    Ok((filter, by, wanted))
}

fn bad_filter(error: &BadFilter) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, error.to_string(), error.hint)
}

/// `after=NUMBER`, `limit=N` and any number of `kind=NAME` of a query.
fn event_query(query: Option<&str>) -> Result<EventQuery, Failure> {
    let mut wanted = EventQuery { after: None, kinds: Vec::new(), limit: DEFAULT_LIMIT };
    for pair in pairs(query) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = match key {
            "after" => value.parse().ok().map(|after| wanted.after = Some(after)),
            "limit" => value.parse().ok().map(|limit| wanted.limit = limit),
            "kind" => EventKind::from_name(value).map(|kind| wanted.kinds.push(kind)),
            _ => None,
        };
        read.ok_or_else(|| unreadable(pair, "use ?after=NUMBER&limit=NUMBER&kind=NAME"))?;
    }
    wanted.limit = wanted.limit.min(MAX_LIMIT);
    Ok(wanted)
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = &str> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
}

fn unreadable(pair: &str, hint: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, format!("cannot read {pair:?}"), hint)
}

/// Whether `path` may be taken: nothing is there, or a socket on which nobody listens any more.
fn check_vacant(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("inspect", path)(error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        _ => Err(BindError::InUse(path.to_owned())),
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::System { step, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use callgate_api::{BlockCause, CounterRow, Page, ReloadReply};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    fn audit_in(directory: &Path) -> SharedAudit {
        Arc::new(Mutex::new(Audit::new(&directory.join("audit.log"))))
    }

    /// A main loop that knows one counter, can reload, and is short of calls.
    async fn main_loop(mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Counters(reply) => {
                    let row = CounterRow {
                        interface: "eth0".into(),
                        reason: "spoofed".into(),
                        dropped: true,
                        packets: 7,
                        bytes: 700,
                    };
                    reply.send(Ok(Page::of([row], 10))).expect("the server waits");
                }
                Command::Calls { limit, reply } => {
                    reply.send(Ok(Page { rows: vec![], total: limit as u64 })).expect("the server waits");
                }
                Command::Flows { filter, limit, reply } => {
                    let total = filter.to_query().len() + limit;
                    reply.send(Ok(Page { rows: vec![], total: total as u64 })).expect("the server waits");
                }
                Command::KillFlows { filter, reply } => {
                    let flows = filter.port.map_or(0, u64::from);
                    reply.send(Ok(Killed { flows })).expect("the server waits");
                }
                Command::Block { request: BlockRequest { address, seconds }, reply } => {
                    let (cause, left_s) = (BlockCause::Operator, seconds.unwrap_or(DEFAULT_BLOCK_S));
                    let row = BlockRow { address, cause, text: String::new(), since_unix: None, left_s };
                    reply.send(Ok(row)).expect("the server waits");
                }
                Command::Unblock { address, reply } => {
                    let error =
                        ErrorReply { error: format!("{address} is not blocked"), ..Default::default() };
                    reply.send(Err(error)).expect("the server waits");
                }
                Command::Explain { request, reply } => {
                    let reason = format!("{} bytes from {}", request.frame.len() / 2, request.from);
                    reply.send(Ok(Explanation { reason, ..Default::default() })).expect("the server waits");
                }
                Command::Reload { file: Some(file), reply, .. } if file.ends_with("good.toml") => {
                    let done = ReloadReply { generation: 2, ..Default::default() };
                    reply.send(Ok(done)).expect("the server waits");
                }
                Command::Reload { reply, .. } => {
                    let error = ErrorReply { error: "3 errors".into(), ..Default::default() };
                    reply.send(Err(error)).expect("the server waits");
                }
                // The others' replies are dropped, as when the daemon goes down.
                _ => {}
            }
        }
    }

    struct Bench {
        path: PathBuf,
        access: Arc<Mutex<Access>>,
        directory: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("run").join("control.sock");
        let (sender, receiver) = queue();
        let audit = audit_in(directory.path());
        let server = Server::bind(&path, None, Arc::clone(&audit), sender).expect("the socket can be had");
        let access = Arc::clone(&server.entrance().access);
        tokio::spawn(main_loop(receiver));
        tokio::spawn(server.run());
        Bench { path, access, directory }
    }

    impl Bench {
        async fn send(&self, request: &str) -> (u16, String) {
            let mut stream = UnixStream::connect(&self.path).await.expect("the server listens");
            stream.write_all(request.as_bytes()).await.expect("the server reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("the server answers in UTF-8");
            let status = answer.get(9..12).and_then(|status| status.parse().ok()).expect("a status line");
            (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
        }

        async fn get(&self, path: &str) -> (u16, String) {
            self.send(&format!("GET {path} HTTP/1.1\r\nHost: callgate\r\n\r\n")).await
        }

        async fn post(&self, path: &str, body: &str) -> (u16, String) {
            let length = body.len();
            self.send(&format!(
                "POST {path} HTTP/1.1\r\nHost: callgate\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await
        }
    }

    #[tokio::test]
    async fn a_reading_reaches_the_main_loop_and_comes_back_as_json() {
        let (status, body) = bench().get("/v1/counters").await;
        assert_eq!(status, 200);
        let page: Page<CounterRow> = serde_json::from_str(&body).expect("JSON");
        assert_eq!((page.total, page.rows[0].packets), (1, 7));
    }

    #[tokio::test]
    async fn limits_are_read_and_capped() {
        let bench = bench();
        for (query, expected) in [("", DEFAULT_LIMIT), ("?limit=5", 5), ("?limit=999999999", MAX_LIMIT)] {
            let (status, body) = bench.get(&format!("/v1/calls{query}")).await;
            assert_eq!((status, body), (200, format!("{{\"rows\":[],\"total\":{expected}}}\n")), "{query}");
        }
        for wrong in ["", "?call=", "?id=3"] {
            assert_eq!(bench.get(&format!("/v1/calls/ladder{wrong}")).await.0, 400, "{wrong}");
        }
        for query in ["?limit=-1", "?limit=", "?offset=3", "?limit=99999999999999999999999"] {
            assert_eq!(bench.get(&format!("/v1/calls{query}")).await.0, 400, "{query}");
        }
    }

    #[test]
    fn which_events_are_wanted_is_read_from_the_query() {
        let all = EventQuery { after: None, kinds: vec![], limit: DEFAULT_LIMIT };
        assert_eq!(event_query(None).expect("nothing to read"), all);
        let kinds = vec![EventKind::Refused, EventKind::UnregisteredAbnormally];
        let query = "after=17&limit=999999999&kind=refused&kind=unregistered-abnormally";
        let some = EventQuery { after: Some(17), kinds, limit: MAX_LIMIT };
        assert_eq!(event_query(Some(query)).expect("it is right"), some);
        for wrong in ["after=", "after=-1", "kind=refusal", "kind", "limit=x", "since=3"] {
            assert!(event_query(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_answered_says_so() {
        let bench = bench();
        assert_eq!(bench.get("/v1/nonsense").await.0, 404);
        assert_eq!(bench.get("/v1/reload").await.0, 405);
        assert_eq!(bench.post("/v1/status", "").await.0, 405);
        let (status, body) = bench.get("/v1/status").await;
        assert_eq!(status, 503);
        let reply: ErrorReply = serde_json::from_str(&body).expect("JSON");
        assert_eq!(reply.error, "the daemon is going down");
    }

    #[tokio::test]
    async fn reload_takes_an_absolute_path_and_passes_errors_on() {
        let bench = bench();
        assert_eq!(bench.post("/v1/reload", r#"{"file":"/etc/good.toml"}"#).await.0, 200);
        assert_eq!(bench.post("/v1/reload", r#"{"file":"/etc/good.toml","confirm_s":60}"#).await.0, 200);
        for wrong in [r#"{"confirm_s":0}"#, r#"{"confirm_s":86401}"#, r#"{"confirm_s":"1m"}"#] {
            assert_eq!(bench.post("/v1/reload", wrong).await.0, 400, "{wrong}");
        }
        let (status, body) = bench.post("/v1/reload", "").await;
        assert_eq!((status, body.contains("3 errors")), (422, true));
        for body in [r#"{"file":"good.toml"}"#, r#"{"fiel":"/etc/good.toml"}"#, "nonsense"] {
            assert_eq!(bench.post("/v1/reload", body).await.0, 400, "{body}");
        }
        assert_eq!(bench.post("/v1/reload", &" ".repeat(BODY_BYTES + 1)).await.0, 400);
    }

    #[tokio::test]
    async fn flows_are_chosen_and_killed_by_what_is_said_of_them() {
        let bench = bench();
        for (query, expected) in [("", DEFAULT_LIMIT), ("?limit=5&port=80", 12), ("?rule=a%20b&limit=7", 17)]
        {
            let (status, body) = bench.get(&format!("/v1/flows{query}")).await;
            assert_eq!((status, body), (200, format!("{{\"rows\":[],\"total\":{expected}}}\n")), "{query}");
        }
        for wrong in ["?limit=x", "?port=x", "?colour=red", "?from=there"] {
            assert_eq!(bench.get(&format!("/v1/flows{wrong}")).await.0, 400, "{wrong}");
        }
        assert_eq!(bench.get("/v1/flows/kill?port=80").await.0, 405);
        let (status, body) = bench.post("/v1/flows/kill?port=80", "").await;
        assert_eq!((status, body.as_str()), (200, "{\"flows\":80}\n"));
        for wrong in ["", "?", "?limit=5", "?port=x"] {
            assert_eq!(bench.post(&format!("/v1/flows/kill{wrong}"), "").await.0, 400, "{wrong}");
        }
    }

    #[tokio::test]
    async fn blocks_are_asked_for_and_taken_back() {
        let bench = bench();
        let (status, body) = bench.post("/v1/block", r#"{"address":"2001:db8::1"}"#).await;
        assert_eq!((status, body.contains("\"left_s\":3600")), (200, true), "{body}");
        let (status, body) = bench.post("/v1/block", r#"{"address":"192.0.2.1","seconds":60}"#).await;
        assert_eq!((status, body.contains("\"left_s\":60")), (200, true), "{body}");
        let (status, body) = bench.post("/v1/unblock", r#"{"address":"192.0.2.1"}"#).await;
        assert_eq!((status, body.contains("192.0.2.1 is not blocked")), (422, true), "{body}");
        for wrong in ["", "{}", r#"{"address":"192.0.2.0/24"}"#, r#"{"address":"192.0.2.1","hours":1}"#] {
            assert_eq!(bench.post("/v1/block", wrong).await.0, 400, "{wrong}");
            assert_eq!(bench.post("/v1/unblock", wrong).await.0, 400, "{wrong}");
        }
        assert_eq!(bench.get("/v1/block").await.0, 405);
        assert_eq!(bench.post("/v1/blocks", "").await.0, 405);
    }

    /// Every request is made in every role, over a real socket: this process' own user is given the role by the
    /// daemon's table, as another user's would be.
    #[tokio::test]
    async fn every_request_is_for_its_role_and_those_above() {
        use callgate_api::Role::{Admin, Operator, Viewer};

        let directory = tempfile::tempdir().expect("a temporary directory");
        let audit = audit_in(directory.path());
        for route in &ROUTES {
            for role in [None, Some(Viewer), Some(Operator), Some(Admin)] {
                let peer = Peer { uid: 1_000, pid: None, role };
                let caller = Caller { peer, audit: Arc::clone(&audit) };
                let permitted = caller.must_be(route);
                assert_eq!(permitted.is_ok(), role >= Some(route.role), "{} as {role:?}", route.path);
                if let Err(failure) = permitted {
                    assert_eq!(failure.status, StatusCode::FORBIDDEN);
                    assert!(failure.reply.hint.contains("[control]"), "{}", failure.reply.hint);
                }
            }
            // What changes something is never for those who only look.
            let reads = route.method == Method::GET || route.path == "/v1/explain";
            assert_eq!(route.role == Viewer, reads, "{}", route.path);
        }
        let audited = fs::read_to_string(directory.path().join("audit.log")).expect("refusals are noted");
        let changes = ROUTES.iter().filter(|route| route.method == Method::POST);
        let refusals = changes.map(|route| route.role as usize + 1).sum::<usize>();
        assert_eq!(audited.lines().count(), refusals);
    }

    /// A process of another user, through the socket: nobody (65534), with a group of ours or without.
    #[tokio::test]
    async fn a_strangers_groups_decide_what_it_is_answered() {
        // SAFETY: it cannot fail and touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            // Only root can become somebody else.
            return;
        }
        let bench = bench();
        // Whoever gets as far as the socket is judged by its role: the file's mode is another matter.
        for path in [bench.directory.path(), &bench.path] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("one's own");
        }
        let control = Control {
            viewers: vec!["4711".into()],
            operators: vec!["4712".into()],
            admins: vec!["4713".into()],
            ..Control::default()
        };
        *locked(&bench.access) = Access::granted(0, None, &control);
        let ask = |groups: &'static [&'static str], method: &'static str, path: &'static str| {
            let socket = bench.path.clone();
            tokio::task::spawn_blocking(move || {
                let mut command = std::process::Command::new("setpriv");
                command.args(["--reuid=65534", "--regid=65534"]);
                match groups {
                    [] => command.arg("--clear-groups"),
                    groups => command.arg(format!("--groups={}", groups.join(","))),
                };
                command.args(["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
                command.arg("--unix-socket").arg(socket).args(["--request", method]);
                command.arg(format!("http://callgate{path}"));
                let output = command.output().expect("setpriv and curl are there");
                String::from_utf8_lossy(&output.stdout).into_owned()
            })
        };
        for (groups, read, operate, change) in [
            (&[][..], "403", "403", "403"),
            (&["9999"][..], "403", "403", "403"),
            (&["4711"][..], "200", "403", "403"),
            // What is permitted comes as far as being read, or to the main loop.
            (&["9999", "4712"][..], "200", "400", "403"),
            (&["4713"][..], "200", "400", "422"),
        ] {
            assert_eq!(ask(groups, "GET", "/v1/counters").await.expect("it ran"), read, "{groups:?}");
            assert_eq!(ask(groups, "POST", "/v1/block").await.expect("it ran"), operate, "{groups:?}");
            assert_eq!(ask(groups, "POST", "/v1/reload").await.expect("it ran"), change, "{groups:?}");
        }
        let audited =
            fs::read_to_string(bench.directory.path().join("audit.log")).expect("changes are noted");
        let of = |change: &str| audited.lines().filter(|line| line.contains(change)).count();
        assert_eq!((of("/v1/block"), of("/v1/reload"), of("3 errors")), (3, 4, 1), "{audited}");
        assert!(audited.lines().all(|line| line.contains("\"uid\":65534")), "{audited}");
    }

    #[tokio::test]
    async fn who_asks_is_told_the_version_and_its_role() {
        let bench = bench();
        let (status, body) = bench.get("/v1/version").await;
        assert_eq!((status, body.contains("\"api\":1,\"role\":\"admin\"")), (200, true), "{body}");
        let (status, body) = bench.get("/v2/status").await;
        assert_eq!((status, body.contains("version 1 of the protocol")), (404, true), "{body}");
    }

    #[tokio::test]
    async fn a_packet_to_be_explained_reaches_the_main_loop() {
        let bench = bench();
        let (status, body) = bench.post("/v1/explain", r#"{"from":"outside","frame":"00ff"}"#).await;
        assert_eq!((status, body.contains("\"reason\":\"2 bytes from outside\"")), (200, true), "{body}");
        for wrong in [r#"{"from":"outside","packet":"00"}"#, "[]"] {
            assert_eq!(bench.post("/v1/explain", wrong).await.0, 400, "{wrong}");
        }
        assert_eq!(bench.get("/v1/explain").await.0, 405);
    }

    #[tokio::test]
    async fn the_file_is_for_owner_and_group_and_goes_with_the_server() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("control.sock");
        let gid = fs::metadata(directory.path()).expect("it exists").gid();
        let server = Server::bind(&path, Some(&gid.to_string()), audit_in(directory.path()), queue().0);
        let server = server.expect("one's own group can be given");
        let file = fs::metadata(&path).expect("it exists");
        assert_eq!((file.permissions().mode() & 0o777, file.gid()), (0o660, gid));
        assert!(matches!(
            Server::bind(&path, None, audit_in(directory.path()), queue().0),
            Err(BindError::InUse(_))
        ));
        drop(server);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket nobody will listen on"));
        Server::bind(&path, None, audit_in(directory.path()), queue().0).expect("the socket is replaced");
        fs::write(&path, "precious").expect("a file");
        assert!(matches!(
            Server::bind(&path, None, audit_in(directory.path()), queue().0),
            Err(BindError::NotASocket(_))
        ));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }
}
