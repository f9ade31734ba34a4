//! What a flow keeps of one message for later ones, as `$name`. It knows nothing of SIP beyond rows.

use super::message::Message;
use super::script::{Body, Check, Line};
use regex_lite::Regex;
use std::collections::BTreeMap;

/// The values that were kept.
#[derive(Debug, Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Keeps what the `keep` lines name. A pattern that finds nothing keeps nothing; that is the business of the check.
    pub(super) fn keep(&mut self, message: &Message, checks: &[Check]) {
        for check in checks {
            let Check::Keep(name, row, pattern) = check else { continue };
            let regex = Regex::new(pattern).unwrap();
            let rows = message.rows_of(row);
            let found = rows.iter().find_map(|value| regex.captures(value)?.get(1));
            if let Some(found) = found {
                self.0.insert(name.clone(), found.as_str().to_owned());
            }
        }
    }

    /// What is sent, with values in the place of names.
    pub(super) fn in_body(&self, body: &Body) -> Body {
        match body {
            Body::Shorthand { start, lines, body } => Body::Shorthand {
                start: self.in_text(start, str::to_owned),
                lines: lines.iter().map(|line| self.in_line(line)).collect(),
                body: self.in_bytes(body),
            },
            Body::Raw(bytes) => Body::Raw(self.in_bytes(bytes)),
            Body::Again => Body::Again,
        }
    }

    fn in_line(&self, line: &Line) -> Line {
        match line {
            Line::Header(name, value) => Line::Header(name.clone(), self.in_bytes(value)),
            Line::Without(_) | Line::Digest(_) => line.clone(),
        }
    }

    /// What is expected, with values in the place of names; within a pattern they stand for themselves.
    pub(super) fn in_checks(&self, checks: &[Check]) -> Vec<Check> {
        let plain = |text: &str| self.in_text(text, str::to_owned);
        let checks = checks.iter().map(|check| match check {
            Check::Equals(name, value) => Check::Equals(name.clone(), plain(value)),
            Check::Uri(uri) => Check::Uri(plain(uri)),
            Check::Matches(name, pattern) => {
                Check::Matches(name.clone(), self.in_text(pattern, regex_lite::escape))
            }
            Check::Has(_)
            | Check::HasNot(_)
            | Check::Reason(_)
            | Check::Contact(_)
            | Check::NoContacts
            | Check::Keep(..)
            | Check::Body(_)
            | Check::Unmirrored
            | Check::Changed => check.clone(),
        });
        checks.collect()
    }

    /// Bytes, with values in the place of names, where they are text.
    pub(super) fn in_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.in_text(text, str::to_owned).into_bytes(),
            Err(_) => bytes.to_vec(),
        }
    }

    fn in_text(&self, text: &str, written: impl Fn(&str) -> String) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            result.push_str(before);
            let end = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
            rest = match self.0.get(&after[..end]) {
                Some(value) => {
                    result.push_str(&written(value));
                    &after[end..]
                }
                None => {
                    result.push('$');
                    after
                }
            };
        }
        result.push_str(rest);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stands_where_its_name_is() {
        let mut variables = Variables::default();
        let message = Message::read(b"A\r\nRoute: <sip:a.b;c=1>\r\n\r\n").unwrap();
        let keep = Check::Keep("uri".into(), "Route".into(), "<([^>]+)>".into());
        variables.keep(&message, &[keep]);
        assert_eq!(
            variables.in_text("<$uri>, $no (;|$)", str::to_owned),
            "<sip:a.b;c=1>, $no (;|$)"
        );
        let checks = variables.in_checks(&[Check::Matches("Route".into(), "^<$uri".into())]);
        let Check::Matches(_, pattern) = &checks[0] else { panic!("{checks:?}") };
        assert_eq!(pattern, r"^<sip:a\.b;c=1");
        assert_eq!(variables.in_bytes(b"\xff$uri"), b"\xff$uri");
    }
}
