//! A local directory as an object store whose writes survive power loss.
//!
//! `object_store`'s own local store leaves flushing to the operating system. This one passes reads and uploads on to it
//! and, before it reports success, flushes the file and every directory from the file's up to the root of the store. It
//! never promises that an overwrite is atomic across a power loss: the store above writes each name once.
//!
//! A file is written under its name with `#1` behind it, and then renamed. What a crash or an error leaves there goes with
//! the name: to delete a file deletes both, so that whoever knows the name can leave nothing behind.

use std::fmt;
use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use crate::cold::files::is_staged;
use crate::log::FileKind;

/// The object store of a local directory.
#[derive(Debug)]
pub struct DurableLocal {
    local: Arc<LocalFileSystem>,
    flusher: Arc<Flusher>,
}

impl DurableLocal {
    /// Opens the directory `root`, which exists.
    pub fn open(root: impl AsRef<FsPath>) -> crate::error::Result<DurableLocal> {
        let root = std::fs::canonicalize(root)?;
        let local = Arc::new(LocalFileSystem::new_with_prefix(&root)?);
        Ok(DurableLocal { local, flusher: Arc::new(Flusher::new(root)) })
    }

    /// Removes what a process that was killed left of files that it was writing: they lie beside their names until they
    /// are whole. Only names that the store mints are looked at. For whoever owns the store, before it writes.
    pub fn remove_staged(&self) {
        for folder in [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest].map(FileKind::folder) {
            let Ok(listing) = std::fs::read_dir(self.flusher.root.join(folder)) else { continue };
            for entry in listing.flatten() {
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if is_staged(&name)
                    && let Err(error) = std::fs::remove_file(entry.path())
                {
                    tracing::warn!(file = %name, %error, "left what a crash left of a file");
                }
            }
        }
    }

