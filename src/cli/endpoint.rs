//! Which cloud: its address, its token, where its droplets answer SSH.

use camino::Utf8PathBuf;

use super::args::Global;
use super::env_vars;
use super::error::CliError;
use super::terminal::tell;
use crate::cloud::{Client, Config};
use crate::local::seam::Tier;
use crate::local::{LocalError, service};
use crate::plan::Pace;
use crate::secret::Secret;

/// The address of DigitalOcean's API.
pub const DIGITALOCEAN: &str = "https://api.digitalocean.com";
/// Where a droplet of DigitalOcean answers SSH.
const SSH_PORT: u16 = 22;

/// A cloud to work on.
#[derive(Debug)]
pub struct Cloud {
    /// Its client.
    pub client: Client,
    /// Where its droplets answer SSH.
    pub ssh_port: u16,
    /// What it is called in plans.
    pub place: String,
    /// What it is called in short, with its address where that is not the usual one.
    pub endpoint: String,
    /// Which cloud it is in what is kept of past runs.
    pub history: String,
    /// How fast it is while nothing is known of past runs.
    pub pace: Pace,
    /// Why nothing can log in to its droplets; empty when it can.
    pub no_guests: Vec<String>,
}

/// The folder of the local cloud's state.
///
/// # Errors
/// When there is no home folder.
pub fn local_folder(global: &Global) -> miette::Result<Utf8PathBuf> {
    match &global.local_dir {
        Some(folder) => Ok(folder.clone()),
        None => Ok(service::default_folder()?),
    }
}

/// Does what waits for another process, out of the way of what waits for the network.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> miette::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(cause) => Err(CliError::Start {
            cause: std::io::Error::other(cause),
        }
        .into()),
    }
}

/// Opens the cloud the command line and the environment ask for.
///
/// # Errors
/// When neither is asked for properly, or the local cloud does not start.
pub async fn open(global: &Global) -> miette::Result<Cloud> {
    let (parallelism, budget) = (usize::from(global.parallelism), global.api_budget);
    if global.is_local()? {
        let folder = local_folder(global)?;
        let endpoint =
            blocking(move || service::up(&folder, &service::UpOptions::default())).await?;
        if let Some(reason) = &endpoint.restarted {
            tell(&format!("note: {reason}"));
        }
        let guests = match (&endpoint.tier, &endpoint.base) {
            (Tier::Api, _) => "guests: none, only the API".to_owned(),
            (tier, Some(base)) => {
                let lacks: String = endpoint
                    .reasons
                    .iter()
                    .fold(String::new(), |text, lack| text + "; " + lack);
                format!("guests: {tier}; every public image is {base}{lacks}")
            }
            (tier, None) => format!("guests: {tier}"),
        };
        return Ok(Cloud {
            client: Client::new(Config {
                endpoint: endpoint.url,
                token: endpoint.token,
                parallelism,
                budget,
            })?,
            ssh_port: endpoint.ssh_port,
            place: format!("the local cloud ({guests})"),
            endpoint: "the local cloud".to_owned(),
            history: format!("local, latency {}", endpoint.latency),
            pace: Pace::Local(endpoint.latency.factor),
            no_guests: match endpoint.tier {
                Tier::Api => endpoint.reasons,
                Tier::Namespaces | Tier::Vm => Vec::new(),
            },
        });
    }
    let token = token().ok_or(CliError::NoToken)?;
    let given = given_url();
    let place = match &given {
        None => "DigitalOcean".to_owned(),
        Some(url) => url.clone(),
    };
    let url = api_url(given)?;
    let history = url.clone();
    Ok(Cloud {
        client: Client::new(Config {
            endpoint: url,
            token,
            parallelism,
            budget,
        })?,
        ssh_port: SSH_PORT,
        endpoint: place.clone(),
        place,
        history,
        pace: Pace::DigitalOcean,
        no_guests: Vec::new(),
    })
}

/// The address of the API that is asked for, as far as it is known without starting anything:
/// `None` for the local cloud.
///
/// # Errors
/// When none is asked for properly.
pub fn address(global: &Global) -> Result<Option<String>, CliError> {
    if global.is_local()? {
        return Ok(None);
    }
    api_url(given_url()).map(Some)
}

fn given_url() -> Option<String> {
    std::env::var(env_vars::API_URL)
        .ok()
        .filter(|url| !url.trim().is_empty())
}

fn api_url(given: Option<String>) -> Result<String, CliError> {
    given.map_or_else(|| Ok(DIGITALOCEAN.to_owned()), check_url)
}

fn token() -> Option<Secret<String>> {
    [env_vars::TOKEN, env_vars::ACCESS_TOKEN]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|token| !token.trim().is_empty())
        .map(Secret::new)
}

/// A token may only go over TLS, or to this machine.
fn check_url(url: String) -> Result<String, CliError> {
    let bad = |problem| CliError::ApiUrl {
        url: url.clone(),
        problem,
    };
    let parsed = reqwest::Url::parse(url.trim()).map_err(|_| bad("this is no URL"))?;
    let host = parsed.host_str().unwrap_or_default();
    let is_loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match parsed.scheme() {
        "https" => {}
        "http" if is_loopback => {}
        "http" => {
            return Err(bad(
                "a token is not sent in the clear to another machine; use https",
            ));
        }
        _ => return Err(bad("this is no https address")),
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(CliError::ApiUrl {
            url: "(not shown)".to_owned(),
            problem: "it must not hold a user name or password",
        });
    }
    Ok(url.trim().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_only_goes_over_tls_or_to_this_machine() {
        for url in [
            "https://api.example.com",
            "https://api.example.com/prefix/",
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:1",
        ] {
            assert!(check_url(url.to_owned()).is_ok(), "{url}");
        }
        for url in [
            "http://api.example.com",
            "http://127.0.0.1.example.com",
            "ftp://x",
            "nonsense",
            "https://user:secret@api.example.com",
        ] {
            let error = check_url(url.to_owned()).expect_err(url);
            assert!(!error.to_string().contains("secret"));
        }
    }
}
