//! The lines of unit files (systemd.syntax(7)), of which definitions have one section.

use super::place::{Placed, Result, Source};
use crate::text;

/// A key and its value, which is trimmed.
pub(super) struct Assignment<'a> {
    pub key: Placed<'a, String>,
    pub value: Placed<'a, String>,
}

/// Gives on the assignments of the section `[Partition]` (systemd.syntax(7)), one by one: a file may have many.
pub(super) fn assignments<'a>(source: Source<'a>, take: &mut dyn FnMut(Assignment<'a>) -> Result<()>) -> Result<()> {
    let mut section = Section::None;
    lines(source, &mut |line| {
        let text = line.text.trim_ascii();
        if text.is_empty() {
            return Ok(());
        }
        if text.starts_with('[') {
            section = header(&line.part(text))?;
            return Ok(());
        }
        let whole = line.part(text).place;
        match (section, text.split_once('=')) {
            (Section::Foreign, _) => Ok(()),
            (Section::None, _) => whole.refuse("before [Partition]: write that line first".to_owned()),
            (Section::Partition, None) => whole.refuse("no = in this line: write KEY=VALUE".to_owned()),
            // For other programs.
            (Section::Partition, Some((key, _))) if key.starts_with("X-") => Ok(()),
            (Section::Partition, Some((key, value))) => {
                take(Assignment { key: line.part(key.trim_ascii()), value: line.part(value.trim_ascii()) })
            }
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Before the first one.
    None,
    Partition,
    /// For other programs.
    Foreign,
}

fn header(text: &Placed<String>) -> Result<Section> {
    match text.value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some("Partition") => Ok(Section::Partition),
        Some(name) if name.starts_with("X-") => Ok(Section::Foreign),
        Some(name) => {
            let hint = text::suggestion(name, ["Partition"]);
            text.place.refuse(format!("unknown section \"{name}\": {hint}"))
        }
        None => text.place.refuse("a section without its ]".to_owned()),
    }
}

/// A line, put together where it goes on in the next one.
struct Line<'a> {
    source: Source<'a>,
    text: String,
    /// For each piece where it begins in `text`, and where in the file.
    pieces: Vec<(usize, usize)>,
}

impl<'a> Line<'a> {
    /// A part of `text` with its place.
    fn part(&self, part: &str) -> Placed<'a, String> {
        let start = (part.as_ptr().addr()).saturating_sub(self.text.as_ptr().addr());
        let piece = self.pieces.iter().rposition(|(at, _)| *at <= start).unwrap_or(0);
        let (at, in_file) = self.pieces[piece];
        let end = self.pieces.get(piece + 1).map_or(self.text.len(), |(next, _)| next - 1);
        let length = part.len().min(end.saturating_sub(start));
        let from = in_file + start - at;
        Placed { value: part.to_owned(), place: self.source.place(from..from + length) }
    }
}

/// Gives on the lines that are no comments. A backslash at the end is a space, and the line goes on in the next one; a
/// comment there does not end it.
fn lines<'a>(source: Source<'a>, take: &mut dyn FnMut(&Line<'a>) -> Result<()>) -> Result<()> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let empty = || Line { source, text: String::new(), pieces: Vec::new() };
    let (mut line, mut end) = (empty(), 0);
    for whole in source.text.split_inclusive('\n') {
        let start = end;
        end += whole.len();
        let text = whole.trim_end_matches(['\n', '\r']);
        let marked = text.strip_prefix(BYTE_ORDER_MARK).filter(|_| start == 0);
        let (start, text) = marked.map_or((start, text), |rest| (BYTE_ORDER_MARK.len_utf8(), rest));
        if text.trim_ascii_start().starts_with(['#', ';']) {
            continue;
        }
        line.pieces.push((line.text.len(), start));
        line.text.push_str(text);
        let backslashes = line.text.len() - line.text.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            line.text.pop();
            line.text.push(' ');
        } else {
            take(&line)?;
            line = empty();
        }
    }
    if line.pieces.is_empty() { Ok(()) } else { take(&line) }
}

/// Words between white space; quotes keep it, and a backslash keeps what is behind it.
pub(super) fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            (_, Some(mark)) if char == mark => quote = None,
            ('"' | '\'', None) => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (_, None) if char.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    match quote {
        Some(mark) => Err(format!("a {mark} has no end")),
        None => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
        let source = Source { path: std::path::Path::new("x.conf"), text };
        let mut said = Vec::new();
        let mut take = |assignment: Assignment| {
            said.push((assignment.key.value, assignment.value.value));
            Ok(())
        };
        assignments(source, &mut take).map_err(|error| error.to_string())?;
        Ok(said)
    }

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        let one = |key: &str, value: &str| Ok(vec![(key.to_owned(), value.to_owned())]);
        for (text, key, value) in [
            ("[Partition]\nLabel=a", "Label", "a"),
            ("\u{feff}[Partition]\r\n  Label =\ta = b \r\n", "Label", "a = b"),
            ("# a\n;b\n[Partition]\n#Type=x\\\nLabel=a # no comment\n", "Label", "a # no comment"),
            ("[Partition]\nLabel=a\\\n  b\\\n", "Label", "a   b"),
            ("[Partition]\nLabel=a\\\n# between\n;and this\nb", "Label", "a b"),
            ("[Partition]\nLabel=a\\\\\n", "Label", "a\\\\"),
            ("[Partition]\nLabel=a\\\n\n", "Label", "a"),
            ("[X-Mine]\nColour=red\nno equals sign\n[Partition]\nX-Colour=red\nLabel=a\n", "Label", "a"),
        ] {
            assert_eq!(assigned(text), one(key, value), "{text:?}");
        }
        for (text, place) in [
            ("Label=a", "x.conf:1:1: before [Partition]"),
            ("[Partition", "x.conf:1:1: a section without its ]"),
            ("[Partition]\n [Partitions]", "x.conf:2:2: unknown section"),
            ("[Partition]\nLabel", "x.conf:2:1: no = in this line"),
            ("[Partition]\nLabel\\\n=\\\n a\n\nno", "x.conf:6:1: no = in this line"),
        ] {
            let said = assigned(text).unwrap_err();
            assert!(said.starts_with(place), "{said}");
        }
    }

    #[test]
    fn a_value_of_a_later_line_is_shown_in_that_line() {
        let text = "[Partition]\nType=root\nWeight=\\\n# comment\n  heavy \\\n\n";
        let source = Source { path: std::path::Path::new("x.conf"), text };
        let mut refuse = |said: Assignment| match &said.key.value[..] {
            "Weight" => said.value.place.refuse("no".to_owned()),
            _ => Ok(()),
        };
        let said = assignments(source, &mut refuse).unwrap_err().to_string();
        assert_eq!(said, "x.conf:5:3: no\n 5 |   heavy \\\n   |   ^^^^^");
    }

    #[test]
    fn words_may_be_quoted() {
        let read = |text| words(text).map(|words| words.join("|"));
        assert_eq!(read(" /a  /b\t/c "), Ok("/a|/b|/c".to_owned()));
        assert_eq!(read(r#""/a b" '/c "d' /e\ f /"g h"/i"#), Ok(r#"/a b|/c "d|/e f|/g h/i"#.to_owned()));
        assert_eq!(read(""), Ok(String::new()));
        assert_eq!(words("''").unwrap(), [""]);
        assert!(words("/a \"/b").is_err());
    }
}
