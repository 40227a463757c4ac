//! Words: how a text is cut into them, and the ones that `demo-long` says.

/// What `demo-long` chooses from. Their number is a prime, so that the steps of [`long`] meet all of them.
const TIDE: [&str; 29] = [
    "the", "tide", "rises", "over", "quiet", "sand", "and", "leaves", "a", "mark", "of", "salt", "where",
    "every", "wave", "has", "been", "while", "small", "boats", "wait", "for", "water", "to", "carry", "them",
    "home", "before", "dark",
];

/// Cuts a text into pieces of one word each, the blanks before it included; blanks at the end belong to the last piece. All
/// pieces together are the text.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut in_word = false;
    for c in text.chars() {
        if in_word && c.is_whitespace() {
            pieces.push(std::mem::take(&mut piece));
        }
        in_word = !c.is_whitespace();
        piece.push(c);
    }
    match pieces.last_mut() {
        Some(last) if !in_word => last.push_str(&piece),
        _ if piece.is_empty() => {}
        _ => pieces.push(piece),
    }
    pieces
}

/// The word of `demo-long` at this place, with the blank before it.
pub(super) fn long(place: usize) -> String {
    let count = TIDE.len();
    // The stride changes from one round to the next, so that the text does not repeat before `count * (count - 1)` words.
    let stride = 1 + (place / count) % (count - 1);
    let word = TIDE.get((place % count) * stride % count).copied().unwrap_or_default();
    if place == 0 { word.to_owned() } else { format!(" {word}") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn pieces_are_words_with_the_blanks_before_them() {
        assert_eq!(pieces("a b"), ["a", " b"]);
        assert_eq!(pieces(" a  b\n"), [" a", "  b\n"]);
        assert_eq!(pieces(" \n"), [" \n"]);
        assert!(pieces("").is_empty());
    }

    #[test]
    fn the_long_text_uses_all_its_words() {
        let words: HashSet<String> = (1..200).map(long).collect();
        assert_eq!(words.len(), TIDE.len());
        assert_ne!((0..29).map(long).collect::<Vec<_>>(), (29..58).map(long).collect::<Vec<_>>());
    }
}
