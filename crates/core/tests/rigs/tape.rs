//! What a process asked of the disk below a folder, in order and with the data, and the folder as a power loss may leave it.
//!
//! ```text
//!   create, write, length, rename, unlink, mkdir, fsync … ─► a tape ─► cut anywhere ─► an image: a folder
//!
//!   of a file     everything up to its last fsync, and of what was written later any part
//!   of a folder   the names up to its last fsync, and of what was named later any part: a file's fsync keeps no name
//! ```
//! That is as little as POSIX promises, and less than any one file system keeps. What was written through shared memory
//! (SQLite's `-shm`) is not on the tape: such a file comes back as garbage.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

/// What a disk keeps in any case.
const SECTOR: usize = 512;

/// A file, whatever it is called: a number of its own.
pub type FileNumber = usize;

/// One call that changes something. Paths are those below the folder.
#[derive(Clone, Debug)]
pub enum Event {
    Create {
        path: PathBuf,
        file: FileNumber,
    },
    Write {
        file: FileNumber,
        at: usize,
        bytes: Arc<[u8]>,
    },
    Length {
        file: FileNumber,
        length: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// A second name for a file.
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    Folder {
        path: PathBuf,
    },
    Sync {
        path: PathBuf,
        file: FileNumber,
    },
    SyncFolder {
        path: PathBuf,
    },
}

/// What was asked, in order.
#[derive(Default)]
pub struct Tape {
    /// What stood in the folder before, on the disk.
    pub before: Model,
    pub events: Vec<Event>,
    /// Which file has a number of the kernel's now.
    inodes: HashMap<u64, FileNumber>,
    files: FileNumber,
}

impl Tape {
    /// Begins with a folder as it stands.
    pub fn of(root: &Path) -> Tape {
        let mut tape = Tape::default();
        tape.take_in(root, Path::new(""));
        tape.before.settle();
        tape
    }

    fn take_in(&mut self, root: &Path, below: &Path) {
        use std::os::unix::fs::MetadataExt;

        for entry in std::fs::read_dir(root.join(below)).expect("the folder is there") {
            let entry = entry.expect("the folder can be read");
            let path = below.join(entry.file_name());
            let metadata = entry.metadata().expect("the file is there");
            if metadata.is_dir() {
                self.before.apply(&Event::Folder { path: path.clone() });
                self.take_in(root, &path);
            } else {
                let bytes = std::fs::read(entry.path()).expect("the file can be read");
                let file = self.number(metadata.ino());
                self.before.apply(&Event::Create { path, file });
                self.before.apply(&Event::Write { file, at: 0, bytes: bytes.into() });
            }
        }
    }

    fn number(&mut self, inode: u64) -> FileNumber {
        self.files += 1;
        self.inodes.insert(inode, self.files);
        self.files
    }

    pub fn created(&mut self, path: PathBuf, inode: u64) {
        let file = self.number(inode);
        self.events.push(Event::Create { path, file });
    }

    /// Returns the file of an open descriptor's inode.
    pub fn file(&self, inode: u64) -> FileNumber {
        self.inodes[&inode]
    }

    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Node {
    File(FileNumber),
    Folder,
}

/// A change of a file that is not on the disk for sure.
#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Arc<[u8]> },
    Length(usize),
}

/// A change of a folder's names that is not on the disk for sure.
#[derive(Clone)]
struct Naming {
    removed: Option<PathBuf>,
    put: Option<(PathBuf, Node)>,
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    later: Vec<Change>,
}

#[derive(Clone, Default)]
struct Folder {
    durable: BTreeMap<PathBuf, Node>,
    later: Vec<Naming>,
}

/// A disk and its cache after some events.
#[derive(Clone, Default)]
pub struct Model {
    files: HashMap<FileNumber, File>,
    folders: BTreeMap<PathBuf, Folder>,
    /// What the process sees.
    names: HashMap<PathBuf, Node>,
}

/// How much of what was not synced is there all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    None,
    Some,
    All,
    /// Of each file and of each folder, another.
    Mixed,
}

