//! Collection: files and deltas that nothing can reach any more go, and their space comes back.
//!
//! ```text
//!   roots      the present · recovery windows · snapshots · open moments
//!   reach      contents ─► manifests ─► parts, deletion vectors       contents ─► ranges of the log
//!   files      reached by no root ─► condemned ─► after the grace, and still so: withdrawn ─► deleted ─► forgotten
//!   log        deltas in no range ─► trimmed; the entries stay
//! ```
//! What is a root, and why that is all, is said by [`keep`](super::keep). A withdrawn file has an intent again, so that a
//! crash before its deletion leaves no file that nobody knows. When in doubt a file stays: if one root cannot be read,
//! nothing is collected at all; if an entry of the log cannot be, nothing is trimmed of it. Only names that the metastore
//! holds are ever deleted, and nothing goes by a time that is not believed (`store::Clock`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cold::{Manifest, blocking};
use crate::db::{Database, Passed};
use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, FileId, PinId, TableId, Time, Version};
use crate::jobs::{check_stop, unless};
use crate::log::{EntryQuery, FileHead, FileKind};
use crate::upkeep::keep::{Held, KeeperKind, Keepers};

/// What a collection would do, or did.
#[derive(Debug)]
pub struct Collection {
    /// Every committed file, and those that a crash left.
    pub files: Vec<FileVerdict>,
    /// Entries of the log whose deltas nothing reads any more.
    pub trims: Vec<Version>,
    /// What cannot be read of the roots. Nothing is collected while there is any.
    pub damages: Vec<Error>,
    /// What stays although its time may be over.
    pub notes: Vec<Note>,
    /// The time from which windows reached back.
    time: Time,
    /// What of the log was looked through; `None` if it could not be.
    seen: Option<Seen>,
    /// Manifests that were thinned out of what is kept.
    thinned: HashSet<Digest>,
}

/// Why something stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What speaks here: the log, or the clock.
    pub what: &'static str,
    pub why: String,
}

/// How far the log was looked through by earlier collections: of the entries up to there, each was trimmed, or is read by
/// snapshots that there were. So there is nothing to find but where one of those has gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Looked {
    upto: Version,
    /// The snapshots that there were, and what each read. `None` was written by a version that did not say.
    #[serde(default)]
    pins: Option<Vec<(PinId, Span)>>,
    /// What is to be looked at again: snapshots that read it have gone, and not all of it has yet.
    #[serde(default)]
    again: Vec<Span>,
}

/// Entries of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Span {
    /// Exclusive.
    after: Version,
    /// Inclusive.
    upto: Version,
}

/// What a collection has seen of the log.
#[derive(Debug)]
struct Seen {
    /// From where it looked, to where, and the first entry there that is read now and will not be for ever.
    from: Version,
    upto: Version,
    passing: Option<Version>,
    /// What it looked at again, and the first and last entry there that is read and will not be for ever.
    again: Vec<(Span, Option<Span>)>,
    /// What it would have looked at again, behind the end of what may be trimmed.
    rest: Vec<Span>,
    pins: Vec<(PinId, Span)>,
}

impl Seen {
    /// Returns where the next collection looks if of what may be trimmed these entries wait, oldest first.
    fn looked(self, waiting: &[Version]) -> Looked {
        let waits = waiting.iter().find(|version| **version > self.from);
        let first = waits.into_iter().chain(&self.passing).min();
        let again = self.again.into_iter().filter_map(|(span, passing)| {
            let begin = waiting.partition_point(|version| *version <= span.after);
            let inside = &waiting[begin..waiting.partition_point(|version| *version <= span.upto).max(begin)];
            let waits = inside.first().zip(inside.last()).map(|(first, last)| Span::of(*first, *last));
            waits.into_iter().chain(passing).reduce(Span::with)
        });
        Looked {
            upto: first.map_or(self.upto.max(self.from), |first| Version(first.0 - 1)),
            pins: Some(self.pins),
            again: again.chain(self.rest).collect(),
        }
    }
}

impl Span {
    fn of(first: Version, last: Version) -> Span {
        Span { after: Version(first.0 - 1), upto: last }
    }

    /// Returns what holds both.
    fn with(self, other: Span) -> Span {
        Span { after: self.after.min(other.after), upto: self.upto.max(other.upto) }
    }

