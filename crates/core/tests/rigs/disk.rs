//! A disk that fails when told.
//!
//! This program has the C library's `open`, `write`, `fsync` and their like itself. The linker takes a program's own
//! functions before the library's, for Rust's standard library and for SQLite alike: so what fails here is what really
//! reaches the kernel, and the store is the one that users run. Files outside of the folders that a test [watches](watch)
//! go straight through.
//!
//! ```text
//!   store, SQLite ─► open64, write, fsync … of this file ─► asks the folder's Disk ─► go:   the kernel's answer
//!                                                                                ├─► fail: nothing is done, an errno
//!                                                                                └─► lie:  nothing is done, "it is done"
//! ```
//! An fsync that fails takes along what was not yet on the disk: the file's bytes become what they were at its last good
//! fsync, and new names in a folder vanish. So do Linux and a power loss together. To *lie* is to fail and to say nothing:
//! what a store would see that ignores the error. That is how the rig shows that it would notice such a store.
//!
//! A disk may also [record] everything on a [tape](crate::tape), for a loss of power at any point.

#![expect(unsafe_code, reason = "functions of the C library are replaced; each use says why it is sound")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr, c_char, c_int, c_long, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::tape::{Event, Tape};

/// What a call wants of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    Open,
    /// An open that makes the file.
    Create,
    Read,
    Write,
    Sync,
    SyncFolder,
    /// Or a link.
    Rename,
    Unlink,
    Truncate,
    Folder,
}

impl Op {
    /// Tells whether a disk that takes no more writes refuses it.
    pub fn writes(self) -> bool {
        !matches!(self, Op::Open | Op::Read)
    }

    /// Tells whether it needs room on the disk.
    pub fn needs_room(self) -> bool {
        matches!(self, Op::Create | Op::Write | Op::Sync | Op::SyncFolder | Op::Rename | Op::Folder)
    }
}

/// Which calls are counted.
pub type Filter = fn(Op, &Path) -> bool;

/// What goes wrong, and when.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The call that fails, counted from 1 among those that the filter lets through.
    pub nth: usize,
    pub errno: i32,
    /// Every later call that writes fails too.
    pub sticky: bool,
    /// The failure is not told.
    pub lie: bool,
    pub counts: Filter,
}

impl Fault {
    /// Counts every call and lets each through.
    pub fn none() -> Fault {
        Fault { nth: usize::MAX, errno: 0, sticky: false, lie: false, counts: |_, _| true }
    }
}

/// Syncs that a defective store would not make.
pub type Skip = fn(Op, &Path) -> bool;

/// The disk below one folder.
pub struct Disk {
    root: PathBuf,
    state: Mutex<State>,
    /// Everything that is asked of it, where that is recorded.
    tape: Option<Mutex<Tape>>,
    /// Syncs reach the kernel, but for these.
    skip: Option<Skip>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    trace: Vec<Op>,
    reached: Option<String>,
    /// What files held before each write since their last fsync, oldest first.
    unsynced: HashMap<PathBuf, Vec<Undo>>,
    /// Names made since their folder's last fsync.
    made: Vec<PathBuf>,
}

struct Undo {
    at: i64,
    bytes: Vec<u8>,
    length: i64,
}

#[derive(PartialEq)]
enum Answer {
    Go,
    Fail(i32),
    Lie,
}

/// Puts a folder under a disk until this is dropped.
pub struct Watch(pub Arc<Disk>);

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());
/// How many there are: without one, nothing is asked.
static WATCHED: AtomicUsize = AtomicUsize::new(0);
static OPEN: Mutex<BTreeMap<c_int, (Arc<Disk>, PathBuf)>> = Mutex::new(BTreeMap::new());

/// Watches a folder, which exists.
pub fn watch(root: &Path) -> Watch {
    watch_with(root, None, None)
}

