//! The program. All of it is in the library; a guest's supervisor must run before any thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    let word = std::env::args_os().nth(1);
    if word
        .as_ref()
        .is_some_and(|word| word == dewpoint::local::SUPERVISOR)
    {
        dewpoint::local::guests::supervisor_main();
    }
    if word.is_some_and(|word| word == dewpoint::local::service::SERVE) {
        return match dewpoint::local::service::serve(std::env::args_os().skip(2)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{:?}", miette::Report::new(error));
                ExitCode::FAILURE
            }
        };
    }
    eprintln!("dewpoint: no command is built yet; the README says what is here");
    ExitCode::FAILURE
}
