//! A local directory as an object store whose writes survive power loss.
//!
//! `object_store`'s own local store leaves flushing to the operating system. This one passes everything on to it and,
//! before it reports success, flushes the file and every directory from the file's up to the root of the store. It
//! never promises that an overwrite is atomic across a power loss: the store above writes each name once.

use std::fmt;
use std::fs::File;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
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
        let result = self.local.put_opts(location, payload, opts).await?;
        self.flush_file(location).await?;
        Ok(result)
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
        self.local
            .delete_stream(locations)
            .and_then(move |location| {
                let (local, flusher) = (local.clone(), flusher.clone());
                async move {
                    let path = local.path_to_filesystem(&location)?;
                    blocking(move || flusher.directories(&path)).await?;
                    Ok(location)
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
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        flush_file(&self.flusher, self.path.clone()).await?;
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
        File::open(path)?.sync_all()?;
        #[cfg(test)]
        self.flushed.lock().push(path.to_owned());
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
}

async fn flush_file(flusher: &Arc<Flusher>, path: PathBuf) -> Result<()> {
    let flusher = flusher.clone();
    blocking(move || {
        flusher.flush(&path)?;
        flusher.directories(&path)
    })
    .await
}

async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await?
        .map_err(|source| object_store::Error::Generic { store: "DurableLocal", source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

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
        assert_eq!(names.len(), 2);
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