/// Watches a folder, which exists, and records what changes there from now on.
pub fn record(root: &Path) -> Watch {
    watch_with(root, Some(Mutex::new(Tape::of(root))), None)
}

/// Watches a folder, which exists, on a disk of its own: what is synced there reaches that disk, but for what is skipped.
pub fn skip(root: &Path, skip: Skip) -> Watch {
    watch_with(root, None, Some(skip))
}

fn watch_with(root: &Path, tape: Option<Mutex<Tape>>, skip: Option<Skip>) -> Watch {
    let root = root.canonicalize().expect("the folder exists");
    let disk = Arc::new(Disk { root, state: Mutex::default(), tape, skip });
    DISKS.lock().push(disk.clone());
    WATCHED.fetch_add(1, Ordering::SeqCst);
    Watch(disk)
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.heal();
        WATCHED.fetch_sub(1, Ordering::SeqCst);
        DISKS.lock().retain(|disk| !Arc::ptr_eq(disk, &self.0));
        OPEN.lock().retain(|_, (disk, _)| !Arc::ptr_eq(disk, &self.0));
    }
}

impl Disk {
    /// Begins to count, and fails as told. What was written before counts as being on the disk.
    pub fn arm(&self, fault: Fault) {
        *self.state.lock() = State { fault: Some(fault), ..State::default() };
    }

    /// Stops to count and to fail.
    pub fn heal(&self) {
        self.state.lock().fault = None;
    }

    /// Returns the calls that were counted.
    pub fn trace(&self) -> Vec<Op> {
        self.state.lock().trace.clone()
    }

    /// Returns the call that failed, if it came to that.
    pub fn reached(&self) -> Option<String> {
        self.state.lock().reached.clone()
    }

    /// Returns how much has been recorded.
    pub fn position(&self) -> usize {
        self.tape.as_ref().map_or(0, |tape| tape.lock().events.len())
    }

    /// Takes what has been recorded.
    pub fn take_tape(&self) -> Tape {
        self.tape.as_ref().map(|tape| std::mem::take(&mut *tape.lock())).expect("the disk is recorded")
    }

    fn tape(&self) -> Option<MutexGuard<'_, Tape>> {
        self.tape.as_ref().map(Mutex::lock)
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).expect("the path is watched").to_owned()
    }

    fn ask(&self, op: Op, path: &Path) -> Answer {
        let mut state = self.state.lock();
        let Some(fault) = state.fault else { return Answer::Go };
        if !(fault.counts)(op, path) {
            return Answer::Go;
        }
        state.trace.push(op);
        let count = state.trace.len();
        if count != fault.nth && !(fault.sticky && count > fault.nth && op.writes()) {
            return Answer::Go;
        }
        state.reached.get_or_insert_with(|| format!("{op:?} of {}", path.display()));
        if fault.lie { Answer::Lie } else { Answer::Fail(fault.errno) }
    }

    /// Keeps what a write is about to replace.
    fn remember(&self, path: &Path, at: i64, bytes: usize) {
        let mut state = self.state.lock();
        if state.fault.is_none() {
            return;
        }
        let Some(file) = Raw::open(path, libc::O_RDONLY) else { return };
        let length = file.length();
        let kept = usize::try_from(length - at).unwrap_or(0).min(bytes);
        let bytes = file.read(at, kept);
        state.unsynced.entry(path.to_owned()).or_default().push(Undo { at, bytes, length });
    }

    fn made(&self, path: &Path) {
        let mut state = self.state.lock();
        if state.fault.is_some() {
            state.made.push(path.to_owned());
        }
    }

    fn renamed(&self, from: &Path, to: &Path) {
        let mut state = self.state.lock();
        if let Some(undo) = state.unsynced.remove(from) {
            state.unsynced.insert(to.to_owned(), undo);
        }
        state.made.retain(|made| made != from);
    }

    fn synced(&self, path: &Path) {
        let mut state = self.state.lock();
        state.unsynced.remove(path);
        state.made.retain(|made| made.parent() != Some(path));
    }

    /// Takes away what was not on the disk.
    fn lose(&self, path: &Path) {
        let mut state = self.state.lock();
        let lost: Vec<PathBuf> = state.made.iter().filter(|made| made.parent() == Some(path)).cloned().collect();
        state.made.retain(|made| made.parent() != Some(path));
        for name in lost {
            raw_unlink(&name);
        }
        if let Some(undo) = state.unsynced.remove(path)
            && let Some(file) = Raw::open(path, libc::O_RDWR)
        {
            for step in undo.iter().rev() {
                file.write(step.at, &step.bytes);
                file.set_length(step.length);
            }
        }
    }
}

