//! Texts for a remote shell. Pure.

use super::error::GuestError;

/// Quotes a word for a POSIX shell. A zero byte, which no shell can carry, is dropped; callers
/// refuse it where it can come from a user.
#[must_use]
pub fn quote(word: &str) -> String {
    let clean = if word.contains('\0') {
        word.replace('\0', "")
    } else {
        word.to_owned()
    };
    shlex::try_quote(&clean)
        .expect("only a zero byte cannot be quoted")
        .into_owned()
}

/// Checks what is to become an environment variable.
pub(super) fn check_variable(name: &str, value: &str) -> Result<(), GuestError> {
    let bad = |problem| GuestError::BadVariable {
        name: name.to_owned(),
        problem,
    };
    let mut characters = name.chars();
    let begins_well = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !begins_well || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(bad("the name is not that of a variable"));
    }
    if value.contains('\0') {
        return Err(bad("the value has a zero byte"));
    }
    Ok(())
}

/// Checks an absolute path on a droplet that files will be put under; gives it without a slash at
/// its end.
pub(super) fn check_target(path: &str) -> Result<&str, GuestError> {
    let bad = |problem| GuestError::BadTarget {
        path: path.to_owned(),
        problem,
    };
    if !path.starts_with('/') {
        return Err(bad("it is not absolute"));
    }
    if path.contains(['\0', '\n']) {
        return Err(bad("it has a line end or a zero byte"));
    }
    if path.split('/').any(|part| part == ".." || part == ".") {
        return Err(bad("it has `.` or `..` in it"));
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Err(bad("it is the root folder"));
    }
    Ok(trimmed)
}

/// Shell text that sets `state` to the folder where dewpoint remembers things on a droplet.
/// `DEWPOINT_STATE_DIR` in the droplet's environment overrides it.
pub(super) const SET_STATE: &str = "\
if [ -n \"${DEWPOINT_STATE_DIR:-}\" ]; then state=$DEWPOINT_STATE_DIR
elif [ \"$(id -u)\" = 0 ]; then state=/var/lib/dewpoint
else state=$HOME/.local/state/dewpoint; fi
";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_quoted_word_comes_out_of_sh_unchanged(word in "[^\0]{0,40}") {
            let script = format!("printf %s {}", quote(&word));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .expect("sh runs");
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn names_and_targets_are_checked() {
        assert!(check_variable("HF_TOKEN", "x\ny").is_ok());
        for (name, value) in [
            ("", "x"),
            ("1A", "x"),
            ("A-B", "x"),
            ("A=B", "x"),
            ("A", "\0"),
        ] {
            assert!(check_variable(name, value).is_err(), "{name:?}");
        }
        assert_eq!(check_target("/opt/app/").expect("good"), "/opt/app");
        for path in ["", "opt", "/", "//", "/opt/../etc", "/a\nb"] {
            assert!(check_target(path).is_err(), "{path:?}");
        }
    }
}
