//! `ul.dump`, however many bindings there are: asked for in parts, each printed before the next is asked for.

use super::client::Client;
use super::table::Table;
use super::{Form, Unprinted};
use serde_json::{Value, json};
use std::io::Write;

/// Addresses-of-record in a part: some megabytes of text.
const PART: u64 = 5000;

/// Prints a dump. With a limit among its arguments it is one part, and its cursor is printed too.
pub(super) async fn print(
    client: &Client,
    arguments: &[Value],
    form: Form,
    out: &mut impl Write,
) -> Result<(), Unprinted> {
    let is_one_part = arguments.len() > 1;
    let first = if is_one_part {
        Value::Array(arguments.to_vec())
    } else {
        json!([arguments.first(), PART])
    };
    let mut part = client.call("ul.dump", first).await?;
    let mut printer = Printer { form, table: Table::new(&COLUMNS), listed: 0 };
    printer.begin(&part, out)?;
    loop {
        printer.part(&mut part, out)?;
        out.flush()?;
        let cursor = part["Cursor"].take();
        if is_one_part || cursor.is_null() {
            return Ok(printer.end(is_one_part.then_some(&cursor), out)?);
        }
        part = client.call("ul.dump", json!([arguments.first(), PART, cursor])).await?;
    }
}

const COLUMNS: [&str; 6] = ["AoR", "Address", "Expires", "Q", "Received", "Socket"];

struct Printer {
    form: Form,
    table: Table,
    listed: u64,
}

impl Printer {
    /// What stands before the first address-of-record.
    fn begin(&self, part: &Value, out: &mut impl Write) -> std::io::Result<()> {
        let domain = &part["Domains"][0]["Domain"];
        match self.form {
            Form::Json => write!(
                out,
                r#"{{"Domains":[{{"Domain":{{"Domain":{},"Size":{},"AoRs":["#,
                domain["Domain"], domain["Size"]
            ),
            Form::Table => Ok(()),
        }
    }

    fn part(&mut self, part: &mut Value, out: &mut impl Write) -> std::io::Result<()> {
        let aors = part["Domains"][0]["Domain"]["AoRs"].take();
        let Value::Array(aors) = aors else { return Ok(()) };
        match self.form {
            Form::Json => {
                for aor in &aors {
                    let comma = if self.listed > 0 { "," } else { "" };
                    write!(out, "{comma}\n{aor}")?;
                    self.listed += 1;
                }
                Ok(())
            }
            Form::Table => {
                self.listed += aors.len() as u64;
                for aor in &aors {
                    push(&mut self.table, aor);
                }
                out.write_all(self.table.text().as_bytes())
            }
        }
    }

    /// What stands behind the last one.
    fn end(&self, cursor: Option<&Value>, out: &mut impl Write) -> std::io::Result<()> {
        let (listed, longest) = (self.listed, u8::from(self.listed > 0));
        match (self.form, cursor) {
            (Form::Json, cursor) => {
                let cursor =
                    cursor.map_or_else(String::new, |cursor| format!(r#","Cursor":{cursor}"#));
                writeln!(
                    out,
                    "\n],\"Stats\":{{\"Records\":{listed},\"Max-Slots\":{longest}}}}}}}]{cursor}}}"
                )
            }
            (Form::Table, Some(Value::String(cursor))) => {
                writeln!(out, "{listed} addresses-of-record; more from cursor {cursor}")
            }
            (Form::Table, Some(_) | None) => writeln!(out, "{listed} addresses-of-record"),
        }
    }
}

/// Adds the contacts of an address-of-record to a table, a row each.
fn push(table: &mut Table, aor: &Value) {
    let info = if aor["Info"].is_object() { &aor["Info"] } else { aor };
    let contacts = info["Contacts"].as_array().map(Vec::as_slice).unwrap_or_default();
    for contact in contacts {
        let contact = &contact["Contact"];
        let cells = COLUMNS.map(|column| match column {
            "AoR" => &info["AoR"],
            column => &contact[column],
        });
        table.push(cells);
    }
    if contacts.is_empty() {
        table.push(std::iter::once(&info["AoR"]));
    }
}

/// The answer to `ul.lookup` as a table, where a value is one.
pub(super) fn looked_up(value: &Value) -> Option<String> {
    value["Contacts"].as_array()?;
    let mut table = Table::new(&COLUMNS);
    push(&mut table, value);
    Some(table.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(aors: &[&str]) -> Value {
        let aor = |name: &&str| {
            json!({"Info": {"AoR": name, "HashID": 1, "Contacts": [
                {"Contact": {"Address": format!("sip:{name}"), "Expires": 60, "Q": -1.0, "Received": "[not set]"}}]}})
        };
        json!({"Domains": [{"Domain": {"Domain": "location", "Size": 9, "AoRs": aors.iter().map(aor).collect::<Vec<_>>(),
            "Stats": {"Records": aors.len(), "Max-Slots": 1}}}], "Cursor": null})
    }

    fn printed(form: Form, parts: &[&[&str]], cursor: Option<&Value>) -> String {
        let mut printer = Printer { form, table: Table::new(&COLUMNS), listed: 0 };
        let mut out = Vec::new();
        printer.begin(&part(&[]), &mut out).unwrap();
        for aors in parts {
            printer.part(&mut part(aors), &mut out).unwrap();
        }
        printer.end(cursor, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_printed_as_one_answer() {
        let whole: Value =
            serde_json::from_str(&printed(Form::Json, &[&["a@h", "b@h"], &[], &["c@h"]], None))
                .unwrap();
        let mut expected = part(&["a@h", "b@h", "c@h"]);
        expected.as_object_mut().unwrap().remove("Cursor");
        assert_eq!(whole, expected);
        assert_eq!(
            serde_json::from_str::<Value>(&printed(Form::Json, &[&[]], None)).unwrap()["Domains"]
                [0]["Domain"]["Stats"],
            json!({"Records": 0, "Max-Slots": 0})
        );
        let cursor = json!("1.2");
        let one: Value =
            serde_json::from_str(&printed(Form::Json, &[&["a@h"]], Some(&cursor))).unwrap();
        assert_eq!(one["Cursor"], cursor);
    }

    #[test]
    fn a_table_has_one_head_and_grows_wider_only() {
        assert_eq!(
            printed(Form::Table, &[&["a@h"], &["longer@h"], &["b@h"]], Some(&json!("1.2"))),
            "AoR  Address  Expires  Q     Received   Socket\n\
             a@h  sip:a@h  60       -1.0  [not set]  \n\
             longer@h  sip:longer@h  60       -1.0  [not set]  \n\
             b@h       sip:b@h       60       -1.0  [not set]  \n\
             3 addresses-of-record; more from cursor 1.2\n"
                .replace("  \n", "\n")
        );
    }
}
