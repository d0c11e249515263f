//! The manifest that `init` writes.

mod kit;

pub use kit::Kit;

/// What is known of the project a manifest is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Its name, which must be one that a project can have; with another the manifest says so when
    /// it is read.
    pub project: String,
    /// What it is written in.
    pub kit: Kit,
    /// Address of its git repository.
    pub remote: Option<String>,
}

impl Outline {
    /// A project of which only the name is known.
    #[must_use]
    pub fn named(project: &str) -> Self {
        Self {
            project: project.to_owned(),
            kit: Kit::Other,
            remote: None,
        }
    }
}

/// A commented manifest for a project, which validates as it is.
#[must_use]
pub fn starter(outline: &Outline) -> String {
    // An address is another's text: in a comment, it must not end the line.
    let remote = outline.remote.as_deref().filter(|remote| {
        !remote.is_empty()
            && remote
                .chars()
                .all(|c| !c.is_control() && !c.is_whitespace())
    });
    include_str!("starter.yaml")
        .replace("PROVISION\n", &outline.kit.provision())
        .replace("RUN\n", &outline.kit.run())
        .replace(
            "REMOTE",
            remote.unwrap_or("https://github.com/acme/app.git"),
        )
        .replace("PROJECT", &outline.project)
}

#[cfg(test)]
mod tests {
    use super::super::{Inputs, Manifest, load};
    use super::*;

    fn of(kit: Kit) -> Outline {
        Outline {
            kit,
            ..Outline::named("my-project")
        }
    }

    fn read(text: &str) -> Manifest {
        load("dewpoint.yaml", text.as_bytes(), &Inputs::default())
            .unwrap_or_else(|errors| panic!("{text}\n{:?}", miette::Report::new(errors)))
    }

    /// Uncommented are the lines that hold keys; prose stays a comment.
    fn uncommented(text: &str, keys: &[&str]) -> String {
        text.lines()
            .map(|line| match line.split_once("# ") {
                Some((blank, rest))
                    if blank.trim().is_empty() && keys.iter().any(|key| rest.starts_with(key)) =>
                {
                    format!("{blank}{rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect()
    }

    #[test]
    fn each_starter_fits_a_terminal() {
        for kit in Kit::ALL {
            let text = starter(&Outline {
                kit,
                ..Outline::named("a-project-of-20-char")
            });
            // What installs packages has no good place to be broken at.
            let lines = text.lines().filter(|line| !line.contains(" && "));
            for line in lines {
                assert!(line.chars().count() <= 80, "{kit:?}: {line}");
            }
        }
    }

    #[test]
    fn each_starter_validates_and_names_its_project() {
        for kit in Kit::ALL {
            let text = starter(&of(kit));
            let manifest = read(&text);
            assert_eq!(manifest.project, "my-project");
            for word in ["PROJECT", "PROVISION", "REMOTE", "RUN\n"] {
                assert!(!text.contains(word), "{kit:?}: {word}");
            }
        }
    }

    #[test]
    fn what_a_starter_has_in_comments_is_right_too() {
        for kit in Kit::ALL {
            let text = starter(&of(kit));
            let keys = ["- copy:", "- run:", "secrets:", "artifacts:"];
            let manifest = read(&uncommented(&text, &keys));
            assert_eq!(manifest.droplets["tests"].secrets, ["HF_TOKEN"]);
            assert!(!manifest.droplets["tests"].run[0].artifacts.is_empty());
            // The other source, in place of the folder.
            let text = text.replace("      path: .  ", "      # path: .  ");
            let manifest = read(&uncommented(&text, &["git:", "ref:"]));
            let source = manifest.droplets["tests"]
                .source
                .as_ref()
                .expect("a source");
            assert_eq!(
                source.git.as_deref(),
                Some("https://github.com/acme/app.git")
            );
        }
    }

    #[test]
    fn packages_are_installed_from_a_list_that_was_fetched() {
        for kit in Kit::ALL {
            let text = starter(&of(kit));
            let installs = text.lines().filter(|line| line.contains("apt-get install"));
            for line in installs {
                let update = line.find("apt-get update && ").expect(line);
                let install = line.find("apt-get install").expect("it is there");
                assert!(update < install, "{kit:?}: {line}");
            }
        }
        // A snapshot in which Python is there already, and nothing that makes virtual environments.
        let text = starter(&of(Kit::Pytest));
        assert!(!text.contains("command -v python3"), "{text}");
        assert!(text.contains("|| { apt-get update && apt-get install -y python3 python3-venv; }"));
        // `npm ci` refuses to do without a lock file.
        assert!(starter(&of(Kit::Node)).contains("npm ci && npm test"));
        assert!(starter(&of(Kit::UnlockedNode)).contains("npm install && npm test"));
    }

    #[test]
    fn an_address_cannot_become_part_of_the_manifest() {
        let with = |remote: &str| {
            starter(&Outline {
                remote: Some(remote.to_owned()),
                ..Outline::named("my-project")
            })
        };
        let text = with("git@github.com:acme/wordcount.git");
        assert!(text.contains("      # git: git@github.com:acme/wordcount.git\n"));
        let text = with("https://x\n      git: y");
        assert!(!text.contains("git: y"), "{text}");
    }
}
