//! The parameters of a call, by position or by name, and what is wrong with them. It knows no method.

use super::Fault;
use serde_json::{Map, Value};

/// What a call was given, taken one by one.
#[derive(Debug)]
pub(super) struct Params {
    given: Map<String, Value>,
}

impl Params {
    /// Reads what stands at `params`. A list is matched with `names`, in their order; it may begin with Kamailio's name of the
    /// location table where `names` don't.
    ///
    /// # Errors
    /// -32602 where there is something that is not among the names.
    pub(super) fn read(params: Option<Value>, names: &[&str]) -> Result<Self, Fault> {
        let expected = || match names {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let given = match params {
            None => Map::new(),
            Some(Value::Array(mut values)) => {
                let has_table =
                    names.first() == Some(&"aor") && values.first().is_some_and(is_table);
                if has_table {
                    values.remove(0);
                }
                if values.len() > names.len() {
                    return Err(Fault::params(format!(
                        "too many parameters, expected {}",
                        expected()
                    )));
                }
                names.iter().map(|&name| name.to_owned()).zip(values).collect()
            }
            Some(Value::Object(mut values)) => {
                if values.get("table").is_some_and(is_table) {
                    values.remove("table");
                }
                if let Some(stranger) = values.keys().find(|key| !names.contains(&key.as_str())) {
                    return Err(Fault::params(format!(
                        "unknown parameter `{stranger}`, expected {}",
                        expected()
                    )));
                }
                values
            }
            Some(_) => return Err(Fault::request("params have to be a list or an object")),
        };
        Ok(Params { given })
    }

    /// A text. Numbers are taken as they are written, since command lines can't tell the two apart.
    pub(super) fn text(&mut self, name: &str) -> Result<String, Fault> {
        self.optional_text(name)?
            .ok_or_else(|| Fault::params(format!("the parameter `{name}` is missing")))
    }

    /// A text that may be absent or null.
    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(wrong(name, &other, "a text")),
        }
    }

    /// A whole number from 0 on that may be absent or null.
    pub(super) fn optional_whole(&mut self, name: &str, most: u64) -> Result<Option<u64>, Fault> {
        let value = match self.given.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let number = number.filter(|&number| number <= most);
        number.map(Some).ok_or_else(|| wrong(name, &value, &format!("a whole number up to {most}")))
    }

    /// A number that may be absent or null.
    pub(super) fn optional_number(&mut self, name: &str) -> Result<Option<f64>, Fault> {
        let value = match self.given.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_f64(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        number.map(Some).ok_or_else(|| wrong(name, &value, "a number"))
    }

    /// A switch: true, or its own name as a word; absent is off.
    pub(super) fn switch(&mut self, name: &str) -> Result<bool, Fault> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(on),
            Some(Value::String(word)) if word == name => Ok(true),
            Some(Value::String(word)) if word.is_empty() => Ok(false),
            Some(other) => Err(wrong(name, &other, &format!("`{name}`, true or false"))),
        }
    }

    /// Everything that is left, in order, as texts.
    pub(super) fn all_texts(params: Option<Value>) -> Result<Vec<String>, Fault> {
        match params {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| match value.as_str() {
                    Some(text) => Ok(text.to_owned()),
                    None => Err(wrong("names", &value, "a text")),
                })
                .collect(),
            Some(Value::Object(_)) => Err(Fault::params("expected a list of names")),
            Some(_) => Err(Fault::request("params have to be a list or an object")),
        }
    }
}

/// Kamailio names the table first; there is one.
fn is_table(value: &Value) -> bool {
    value == "location"
}

fn wrong(name: &str, found: &Value, expected: &str) -> Fault {
    Fault::params(format!("`{name}` is {found}, expected {expected}"))
}
