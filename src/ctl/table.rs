//! Tables for people: columns as wide as what stands in them. What comes from the network can't move a cursor.

use super::dump;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Rows that are printed part by part, under one head.
#[derive(Debug)]
pub(super) struct Table {
    widths: Vec<usize>,
    /// What was not printed yet; the head is the first row.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        let mut table = Table { widths: Vec::new(), rows: Vec::new() };
        table.push_texts(head.iter().map(|&name| name.to_owned()).collect());
        table
    }

    pub(super) fn push<'v>(&mut self, cells: impl IntoIterator<Item = &'v Value>) {
        self.push_texts(cells.into_iter().map(cell).collect());
    }

    fn push_texts(&mut self, row: Vec<String>) {
        self.widths.resize(self.widths.len().max(row.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(row);
    }

    /// What was added since the last time.
    pub(super) fn text(&mut self) -> String {
        let mut text = String::new();
        for row in self.rows.drain(..) {
            let start = text.len();
            for (cell, &width) in row.iter().zip(&self.widths) {
                // Writing into a String can't fail.
                let _ = write!(text, "{cell:width$}  ");
            }
            text.truncate(start + text[start..].trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// An answer for a person.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => String::new(),
        Value::Object(map) => {
            dump::looked_up(value).or_else(|| steps(map)).unwrap_or_else(|| object(map))
        }
        Value::Array(items) if items.iter().any(Value::is_object) => objects(items),
        Value::Array(items) => lines(items),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => cell(value) + "\n",
    }
}

/// What is nothing but steps, in order, as a numbered list.
fn steps(map: &Map<String, Value>) -> Option<String> {
    let steps = map.get("steps").filter(|_| map.len() == 1)?.as_array()?;
    let mut table = Table { widths: Vec::new(), rows: Vec::new() };
    for (number, step) in (1..).zip(steps) {
        let step = cell(step);
        let (step, result) = step.split_once(": ").unwrap_or((&step, ""));
        table.push_texts(vec![format!("{number:2}."), step.to_owned(), result.to_owned()]);
    }
    Some(table.text())
}

/// Names and values, then the tables that are among the values.
fn object(map: &Map<String, Value>) -> String {
    let is_table =
        |value: &&Value| value.as_array().is_some_and(|items| items.iter().any(Value::is_object));
    let mut pairs = Table { widths: Vec::new(), rows: Vec::new() };
    for (name, value) in map.iter().filter(|(_, value)| !is_table(value)) {
        pairs.push_texts(vec![name.clone(), cell(value)]);
    }
    let mut text = pairs.text();
    for (name, value) in map.iter().filter(|(_, value)| is_table(value)) {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        // Writing into a String can't fail.
        let _ = write!(text, "\n{name}:\n{}", objects(items));
    }
    text
}

/// Objects with the same names, a row each.
fn objects(items: &[Value]) -> String {
    let first = items.iter().find_map(Value::as_object);
    let head: Vec<&str> = first.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let mut table = Table::new(&head);
    for item in items {
        table.push(head.iter().map(|&name| &item[name]));
    }
    table.text()
}

/// One value a line; those of the form `name = value` aligned.
fn lines(items: &[Value]) -> String {
    let mut table = Table { widths: Vec::new(), rows: Vec::new() };
    for item in items {
        let line = cell(item);
        let pair =
            line.split_once(" = ").map(|(name, value)| vec![name.to_owned(), value.to_owned()]);
        table.push_texts(pair.unwrap_or_else(|| vec![line]));
    }
    table.text()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => printable(&value.to_string()),
    }
}

/// Control characters as escapes: a terminal would act on them.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_of_every_shape_are_readable() {
        assert_eq!(text(&json!("seawall 0.1.0")), "seawall 0.1.0\n");
        assert_eq!(text(&json!({})), "");
        assert_eq!(text(&json!(["core.info", "ul.add"])), "core.info\nul.add\n");
        assert_eq!(text(&json!(["a:b = 1", "a:long = 23"])), "a:b     1\na:long  23\n");
        assert_eq!(
            text(&json!({"total": 10, "used": 2, "listen": ["a", "b"],
                "tables": [{"core": 0, "table": "aors", "entries": null}, {"core": 0, "table": "strings", "entries": 7}]})),
            "total   10\nused    2\nlisten  a, b\n\ntables:\ncore  table    entries\n0     aors\n0     strings  7\n"
        );
        assert_eq!(
            text(&json!({"steps": ["request: INVITE sip:b@h", "Max-Forwards: 70\u{1b}", "done"]})),
            " 1.  request       INVITE sip:b@h\n 2.  Max-Forwards  70\\u{1b}\n 3.  done\n"
        );
        let contact = json!({"Address": "sip:a@h", "Expires": "permanent", "Q": 0.5, "Received": "sip:h:1", "Socket": "udp:h:2"});
        assert_eq!(
            text(&json!({"AoR": "a@h", "HashID": 1, "Contacts": [{"Contact": contact}]})),
            "AoR  Address  Expires    Q    Received  Socket\na@h  sip:a@h  permanent  0.5  sip:h:1   udp:h:2\n"
        );
    }

    #[test]
    fn what_a_terminal_would_act_on_is_shown() {
        assert_eq!(text(&json!("a\u{1b}[2Jb\u{9b}\r\n")), "a\\u{1b}[2Jb\\u{9b}\\r\\n\n");
    }
}
