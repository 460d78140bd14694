//! An object store that misbehaves as stores over a network do: it refuses, forgets to answer, answers late, tears what it
//! is given, cuts short what it gives, and shows yesterday's list. What it does with a call depends on a seed, the call and
//! the name alone, so that a run can be had again.
//!
//! It also is where the actors of a run take turns: one goes on at a time, from call to call.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use strandline_core::cold::parse_path;
use strandline_core::env::Env;
use strandline_core::log::Metastore;
use tokio::sync::{Notify, oneshot};

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Call {
    Put,
    Begin,
    Part,
    Complete,
    Abort,
    Get,
    Delete,
    List,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing is done: 429, 503, a connection that cannot be made.
    Refused,
    /// All calls of some seconds are refused.
    Storm,
    /// It is done, and an error is answered.
    LostAnswer,
    /// It is done later, and an error is answered now.
    Late,
    /// Half of it is done, and an error is answered.
    Torn,
    /// The client's own second try meets what the first has done.
    Twice,
    /// The client's own second try meets the half that the first has done.
    TornTwice,
    /// What is there is not shown.
    NotFound,
    /// The body ends with an error.
    Broken,
    /// The body ends early.
    Short,
    /// A list of some time ago.
    Stale,
    /// A list without some names.
    Partial,
    /// A list in no order.
    Unsorted,
}

impl Call {
    fn faults(self) -> &'static [Fault] {
        use Fault::*;
        match self {
            Call::Put => &[Refused, LostAnswer, Late, Torn, Twice, TornTwice],
            Call::Begin | Call::Part => &[Refused, LostAnswer],
            Call::Complete => &[Refused, LostAnswer, Torn],
            Call::Abort => &[Refused],
            Call::Get => &[Refused, NotFound, Broken, Short],
            Call::Delete => &[Refused, LostAnswer, Late],
            Call::List => &[Refused, Stale, Partial, Unsorted],
        }
    }
}

/// The store. Clones are the same one.
#[derive(Clone)]
pub struct Faulty(Arc<Inner>);

struct Inner {
    objects: Arc<dyn ObjectStore>,
    metastore: Arc<dyn Metastore>,
    env: Env,
    seed: u64,
    /// Of a thousand calls, how many fail.
    rate: u64,
    /// Of a thousand spans of ten seconds, how many are storms.
    storms: u64,
    state: Mutex<State>,
    turns: Turns,
}

#[derive(Default)]
struct State {
    calm: bool,
    /// Nothing answers.
    away: bool,
    /// How often a call was made under a name.
    asked: HashMap<(String, Call), u64>,
    late: Vec<Late>,
    begun: u64,
    /// Uploads that were begun and neither completed nor aborted.
    uploads: BTreeSet<u64>,
    listed: Vec<ObjectMeta>,
    faults: BTreeMap<(Call, Fault), u64>,
    wrong: Vec<String>,
}

/// Something that is done later than it was answered.
struct Late {
    due: i64,
    path: Path,
    /// What is put; nothing is deleted.
    body: Option<PutPayload>,
}

/// What of a late call is still on its way after so many microseconds.
const LATE_MICROS: u64 = 9 * 60 * 1_000_000;

