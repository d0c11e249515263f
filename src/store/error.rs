//! What can go wrong with a store.

use miette::Diagnostic;
use thiserror::Error;

use crate::secret::Secret;

/// The most of a server's own words that is shown.
const MOST_SAID: usize = 400;

const KEY: &str = "check the key: it must list, read, write and delete objects there";
const BUCKET: &str = "does the bucket exist, in that region? AWS_ENDPOINT_URL and AWS_REGION say where it is looked for";

/// An error of a store.
#[derive(Debug, Error, Diagnostic)]
pub enum StoreError {
    /// The address is none of a store.
    #[error("`{given}` is no address of a store: {why}")]
    #[diagnostic(
        code(dewpoint::store::address),
        help("write s3://BUCKET/PREFIX, or file:///FOLDER for a folder that is shared")
    )]
    Address {
        /// As it was given, without credentials.
        given: String,
        /// In words.
        why: String,
    },
    /// There are no credentials.
    #[error("{address} needs credentials: {missing} not set")]
    #[diagnostic(
        code(dewpoint::store::no_credentials),
        help(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or SPACES_ACCESS_KEY_ID and SPACES_SECRET_ACCESS_KEY; AWS_ENDPOINT_URL and AWS_REGION say where the bucket is"
        )
    )]
    NoCredentials {
        /// Of what.
        address: String,
        /// Names of variables, and a verb.
        missing: String,
    },
    /// Where the bucket is cannot be told.
    #[error("where the bucket of {address} is cannot be told: {why}")]
    #[diagnostic(
        code(dewpoint::store::endpoint),
        help("set AWS_ENDPOINT_URL, such as https://nyc3.digitaloceanspaces.com")
    )]
    Endpoint {
        /// Of what.
        address: String,
        /// In words.
        why: String,
    },
    /// A store that creates what is there already cannot keep two runs apart.
    #[error("{address} creates objects that are there already: it cannot keep locks")]
    #[diagnostic(
        code(dewpoint::store::not_exclusive),
        help(
            "use a server that honours `If-None-Match: *`, such as DigitalOcean Spaces or Amazon S3"
        )
    )]
    NotExclusive {
        /// Of what.
        address: String,
    },
    /// What lies there is not what was put there.
    #[error("{name} in {address} cannot be read: {why}")]
    #[diagnostic(
        code(dewpoint::store::unreadable),
        help(
            "another version of dewpoint wrote it, or somebody else did: use that version, or another prefix"
        )
    )]
    Unreadable {
        /// Of what.
        address: String,
        /// Which object.
        name: String,
        /// Why.
        why: String,
    },
    /// A file of this machine that is sent to it, or comes from it.
    #[error("cannot use {path}")]
    #[diagnostic(
        code(dewpoint::store::local_file),
        help("make room on the disk, and the folder yours to read and write")
    )]
    Local {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It did not answer, or refused.
    #[error("cannot {doing} in {address}: {said}")]
    #[diagnostic(code(dewpoint::store::request), help("{help}"))]
    Request {
        /// Of what.
        address: String,
        /// What was to be done.
        doing: String,
        /// What came of it, without credentials.
        said: String,
        /// What to do next.
        help: &'static str,
    },
}

impl StoreError {
    pub(super) fn of(
        address: &str,
        doing: String,
        error: &object_store::Error,
        credentials: &[Secret<String>],
    ) -> Self {
        use object_store::Error;
        let said = said(error, credentials);
        // Listing tells of neither but in the server's own words.
        let has = |codes: &[&str]| codes.iter().any(|code| said.contains(code));
        let help = match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => KEY,
            _ if has(&[
                "AccessDenied",
                "InvalidAccessKeyId",
                "SignatureDoesNotMatch",
            ]) =>
            {
                KEY
            }
            _ if has(&["NoSuchBucket"]) => BUCKET,
            _ => "check the address, AWS_ENDPOINT_URL, AWS_REGION and the network, then try again",
        };
        Self::Request {
            address: address.to_owned(),
            doing,
            said,
            help,
        }
    }
}

/// An error with its causes on one line, without credentials.
fn said(error: &dyn std::error::Error, credentials: &[Secret<String>]) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Most wrappers say what they wrap.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    for credential in credentials {
        // Exposed to be struck out.
        text = text.replace(credential.expose().as_str(), "[redacted]");
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST_SAID) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_echoes_is_struck_out() {
        let error = object_store::Error::Generic {
            store: "S3",
            source: "<Key>AKIAEXAMPLE</Key>\n  <Signed>very-secret</Signed>".into(),
        };
        let credentials = ["AKIAEXAMPLE", "very-secret"].map(|text| Secret::new(text.to_owned()));
        let error = StoreError::of("s3://b", "list locks".to_owned(), &error, &credentials);
        insta::assert_snapshot!(error, @"cannot list locks in s3://b: Generic S3 error: <Key>[redacted]</Key> <Signed>[redacted]</Signed>");
    }
}
