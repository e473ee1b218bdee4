//! Where in which text something was written, and what a mistake there looks like to people.

use std::ops::Range;
use std::path::Path;

use super::Error;
use crate::text;

/// Whatever a front end reads, or the mistake that it has found; boxed, because nearly every call can find one, and the
/// code that hands it on would be large.
pub(super) type Result<T> = std::result::Result<T, Box<Error>>;

/// The text of a file.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// Only what can be a configuration at all.
    pub fn new(path: &'a Path, content: &'a [u8]) -> Result<Source<'a>> {
        if content.len() as u64 > super::MAX_FILE_SIZE {
            return Err(Box::new(Error::TooLarge { path: path.to_owned() }));
        }
        let text = str::from_utf8(content).map_err(|error| {
            let valid = str::from_utf8(&content[..error.valid_up_to()]).unwrap_or_default();
            let (line, column) = line_and_column(valid, valid.len());
            let message = format!("byte 0x{:02x} is not UTF-8: is this a text file?", content[valid.len()]);
            Box::new(Error::At { path: path.to_owned(), line, column, message, excerpt: String::new() })
        })?;
        Ok(Source { path, text })
    }

    pub fn place(self, span: Range<usize>) -> Place<'a> {
        Place { source: self, span }
    }
}

/// A byte range of a text.
#[derive(Clone)]
pub(super) struct Place<'a> {
    source: Source<'a>,
    span: Range<usize>,
}

impl Place<'_> {
    /// A mistake here. What the message has from the text reaches nobody's console raw.
    pub fn error(&self, message: String) -> Box<Error> {
        let message = text::escape(&message);
        let text = self.source.text;
        let start = self.start();
        let (line, column) = line_and_column(text, start);
        let length = text[start..text.floor_char_boundary(self.span.end.clamp(start, text.len()))].chars().count();
        let excerpt = excerpt(text.lines().nth(line - 1).unwrap_or_default(), line, column, length);
        Box::new(Error::At { path: self.source.path.to_owned(), line, column, message, excerpt })
    }

    pub fn refuse<T>(&self, message: String) -> Result<T> {
        Err(self.error(message))
    }

    /// `FILE:LINE`, to name it in a sentence.
    pub fn show(&self) -> String {
        let (line, _) = line_and_column(self.source.text, self.start());
        format!("{}:{line}", self.source.path.display())
    }

    fn start(&self) -> usize {
        self.source.text.floor_char_boundary(self.span.start.min(self.source.text.len()))
    }
}

/// A value and where it was written.
#[derive(Clone)]
pub(super) struct Placed<'a, T> {
    pub value: T,
    pub place: Place<'a>,
}

impl<'a, T> Placed<'a, T> {
    /// Another value that was made of this one, or what is wrong with it.
    pub fn map<U>(self, make: impl FnOnce(T) -> std::result::Result<U, String>) -> Result<Placed<'a, U>> {
        match make(self.value) {
            Ok(value) => Ok(Placed { value, place: self.place }),
            Err(message) => self.place.refuse(message),
        }
    }
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The line and a mark below it. A long line is shown around the mark only: consoles are narrow.
fn excerpt(line: &str, number: usize, column: usize, length: usize) -> String {
    if line.is_empty() {
        return String::new();
    }
    const WIDTH: usize = 64;
    let skip = if column > WIDTH { column - WIDTH / 2 } else { 0 };
    let shown: String = line
        .chars()
        .skip(skip)
        .take(WIDTH)
        .map(|c| {
            if c == '\t' {
                ' '
            } else if text::escape(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8() {
                '?'
            } else {
                c
            }
        })
        .collect();
    let gutter = number.to_string();
    let mark = "^".repeat(length.clamp(1, WIDTH - (column - 1 - skip).min(WIDTH - 1)));
    format!("\n {gutter} | {shown}\n {} | {}{mark}", " ".repeat(gutter.len()), " ".repeat(column - 1 - skip))
}
