//! From an address and the caller's environment to an open store.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;

use super::{Store, StoreError};
use crate::secret::Secret;

/// How long one request for a lease may take. Well within the time for which a lease is good.
const REQUEST: Duration = Duration::from_secs(8);
/// How long one request for a piece of a file may take, over a slow line.
const FILE_REQUEST: Duration = Duration::from_secs(60);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How often, and for how long in all, a request is tried again by itself.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(10);

/// Names of the variables that hold a key's two parts, first choice first.
const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY"),
];

/// What a place is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Locks: small objects, soon.
    Locks,
    /// Files: large objects, in time.
    Files,
}

/// A folder's path as the address of a store; what is an address stays as it is.
pub(super) fn of_path(given: &str) -> Result<String, StoreError> {
    if given.contains("://") {
        return Ok(given.to_owned());
    }
    let bad = |why: String| StoreError::Address {
        given: given.to_owned(),
        why,
    };
    let path = std::path::absolute(given).map_err(|error| bad(error.to_string()))?;
    match Url::from_file_path(&path) {
        Ok(url) => Ok(url.to_string()),
        Err(()) => Err(bad("it is no path of a folder".to_owned())),
    }
}

/// Opens a place; `variable` reads the environment.
pub(super) fn open(
    address: &str,
    purpose: For,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Store, StoreError> {
    let bad = |given: &str, why: &str| StoreError::Address {
        given: given.to_owned(),
        why: why.to_owned(),
    };
    // What stands before an `@` may be a password.
    let shown = match address.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => address.to_owned(),
    };
    let url = Url::parse(address).map_err(|error| bad(&shown, &error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            &shown,
            "credentials do not belong in it, but in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad(&shown, "`?` and `#` have no place in it"));
    }
    match url.scheme() {
        "file" => folder(address, &url),
        "s3" => bucket(address, &url, purpose, variable),
        other => Err(bad(&shown, &format!("`{other}` is no kind of store"))),
    }
}

fn folder(address: &str, url: &Url) -> Result<Store, StoreError> {
    let bad = |why: String| StoreError::Address {
        given: address.to_owned(),
        why,
    };
    let path = url
        .to_file_path()
        .map_err(|()| bad("a folder of this machine has three slashes".to_owned()))?;
    if !path.is_dir() {
        return Err(bad(format!("there is no folder {}", path.display())));
    }
    let objects =
        LocalFileSystem::new_with_prefix(&path).map_err(|error| bad(error.to_string()))?;
    Ok(Store {
        objects: Arc::new(objects.with_fsync(true)),
        prefix: Path::default(),
        address: address.to_owned(),
        folder: Some(path),
        credentials: Arc::new([]),
    })
}

fn bucket(
    address: &str,
    url: &Url,
    purpose: For,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Store, StoreError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let bad = |why: String| StoreError::Address {
        given: address.to_owned(),
        why,
    };
    let bucket = url
        .host_str()
        .filter(|_| url.port().is_none())
        .ok_or_else(|| bad("a bucket's name comes after the two slashes".to_owned()))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| bad(error.to_string()))?;
    let (id, key, is_spaces) = key(address, set)?;
    let endpoint = endpoint(address, is_spaces, set)?;
    let region = set("AWS_REGION")
        .or_else(|| set("AWS_DEFAULT_REGION"))
        .unwrap_or_else(|| "us-east-1".to_owned());
    let token = set("AWS_SESSION_TOKEN").filter(|_| !is_spaces);
    let mut credentials = vec![Secret::new(id.clone()), Secret::new(key.clone())];
    crate::cloud::install_crypto();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_access_key_id(id)
        .with_secret_access_key(key)
        // Path-style: a server of one's own has no name for each bucket.
        .with_virtual_hosted_style_request(false)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
        })
        .with_client_options(
            ClientOptions::new()
                .with_timeout(match purpose {
                    For::Locks => REQUEST,
                    For::Files => FILE_REQUEST,
                })
                .with_connect_timeout(CONNECT)
                .with_allow_http(
                    endpoint
                        .as_ref()
                        .is_some_and(|endpoint| endpoint.starts_with("http://")),
                ),
        );
    if let Some(token) = token {
        credentials.push(Secret::new(token.clone()));
        builder = builder.with_token(token);
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let objects: Arc<dyn ObjectStore> = match builder.build() {
        Ok(objects) => Arc::new(objects),
        Err(error) => {
            let doing = "open the bucket".to_owned();
            return Err(StoreError::of(address, doing, &error, &credentials));
        }
    };
    Ok(Store {
        objects,
        prefix,
        address: address.trim_end_matches('/').to_owned(),
        folder: None,
        credentials: credentials.into(),
    })
}

