//! Files in storage that speaks S3: where they lie, whether it can be reached, and whose they are.
//!
//! The URL of the place stands in the metastore, never a secret: keys and endpoint come from the `AWS_*` variables of the
//! process. In the place lies one object that is no file of the log, `STORE`, with the store's number: so a metastore never
//! takes another store's files for its own, nor an empty bucket of the same name elsewhere for the loss of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};
use serde::{Deserialize, Serialize};

use crate::cold::durable::DurableLocal;
use crate::cold::files::blocking;
use crate::cold::patient::{NoBucket, PATIENCE, Patient};
use crate::cold::to_hex;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::log::Metastore;

/// A place in S3-compatible storage: `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    name: String,
    /// Without slashes at its ends; empty for the whole bucket.
    prefix: String,
}

/// What a store remembers of where its files lie.
#[derive(Serialize, Deserialize)]
struct Home {
    url: String,
    store: String,
}

/// The setting that holds [`Home`].
const HOME_SETTING: &str = "objects";
/// The object that says whose a place is.
const OWNER: &str = "STORE";

/// How long one request may take: a part of 8 MiB, or a file that is read whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How a request is tried again that the storage refuses for a moment, or that does not get there: for so long, however often.
const RETRY: RetryConfig = RetryConfig {
    max_retries: 100,
    retry_timeout: PATIENCE,
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 3.0 },
};
/// As `RETRY` for the first request of all: whoever waits for it may have mistyped where to.
const FIRST_RETRY: RetryConfig = RetryConfig { max_retries: 2, retry_timeout: CONNECT_TIMEOUT, ..RETRY };
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);

