//! Lists that fit into a line.

/// More names than this are counted.
const SHOWN: usize = 10;

/// The names, those after the first ones counted.
pub(super) fn few<T: ToString>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(T::to_string).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::few;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(few(&["a", "b"]), "a, b");
        let many: Vec<u32> = (1..=85).collect();
        assert_eq!(few(&many), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 75 more");
    }
}
