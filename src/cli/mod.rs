//! The command line: words in, one exit code out.
//!
//! **Invariant:** only `report` and this part write to the terminal; results go to standard output,
//! everything else to standard error.

mod applied;
mod approval;
pub mod args;
pub mod commands;
mod complete;
pub mod context;
pub mod durations;
pub mod endpoint;
pub mod env_vars;
pub mod error;
pub mod execution;
pub mod exit;
mod few;
mod hold;
mod inputs;
mod key;
pub mod local_files;
mod locks;
pub mod max_cost;
pub mod plan_file;
pub mod planning;
pub mod prices;
mod problem;
mod project;
mod revisions;
mod sides;
mod team;
pub mod terminal;
pub mod variables;
mod waiting;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use context::Context;
use error::CliError;
use exit::Exit;
use terminal::Terminal;

/// The whole program: parses, does, reports.
#[must_use]
pub fn main() -> ExitCode {
    // A shell asks what can follow: it is answered, and this ends.
    clap_complete::CompleteEnv::with_factory(<Cli as clap::CommandFactory>::command)
        .var(env_vars::COMPLETE)
        .complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A screen that went away is no reason to fail.
            let _ = match help_instead(&error) {
                Some(help) => write!(anstream::stderr(), "{}", help.ansi()),
                None => error.print(),
            };
            if let Some(tip) = tip(&error) {
                terminal::tell(tip);
            }
            return ExitCode::from(if error.use_stderr() {
                Exit::Error
            } else {
                Exit::Success
            });
        }
    };
    let terminal = Terminal::detect(&cli.global);
    terminal.set_error_style(cli.global.flags());
    start_log(&cli.global, terminal);
    let context = Context {
        global: cli.global,
        terminal,
    };
    match run(&context, &cli.command) {
        Ok(exit) => exit.into(),
        Err(report) => {
            terminal::tell(&format!("{report:?}"));
            Exit::Error.into()
        }
    }
}

/// The short help, where nothing was said of what to do: it tells what could be.
fn help_instead(error: &clap::Error) -> Option<clap::builder::StyledStr> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if error.kind() != ErrorKind::MissingSubcommand {
        return None;
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let mut all = <Cli as clap::CommandFactory>::command();
    all.build();
    let mut command = &mut all;
    for name in typed.split(' ').skip(1) {
        command = command.find_subcommand_mut(name)?;
    }
    Some(command.render_help())
}

/// What was meant, where another program's habit went wrong.
fn tip(error: &clap::Error) -> Option<&'static str> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let is_file = matches!(
        error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(name)) if name.starts_with("--file")
    );
    let is_logs = std::env::args_os().any(|word| word == "logs");
    (error.kind() == ErrorKind::InvalidValue && is_file && is_logs)
        .then_some("\n  tip: `--follow` follows a run; `-f` names the manifest, as everywhere")
}

/// The local cloud's own process, which `local up` starts in the background.
#[must_use]
pub fn serve() -> ExitCode {
    match crate::local::service::serve(std::env::args_os().skip(2)) {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            terminal::tell(&crate::local::service::last_words(&error));
            Exit::Error.into()
        }
    }
}

fn run(context: &Context, command: &Command) -> miette::Result<Exit> {
    match command {
        Command::Init(options) => commands::init::run(context, options),
        Command::Validate => commands::validate::run(context),
        Command::Diff(options) => commands::diff::run(context, options),
        Command::Doctor(options) => wait(commands::doctor::run(context, options)),
        Command::Explain(options) => commands::codes::run(context, options),
        Command::Schema { of } => commands::texts::schema(*of),
        Command::Completions { shell } => commands::texts::completions(*shell),
        Command::Man {
            all: Some(folder), ..
        } => commands::texts::all_man_pages(folder),
        Command::Man { command, .. } => commands::texts::man(command),
        Command::Plan(options) => wait(commands::plan::run(context, options)),
        Command::Apply(options) => wait(commands::apply::apply(context, options)),
        Command::Test(options) => wait(commands::apply::test(context, options)),
        Command::Graph(options) => wait(commands::graph::run(context, options)),
        Command::Run(options) => wait(commands::run::run(context, options)),
        Command::Destroy(options) => wait(commands::apply::destroy(context, options)),
        Command::Sweep(options) => wait(commands::sweep::run(context, options)),
        Command::Adopt(options) => wait(commands::adopt::run(context, options)),
        Command::Status(options) => wait(commands::status::run(context, options)),
        Command::History(options) => wait(commands::history::list(context, options)),
        Command::Logs(options) => wait(commands::history::logs(context, options)),
        Command::Report(options) => wait(commands::report::run(context, options)),
        Command::Ssh(options) => wait(commands::ssh::ssh(context, options)),
        Command::Cp(options) => wait(commands::cp::run(context, options)),
        Command::Forward(options) => wait(commands::ssh::forward(context, options)),
        Command::SshConfig => wait(commands::ssh::config(context)),
        Command::Local { command } => wait(commands::local::run(context, command)),
    }
}

/// Runs a command that talks to the world.
fn wait(command: impl Future<Output = miette::Result<Exit>>) -> miette::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| CliError::Start { cause })?;
    let result = runtime.block_on(command);
    // Threads that still wait for an answer nobody needs must not hold the program up.
    runtime.shutdown_background();
    result
}

/// Debug logs on standard error, when asked for.
fn start_log(global: &args::Global, terminal: Terminal) {
    let filter = match (std::env::var(env_vars::LOG), global.verbose) {
        (Ok(filter), _) if !filter.is_empty() => filter,
        (_, 0) => return,
        (_, 1) => "dewpoint=info".to_owned(),
        (_, _) => "dewpoint=debug".to_owned(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(terminal.err_coloured)
        .without_time()
        .with_target(false)
        // It would be told on standard error, and a closed one ends the program by a panic.
        .log_internal_errors(false)
        .init();
}