    fn is_empty(self) -> bool {
        self.after >= self.upto
    }
}

/// What becomes of a file, and why.
#[derive(Clone, Debug)]
pub struct FileVerdict {
    pub id: FileId,
    pub kind: FileKind,
    /// Bytes; 0 where a crash left a file that was never finished.
    pub length: u64,
    pub fate: Fate,
}

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Something reaches it: what.
    Kept(Arc<str>),
    /// Nothing that can be read reaches it, and something cannot be read. It stays: why.
    Unclear(Arc<str>),
    /// Nothing reaches it; it goes after this time, unless something does by then.
    Waits(Time),
    /// Nothing reaches it, and nothing has since its grace began.
    Goes(&'static str),
}

/// What a collection has given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Entries of the log whose deltas were taken out.
    pub entries: u64,
    /// Bytes of those deltas.
    pub entry_bytes: u64,
    /// Files that nothing reaches and whose grace is not over.
    pub waiting: u64,
}

/// The setting that holds [`Looked`].
const LOOKED_SETTING: &str = "collector";

/// How many files are withdrawn by one write.
const FILES_MAX: usize = 1000;
/// How many entries are trimmed by one write. Commits wait for it.
const TRIMS_MAX: usize = 200;
/// How many entries are read at a time.
const PAGE: u64 = 4096;

/// What must stay.
#[derive(Default)]
struct Roots {
    manifests: BTreeMap<Digest, Root>,
    /// What is read of the log, by the table in whose name it stands there.
    ranges: HashMap<TableId, Vec<Range>>,
    /// What snapshots read of it.
    pins: BTreeMap<PinId, Span>,
    /// Manifests that were thinned out of what is kept.
    thinned: HashSet<Digest>,
}

/// What reads a manifest.
struct Root {
    /// The first reason for it.
    why: Arc<str>,
    /// Only open moments read it.
    is_open_only: bool,
}

/// Deltas that a content reads.
#[derive(Clone, Copy)]
struct Range {
    /// Exclusive.
    after: Version,
    /// Inclusive.
    upto: Version,
    /// Only snapshots read it: nothing changes about that while there are no others.
    is_pinned: bool,
}

impl Roots {
    fn readers(&self, table: TableId, version: Version) -> impl Iterator<Item = &Range> {
        let ranges = self.ranges.get(&table).into_iter().flatten();
        ranges.filter(move |range| range.after < version && version <= range.upto)
    }

    fn keep(&mut self, held: &Held) {
        if held.is_thinned {
            self.thinned.extend(held.content.manifest);
        }
        let Some(first) = held.keepers.first() else { return };
        let content = &held.content;
        if let Some(manifest) = content.manifest {
            let new = || Root { why: first.why.clone(), is_open_only: true };
            let root = self.manifests.entry(manifest).or_insert_with(new);
            root.is_open_only &= held.keepers.iter().all(|keeper| keeper.kind == KeeperKind::Open);
        }
        for keeper in &held.keepers {
            let KeeperKind::Pinned(pin) = keeper.kind else { continue };
            let own = Span { after: content.flushed, upto: keeper.upto };
            let inherited = content.inherited.iter().map(|range| Span { after: range.after, upto: range.upto });
            for span in inherited.chain([own]).filter(|span| !span.is_empty()) {
                self.pins.entry(pin).and_modify(|known| *known = known.with(span)).or_insert(span);
            }
        }
        for is_pinned in [false, true] {
            let of_kind = held.keepers.iter().filter(|keeper| keeper.kind.is_pinned() == is_pinned);
            let Some(upto) = of_kind.map(|keeper| keeper.upto).max() else { continue };
            self.ranges.entry(held.table).or_default().push(Range { after: content.flushed, upto, is_pinned });
            for range in &content.inherited {
                let range_of_origin = Range { after: range.after, upto: range.upto, is_pinned };
                self.ranges.entry(range.origin).or_default().push(range_of_origin);
            }
        }
    }
}

impl Database {
    /// Says what becomes of every file, and of which entries the deltas would go. Changes nothing.
    pub async fn plan_collection(&self) -> Result<Collection> {
        self.plan_collection_without(&[]).await
    }

    /// As `plan_collection`, as if some snapshots had been dropped.
    pub(super) async fn plan_collection_without(&self, dropped: &[PinId]) -> Result<Collection> {
        let thinnable = self.thinnable(dropped).await?;
        self.plan_without(thinnable, dropped).await
    }