impl Model {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { path, file } => {
                self.files.insert(*file, File::default());
                self.name(None, Some((path.clone(), Node::File(*file))));
            }
            Event::Write { file, at, bytes, .. } => {
                let change = Change::Write { at: *at, bytes: bytes.clone() };
                self.files.entry(*file).or_default().later.push(change);
            }
            Event::Length { file, length } => {
                self.files.entry(*file).or_default().later.push(Change::Length(*length));
            }
            Event::Rename { from, to } => {
                let node = self.names[from];
                self.name(Some(from.clone()), Some((to.clone(), node)));
            }
            Event::Link { from, to } => {
                let node = self.names[from];
                self.name(None, Some((to.clone(), node)));
            }
            Event::Unlink { path } => self.name(Some(path.clone()), None),
            Event::Folder { path } => self.name(None, Some((path.clone(), Node::Folder))),
            Event::Sync { file, .. } => self.files.entry(*file).or_default().settle(),
            Event::SyncFolder { path } => self.folder(path.clone()).settle(),
        }
    }

    fn name(&mut self, removed: Option<PathBuf>, put: Option<(PathBuf, Node)>) {
        if let Some(path) = &removed {
            self.names.remove(path);
        }
        if let Some((path, node)) = &put {
            self.names.insert(path.clone(), *node);
        }
        let (from, to) = (removed.as_deref().map(parent), put.as_ref().map(|(path, _)| parent(path)));
        match (from, to) {
            // Each of the two folders knows of its half.
            (Some(from), Some(to)) if from != to => {
                self.folder(to).later.push(Naming { removed: None, put });
                self.folder(from).later.push(Naming { removed, put: None });
            }
            (from, to) => {
                let folder = to.or(from).expect("something is named");
                self.folder(folder).later.push(Naming { removed, put });
            }
        }
    }

    fn folder(&mut self, path: PathBuf) -> &mut Folder {
        self.folders.entry(path).or_default()
    }

    /// Puts everything on the disk.
    fn settle(&mut self) {
        self.files.values_mut().for_each(File::settle);
        self.folders.values_mut().for_each(Folder::settle);
    }

    /// Makes the folder as a power loss now may leave it.
    pub fn image(&self, target: &Path, later: Later, rng: &mut StdRng) {
        std::fs::create_dir_all(target).expect("there is room for the image");
        self.image_of(Path::new(""), target, later, rng);
    }

    fn image_of(&self, folder: &Path, target: &Path, later: Later, rng: &mut StdRng) {
        let Some(names) = self.folders.get(folder) else { return };
        for (path, node) in names.after_loss(later.choose(rng), rng) {
            match node {
                Node::Folder => {
                    std::fs::create_dir(target.join(&path)).expect("the image's folder is new");
                    self.image_of(&path, target, later, rng);
                }
                Node::File(file) => {
                    let mut bytes = self.files[&file].after_loss(later.choose(rng), rng);
                    if path.to_string_lossy().ends_with("-shm") {
                        rng.fill(&mut bytes[..]);
                    }
                    std::fs::write(target.join(&path), bytes).expect("there is room for the image");
                }
            }
        }
    }
}

impl Later {
    pub const EACH: [Later; 4] = [Later::None, Later::Some, Later::All, Later::Mixed];

    fn choose(self, rng: &mut StdRng) -> Later {
        match self {
            Later::Mixed => Later::EACH[rng.random_range(0..3)],
            later => later,
        }
    }

    fn keeps(self, rng: &mut StdRng) -> bool {
        match self {
            Later::None => false,
            Later::All => true,
            Later::Some | Later::Mixed => rng.random(),
        }
    }
}