fn disk_of(path: &Path) -> Option<Arc<Disk>> {
    DISKS.lock().iter().find(|disk| path.starts_with(&disk.root)).cloned()
}

fn watched() -> bool {
    WATCHED.load(Ordering::Relaxed) > 0
}

/// Returns the disk and the path of a file that was opened below a watched folder.
fn tracked(fd: c_int) -> Option<(Arc<Disk>, PathBuf)> {
    if !watched() {
        return None;
    }
    OPEN.lock().get(&fd).cloned()
}

/// Returns the path that a caller of the C library names, if it is below a watched folder.
fn watched_path(path: *const c_char) -> Option<(Arc<Disk>, PathBuf)> {
    if !watched() || path.is_null() {
        return None;
    }
    // SAFETY: callers of these functions pass a string that ends with a zero and outlives the call, as C asks.
    let path = unsafe { CStr::from_ptr(path) };
    let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
    disk_of(&path).map(|disk| (disk, path))
}

/// Sets `errno` and returns what a failed call returns.
fn refuse(errno: i32) -> c_int {
    // SAFETY: the C library's `errno` of this thread is always there to be written.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Makes a system call with numbers and pointers that come from a caller, or from values that live across the call.
macro_rules! kernel {
    ($number:ident $(, $argument:expr)*) => {{
        // SAFETY: the arguments are those of the call of the C library that this stands for, or point to values of the
        // calling function; the kernel checks them as it checks everybody's.
        unsafe { libc::syscall(libc::$number $(, $argument as c_long)*) }
    }};
}

/// A file that is opened past the watch, for the disk itself.
struct Raw(c_int);

impl Raw {
    fn open(path: &Path, flags: c_int) -> Option<Raw> {
        let name = zero_ended(path);
        let fd = kernel!(SYS_openat, libc::AT_FDCWD, name.as_ptr(), flags | libc::O_CLOEXEC, 0);
        (fd >= 0).then_some(Raw(fd as c_int))
    }

    fn length(&self) -> i64 {
        kernel!(SYS_lseek, self.0, 0, libc::SEEK_END)
    }

    fn read(&self, at: i64, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0_u8; bytes];
        let read = kernel!(SYS_pread64, self.0, buffer.as_mut_ptr(), bytes, at);
        buffer.truncate(usize::try_from(read).unwrap_or(0));
        buffer
    }

    fn write(&self, at: i64, bytes: &[u8]) {
        kernel!(SYS_pwrite64, self.0, bytes.as_ptr(), bytes.len(), at);
    }

    fn set_length(&self, length: i64) {
        kernel!(SYS_ftruncate, self.0, length);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        kernel!(SYS_close, self.0);
    }
}

fn zero_ended(path: &Path) -> Vec<u8> {
    let mut name = path.as_os_str().as_bytes().to_vec();
    name.push(0);
    name
}

fn raw_unlink(path: &Path) {
    let name = zero_ended(path);
    kernel!(SYS_unlinkat, libc::AT_FDCWD, name.as_ptr(), 0);
}

/// Returns the kernel's number of an open file.
fn inode(fd: c_int) -> u64 {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    kernel!(SYS_fstat, fd, stat.as_mut_ptr());
    // SAFETY: all zeros is a value of it, and the kernel's layout is this one on 64-bit systems.
    unsafe { stat.assume_init() }.st_ino
}