    /// As `plan_collection`, with these manifests taken as thinned out, and these snapshots as dropped.
    pub(super) async fn plan_without(&self, thinned: HashSet<Digest>, dropped: &[PinId]) -> Result<Collection> {
        let dropped = dropped.to_vec();
        // Files that are committed later belong to contents that are read later.
        let this = self.clone();
        let (files, keepers, mut roots) = blocking(move || {
            let (files, keepers) = (this.metastore().files()?, Keepers::of(&this)?.without(thinned, &dropped));
            let mut roots = Roots::default();
            keepers.each(&this, |held| roots.keep(&held))?;
            Ok((files, keepers, roots))
        })
        .await?;
        let mut kept: HashMap<FileId, Arc<str>> = HashMap::new();
        let mut damages = Vec::new();
        for (digest, root) in &roots.manifests {
            self.check_open()?;
            match self.manifest_of(*digest, root).await {
                Ok(manifest) => manifest.files().for_each(|file| {
                    kept.entry(file).or_insert_with(|| root.why.clone());
                }),
                Err(error) if error.kind() == Kind::Corrupt => damages.push(error),
                Err(error) => return Err(error),
            }
        }
        let listed: HashSet<FileId> = files.iter().map(|file| file.id).collect();
        for file in kept.keys().filter(|file| !listed.contains(file)) {
            // Committed just now, or damage.
            match self.cold().files().record(*file).await {
                Err(error) if error.kind() == Kind::Corrupt => damages.push(error),
                found => drop(found?),
            }
        }
        let unclear = damages.first().map(|damage| {
            let what = damage.message();
            let named: Arc<str> = format!("it may belong to what cannot be read: {what}").into();
            let other: Arc<str> = format!("nothing goes while something that is kept cannot be read: {what}").into();
            // No manifest names another.
            move |kind: FileKind| Fate::Unclear(if kind == FileKind::Manifest { other.clone() } else { named.clone() })
        });
        let (now, passed, grace) = (self.env().now(), self.env().passed(), self.options().grace_micros);
        let condemned = self.0.condemned.lock().clone();
        let verdict = |file: &FileHead| {
            let why = match file.kind {
                FileKind::Manifest => roots.manifests.get(&file.digest).map(|root| &root.why),
                _ => kept.get(&file.id),
            };
            let fate = match (why, &unclear) {
                (Some(why), _) => Fate::Kept(why.clone()),
                (None, Some(unclear)) => unclear(file.kind),
                (None, None) => match condemned.get(&file.id).copied().unwrap_or(passed) + grace - passed {
                    ..=0 => Fate::Goes("nothing reaches it"),
                    left => Fate::Waits(now.plus_micros(left)),
                },
            };
            FileVerdict { id: file.id, kind: file.kind, length: file.length, fate }
        };
        let mut files: Vec<FileVerdict> = files.iter().map(verdict).collect();
        files.extend(self.cold().files().abandoned().into_iter().map(|(id, kind)| FileVerdict {
            id,
            kind,
            length: 0,
            fate: match &unclear {
                Some(unclear) => unclear(FileKind::Manifest),
                None => Fate::Goes("it was never committed, and nobody writes it any more"),
            },
        }));
        let this = self.clone();
        let (time, thinned) = (keepers.time, std::mem::take(&mut roots.thinned));
        let mut notes: Vec<Note> = self.clock_note().into_iter().collect();
        let (mut trims, seen) = match blocking(move || this.trims(&keepers, &roots)).await {
            Ok((trims, seen)) => (trims, Some(seen)),
            // It is no root: of the files it is known what reaches them.
            Err(error) if error.kind() == Kind::Corrupt => {
                let why = format!("the rows of no commit leave the log while an entry of it cannot be read: {error}");
                notes.push(Note { what: "log", why });
                (Vec::new(), None)
            }
            Err(error) => return Err(error),
        };
        if !damages.is_empty() {
            trims.clear();
        }
        Ok(Collection { files, trims, damages, notes, time, seen, thinned })
    }

