//! What is wrong with a file: every problem with its line and key, in the order of the file. It never decides
//! whether something is a problem.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// The key with the tables around it, as in `registrar.min_expires`; empty for an error of syntax.
    pub key: String,
    /// What was wrong and what was expected.
    pub message: String,
}

/// Everything that is wrong with one file, sorted by line. `Display` prints a line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// Its problems; never empty.
    pub list: Vec<Problem>,
}

impl Problems {
    /// One problem that has no line: the file itself, or a key of it where `key` is not empty.
    #[must_use]
    pub fn whole(file: &Path, key: &str, message: impl Into<String>) -> Problems {
        let problem = Problem { line: None, key: key.to_owned(), message: message.into() };
        Problems { file: file.to_owned(), list: vec![problem] }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (index, Problem { line, key, message }) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{file}")?;
            if let Some(line) = line {
                write!(f, ":{line}")?;
            }
            write!(f, ": ")?;
            if !key.is_empty() {
                write!(f, "{key}: ")?;
            }
            write!(f, "{message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems by byte offset while a file is read.
pub(crate) struct Collector<'a> {
    text: &'a str,
    found: Vec<(usize, Problem)>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Collector { text, found: Vec::new() }
    }

    /// Notes a problem at a byte offset of the text.
    pub(crate) fn add(
        &mut self,
        offset: usize,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        let line = Some(self.line(offset));
        self.found.push((offset, Problem { line, key: key.into(), message: message.into() }));
    }

    /// The line of a byte offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
    }

    /// The problems in the order of the file, or `None` where there are none. Of a line whose syntax is broken only that
    /// is told.
    pub(crate) fn finish(mut self, file: &Path, broken_lines: &[usize]) -> Option<Problems> {
        self.found.retain(|(_, problem)| {
            problem.key.is_empty() || problem.line.is_none_or(|line| !broken_lines.contains(&line))
        });
        self.found.sort_by_key(|&(offset, _)| offset);
        let list: Vec<Problem> = self.found.into_iter().map(|(_, problem)| problem).collect();
        (!list.is_empty()).then(|| Problems { file: file.to_owned(), list })
    }
}

/// ` (did you mean ...?)` where one of the candidates is near enough to be a slip of the hand, else nothing.
#[must_use]
pub fn suggestion(written: &str, candidates: &[&str]) -> String {
    let distance = |candidate: &str| {
        strsim::damerau_levenshtein(&written.to_lowercase(), &candidate.to_lowercase())
    };
    candidates
        .iter()
        .map(|&candidate| (distance(candidate), candidate))
        .min()
        .filter(|&(distance, candidate)| distance <= 1.max(candidate.len() / 3))
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

/// The candidates as a list for a reader: `a`, `b` or `c`.
#[must_use]
pub fn one_of(candidates: &[&str]) -> String {
    let quoted: Vec<String> = candidates.iter().map(|candidate| format!("`{candidate}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
