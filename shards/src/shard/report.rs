//! A report: lines of text that a shard writes for people, into memory that somebody else has made. It knows nothing of what it
//! tells.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt::{self, Write};

/// Lines of the form `step: result`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    bytes: Box<[u8]>,
    used: usize,
    is_cut: bool,
}

impl Report {
    /// Bytes of all lines together. What is beyond is cut, which the last line tells.
    pub const BYTES: usize = 4096;
    const CUT: &str = "...: the rest does not fit\n";

    /// An empty report with all its memory.
    #[must_use]
    pub fn new() -> Self {
        Report { bytes: vec![0; Self::BYTES].into(), used: 0, is_cut: false }
    }

    /// A report without memory, for what has nothing to report.
    #[must_use]
    pub fn none() -> Self {
        Report::default()
    }

    /// Adds a line. Line ends in what the world has sent become spaces, so that a line stays one.
    pub fn line(&mut self, step: &str, result: fmt::Arguments<'_>) {
        if self.is_cut {
            return;
        }
        let start = self.used;
        if write!(Line(self), "{step}: {result}").is_err() || self.put("\n").is_err() {
            self.used = start;
            self.is_cut = true;
            let room = self.bytes.get_mut(start..start + Self::CUT.len());
            if let Some(place) = room {
                place.copy_from_slice(Self::CUT.as_bytes());
                self.used += Self::CUT.len();
            }
        }
    }

    /// The lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let text = self.bytes.get(..self.used).unwrap_or_default();
        // What is written are whole texts.
        core::str::from_utf8(text).unwrap_or_default().lines()
    }

    fn put(&mut self, text: &str) -> fmt::Result {
        // There is always room to say that there is none.
        let end = self.used + text.len();
        if end + Self::CUT.len() > self.bytes.len() {
            return Err(fmt::Error);
        }
        self.bytes[self.used..end].copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// One line being written.
struct Line<'a>(&'a mut Report);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (number, part) in text.split(['\r', '\n']).enumerate() {
            if number > 0 {
                self.0.put(" ")?;
            }
            self.0.put(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_line_is_a_line_whatever_stands_in_it() {
        let mut report = Report::new();
        report.line("target", format_args!("sip:a@h\r\nVia: {}", 1));
        report.line("next hop", format_args!("192.0.2.1:5060"));
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines, ["target: sip:a@h  Via: 1", "next hop: 192.0.2.1:5060"]);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_told() {
        let mut report = Report::new();
        for number in 0..1000 {
            report.line("step", format_args!("{number:0100}"));
        }
        report.line("s", format_args!(""));
        let lines: Vec<&str> = report.lines().collect();
        let (last, others) = lines.split_last().unwrap();
        assert_eq!(*last, "...: the rest does not fit");
        assert_eq!(others.len(), (Report::BYTES - last.len() - 1) / 107);
        assert!(others.iter().all(|line| line.len() == 106));
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let mut report = Report::none();
        report.line("step", format_args!("result"));
        assert_eq!(report.lines().next(), None);
    }
}