    /// Says that the clock is not believed, if so.
    fn clock_note(&self) -> Option<Note> {
        let store = &self.0.store;
        let (sure, doubt) = store.clock.look(&store.env, &*store.metastore);
        let doubt = doubt?;
        let why = format!(
            "the clock is {} minutes ahead of what is believed, {sure} UTC, and nothing goes because of that time; set it \
             right if it is wrong; if it runs on, it is believed at {} UTC",
            doubt.ahead / 60_000_000,
            doubt.until
        );
        Some(Note { what: "clock", why })
    }

    /// Refuses to go on while the database is closed: a collection ends between two of its steps.
    pub(super) fn check_open(&self) -> Result<()> {
        match self.is_closing() {
            true => {
                Err(Error::new(Kind::Closed, "The database is being closed.").with_hint("Collect when it is open."))
            }
            false => Ok(()),
        }
    }

    /// Returns the manifest that a root reads. An open moment holds a whole version, of which perhaps one table was kept until
    /// then: of the others there may be nothing left to hold, and nobody to read it.
    async fn manifest_of(&self, digest: Digest, root: &Root) -> Result<Arc<Manifest>> {
        let files = self.cold().files();
        if root.is_open_only && files.record_by_digest(FileKind::Manifest, digest).await?.is_none() {
            return Ok(Arc::default());
        }
        let found = self.cold().manifest(digest).await;
        found.map_err(|error| match error.kind() {
            Kind::Corrupt => error.with_hint(format!("{} needs it.", root.why)),
            _ => error,
        })
    }

    /// Deletes what nothing has reached for the length of the grace, and trims the log.
    pub async fn collect(&self) -> Result<Collected> {
        Box::pin(self.collect_unless(std::future::pending())).await
    }

    /// As `collect`, but `stop` ends it with `Cancelled`, between two of its steps. What was deleted until then is gone;
    /// the rest is for the next collection.
    pub async fn collect_unless(&self, stop: impl Future<Output = ()>) -> Result<Collected> {
        let mut stop = std::pin::pin!(stop);
        let _alone = unless(stop.as_mut(), async { Ok(self.0.collecting.lock().await) }).await?;
        self.check_open()?;
        unless(stop.as_mut(), Box::pin(self.flush_older_than_the_window())).await?;
        fail::fail_point!("collect::flushed", crate::error::failing);
        // Whoever opens a version after this reads it through what stays. Who did before is found by the plan, which asks for
        // open moments only now.
        self.0.store.thinned.add(unless(stop.as_mut(), self.thinnable(&[])).await?);
        let mut plan = unless(stop.as_mut(), self.plan_without(HashSet::new(), &[])).await?;
        self.0.store.thinned.keep_only(&plan.thinned);
        if !plan.damages.is_empty() {
            return Err(plan.damages.swap_remove(0));
        }
        fail::fail_point!("collect::planned", crate::error::failing);
        for note in &plan.notes {
            tracing::warn!(what = note.what, "something stays: {}", note.why);
        }
        let passed = self.env().passed();
        let mut done = Collected::default();
        let mut going = Vec::new();
        {
            let mut condemned = self.0.condemned.lock();
            let mut since = HashMap::new();
            for file in &plan.files {
                match file.fate {
                    Fate::Kept(_) | Fate::Unclear(_) => {}
                    Fate::Waits(_) => {
                        since.insert(file.id, condemned.get(&file.id).copied().unwrap_or(passed));
                        done.waiting += 1;
                    }
                    Fate::Goes(_) => going.push(file),
                }
            }
            *condemned = since;
        }
        fail::fail_point!("collect::condemned", crate::error::failing);
        let condemned = plan.seen.is_some().then(|| self.condemn(&plan.trims, passed));
        let (trims, waiting) = condemned.unwrap_or_default();
        if !going.is_empty() || !trims.is_empty() {
            self.0.store.clock.goes_by(&**self.metastore(), plan.time, self.sure_time())?;
        }
        // Manifests first: while one stands, so does what it names.
        going.sort_by_key(|file| file.kind != FileKind::Manifest);
        let mut failed = Ok(());
        let mut few = FILES_MAX;
        while let Some(first) = going.first() {
            let is_manifest = first.kind == FileKind::Manifest;
            if !is_manifest && failed.is_err() {
                // What a manifest names that could not be deleted stays.
                break;
            }
            let of_kind = going.iter().take_while(|file| (file.kind == FileKind::Manifest) == is_manifest);
            let batch: Vec<_> = of_kind.take(few).copied().collect();
            fail::fail_point!("collect::batch", crate::error::failing);
            self.check_open()?;
            check_stop(stop.as_mut())?;
            match self.delete_files(&batch, &mut done).await {
                Err(error) if is_too_much(&error, batch.len()) => {
                    few = batch.len() / 4 + 1;
                    continue;
                }
                outcome => failed = failed.and(outcome),
            }
            going.drain(..batch.len());
        }
        fail::fail_point!("collect::cleared", crate::error::failing);
        if self.trim_all(&trims, &mut done, stop).await?
            && let Some(seen) = plan.seen
        {
            fail::fail_point!("collect::trimmed", crate::error::failing);
            // The next collection looks at those again that wait.
            let looked = serde_json::to_string(&seen.looked(&waiting))?;
            if self.metastore().setting(LOOKED_SETTING)?.as_ref() != Some(&looked) {
                self.metastore().put_setting(LOOKED_SETTING, &looked)?;
                fail::fail_point!("collect::looked", crate::error::failing);
            }
        }
        if done.files + done.entries > 0 {
            tracing::info!(
                files = done.files,
                bytes = done.bytes,
                entries = done.entries,
                entry_bytes = done.entry_bytes,
                "collected what nothing reaches"
            );
        }
        failed.map(|()| done)
    }

