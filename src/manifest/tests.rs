//! What the users of a manifest read, and what a manifest means.

mod errors;
mod hostile;
mod meaning;
mod schema;

use super::*;

/// A manifest's beginning, so that a case shows only what it is about.
const HEAD: &str = "version: 1\nproject: app\nregion: nyc3\n";

fn try_load(text: &str, inputs: &Inputs) -> Result<Manifest, ManifestErrors> {
    load("dewpoint.yaml", text.as_bytes(), inputs)
}

/// Reads a manifest that is right.
fn loaded(text: &str) -> Manifest {
    loaded_with(text, &Inputs::default())
}

fn loaded_with(text: &str, inputs: &Inputs) -> Manifest {
    try_load(text, inputs).unwrap_or_else(|errors| panic!("{}", render(&errors)))
}

/// What a user reads of a manifest that is wrong.
fn rendered(text: &str) -> String {
    rendered_with(text, &Inputs::default())
}

fn rendered_with(text: &str, inputs: &Inputs) -> String {
    render(&try_load(text, inputs).expect_err("an error"))
}

fn render(errors: &ManifestErrors) -> String {
    let mut out = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .with_links(false)
        .render_report(&mut out, errors)
        .expect("a rendering");
    out
}

/// The codes of a manifest's problems without their common beginning.
fn codes(text: &str) -> Vec<&'static str> {
    match try_load(text, &Inputs::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .problems()
            .iter()
            .map(|problem| {
                let code = problem.kind().code();
                code.rsplit("::").next().unwrap_or(code)
            })
            .collect(),
    }
}

fn with_variables(variables: &[(&str, &str)]) -> Inputs {
    Inputs {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Inputs::default()
    }
}
