//! What the paths of files that play one part have in common.

/// What the crate `tempfile` calls its files, before the letters that it draws.
const TEMPORARY: &str = ".tmp";

/// How many letters and digits it draws.
const DRAWN: usize = 6;

/// A path, or a text with paths in it, without what tells files of one kind apart: numbers, decimal or in capital
/// hexadecimal digits, and the letters of temporary names such as `.tmpk3XvQz`.
pub(super) fn without_numbers(text: &str) -> String {
    let mut pieces = text.split(TEMPORARY);
    let mut all = unnumbered(pieces.next().unwrap_or_default());
    for piece in pieces {
        all.push_str(TEMPORARY);
        all.push_str(&unnumbered(after_drawn(piece)));
    }
    all
}

/// What follows the letters and digits that were drawn, if so many were.
fn after_drawn(piece: &str) -> &str {
    match piece.split_at_checked(DRAWN) {
        Some((drawn, rest)) if drawn.bytes().all(|byte| byte.is_ascii_alphanumeric()) => rest,
        Some(_) | None => piece,
    }
}

fn unnumbered(text: &str) -> String {
    text.chars().filter(|it| !it.is_ascii_digit() && !('A'..='F').contains(it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_kind_have_one_pattern() {
        for (text, pattern) in [
            ("store/keyspaces/12/tables/7", "store/keyspaces//tables/"),
            ("store/snap.00000000000AF3", "store/snap."),
            ("store/.tmpk3XvQz", "store/.tmp"),
            ("store/.tmpABC123 → store/current", "store/.tmp → store/current"),
            ("store/.tmpé", "store/.tmpé"),
            ("store/.tmp", "store/.tmp"),
        ] {
            assert_eq!(without_numbers(text), pattern);
        }
    }
}
