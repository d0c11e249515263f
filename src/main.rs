//! The program. All of it is in the library; a guest's supervisor must run before any thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == dewpoint::local::SUPERVISOR)
    {
        dewpoint::local::guests::supervisor_main();
    }
    eprintln!("dewpoint: no command is built yet; the README says what is here");
    ExitCode::FAILURE
}
