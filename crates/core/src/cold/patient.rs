//! An object store over a network, read with patience: what fails for a moment is asked for again, a bounded number of times.
//!
//! It never repeats a write. Of one that failed nobody knows whether it was done; the names of the files that it leaves are
//! the collector's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::env::Env;

/// How long to wait before each further try of a read.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// See the module.
pub struct Patient {
    inner: Arc<dyn ObjectStore>,
    env: Env,
}

impl Patient {
    pub fn new(inner: Arc<dyn ObjectStore>, env: Env) -> Patient {
        Patient { inner, env }
    }

    /// Reads what is asked for to its end: a body that breaks off shows itself only there.
    async fn read(&self, location: &Path, options: GetOptions) -> Result<(GetResult, Bytes)> {
        let is_head = options.head;
        let mut result = self.inner.get_opts(location, options).await?;
        if is_head {
            return Ok((result, Bytes::new()));
        }
        let expected = result.range.end - result.range.start;
        let nothing = GetResultPayload::Stream(stream::empty().boxed());
        let payload = std::mem::replace(&mut result.payload, nothing);
        let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let bytes = GetResult { payload, meta, range, attributes }.bytes().await?;
        if bytes.len() as u64 != expected {
            let source = format!("{location} broke off after {} of {expected} bytes", bytes.len());
            return Err(Error::Generic { store: "remote", source: source.into() });
        }
        Ok((result, bytes))
    }
}

impl fmt::Debug for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Tells whether to ask again may help. So it may where something is not found: nobody reads what is not there, and some
/// stores show a new object late.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::NotFound { .. })
}

/// Leaves out what a refusal says beyond that: it names the key that was refused.
fn plain(error: Error) -> Error {
    let why = "the keys do not allow it";
    match error {
        Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source: why.into() },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source: why.into() },
        error => error,
    }
}

#[async_trait]
impl ObjectStore for Patient {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut pauses = PAUSES.iter();
        loop {
            match (self.read(location, options.clone()).await, pauses.next()) {
                (Ok((mut result, bytes)), _) => {
                    result.payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
                    return Ok(result);
                }
                (Err(error), Some(pause)) if may_pass(&error) => {
                    tracing::debug!(%location, %error, "a read is tried again");
                    self.env.pause(*pause).await;
                }
                (Err(error), _) => return Err(plain(error)),
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).map_err(plain).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset).map_err(plain).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(plain)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await.map_err(plain)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await.map_err(plain)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations).map_err(plain).boxed()
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
