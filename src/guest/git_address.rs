//! Addresses of git repositories: which ones are fetched from, and how they are shown. Pure.

use camino::Utf8Path;

use super::error::GuestError;

/// Schemes that fetch without running a program of the address's choice.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// A repository's address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// What git is given; may hold credentials.
    given: String,
    /// What people are shown.
    shown: String,
    /// User and password, as they stand in the address.
    credentials: Option<String>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({})", self.shown)
    }
}

impl Address {
    /// Understands an address; one that is a relative path is relative to `base`.
    pub(super) fn parse(url: &str, base: &Utf8Path) -> Result<Self, GuestError> {
        let bad = || GuestError::BadUrl {
            url: without_credentials(url)
                .chars()
                .filter(|c| !c.is_control())
                .collect(),
        };
        if url.is_empty() || url.starts_with('-') || url.chars().any(char::is_control) {
            return Err(bad());
        }
        // `ext::sh -c ...` and the like hand the rest to a program.
        let word = url.find(|c: char| !(c.is_ascii_alphanumeric() || "+.-_".contains(c)));
        if word.is_some_and(|end| url[end..].starts_with("::")) {
            return Err(bad());
        }
        if let Some((scheme, rest)) = url.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            if !SCHEMES.contains(&scheme.as_str()) || rest.is_empty() {
                return Err(bad());
            }
            if scheme == "file" {
                let is_whole = rest.starts_with('/');
                return Ok(if is_whole {
                    Self {
                        given: url.to_owned(),
                        shown: url.to_owned(),
                        credentials: None,
                    }
                } else {
                    Self::path(rest, base)
                });
            }
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            if host.starts_with(['-', '/']) || rest.starts_with('-') {
                return Err(bad());
            }
            return Ok(Self {
                given: url.to_owned(),
                shown: without_credentials(url),
                credentials: secret_part(url, &scheme).map(ToOwned::to_owned),
            });
        }
        // `host:path`, as ssh has it: a colon before any slash.
        if let Some((host, path)) = url.split_once(':')
            && !host.contains('/')
        {
            let name = host.rsplit_once('@').map_or(host, |(_, name)| name);
            if name.is_empty() || name.starts_with('-') || path.is_empty() {
                return Err(bad());
            }
            return Ok(Self {
                given: url.to_owned(),
                shown: url.to_owned(),
                credentials: None,
            });
        }
        Ok(Self::path(url, base))
    }

    fn path(path: &str, base: &Utf8Path) -> Self {
        let path = base.join(path);
        // A path that git could take for something else is not given as one. git undoes the
        // escapes of an address.
        Self {
            given: format!("file://{}", absolute(&path).replace('%', "%25")),
            shown: path.into_string(),
            credentials: None,
        }
    }

    /// For git's arguments. May hold credentials.
    pub(super) fn given(&self) -> &str {
        &self.given
    }

    /// For people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it is a folder of this machine.
    pub(super) fn is_local(&self) -> bool {
        self.given.to_ascii_lowercase().starts_with("file:")
    }

    /// The address of a submodule: as it is, or relative to this one, as git has it. A repository
    /// of elsewhere may not name a folder of this machine: it would be sent to the droplet.
    pub(super) fn submodule(&self, url: &str) -> Result<Self, GuestError> {
        let address = if url.starts_with("./") || url.starts_with("../") {
            Self::parse(&beside(&self.given, url), Utf8Path::new("/"))?
        } else {
            Self::parse(url, Utf8Path::new("/"))?
        };
        if address.is_local() && !self.is_local() {
            return Err(GuestError::BadUrl { url: address.shown });
        }
        Ok(address)
    }

    pub(super) fn is_ssh(&self) -> bool {
        let has_scheme = self.given.contains("://");
        !has_scheme || self.given.to_ascii_lowercase().starts_with("ssh:")
    }

    /// A text of git's, without the credentials of this address.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.replace(&self.given, &self.shown);
        if let Some(credentials) = &self.credentials {
            text = text.replace(credentials, "***");
            for part in credentials.split(':').filter(|part| part.len() > 3) {
                text = text.replace(part, "***");
            }
        }
        text
    }
}

