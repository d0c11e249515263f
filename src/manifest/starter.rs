//! The manifest that `init` writes.

/// A commented manifest for a project of this name, which validates as it is.
///
/// The name must be one that a project can have; with another the manifest says so when it is read.
#[must_use]
pub fn starter(project: &str) -> String {
    include_str!("starter.yaml").replace("PROJECT", project)
}

#[cfg(test)]
mod tests {
    use super::super::{Inputs, load};
    use super::*;

    #[test]
    fn the_starter_validates_and_names_its_project() {
        let text = starter("my-project");
        let manifest = load("dewpoint.yaml", text.as_bytes(), &Inputs::default())
            .unwrap_or_else(|errors| panic!("{:?}", miette::Report::new(errors)));
        assert_eq!(manifest.project, "my-project");
        assert!(!text.contains("PROJECT"));
    }

    #[test]
    fn what_the_starter_has_in_comments_is_right_too() {
        // Uncommented are the lines that hold keys; prose stays a comment.
        let text: String = starter("my-project")
            .lines()
            .map(|line| match line.split_once("# ") {
                Some((blank, rest))
                    if blank.trim().is_empty()
                        && ["- copy:", "- run:", "secrets:", "artifacts:"]
                            .iter()
                            .any(|key| rest.starts_with(key)) =>
                {
                    format!("{blank}{rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let manifest = load("dewpoint.yaml", text.as_bytes(), &Inputs::default())
            .unwrap_or_else(|errors| panic!("{:?}", miette::Report::new(errors)));
        assert_eq!(manifest.droplets["tests"].secrets, ["HF_TOKEN"]);
        assert_eq!(manifest.snapshots["base"].provision.len(), 3);
    }
}
