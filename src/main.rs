//! The program. All of it is in the library; a guest's supervisor must run before any thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == dewpoint::local::SUPERVISOR => {
            dewpoint::local::guests::supervisor_main()
        }
        Some(word) if word == dewpoint::local::machines::METADATA => {
            dewpoint::local::machines::metadata_main(std::env::args_os().skip(2))
        }
        Some(word) if word == dewpoint::local::service::SERVE => dewpoint::cli::serve(),
        _ => dewpoint::cli::main(),
    }
}