    /// Flushes tables whose rows have stood in the log for longer than anybody may ask for them: it can be trimmed then.
    async fn flush_older_than_the_window(&self) -> Result<()> {
        let start = self.0.window.start(self.0.store.sure_window_time());
        let Some(window) = self.metastore().newest_at(start)?.map(|entry| entry.version) else {
            return Ok(());
        };
        let now = self.now();
        for table in now.catalog().all_tables() {
            let Some(content) = now.catalog().content(table.id) else { continue };
            self.check_open()?;
            let inherits = content.inherited.iter().any(|range| range.after < window);
            if inherits || (content.flushed < window && self.logged(table.id, content.flushed, window)?) {
                // Its rows stay in the log, and are kept there: the rest need not wait for it.
                if let Err(error) = self.flush_table(table.id).await {
                    tracing::warn!(%error, table = %table.name, "a table that has stood in the log for long was not flushed");
                }
            }
        }
        Ok(())
    }

    /// Condemns entries of the log whose deltas nothing reads. Returns those that nothing has read for the length of the
    /// grace, and those that wait, each oldest first.
    fn condemn(&self, trims: &[Version], passed: Passed) -> (Vec<Version>, Vec<Version>) {
        let mut condemned = self.0.condemned_trims.lock();
        let mut rest: HashSet<Version> = trims.iter().copied().collect();
        for (_, versions) in condemned.iter_mut() {
            versions.retain(|version| rest.remove(version));
        }
        condemned.push((passed, rest));
        let grace = self.options().grace_micros;
        let is_over = |(since, _): &mut (Passed, HashSet<Version>)| *since + grace <= passed;
        let mut going: Vec<Version> = condemned.extract_if(.., is_over).flat_map(|(_, versions)| versions).collect();
        condemned.retain(|(_, versions)| !versions.is_empty());
        let mut waiting: Vec<Version> = condemned.iter().flat_map(|(_, versions)| versions).copied().collect();
        going.sort_unstable();
        waiting.sort_unstable();
        (going, waiting)
    }

