//! Reads a TOML file for people who write it by hand: all that is wrong with it at once, each with line, key, what was expected and the
//! nearest key. It knows no key of its own, and what the file means is its caller's.
//!
//! It is a crate because two read such files that may not name each other: the server its configuration, and the storm simulator its
//! scenarios. It lies beside the configuration, whose raw step it is.
//!
//! [`text`] is the file; [`read`] makes a tree of it and hands it over as a [`Section`], from which a caller takes key by key what it
//! knows. Whatever it has not asked for when it calls [`Section::finish`] is a stranger, and a problem.

mod problem;
mod reader;

pub use problem::{Problem, Problems, one_of, suggestion};
pub use reader::{Field, Section};

use problem::Collector;
use std::cell::RefCell;
use std::path::Path;
use toml::de::DeTable;

/// The text of a file.
///
/// # Errors
/// It can't be read, or is not UTF-8; a single problem.
pub fn text(file: &Path) -> Result<String, Problems> {
    let bytes = std::fs::read(file)
        .map_err(|error| Problems::whole(file, "", format!("can't be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        Problems::whole(file, "", format!("line {line} is not UTF-8, as TOML has to be"))
    })
}

/// What `document` makes of the text of a file, whose name is for the messages. What is absent or wrong reads as `None` there, so
/// what it returns is kept only where nothing was wrong.
///
/// # Errors
/// Everything that is wrong: what `document` noted, keys it never asked for, and broken syntax.
pub fn read<T>(
    file: &Path,
    text: &str,
    document: impl FnOnce(Section<'_, '_>) -> T,
) -> Result<T, Problems> {
    let problems = RefCell::new(Collector::new(text));
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut broken = Vec::new();
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        broken.push(problems.borrow().line(offset));
        problems.borrow_mut().add(offset, "", format!("syntax: {}", error.message()));
    }
    // The parser goes on after an error with a guess. Its guess of a value hurts nobody, since a broken line is told
    // only once; a table's header that was not understood would make strangers of all keys that follow.
    let header_is_broken = broken.iter().any(|&line| {
        text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('['))
    });
    let read = (!header_is_broken).then(|| {
        let table: &DeTable<'_> = table.get_ref();
        document(Section::document(table, &problems))
    });
    match (problems.into_inner().finish(file, &broken), read) {
        (None, Some(read)) => Ok(read),
        (Some(problems), _) => Err(problems),
        (None, None) => unreachable!("without a document there was an error of syntax"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        read(Path::new("a.toml"), text, |mut root| {
            let share = root.float("share", 0.0..=1.0, "").map(|field| field.value);
            let secs = root.float("secs", 0.5..=3600.0, "seconds").map(|field| field.value);
            root.finish();
            (share, secs)
        })
        .map_or_else(|problems| problems.to_string(), |read| format!("{read:?}"))
    }

    #[test]
    fn a_number_may_have_a_fraction() {
        assert_eq!(told("share = 0.25\nsecs = 10"), "(Some(0.25), Some(10.0))");
        assert_eq!(told("share = 1e-1\nsecs = 1_000.5"), "(Some(0.1), Some(1000.5))");
        assert_eq!(told(""), "(None, None)");
    }

    #[test]
    fn a_number_that_is_none_or_too_large_is_told() {
        let number = "expected a number from 0.5 to 3600 seconds";
        for (written, wrong) in [
            ("nan", "NaN is out of range"),
            ("-inf", "-inf is out of range"),
            ("0", "0 is out of range"),
            ("3600.1", "3600.1 is out of range"),
            ("1e400", "inf is out of range"),
            ("\"10\"", "a string stands here"),
            ("0x10", "an integer stands here"),
            ("[1]", "an array stands here"),
            ("true", "a boolean stands here"),
        ] {
            assert_eq!(
                told(&format!("secs = {written}")),
                format!("a.toml:1: secs: {wrong}, {number}")
            );
        }
        assert_eq!(
            told("\nshare = -0.1\nsec = 1"),
            "a.toml:2: share: -0.1 is out of range, expected a number from 0 to 1\n\
             a.toml:3: sec: unknown key, expected `share` or `secs`; did you mean `secs`?"
        );
    }
}
