//! The program. All of it is in the library; the guests' supervisor must come before any thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    dewpoint::cli::main()
}