    /// Trims entries. Tells whether it came to the end: on a full disk, what is deleted may have to make room first.
    async fn trim_all(
        &self,
        versions: &[Version],
        done: &mut Collected,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<bool> {
        let (mut rest, mut few) = (versions, TRIMS_MAX);
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(few.min(rest.len()));
            fail::fail_point!("collect::trim", crate::error::failing);
            self.check_open()?;
            check_stop(stop.as_mut())?;
            let (metastore, versions) = (self.metastore().clone(), batch.to_vec());
            match blocking(move || metastore.trim(&versions)).await {
                Ok(trimmed) => {
                    done.entries += trimmed.entries;
                    done.entry_bytes += trimmed.bytes;
                    rest = after;
                }
                Err(error) if is_too_much(&error, batch.len()) => few = batch.len() / 4 + 1,
                Err(error) if error.kind() == Kind::Corrupt && batch.len() > 1 => few = batch.len() / 2,
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!(%error, version = %batch[0], "the rows of a commit stay in the log: its entry is damaged");
                    (rest, few) = (after, TRIMS_MAX);
                }
                Err(error) if matches!(error.kind(), Kind::Full | Kind::Unavailable) => {
                    tracing::warn!(%error, "the log was not trimmed to the end; it will be tried again");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn delete_files(&self, batch: &[&FileVerdict], done: &mut Collected) -> Result<()> {
        let files: Vec<(FileId, FileKind)> = batch.iter().map(|file| (file.id, file.kind)).collect();
        let (metastore, withdrawn) = (self.metastore().clone(), files.clone());
        blocking(move || metastore.withdraw_files(&withdrawn)).await?;
        fail::fail_point!("collect::withdrawn", crate::error::failing);
        let lengths: HashMap<FileId, u64> = batch.iter().map(|file| (file.id, file.length)).collect();
        let count = |id: FileId| {
            done.files += 1;
            done.bytes += lengths[&id];
        };
        self.cold().files().clear(&files, count).await
    }

    /// Returns the entries before the window whose deltas no root reads, as far as they were not looked at before.
    fn trims(&self, keepers: &Keepers, roots: &Roots) -> Result<(Vec<Version>, Seen)> {
        let window = keepers.log_from;
        let mut before: Looked = match self.metastore().setting(LOOKED_SETTING)? {
            Some(looked) => serde_json::from_str(&looked)?,
            None => Looked::default(),
        };
        if before.pins.is_none() {
            before.upto = Version(0);
        }
        let gone = before.pins.iter().flatten().filter(|(pin, _)| !roots.pins.contains_key(pin)).map(|(_, span)| *span);
        let again = disjoint(before.again.iter().copied().chain(gone), before.upto);
        let (mut seen_again, mut rest, mut trims) = (Vec::new(), Vec::new(), Vec::new());
        for span in again {
            let (now, later) =
                (Span { upto: span.upto.min(window), ..span }, Span { after: span.after.max(window), ..span });
            if !now.is_empty() {
                seen_again.push((now, self.look(now, roots, &mut trims)?));
            }
            rest.extend(Some(later).filter(|later| !later.is_empty()));
        }
        let (from, upto) = (before.upto, window);
        let passing = self.look(Span { after: from, upto }, roots, &mut trims)?;
        let passing = passing.map(|span| span.after.next());
        let pins = roots.pins.iter().map(|(pin, span)| (*pin, *span)).collect();
        Ok((trims, Seen { from, upto, passing, again: seen_again, rest, pins }))
    }

    /// Finds entries whose deltas no root reads. Returns what lies between the first and the last, both included, that is
    /// read now and will not be for ever.
    fn look(&self, span: Span, roots: &Roots, trims: &mut Vec<Version>) -> Result<Option<Span>> {
        let (mut after, mut passing) = (span.after, None::<Span>);
        while after < span.upto {
            self.check_open()?;
            let upto = Version((after.0 + PAGE).min(span.upto.0));
            let query = EntryQuery { from: after.next(), upto, tables: None, upkeep: true, limit: PAGE as usize };
            for entry in self.metastore().entries(&query)? {
                let version = entry.head.version;
                let mut readers = entry.tables.iter().flat_map(|(table, ..)| roots.readers(*table, version)).peekable();
                if readers.peek().is_none() && !entry.tables.is_empty() {
                    trims.push(version);
                } else if readers.any(|range| !range.is_pinned) {
                    let own = Span::of(version, version);
                    passing = Some(passing.map_or(own, |known| known.with(own)));
                }
            }
            after = upto;
        }
        Ok(passing)
    }
}

/// Returns what these hold, oldest first, each entry once, and none behind `upto`.
fn disjoint(spans: impl Iterator<Item = Span>, upto: Version) -> Vec<Span> {
    let cut = spans.map(|span| Span { upto: span.upto.min(upto), ..span });
    let mut spans: Vec<Span> = cut.filter(|span| !span.is_empty()).collect();
    spans.sort_unstable();
    let mut disjoint: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match disjoint.last_mut() {
            Some(last) if span.after <= last.upto => *last = last.with(span),
            _ => disjoint.push(span),
        }
    }
    disjoint
}

/// Tells whether less at a time may find the room on the disk that was missing.
fn is_too_much(error: &Error, count: usize) -> bool {
    matches!(error.kind(), Kind::Full | Kind::Unavailable) && count > 1
}