/// An address relative to another: `./` stays in it, each `../` takes its last part away.
fn beside(parent: &str, url: &str) -> String {
    let mut base = parent.trim_end_matches('/');
    let mut rest = url;
    loop {
        if let Some(further) = rest.strip_prefix("./") {
            rest = further;
        } else if let Some(further) = rest.strip_prefix("../") {
            rest = further;
            base = match (base.rfind('/'), base.rfind(':')) {
                // `host:repository`: what precedes the colon is no part of the path.
                (None, Some(colon)) => &base[..=colon],
                (Some(slash), _) => &base[..slash],
                (None, None) => base,
            };
        } else {
            break;
        }
    }
    if base.ends_with(':') {
        format!("{base}{rest}")
    } else {
        format!("{base}/{rest}")
    }
}

fn absolute(path: &Utf8Path) -> String {
    std::path::absolute(path)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| path.as_str().to_owned())
}

/// User and password of an address that has a scheme.
fn credentials(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(before, _)| before)
}

/// What of it must not be shown. A user without a password may be a token, but not with ssh.
fn secret_part<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    credentials(url).filter(|secret| scheme != "ssh" || secret.contains(':'))
}

/// An address without user and password: what plans hold and people are shown. The user of an SSH
/// address is no secret, and stays.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    let Some(secret) = credentials(url) else {
        return url.to_owned();
    };
    let at = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = (&url[..at], &url[at + secret.len() + 1..]);
    let user = secret.split(':').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("ssh://") && !user.is_empty() {
        format!("{scheme}{user}@{rest}")
    } else {
        format!("{scheme}{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> String {
        match Address::parse(url, Utf8Path::new("/home/demo")) {
            Ok(address) => format!("{} | {}", address.given(), address.shown()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn submodules_lie_beside_and_never_on_this_machine() {
        let parse = |url: &str| Address::parse(url, Utf8Path::new("/home")).expect("good");
        let of = |parent: &str, url: &str| {
            let address = parse(parent).submodule(url);
            address.map_or_else(|error| error.to_string(), |address| address.given)
        };
        for (parent, url, expected) in [
            (
                "https://h/acme/app.git",
                "../lib.git",
                "https://h/acme/lib.git",
            ),
            ("https://h/acme/app/", "./lib", "https://h/acme/app/lib"),
            ("git@h:acme/app", "../lib", "git@h:acme/lib"),
            ("git@h:app", "../lib", "git@h:lib"),
            ("app", "../lib", "file:///home/lib"),
            ("https://h/app", "https://other/lib", "https://other/lib"),
        ] {
            assert_eq!(of(parent, url), expected, "{parent} {url}");
        }
        for url in [
            "/etc",
            "file:///etc",
            "ext::sh -c id",
            "-oProxyCommand=id:x",
        ] {
            assert!(parse("https://h/app").submodule(url).is_err(), "{url}");
        }
    }

    #[test]
    fn addresses_are_understood_and_shown_without_credentials() {
        for (url, expected) in [
            (
                "https://me:s3cret@host/a.git",
                "https://me:s3cret@host/a.git | https://host/a.git",
            ),
            (
                "ssh://git@host:22/a",
                "ssh://git@host:22/a | ssh://git@host:22/a",
            ),
            ("git@host:a/b.git", "git@host:a/b.git | git@host:a/b.git"),
            ("../app", "file:///home/app | /home/demo/../app"),
            ("file:///srv/a.git", "file:///srv/a.git | file:///srv/a.git"),
            ("/srv/100%", "file:///srv/100%25 | /srv/100%"),
            ("file://../a", "file:///home/a | /home/demo/../a"),
        ] {
            let shown = check(url);
            // `absolute` leaves `..` as it stands.
            assert_eq!(
                shown.replace("/home/demo/../", "/home/"),
                expected.replace("/home/demo/../", "/home/"),
                "{url}"
            );
        }
        for url in [
            "",
            "-upload-pack=x",
            "ext::sh -c id",
            "fd::7",
            "rsync://host/a",
            "ssh://-oProxyCommand=id/a",
            "ssh://me@-oProxyCommand=id/a",
            "-oProxyCommand=id:a",
            "me@-oProxy:a",
            "a\nb",
            "https://",
        ] {
            assert!(
                check(url).contains("is not an address"),
                "{url:?}: {}",
                check(url)
            );
        }
        assert!(!check("foo://me:s3cret@host/a").contains("s3cret"));
        let address = Address::parse("https://me:s3cret@host/a", Utf8Path::new("/")).expect("good");
        assert_eq!(
            address.redact("no https://me:s3cret@host/a, s3cret"),
            "no https://host/a, ***"
        );
        let address = Address::parse("ssh://git@host/a", Utf8Path::new("/")).expect("good");
        assert_eq!(address.redact("git says no"), "git says no");
    }
}
