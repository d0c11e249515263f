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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::tried::tried(64))]
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
    fn names_are_checked() {
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
    }
}