impl Bucket {
    /// Reads `s3://bucket/prefix`.
    pub fn parse(url: &str) -> Result<Bucket> {
        const HINT: &str = "Write s3://bucket/prefix; keys and endpoint come from AWS_ACCESS_KEY_ID, \
                            AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.";
        // What is wrong with it may be that it holds a password: it is not repeated.
        let wrong = |what: &str| Error::invalid(format!("The URL for objects {what}.")).with_hint(HINT);
        let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("does not begin with s3://"))?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if !(3..=63).contains(&name.len()) || !name.bytes().all(is_name) || name.starts_with(['.', '-']) {
            return Err(wrong("does not name a bucket"));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_folder = |folder: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-=".contains(&byte);
            !folder.is_empty() && folder != "." && folder != ".." && folder.bytes().all(is_plain)
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_folder) {
            return Err(wrong("has a prefix with other signs than letters, digits, '.', '_', '-', '=' and '/'"));
        }
        Ok(Bucket { name: name.to_owned(), prefix: prefix.to_owned() })
    }

    /// Returns the store of the objects there. Asks nobody anything yet.
    fn connect(&self, env: &Env, retry: RetryConfig) -> Result<Arc<dyn ObjectStore>> {
        let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let allows_http = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        let s3 = AmazonS3Builder::from_env()
            .with_client_options(client.with_allow_http(allows_http))
            .with_bucket_name(&self.name)
            .with_retry(retry)
            .build()
            .map_err(|error| self.unreachable(error))?;
        let objects: Arc<dyn ObjectStore> = match self.prefix.as_str() {
            "" => Arc::new(s3),
            prefix => Arc::new(PrefixStore::new(s3, prefix)),
        };
        Ok(Arc::new(Patient::new(objects, env.clone())))
    }

    /// Makes sure that the bucket is there and lets us look. Changes nothing.
    pub async fn reach(&self, env: &Env) -> Result<()> {
        let objects = self.connect(env, FIRST_RETRY)?;
        let mut listed = objects.list(None);
        match tokio::time::timeout(FIRST_TIMEOUT, listed.try_next()).await {
            Ok(first) => first.map(drop).map_err(|error| self.unreachable(error)),
            Err(_) => Err(self.away(format!("no answer for {} seconds", FIRST_TIMEOUT.as_secs()))),
        }
    }

    fn unreachable(&self, error: object_store::Error) -> Error {
        use object_store::Error as Refused;
        match error {
            Refused::Generic { source, .. } if source.is::<NoBucket>() => {
                Error::unavailable(format!("There is no bucket '{}'.", self.name))
                    .with_hint("Make it first, or correct the URL for objects, AWS_REGION or AWS_ENDPOINT_URL.")
            }
            // The answer's text may name the key.
            Refused::PermissionDenied { .. } | Refused::Unauthenticated { .. } => {
                Error::unavailable(format!("'{self}' may not be used with these keys."))
                    .with_hint("Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do with the bucket.")
            }
            error => self.away(root(&error).to_string()).with_source(error),
        }
    }

    fn away(&self, why: String) -> Error {
        let keys = match std::env::var_os("AWS_ACCESS_KEY_ID") {
            Some(_) => "the keys",
            None => "the keys (AWS_ACCESS_KEY_ID is not set: they are asked of the machine)",
        };
        Error::unavailable(format!("'{self}' cannot be reached: {why}.")).with_hint(format!(
            "Check the network, AWS_ENDPOINT_URL, AWS_REGION and {keys}; an endpoint with http:// needs \
             AWS_ALLOW_HTTP=true.",
        ))
    }

    /// Takes the place for a store that has no file yet.
    async fn claim(&self, objects: &Arc<dyn ObjectStore>, store: &str) -> Result<()> {
        let owner = Path::from(OWNER);
        let put = || objects.put_opts(&owner, store.to_owned().into(), PutMode::Create.into());
        match put().await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => self.require_owner(objects, store).await?,
            Err(error) => return Err(self.unreachable(error)),
        }
        match put().await {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(self.unreachable(error)),
            Ok(_) => Err(Error::unsupported(format!("The storage of '{self}' overwrites what it is asked to create."))
                .with_hint("Strandline needs storage that honours If-None-Match with PUT, as S3 does.")),
        }
    }

    /// Tells whether the place is taken, by this store. Refuses another's.
    async fn is_taken(&self, objects: &Arc<dyn ObjectStore>, store: &str) -> Result<bool> {
        let read = async { objects.get(&Path::from(OWNER)).await?.bytes().await };
        match read.await {
            Ok(owner) if owner == store.as_bytes() => Ok(true),
            Ok(_) => Err(Error::invalid(format!("'{self}' belongs to another store."))
                .with_hint("Name another prefix: every store needs one of its own.")),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.unreachable(error)),
        }
    }

    async fn require_owner(&self, objects: &Arc<dyn ObjectStore>, store: &str) -> Result<()> {
        match self.is_taken(objects, store).await? {
            true => Ok(()),
            false => Err(Error::unavailable(format!("There are no files of this store in '{self}'."))
                .with_hint("Set AWS_ENDPOINT_URL and AWS_REGION to where they are, or put them back there.")),
        }
    }

    /// Refuses to begin a new store where anything lies.
    async fn check_empty(&self, objects: &Arc<dyn ObjectStore>) -> Result<()> {
        match objects.list(None).try_next().await {
            Ok(None) => Ok(()),
            Ok(Some(meta)) => {
                Err(Error::invalid(format!("'{self}' is not empty: it holds '{}', for one.", meta.location))
                    .with_hint("Name another prefix: a new store needs an empty one of its own."))
            }
            Err(error) => Err(self.unreachable(error)),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.as_str() {
            "" => write!(f, "s3://{}", self.name),
            prefix => write!(f, "s3://{}/{prefix}", self.name),
        }
    }
}

/// Returns the first of an error's causes, which says what happened; those above it say to whom.
fn root<'e>(error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    error.source().map_or(error, root)
}

/// Returns the URL of where a store's files lie, as the store remembers it; `None` for its own folder.
pub fn remembered(metastore: &dyn Metastore) -> Result<Option<String>> {
    Ok(home(metastore)?.map(|home| home.url))
}

