//! An adoption as text: what a person reads before saying `yes`.

use std::fmt::Write as _;

use super::style::Palette;
use crate::plan::adopt::Adoption;
use crate::plan::step::TaggedResource;
use crate::plan::{Action, Change};

/// Renders an adoption.
#[must_use]
pub fn render(adoption: &Adoption, project: &str, environment: &str, palette: Palette) -> String {
    palette.screen(render_of(adoption, project, environment, palette))
}

fn render_of(adoption: &Adoption, project: &str, environment: &str, palette: Palette) -> String {
    let mut out = String::new();
    let address = palette.strong(&adoption.address.to_string());
    if adoption.is_done() {
        let _ = writeln!(
            out,
            "{address} is `{}` ({}) already.",
            adoption.name, adoption.id
        );
        return out;
    }
    let _ = writeln!(out, "# {address} will be `{}`", adoption.name);
    let _ = writeln!(
        out,
        "  {} {} ({}): {}",
        palette.sign(Action::Update),
        adoption.name,
        adoption.id,
        adoption.described
    );
    for tag in &adoption.add {
        let _ = writeln!(out, "      {} tag {tag}", palette.good("+"));
    }
    for tag in &adoption.remove {
        let _ = writeln!(out, "      {} tag {tag}", palette.bad("-"));
    }
    out.push('\n');
    let is_image = adoption.resource == TaggedResource::Image;
    if is_image {
        out.push_str(
            "It will stand for the recipe as the manifest has it now: what is really on it is not looked at.\n",
        );
    }
    if let Some(called) = &adoption.called {
        let _ = writeln!(
            out,
            "It keeps its name; the tag remembers that here it is {called}."
        );
    }
    let is_environments = adoption
        .add
        .iter()
        .any(|tag| tag == &format!("dewpoint:{project}:{environment}"));
    out.push_str(match (is_image, is_environments) {
        (true, _) => {
            "It will be the project's: `keep` counts it, and `destroy --project` deletes it.\n"
        }
        (false, true) => "It will be the environment's: `destroy` deletes it with all it holds.\n",
        (false, false) => {
            "It will be the project's: `destroy --project` deletes it with all it holds.\n"
        }
    });
    let _ = writeln!(out, "{}", next(adoption.next.as_ref()));
    out
}

/// What the next plan makes of it.
fn next(change: Option<&Change>) -> String {
    let Some(change) = change else {
        return "What comes next is not known: the plan is refused for other reasons, which `dewpoint plan` shows."
            .to_owned();
    };
    let fields: Vec<String> = change
        .fields
        .iter()
        .map(|field| match (&field.old, &field.new) {
            (Some(old), Some(new)) => format!("{} {old} -> {new}", field.field),
            (None, Some(new)) => format!("{} {new}", field.field),
            (Some(old), None) => format!("{} {old} goes", field.field),
            (None, None) => field.field.clone(),
        })
        .collect();
    if fields.is_empty() {
        "The next apply uses it as it is.".to_owned()
    } else {
        format!("The next apply changes it: {}.", fields.join("; "))
    }
}
