//! The program. All of it is in the library; what is started for a droplet must run before any thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(word) = std::env::args_os().nth(1) else {
        return dewpoint::cli::main();
    };
    if let Some(code) = dewpoint::local::tiers::main_for_a_droplet(&word) {
        return code;
    }
    if word == dewpoint::local::service::SERVE {
        return dewpoint::cli::serve();
    }
    dewpoint::cli::main()
}
