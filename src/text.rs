//! Words for people: what they mistyped, and what must not reach their console raw.

/// Escapes what would act on a terminal instead of being shown: control characters and the
/// invisible direction marks, which can make a label look like another.
pub fn escape(text: &str) -> String {
    replace_hidden(text, |c| c.escape_unicode().to_string())
}

/// The same in JSON, where they are in strings only.
pub fn escape_json(json: &str) -> String {
    replace_hidden(json, |c| format!("\\u{:04x}", u32::from(c)))
}

fn replace_hidden(text: &str, escaped: fn(char) -> String) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if is_hidden(c) { escaped(c) } else { c.to_string() }).collect()
}

/// What may go to a console whole: its lines stay lines.
pub fn printable(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// The candidate that `word` most likely was meant to be, when one is near enough to be worth naming.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(word, &candidates.into_iter().collect::<Vec<_>>())
}

// Not generic: a copy for each kind of list would be most of what is linked for it.
fn nearest_of<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `: did you mean "x"?`, or the list of what there is when nothing is near.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggestion_of(word, &known.into_iter().collect::<Vec<_>>())
}

fn suggestion_of(word: &str, known: &[&str]) -> String {
    match nearest_of(word, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known are: {}", known.join(", ")),
    }
}

/// At most `width` characters; a text that was cut ends in `~`.
pub fn cut(text: &str, width: usize) -> String {
    match text.chars().count() {
        n if n <= width => text.to_owned(),
        _ => text.chars().take(width.saturating_sub(1)).chain(['~']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_only_when_it_is_near() {
        let keys = ["weight", "label", "size-min", "size-max"];
        assert_eq!(nearest("wieght", keys), Some("weight"));
        assert_eq!(nearest("size_min", keys), Some("size-min"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(suggestion("zzz", ["a", "b"]), "known are: a, b");
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_gets_through() {
        assert_eq!(escape("a\x1b[2J\u{202e}\u{e9}"), "a\\u{1b}[2J\\u{202e}\u{e9}");
        assert_eq!(printable("a\r\n\n\u{7}b\n"), "a\\u{d}\n\n\\u{7}b\n");
        assert_eq!(cut("abcdef", 4), "abc~");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