/// Refuses a place that is not the one where a store keeps its files.
pub fn require(metastore: &dyn Metastore, asked: &Bucket) -> Result<()> {
    match remembered(metastore)? {
        Some(url) if url == asked.to_string() => Ok(()),
        Some(url) => Err(Error::invalid(format!("The store keeps its files in '{url}', not in '{asked}'."))
            .with_hint("Open it with that URL for objects, or with none: it remembers.")),
        None => Err(Error::invalid(format!("The store keeps its files in its own folder, not in '{asked}'."))
            .with_hint("Open it without a URL for objects; for files in S3, make a new store in another folder.")),
    }
}

/// Opens the objects of a store that is there: in S3 if it remembers so, else in its folder.
pub async fn open_objects(
    metastore: &Arc<dyn Metastore>,
    folder: &std::path::Path,
    env: &Env,
) -> Result<Arc<dyn ObjectStore>> {
    match open_remote(metastore, None, env).await? {
        Some(objects) => Ok(objects),
        None => Ok(Arc::new(DurableLocal::open(folder)?)),
    }
}

fn home(metastore: &dyn Metastore) -> Result<Option<Home>> {
    Ok(metastore.setting(HOME_SETTING)?.map(|home| serde_json::from_str(&home)).transpose()?)
}

/// Returns the objects of a store whose files lie elsewhere than in its folder. `asked` is where they are said to lie, a place
/// that was reached: a store without a commit takes it, any other refuses what is not its own.
pub async fn open_remote(
    metastore: &Arc<dyn Metastore>,
    asked: Option<&Bucket>,
    env: &Env,
) -> Result<Option<Arc<dyn ObjectStore>>> {
    let is_new = metastore.newest()?.is_none();
    let kept = home(&**metastore)?;
    if let Some(asked) = asked.filter(|_| kept.is_some() || !is_new) {
        require(&**metastore, asked)?;
    }
    match (kept, asked) {
        (None, None) => Ok(None),
        (None, Some(bucket)) => {
            let objects = bucket.connect(env, RETRY)?;
            bucket.check_empty(&objects).await?;
            let mut number = [0; 16];
            env.fill_random(&mut number);
            let home = Home { url: bucket.to_string(), store: to_hex(&number) };
            let (metastore, said) = (metastore.clone(), serde_json::to_string(&home)?);
            // Before the place is taken, so that a crash leaves nothing that nobody knows.
            let put = metastore.clone();
            blocking(move || put.put_setting(HOME_SETTING, &said)).await?;
            if let Err(error) = bucket.claim(&objects, &home.store).await {
                blocking(move || metastore.drop_setting(HOME_SETTING)).await?;
                return Err(error);
            }
            Ok(Some(objects))
        }
        (Some(home), _) => {
            let bucket = Bucket::parse(&home.url)?;
            if asked.is_none() {
                bucket.reach(env).await?;
            }
            let objects = bucket.connect(env, RETRY)?;
            // One that a crash left between its number and its place has no files yet.
            match is_new && !bucket.is_taken(&objects, &home.store).await? {
                true => bucket.claim(&objects, &home.store).await?,
                false => bucket.require_owner(&objects, &home.store).await?,
            }
            Ok(Some(objects))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_url_names_a_bucket_and_a_prefix() {
        for (url, shown) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://my.bucket-1/a/b_c=2/", "s3://my.bucket-1/a/b_c=2"),
        ] {
            assert_eq!(Bucket::parse(url).unwrap().to_string(), shown);
        }
        for url in [
            "",
            "bucket/prefix",
            "file:///tmp/x",
            "https://bucket.s3.amazonaws.com/x",
            "s3://",
            "s3://ab",
            "s3:///prefix",
            "s3://Bucket/x",
            "s3://key:secret@bucket/x",
            "s3://bucket/a//b",
            "s3://bucket/../x",
            "s3://bucket/a?versionId=1",
            "s3://bucket/a b",
            "s3://bucket/%2e%2e",
            "s3://169.254.169.254:80/latest",
        ] {
            let error = Bucket::parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            let said = error.to_string();
            assert!(said.contains("s3://bucket/prefix") && !said.contains("secret"), "{said}");
        }
    }
}