impl Faulty {
    /// `often` is how it fails where what it is to show is rare.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        metastore: Arc<dyn Metastore>,
        env: Env,
        seed: u64,
        often: bool,
    ) -> Faulty {
        let pick = |what: &str, of: &[u64]| of[(hash(&(seed, what)) % of.len() as u64) as usize];
        let rates = if often { &[300] } else { [0, 10, 50, 150, 300].as_slice() };
        let (rate, storms) = (pick("rate", rates), pick("storms", &[0, 0, 50, 200]));
        let (state, turns) = (Mutex::default(), Turns::default());
        Faulty(Arc::new(Inner { objects, metastore, env, seed, rate, storms, state, turns }))
    }

    pub fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// Ends all faults. What is late still comes.
    pub fn calm(&self) {
        self.0.state.lock().calm = true;
    }

    /// Takes the whole store away, or brings it back.
    pub fn set_away(&self, away: bool) {
        self.0.state.lock().away = away;
    }

    /// Returns how often each fault was met.
    pub fn faults(&self) -> BTreeMap<String, u64> {
        let state = self.0.state.lock();
        state.faults.iter().map(|((call, fault), count)| (format!("{call:?} {fault:?}"), *count)).collect()
    }

    /// Tells whether any call was not done as it should be.
    pub fn has_failed(&self) -> bool {
        !self.0.state.lock().faults.is_empty()
    }

    /// Returns what was asked for that must never be.
    pub fn wrong(&self) -> Vec<String> {
        self.0.state.lock().wrong.clone()
    }

    /// Returns how many uploads stand open, but for those that nobody could have ended.
    pub fn open_uploads(&self) -> usize {
        self.0.state.lock().uploads.len()
    }

    /// Says that whoever has uploads open is dead.
    pub fn forget_uploads(&self) {
        self.0.state.lock().uploads.clear();
    }

    /// Does what is late and due.
    pub async fn land(&self) {
        let now = self.0.env.now().0;
        let due: Vec<Late> = {
            let mut state = self.0.state.lock();
            let (due, late) = std::mem::take(&mut state.late).into_iter().partition(|late| late.due <= now);
            state.late = late;
            due
        };
        for late in due {
            // Whoever asked for it has his answer already.
            let _ = match late.body {
                Some(body) => self.0.objects.put_opts(&late.path, body, PutMode::Create.into()).await.map(drop),
                None => self.0.objects.delete(&late.path).await,
            };
        }
    }

    fn later(&self, path: &Path, body: Option<PutPayload>) {
        let mut state = self.0.state.lock();
        let due = self.0.env.now().0 + (hash(&(self.0.seed, path.as_ref(), "late")) % LATE_MICROS) as i64;
        state.late.push(Late { due, path: path.clone(), body });
    }

    /// Decides what becomes of a call.
    fn fate(&self, call: Call, path: &str) -> Option<Fault> {
        let inner = &self.0;
        let mut state = inner.state.lock();
        let nth = state.asked.entry((path.to_owned(), call)).or_default();
        *nth += 1;
        let nth = *nth;
        let roll = hash(&(inner.seed, call, path, nth));
        let span = inner.env.now().0 / 10_000_000;
        let fault = if state.away {
            Fault::Storm
        } else if state.calm {
            return None;
        } else if hash(&(inner.seed, "storm", span)) % 1000 < inner.storms {
            Fault::Storm
        } else if roll % 1000 < inner.rate {
            let faults = call.faults();
            match faults[(roll / 1000) as usize % faults.len()] {
                // For once: no store shows a new object as late as that.
                Fault::NotFound if nth > 1 => Fault::Refused,
                fault => fault,
            }
        } else {
            return None;
        };
        *state.faults.entry((call, fault)).or_default() += 1;
        Some(fault)
    }

    /// Lets others go on first, now and then.
    async fn pause(&self, what: &str, path: &Path) {
        if hash(&(self.0.seed, what, path.as_ref())).is_multiple_of(2) {
            self.0.turns.wait().await;
        }
    }

    async fn delete_one(&self, path: Path) -> Result<Path> {
        self.pause("delete", &path).await;
        self.land().await;
        let fate = self.fate(Call::Delete, path.as_ref());
        if matches!(fate, Some(Fault::Refused | Fault::Storm)) {
            return Err(refused("SlowDown"));
        }
        // Before a file goes, the log must have forgotten it.
        if let Some((_, id)) = parse_path(path.as_ref())
            && !matches!(self.0.metastore.file(id), Ok(None))
        {
            self.0.state.lock().wrong.push(format!("{path} was deleted, and the log has it"));
        }
        match fate {
            Some(Fault::Late) => self.later(&path, None),
            _ => self.0.objects.delete(&path).await?,
        }
        match fate {
            Some(Fault::LostAnswer) => Err(refused("the connection was reset")),
            _ => Ok(path),
        }
    }

    async fn listed(&self, prefix: Option<Path>) -> Result<Vec<ObjectMeta>> {
        let mut now: Vec<ObjectMeta> = self.0.objects.list(prefix.as_ref()).try_collect().await?;
        now.sort_by(|a, b| a.location.cmp(&b.location));
        let before = std::mem::replace(&mut self.0.state.lock().listed, now.clone());
        let chance = |meta: &ObjectMeta| hash(&(self.0.seed, meta.location.as_ref()));
        match self.fate(Call::List, "") {
            Some(Fault::Stale) => Ok(before),
            Some(Fault::Partial) => Ok(now.into_iter().filter(|meta| chance(meta) % 3 > 0).collect()),
            Some(Fault::Unsorted) => {
                now.sort_by_key(chance);
                Ok(now)
            }
            Some(_) => Err(refused("SlowDown")),
            None => Ok(now),
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.0.seed)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        assert_eq!(options.mode, PutMode::Create, "{path} may be overwritten");
        self.pause("before", path).await;
        self.land().await;
        let objects = &self.0.objects;
        let answer = match self.fate(Call::Put, path.as_ref()) {
            None => objects.put_opts(path, body, options).await,
            Some(Fault::Late) => {
                self.later(path, Some(body));
                Err(refused("the request timed out"))
            }
            Some(fault @ (Fault::Torn | Fault::TornTwice)) => {
                let bytes = flat(&body);
                objects.put_opts(path, bytes.slice(..bytes.len() / 2).into(), options).await?;
                Err(if fault == Fault::Torn { refused("the connection was reset") } else { taken(path) })
            }
            Some(fault @ (Fault::LostAnswer | Fault::Twice)) => {
                objects.put_opts(path, body, options).await?;
                Err(if fault == Fault::Twice { taken(path) } else { refused("the connection was reset") })
            }
            Some(_) => Err(refused("SlowDown")),
        };
        self.pause("after", path).await;
        answer
    }

    async fn put_multipart_opts(&self, path: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.pause("before", path).await;
        let fate = self.fate(Call::Begin, path.as_ref());
        match fate {
            None => {
                let mut state = self.0.state.lock();
                state.begun += 1;
                let id = state.begun;
                state.uploads.insert(id);
                Ok(Box::new(Upload { store: self.clone(), id, path: path.clone(), parts: Vec::new() }))
            }
            // Of one that stands open and was not answered nobody has the number.
            Some(_) => Err(refused("SlowDown")),
        }
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if options.range.is_none() {
            self.pause("get", path).await;
        }
        self.land().await;
        let fate = self.fate(Call::Get, path.as_ref());
        match fate {
            Some(Fault::NotFound) => {
                return Err(Error::NotFound { path: path.to_string(), source: "it is not shown yet".into() });
            }
            Some(Fault::Refused | Fault::Storm) => return Err(refused("SlowDown")),
            _ => {}
        }
        let is_head = options.head;
        let mut result = self.0.objects.get_opts(path, options).await?;
        if fate.is_none() || is_head {
            return Ok(result);
        }
        let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let none = GetResultPayload::Stream(stream::empty().boxed());
        let payload = std::mem::replace(&mut result.payload, none);
        let body = GetResult { payload, meta, range, attributes }.bytes().await?;
        let mut given = vec![Ok(body.slice(..body.len() / 2))];
        if fate == Some(Fault::Broken) {
            given.push(Err(refused("the connection was reset")));
        }
        result.payload = GetResultPayload::Stream(stream::iter(given).boxed());
        Ok(result)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        paths
            .and_then(move |path| {
                let store = store.clone();
                async move { store.delete_one(path).await }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        stream::once(async move { store.listed(prefix).await })
            .map_ok(|names| stream::iter(names.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(refused("nobody lists so"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("nobody copies"))
    }
}

struct Upload {
    store: Faulty,
    id: u64,
    path: Path,
    parts: Vec<Bytes>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({})", self.path)
    }
}

impl Upload {
    /// Ends the upload with so many of its parts.
    async fn end(&mut self, parts: usize) -> Result<PutResult> {
        let body = PutPayload::from_iter(self.parts[..parts].iter().cloned());
        let result = self.store.0.objects.put_opts(&self.path, body, PutMode::Create.into()).await;
        self.store.0.state.lock().uploads.remove(&self.id);
        result
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let fate = self.store.fate(Call::Part, self.path.as_ref());
        if matches!(fate, None | Some(Fault::LostAnswer)) {
            self.parts.push(flat(&part));
        }
        let store = self.store.clone();
        Box::pin(async move {
            store.0.turns.wait().await;
            fate.map_or(Ok(()), |_| Err(refused("the connection was reset")))
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.0.turns.wait().await;
        match self.store.fate(Call::Complete, self.path.as_ref()) {
            None => self.end(self.parts.len()).await,
            Some(Fault::Torn) => {
                self.end(self.parts.len() - 1).await?;
                Err(refused("the request timed out"))
            }
            Some(Fault::LostAnswer) => {
                self.end(self.parts.len()).await?;
                Err(refused("the request timed out"))
            }
            Some(_) => Err(refused("SlowDown")),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        let fate = self.store.fate(Call::Abort, self.path.as_ref());
        // One that could not be aborted can only end by itself.
        self.store.0.state.lock().uploads.remove(&self.id);
        fate.map_or(Ok(()), |_| Err(refused("SlowDown")))
    }
}

tokio::task_local! {
    /// Which actor a task is; none of what works behind them is one.
    static ACTOR: usize;
}

/// Whose turn it is.
#[derive(Default)]
pub struct Turns {
    waiting: Mutex<Vec<(usize, oneshot::Sender<()>)>>,
    ended: Mutex<BTreeSet<usize>>,
    changed: Notify,
}

impl Turns {
    /// Waits until it is the actor's turn again.
    pub async fn wait(&self) {
        let Ok(actor) = ACTOR.try_with(|actor| *actor) else { return };
        let (turn, mine) = oneshot::channel();
        self.waiting.lock().push((actor, turn));
        self.changed.notify_one();
        let _ = mine.await;
    }

    /// Begins something as an actor. It waits for its first turn.
    pub fn begin(
        this: impl Fn() -> Faulty + Send + 'static,
        actor: usize,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        struct Ends(Faulty, usize);
        impl Drop for Ends {
            fn drop(&mut self) {
                let turns = self.0.turns();
                turns.ended.lock().insert(self.1);
                turns.changed.notify_one();
            }
        }
        let ends = Ends(this(), actor);
        tokio::spawn(ACTOR.scope(actor, async move {
            ends.0.turns().wait().await;
            work.await;
            drop(ends);
        }))
    }

    /// Forgets all actors.
    pub fn clear(&self) {
        self.waiting.lock().clear();
        self.ended.lock().clear();
    }

    /// Waits until nobody of so many actors goes on, and returns who waits.
    pub async fn settle(&self, actors: usize) -> Vec<usize> {
        loop {
            let changed = self.changed.notified();
            let waiting: BTreeSet<usize> = self.waiting.lock().iter().map(|(actor, _)| *actor).collect();
            let ended = self.ended.lock().clone();
            if (0..actors).all(|actor| waiting.contains(&actor) || ended.contains(&actor)) {
                return waiting.difference(&ended).copied().collect();
            }
            changed.await;
        }
    }

    /// Lets an actor go on.
    pub fn give(&self, actor: usize) {
        let mut waiting = self.waiting.lock();
        let (his, others) = std::mem::take(&mut *waiting).into_iter().partition(|(who, _)| *who == actor);
        *waiting = others;
        let his: Vec<(usize, oneshot::Sender<()>)> = his;
        for (_, turn) in his {
            let _ = turn.send(());
        }
    }
}

/// Returns a number that depends on nothing but what it is made of.
pub fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn flat(body: &PutPayload) -> Bytes {
    let parts: Vec<&[u8]> = body.iter().map(AsRef::as_ref).collect();
    parts.concat().into()
}

fn refused(why: &str) -> Error {
    Error::Generic { store: "faulty", source: why.into() }
}

fn taken(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "another try was faster".into() }
}