fn exists(path: &Path) -> bool {
    let name = zero_ended(path);
    kernel!(SYS_faccessat, libc::AT_FDCWD, name.as_ptr(), libc::F_OK) == 0
}

// What follows has the names and the meanings of the C library's functions. SAFETY of each `no_mangle`: the signature is
// that of POSIX on Linux's 64-bit ABIs (where a variadic `mode` comes as a third argument does, and is not looked at by the
// kernel unless a file is made), and the behaviour is that of the system call of this name, or an error that it documents.

fn open_any(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let at = watched_path(path);
    let Some((disk, name)) = at else {
        return kernel!(SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int;
    };
    let makes = flags & libc::O_CREAT != 0 && !exists(&name);
    match disk.ask(if makes { Op::Create } else { Op::Open }, &name) {
        Answer::Go => {}
        // Nobody can go on without a file, and so nobody can be lied to.
        Answer::Fail(errno) => return refuse(errno),
        Answer::Lie => return refuse(libc::EIO),
    }
    if flags & libc::O_TRUNC != 0 && !makes {
        disk.remember(&name, 0, usize::MAX);
    }
    let mut tape = disk.tape();
    let fd = kernel!(SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int;
    if fd >= 0 {
        if makes {
            disk.made(&name);
        }
        if let Some(tape) = &mut tape {
            if makes {
                tape.created(disk.below(&name), inode(fd));
            } else if flags & libc::O_TRUNC != 0 {
                let file = tape.file(inode(fd));
                tape.push(Event::Length { file, length: 0 });
            }
        }
        drop(tape);
        OPEN.lock().insert(fd, (disk, name));
    }
    fd
}

#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    open_any(path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    open_any(path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    if watched() {
        OPEN.lock().remove(&fd);
    }
    kernel!(SYS_close, fd) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn read(fd: c_int, buffer: *mut c_void, bytes: usize) -> isize {
    if let Some((disk, path)) = tracked(fd)
        && let Answer::Fail(errno) = disk.ask(Op::Read, &path)
    {
        return refuse(errno) as isize;
    }
    kernel!(SYS_read, fd, buffer, bytes) as isize
}

fn read_at(fd: c_int, buffer: *mut c_void, bytes: usize, at: i64) -> isize {
    if let Some((disk, path)) = tracked(fd)
        && let Answer::Fail(errno) = disk.ask(Op::Read, &path)
    {
        return refuse(errno) as isize;
    }
    kernel!(SYS_pread64, fd, buffer, bytes, at) as isize
}

#[unsafe(no_mangle)]
extern "C" fn pread(fd: c_int, buffer: *mut c_void, bytes: usize, at: i64) -> isize {
    read_at(fd, buffer, bytes, at)
}

#[unsafe(no_mangle)]
extern "C" fn pread64(fd: c_int, buffer: *mut c_void, bytes: usize, at: i64) -> isize {
    read_at(fd, buffer, bytes, at)
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, buffer: *const c_void, bytes: usize) -> isize {
    if let Some((disk, path)) = tracked(fd) {
        match disk.ask(Op::Write, &path) {
            Answer::Go => disk.remember(&path, kernel!(SYS_lseek, fd, 0, libc::SEEK_CUR), bytes),
            Answer::Fail(errno) => return refuse(errno) as isize,
            Answer::Lie => {
                kernel!(SYS_lseek, fd, bytes, libc::SEEK_CUR);
                return bytes as isize;
            }
        }
    }
    let Some((disk, _)) = tracked(fd) else {
        return kernel!(SYS_write, fd, buffer, bytes) as isize;
    };
    let mut tape = disk.tape();
    let written = kernel!(SYS_write, fd, buffer, bytes) as isize;
    if let Some(tape) = &mut tape
        && written > 0
    {
        // Of a file that is only appended to, the place is known afterwards.
        let at = kernel!(SYS_lseek, fd, 0, libc::SEEK_CUR) as isize - written;
        wrote(tape, fd, buffer, written as usize, at as usize);
    }
    written
}

/// Records what was written.
fn wrote(tape: &mut Tape, fd: c_int, buffer: *const c_void, bytes: usize, at: usize) {
    // SAFETY: the kernel has just read so many bytes from there for the caller.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), bytes) };
    let file = tape.file(inode(fd));
    tape.push(Event::Write { file, at, bytes: bytes.into() });
}

fn write_at(fd: c_int, buffer: *const c_void, bytes: usize, at: i64) -> isize {
    if let Some((disk, path)) = tracked(fd) {
        match disk.ask(Op::Write, &path) {
            Answer::Go => disk.remember(&path, at, bytes),
            Answer::Fail(errno) => return refuse(errno) as isize,
            Answer::Lie => return bytes as isize,
        }
    }
    let Some((disk, _)) = tracked(fd) else {
        return kernel!(SYS_pwrite64, fd, buffer, bytes, at) as isize;
    };
    let mut tape = disk.tape();
    let written = kernel!(SYS_pwrite64, fd, buffer, bytes, at) as isize;
    if let Some(tape) = &mut tape
        && written > 0
    {
        wrote(tape, fd, buffer, written as usize, at as usize);
    }
    written
}

#[unsafe(no_mangle)]
extern "C" fn pwrite(fd: c_int, buffer: *const c_void, bytes: usize, at: i64) -> isize {
    write_at(fd, buffer, bytes, at)
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, bytes: usize, at: i64) -> isize {
    write_at(fd, buffer, bytes, at)
}

/// A sync of what no test watches, or that a watched disk grants, costs nothing: tests survive no power loss.
fn sync_any(fd: c_int, call: impl FnOnce() -> c_int) -> c_int {
    let Some((disk, path)) = tracked(fd) else {
        return call();
    };
    let op = if path.is_dir() { Op::SyncFolder } else { Op::Sync };
    if let Some(skip) = disk.skip {
        return if skip(op, &path) { 0 } else { call() };
    }
    match disk.ask(op, &path) {
        Answer::Go => {
            disk.synced(&path);
            if let Some(mut tape) = disk.tape() {
                let path = disk.below(&path);
                let event = match op {
                    Op::SyncFolder => Event::SyncFolder { path },
                    _ => Event::Sync { path, file: tape.file(inode(fd)) },
                };
                tape.push(event);
            }
            0
        }
        Answer::Fail(errno) => {
            disk.lose(&path);
            refuse(errno)
        }
        Answer::Lie => {
            disk.lose(&path);
            0
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync_any(fd, || kernel!(SYS_fsync, fd) as c_int)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync_any(fd, || kernel!(SYS_fdatasync, fd) as c_int)
}

fn rename_any(from: *const c_char, to: *const c_char, moves: bool, call: impl FnOnce() -> c_int) -> c_int {
    let Some((disk, target)) = watched_path(to) else { return call() };
    match disk.ask(Op::Rename, &target) {
        Answer::Go => {}
        Answer::Fail(errno) => return refuse(errno),
        Answer::Lie => return 0,
    }
    let tape = disk.tape();
    let done = call();
    if done == 0 {
        if let Some((_, source)) = watched_path(from) {
            disk.renamed(&source, &target);
            if let Some(mut tape) = tape {
                let (from, to) = (disk.below(&source), disk.below(&target));
                tape.push(if moves { Event::Rename { from, to } } else { Event::Link { from, to } });
            }
        }
        disk.made(&target);
    }
    done
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let call = || kernel!(SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int;
    rename_any(from, to, true, call)
}

#[unsafe(no_mangle)]
extern "C" fn linkat(from_at: c_int, from: *const c_char, to_at: c_int, to: *const c_char, flags: c_int) -> c_int {
    rename_any(from, to, false, || kernel!(SYS_linkat, from_at, from, to_at, to, flags) as c_int)
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    if let Some((disk, name)) = watched_path(path) {
        match disk.ask(Op::Unlink, &name) {
            Answer::Go => {}
            Answer::Fail(errno) => return refuse(errno),
            Answer::Lie => return 0,
        }
        let tape = disk.tape();
        let done = kernel!(SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int;
        if let (0, Some(mut tape)) = (done, tape) {
            tape.push(Event::Unlink { path: disk.below(&name) });
        }
        return done;
    }
    kernel!(SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
    if let Some((disk, name)) = watched_path(path) {
        match disk.ask(Op::Folder, &name) {
            Answer::Go => {}
            Answer::Fail(errno) => return refuse(errno),
            Answer::Lie => return 0,
        }
        let tape = disk.tape();
        let done = kernel!(SYS_mkdirat, libc::AT_FDCWD, path, mode) as c_int;
        if let (0, Some(mut tape)) = (done, tape) {
            tape.push(Event::Folder { path: disk.below(&name) });
        }
        return done;
    }
    kernel!(SYS_mkdirat, libc::AT_FDCWD, path, mode) as c_int
}

fn truncate_any(fd: c_int, length: i64) -> c_int {
    if let Some((disk, path)) = tracked(fd) {
        match disk.ask(Op::Truncate, &path) {
            Answer::Go => disk.remember(&path, length, usize::MAX),
            Answer::Fail(errno) => return refuse(errno),
            Answer::Lie => return 0,
        }
        let tape = disk.tape();
        let done = kernel!(SYS_ftruncate, fd, length) as c_int;
        if let (0, Some(mut tape)) = (done, tape) {
            let file = tape.file(inode(fd));
            tape.push(Event::Length { file, length: length as usize });
        }
        return done;
    }
    kernel!(SYS_ftruncate, fd, length) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: i64) -> c_int {
    truncate_any(fd, length)
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: i64) -> c_int {
    truncate_any(fd, length)
}

#[test]
fn it_fails_loses_and_lies() {
    use std::io::Write;

    let folder = crate::script::scratch();
    let watch = watch(folder.path());
    let path = folder.path().join("a");
    let write = |text: &str| std::fs::File::options().append(true).create(true).open(&path)?.write_all(text.as_bytes());
    let sync = || std::fs::File::open(&path)?.sync_all();
    let none = Fault::none();

    watch.0.arm(none);
    write("on disk").unwrap();
    sync().unwrap();
    write(", not yet").unwrap();
    assert_eq!(watch.0.trace(), [Op::Create, Op::Write, Op::Open, Op::Sync, Op::Open, Op::Write]);
    std::fs::File::open(folder.path()).unwrap().sync_all().unwrap();
    watch.0.arm(Fault { nth: 2, errno: libc::ENOSPC, ..none });
    assert_eq!(write("no").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(watch.0.reached(), Some(format!("Write of {}", path.display())));
    write(", more").unwrap();
    watch.0.arm(Fault { counts: |op, _| op == Op::Sync, nth: 1, errno: libc::EIO, ..none });
    write(", lost").unwrap();
    assert_eq!(sync().unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "on disk, not yet, more");
    watch.0.arm(Fault { counts: |op, _| op == Op::Write, nth: 1, lie: true, sticky: true, ..none });
    write(", a lie").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "on disk, not yet, more");
    watch.0.arm(Fault { counts: |op, _| op == Op::SyncFolder, nth: 1, errno: libc::EIO, ..none });
    let other = folder.path().join("b");
    std::fs::rename(&path, &other).unwrap();
    assert!(std::fs::File::open(folder.path()).unwrap().sync_all().is_err());
    assert!(!other.exists(), "a name that was not on the disk");
}