    async fn flush_file(&self, location: &Path) -> Result<()> {
        flush_file(&self.flusher, self.local.path_to_filesystem(location)?).await
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLocal({})", self.flusher.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if !matches!(opts.mode, PutMode::Create) {
            let result = self.local.put_opts(location, payload, opts).await?;
            self.flush_file(location).await?;
            return Ok(result);
        }
        let (flusher, path) = (self.flusher.clone(), self.local.path_to_filesystem(location)?);
        let taken = path.clone();
        match spawned(move || flusher.create(&path, &payload)).await? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(source) if source.kind() == ErrorKind::AlreadyExists => {
                let path = taken.display().to_string();
                Err(object_store::Error::AlreadyExists { path, source: Box::new(source) })
            }
            Err(source) => Err(failed(source)),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let path = self.local.path_to_filesystem(location)?;
        let upload = self.local.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { upload, path, flusher: self.flusher.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.local.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.local.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (local, flusher) = (self.local.clone(), self.flusher.clone());
        locations
            .and_then(move |location| {
                let (local, flusher) = (local.clone(), flusher.clone());
                async move {
                    let path = local.path_to_filesystem(&location)?;
                    let staged = staged(&path);
                    fail::fail_point!("delete::before");
                    blocking(move || remove(&staged)).await?;
                    let deleted = local.delete(&location).await;
                    // One that is gone may have gone a moment ago, and its folder not have been flushed.
                    if matches!(deleted, Ok(()) | Err(object_store::Error::NotFound { .. })) {
                        fail::fail_point!("delete::unlinked");
                        blocking(move || flusher.directories_left(&path)).await?;
                    }
                    deleted.map(|()| location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.local.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.local.copy_opts(from, to, options).await?;
        self.flush_file(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.local.rename_opts(from, to, options).await?;
        self.flush_file(to).await?;
        let (flusher, from) = (self.flusher.clone(), self.local.path_to_filesystem(from)?);
        blocking(move || flusher.directories(&from)).await
    }
}

#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    path: PathBuf,
    flusher: Arc<Flusher>,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        fail::fail_point!("upload::part");
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        fail::fail_point!("upload::before");
        let result = self.upload.complete().await?;
        fail::fail_point!("upload::renamed");
        flush_file(&self.flusher, self.path.clone()).await?;
        fail::fail_point!("upload::after");
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

/// What calls fsync. Tests ask it what it flushed.
#[derive(Debug)]
struct Flusher {
    root: PathBuf,
    #[cfg(test)]
    flushed: parking_lot::Mutex<Vec<PathBuf>>,
}

impl Flusher {
    fn new(root: PathBuf) -> Flusher {
        Flusher {
            root,
            #[cfg(test)]
            flushed: parking_lot::Mutex::default(),
        }
    }

    fn flush(&self, path: &FsPath) -> std::io::Result<()> {
        self.sync(&File::open(path)?, path)
    }

    fn sync(&self, file: &File, _path: &FsPath) -> std::io::Result<()> {
        file.sync_all()?;
        #[cfg(test)]
        self.flushed.lock().push(_path.to_owned());
        Ok(())
    }

    /// Writes a new file, durably. `AlreadyExists` if there is one of this name.
    fn create(&self, path: &FsPath, payload: &PutPayload) -> std::io::Result<()> {
        let staged = staged(path);
        let written = self.write(&staged, payload).and_then(|()| match path.try_exists()? {
            true => Err(IoError::new(ErrorKind::AlreadyExists, "a file is written once")),
            false => std::fs::rename(&staged, path),
        });
        if let Err(error) = written {
            // Whatever cannot be removed now goes with the name.
            fail::fail_point!("durable::failed");
            let _ = remove(&staged);
            return Err(error);
        }
        fail::fail_point!("durable::renamed", crate::error::failing);
        self.directories(path)?;
        fail::fail_point!("durable::folder", crate::error::failing);
        Ok(())
    }

    fn write(&self, staged: &FsPath, payload: &PutPayload) -> std::io::Result<()> {
        let create = || File::options().write(true).create_new(true).open(staged);
        let mut file = match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(staged.parent().unwrap_or(&self.root))?;
                create()
            }
            file => file,
        }?;
        fail::fail_point!("durable::created", crate::error::failing);
        payload.iter().try_for_each(|bytes| file.write_all(bytes))?;
        fail::fail_point!("durable::written", crate::error::failing);
        self.sync(&file, staged)?;
        fail::fail_point!("durable::synced", crate::error::failing);
        Ok(())
    }

    /// Flushes the directories above `path` up to the root. Which of them are new is not asked: another writer may
    /// have made one a moment ago and not have flushed it yet, and flushing a clean directory costs nothing.
    fn directories(&self, path: &FsPath) -> std::io::Result<()> {
        if cfg!(not(unix)) {
            return Ok(()); // Elsewhere directories cannot be opened as files.
        }
        for directory in path.ancestors().skip(1) {
            self.flush(directory)?;
            if directory == self.root {
                break;
            }
        }
        Ok(())
    }

    /// As `directories`, of a file that is gone. So may be its folder, and then the name is in none.
    fn directories_left(&self, path: &FsPath) -> std::io::Result<()> {
        match path.parent() {
            Some(folder) if folder.try_exists()? => self.directories(path),
            _ => Ok(()),
        }
    }
}

async fn flush_file(flusher: &Arc<Flusher>, path: PathBuf) -> Result<()> {
    let flusher = flusher.clone();
    blocking(move || {
        flusher.flush(&path)?;
        flusher.directories(&path)
    })
    .await
}

/// Returns where a file stands while it is written: as in `object_store`'s own local store, whose uploads do the same.
fn staged(path: &FsPath) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("#1");
    PathBuf::from(name)
}

/// Removes a file, if it is there.
fn remove(path: &FsPath) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<()> {
    spawned(work).await?.map_err(failed)
}

async fn spawned<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

fn failed(source: IoError) -> object_store::Error {
    object_store::Error::Generic { store: "DurableLocal", source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flushed(store: &DurableLocal) -> Vec<String> {
        let root = &store.flusher.root;
        let taken = std::mem::take(&mut *store.flusher.flushed.lock());
        taken.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[tokio::test]
    async fn every_write_is_flushed_with_its_directories() {
        let root = tempfile::tempdir().unwrap();
        let store = DurableLocal::open(root.path()).unwrap();
        let (a, b) = (Path::from("parts/a"), Path::from("x/y/b"));

        store.put(&a, "hello".into()).await.unwrap();
        assert_eq!(flushed(&store), ["parts/a", "parts", ""]);
        let new = Path::from("deletes/n");
        store.put_opts(&new, "hello".into(), PutMode::Create.into()).await.unwrap();
        assert_eq!(flushed(&store), ["deletes/n#1", "deletes", ""]);
        assert_eq!(store.get(&new).await.unwrap().bytes().await.unwrap(), "hello");
        let again = store.put_opts(&new, "other".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })));
        assert_eq!(store.get(&new).await.unwrap().bytes().await.unwrap(), "hello", "a file is never changed");
        flushed(&store);

        let mut upload = store.put_multipart(&b).await.unwrap();
        upload.put_part("wor".into()).await.unwrap();
        upload.put_part("ld".into()).await.unwrap();
        assert_eq!(flushed(&store), [""; 0]);
        upload.complete().await.unwrap();
        assert_eq!(flushed(&store), ["x/y/b", "x/y", "x", ""]);
        assert_eq!(store.get(&b).await.unwrap().bytes().await.unwrap(), "world");

        store.copy(&a, &Path::from("x/c")).await.unwrap();
        assert_eq!(flushed(&store), ["x/c", "x", ""]);
        store.rename(&Path::from("x/c"), &Path::from("parts/d")).await.unwrap();
        assert_eq!(flushed(&store), ["parts/d", "parts", "", "x", ""]);
        assert_eq!(store.get(&Path::from("parts/d")).await.unwrap().bytes().await.unwrap(), "hello");

        store.delete(&a).await.unwrap();
        assert_eq!(flushed(&store), ["parts", ""]);
        assert!(matches!(store.head(&a).await, Err(object_store::Error::NotFound { .. })));
        let names: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
        assert_eq!(names.len(), 3);
    }

    #[tokio::test]
    async fn what_a_crash_left_of_a_write_goes_with_the_name() {
        let root = tempfile::tempdir().unwrap();
        let store = DurableLocal::open(root.path()).unwrap();
        let path = Path::from("parts/a");
        std::fs::create_dir(root.path().join("parts")).unwrap();
        std::fs::write(root.path().join("parts/a#1"), "hal").unwrap();
        assert!(matches!(store.delete(&path).await, Err(object_store::Error::NotFound { .. })));
        assert_eq!(std::fs::read_dir(root.path().join("parts")).unwrap().count(), 0);
    }

    /// The folder's flush failed after the file went: whoever deletes it again must not take that as done.
    #[tokio::test]
    async fn a_file_that_is_gone_is_deleted_durably_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let store = DurableLocal::open(root.path()).unwrap();
        let path = Path::from("parts/a");
        store.put(&path, "hello".into()).await.unwrap();
        std::fs::remove_file(root.path().join("parts/a")).unwrap();
        flushed(&store);
        assert!(matches!(store.delete(&path).await, Err(object_store::Error::NotFound { .. })));
        assert_eq!(flushed(&store), ["parts", ""]);
        std::fs::remove_dir(root.path().join("parts")).unwrap();
        assert!(matches!(store.delete(&path).await, Err(object_store::Error::NotFound { .. })));
        assert_eq!(flushed(&store), [""; 0]);
    }

    #[tokio::test]
    async fn an_aborted_upload_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = DurableLocal::open(root.path()).unwrap();
        let mut upload = store.put_multipart(&Path::from("parts/a")).await.unwrap();
        upload.put_part("x".into()).await.unwrap();
        upload.abort().await.unwrap();
        assert_eq!(std::fs::read_dir(root.path().join("parts")).unwrap().count(), 0);
    }
}