/// The two parts of the key, and whether it is one of Spaces.
fn key(
    address: &str,
    set: impl Fn(&str) -> Option<String>,
) -> Result<(String, String, bool), StoreError> {
    let mut missing = None;
    for (position, (id_name, key_name)) in KEYS.into_iter().enumerate() {
        match (set(id_name), set(key_name)) {
            (Some(id), Some(key)) => return Ok((id, key, position == 1)),
            (Some(_), None) => missing = missing.or(Some(format!("{key_name} is"))),
            (None, Some(_)) => missing = missing.or(Some(format!("{id_name} is"))),
            (None, None) => {}
        }
    }
    Err(StoreError::NoCredentials {
        address: address.to_owned(),
        missing: missing
            .unwrap_or_else(|| "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are".to_owned()),
    })
}

/// Where the bucket is, if not at Amazon.
fn endpoint(
    address: &str,
    is_spaces: bool,
    set: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, StoreError> {
    let names = [
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "SPACES_ENDPOINT_URL",
    ];
    let names = if is_spaces { &names[..] } else { &names[..2] };
    let bad = |why: String| StoreError::Endpoint {
        address: address.to_owned(),
        why,
    };
    let Some((name, endpoint)) = names.iter().find_map(|name| Some((*name, set(name)?))) else {
        return match is_spaces {
            true => Err(bad("a key of Spaces fits no other place".to_owned())),
            false => Ok(None),
        };
    };
    let url = Url::parse(&endpoint).map_err(|error| bad(format!("{name}: {error}")))?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_plain {
        return Err(bad(format!("{name} is no http or https address")));
    }
    Ok(Some(endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(address: &str, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        match open(address, For::Locks, variable) {
            Ok(store) => format!(
                "{} prefix [{}] {:?}",
                store.address, store.prefix, store.objects
            ),
            Err(error) => error.to_string(),
        }
    }

    const KEY: [(&str, &str); 2] = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "very-secret"),
    ];

    #[test]
    fn what_is_no_address_is_refused() {
        let mut said = String::new();
        for address in [
            "bucket/prefix",
            "s3:///prefix",
            "s3://AKIAEXAMPLE:very-secret@bucket",
            "s3://bucket/a?region=x",
            "gs://bucket",
            "file://host/folder",
            "file:///no/such/folder",
        ] {
            said.push_str(&opened(address, &KEY));
            said.push('\n');
        }
        assert!(!said.contains("very-secret"), "{said}");
        insta::assert_snapshot!(said, @r"
        `bucket/prefix` is no address of a store: relative URL without a base
        `s3:///prefix` is no address of a store: a bucket's name comes after the two slashes
        `...@bucket` is no address of a store: credentials do not belong in it, but in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
        `s3://bucket/a?region=x` is no address of a store: `?` and `#` have no place in it
        `gs://bucket` is no address of a store: `gs` is no kind of store
        `file://host/folder` is no address of a store: a folder of this machine has three slashes
        `file:///no/such/folder` is no address of a store: there is no folder /no/such/folder
        ");
    }

    #[test]
    fn what_is_missing_is_named_and_a_key_is_never_shown() {
        let spaces = [
            ("SPACES_ACCESS_KEY_ID", "DO00EXAMPLE"),
            ("SPACES_SECRET_ACCESS_KEY", "very-secret"),
        ];
        let mut said = String::new();
        let mut note = |variables: &[(&str, &str)]| {
            said.push_str(&opened("s3://bucket/team", variables));
            said.push('\n');
        };
        note(&[]);
        note(&KEY[..1]);
        note(&KEY[1..]);
        note(&[
            ("AWS_ACCESS_KEY_ID", ""),
            ("SPACES_ACCESS_KEY_ID", "DO00EXAMPLE"),
        ]);
        note(&spaces);
        note(&[
            KEY[0],
            KEY[1],
            ("AWS_ENDPOINT_URL", "nyc3.digitaloceanspaces.com"),
        ]);
        insta::assert_snapshot!(said, @r"
        s3://bucket/team needs credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set
        s3://bucket/team needs credentials: AWS_SECRET_ACCESS_KEY is not set
        s3://bucket/team needs credentials: AWS_ACCESS_KEY_ID is not set
        s3://bucket/team needs credentials: SPACES_SECRET_ACCESS_KEY is not set
        where the bucket of s3://bucket/team is cannot be told: a key of Spaces fits no other place
        where the bucket of s3://bucket/team is cannot be told: AWS_ENDPOINT_URL: relative URL without a base
        ");
        for (variables, endpoint) in [
            (KEY.to_vec(), "https://s3.us-east-1.amazonaws.com/bucket"),
            (
                [&KEY[..], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]].concat(),
                "http://127.0.0.1:9/bucket",
            ),
            (
                [
                    &spaces[..],
                    &[("SPACES_ENDPOINT_URL", "https://nyc3.digitaloceanspaces.com")],
                ]
                .concat(),
                "https://nyc3.digitaloceanspaces.com/bucket",
            ),
        ] {
            let text = opened("s3://bucket/team/", &variables);
            assert!(
                text.starts_with("s3://bucket/team prefix [team] "),
                "{text}"
            );
            assert!(text.contains(endpoint), "{text}");
            assert!(!text.contains("very-secret"), "{text}");
        }
    }
}