impl File {
    fn settle(&mut self) {
        for change in std::mem::take(&mut self.later) {
            match change {
                Change::Write { at, bytes } => put(&mut self.durable, at, &bytes),
                Change::Length(length) => self.durable.resize(length, 0),
            }
        }
    }

    fn after_loss(&self, later: Later, rng: &mut StdRng) -> Vec<u8> {
        let mut kept = self.durable.clone();
        for change in &self.later {
            match change {
                Change::Length(length) if later.keeps(rng) => kept.resize(*length, 0),
                Change::Length(_) => {}
                Change::Write { at, bytes } => match (later, rng.random_range(0..4)) {
                    (Later::None, _) | (Later::Some, 0) => {}
                    (Later::All, _) | (Later::Some, 1) => put(&mut kept, *at, bytes),
                    // The length, but not what should stand there.
                    (_, 2) => kept.resize(kept.len().max(at + bytes.len()), 0),
                    // Some of its sectors.
                    _ => {
                        let piece = SECTOR.max(bytes.len() / 64 / SECTOR * SECTOR);
                        let (mut from, end) = (*at, at + bytes.len());
                        while from < end {
                            let to = ((from / piece + 1) * piece).min(end);
                            if rng.random() {
                                put(&mut kept, from, &bytes[from - at..to - at]);
                            }
                            from = to;
                        }
                    }
                },
            }
        }
        kept
    }
}

impl Folder {
    fn settle(&mut self) {
        for naming in std::mem::take(&mut self.later) {
            naming.apply(&mut self.durable);
        }
    }

    fn after_loss(&self, later: Later, rng: &mut StdRng) -> BTreeMap<PathBuf, Node> {
        let mut kept = self.durable.clone();
        self.later.iter().filter(|_| later.keeps(rng)).for_each(|naming| naming.apply(&mut kept));
        kept
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        if let Some(path) = &self.removed {
            names.remove(path);
        }
        if let Some((path, node)) = &self.put {
            names.insert(path.clone(), *node);
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = at + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(new);
}

#[test]
fn an_image_keeps_what_was_synced_and_nothing_for_sure_beside_it() {
    use std::io::Write;

    use rand::SeedableRng;

    let scratch = crate::script::scratch();
    let root = scratch.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("old"), "old").unwrap();
    let watch = crate::disk::record(&root);
    let file = |name: &str, text: &str| {
        let mut file = std::fs::File::create(root.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let sync_folder = || std::fs::File::open(&root).unwrap().sync_all().unwrap();
    file("synced#1", "kept").sync_all().unwrap();
    std::fs::rename(root.join("synced#1"), root.join("synced")).unwrap();
    file("named", "lost");
    sync_folder();
    file("unnamed", "lost").sync_all().unwrap();
    std::fs::remove_file(root.join("old")).unwrap();
    let tape = watch.0.take_tape();
    let mut model = tape.before.clone();
    tape.events.iter().for_each(|event| model.apply(event));
    let image = |number: usize, later| {
        let target = scratch.path().join(number.to_string());
        model.image(&target, later, &mut StdRng::seed_from_u64(number as u64));
        let read = |name: &str| std::fs::read_to_string(target.join(name)).ok();
        ["synced#1", "synced", "named", "unnamed", "old"].map(read)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(image(0, Later::None), [None, some("kept"), some(""), None, some("old")]);
    assert_eq!(image(1, Later::All), [None, some("kept"), some("lost"), some("lost"), None]);
    let mut seen = std::collections::BTreeSet::new();
    for number in 2..400 {
        let [staged, synced, named, unnamed, old] = image(number, Later::Mixed);
        assert_eq!((staged, synced), (None, some("kept")));
        assert!(["", "lost", "\0\0\0\0"].contains(&named.as_deref().unwrap()), "{named:?}");
        seen.insert((named, unnamed.is_some(), old.is_some()));
    }
    assert_eq!(seen.len(), 12, "everything that may be, is");
}
