//! Every environment variable dewpoint reads itself (those of flags stand with the flags).

/// The token, first choice. The name Terraform and DigitalOcean's own documents use.
pub const TOKEN: &str = "DIGITALOCEAN_TOKEN";
/// The token, second choice: the name doctl uses.
pub const ACCESS_TOKEN: &str = "DIGITALOCEAN_ACCESS_TOKEN";
/// Address of the API, for another server that speaks it.
pub const API_URL: &str = "DIGITALOCEAN_API_URL";
/// `local` means `--local`; `digitalocean` is the default.
pub const CLOUD: &str = "DEWPOINT_CLOUD";
/// `DEWPOINT_VAR_NAME` gives the variable NAME a value.
pub const VARIABLE_PREFIX: &str = "DEWPOINT_VAR_";
/// Any value turns colours off (<https://no-color.org>).
pub const NO_COLOR: &str = "NO_COLOR";
/// Any value but `false`: a CI system; progress is plain lines.
pub const CI: &str = "CI";
/// Filter for debug logs on standard error, in tracing-subscriber's syntax.
pub const LOG: &str = "DEWPOINT_LOG";
/// A shell that asks for completions names itself in it.
pub const COMPLETE: &str = "DEWPOINT_COMPLETE";
/// `true` in a job of GitHub Actions, whose log folds.
pub const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";
/// Who a run that is stored for a team is by: the first of these that is set. In CI the account of the
/// machine is everybody's.
pub const WHO: [&str; 4] = ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "USER", "LOGNAME"];
