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

/// For how long a request is tried again by whatever sends it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

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
fn may_pass(error: &Error, is_early: bool) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Generic { .. } => is_early,
        _ => false,
    }
}

/// There is no bucket: that its objects are not found says nothing of them.
#[derive(Debug)]
pub(super) struct NoBucket;

impl fmt::Display for NoBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such bucket")
    }
}

impl std::error::Error for NoBucket {}

/// Says what a refusal is by its kind, and leaves out what its text says beyond that: it names the key that was refused. Of
/// a list that is refused, only the code in the answer tells.
fn plain(error: Error) -> Error {
    let denied = |path| Error::PermissionDenied { path, source: "the keys do not allow it".into() };
    let no_bucket = || Error::Generic { store: "S3", source: Box::new(NoBucket) };
    match error {
        Error::PermissionDenied { path, .. } | Error::Unauthenticated { path, .. } => denied(path),
        Error::NotFound { source, .. } if code(&source.to_string()) == Some("NoSuchBucket") => no_bucket(),
        Error::Generic { store, source } => match code(&source.to_string()) {
            Some("NoSuchBucket") => no_bucket(),
            Some(
                "AccessDenied"
                | "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "AllAccessDisabled",
            ) => denied(String::new()),
            _ => Error::Generic { store, source },
        },
        error => error,
    }
}

/// Finds the code in an answer of S3's.
fn code(said: &str) -> Option<&str> {
    said.split_once("<Code>")?.1.split_once("</Code>").map(|(code, _)| code)
}

#[async_trait]
impl ObjectStore for Patient {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut pauses = PAUSES.iter();
        // What took so long to fail was tried again below; that something is not found is not.
        let last_try = self.env.passed().saturating_add(PATIENCE.as_micros() as i64 / 2);
        loop {
            match (self.read(location, options.clone()).await, pauses.next()) {
                (Ok((mut result, bytes)), _) => {
                    result.payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
                    return Ok(result);
                }
                (Err(error), Some(pause)) if may_pass(&error, self.env.passed() < last_try) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_no_key() {
        let generic = |code: &str| {
            let source =
                format!("403 Forbidden: <Error><Code>{code}</Code><AWSAccessKeyId>AKIA7</AWSAccessKeyId></Error>");
            plain(Error::Generic { store: "S3", source: source.into() })
        };
        for error in [
            generic("AccessDenied"),
            generic("InvalidAccessKeyId"),
            plain(Error::Unauthenticated { path: "p".into(), source: "AKIA7".into() }),
        ] {
            assert!(matches!(error, Error::PermissionDenied { .. }) && !format!("{error:?}").contains("AKIA7"));
        }
        let said = || "404 Not Found: <Error><Code>NoSuchBucket</Code></Error>".into();
        for error in [generic("NoSuchBucket"), plain(Error::NotFound { path: "p".into(), source: said() })] {
            assert!(matches!(error, Error::Generic { source, .. } if source.is::<NoBucket>()));
        }
        assert!(matches!(plain(Error::NotFound { path: "p".into(), source: "404".into() }), Error::NotFound { .. }));
        assert!(matches!(generic("SlowDown"), Error::Generic { .. }));
    }
}
