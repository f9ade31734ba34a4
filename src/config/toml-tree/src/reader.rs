//! Reads one table of a TOML document key by key: it notes what has the wrong type or range and which keys nobody asked
//! for, and never gives up at the first problem.

use super::problem::{Collector, one_of, suggestion};
use std::cell::RefCell;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value with the place it was read from, for what has to be said about it later.
#[derive(Clone, Debug)]
pub struct Field<T> {
    /// What stands there.
    pub value: T,
    /// Where, in bytes from the start of the text.
    pub offset: usize,
    /// Its key with the tables around it, as in `registrar.min_expires`.
    pub key: String,
}

impl<T> Field<T> {
    /// The same place with another value.
    #[must_use]
    pub fn with<U>(&self, value: U) -> Field<U> {
        Field { value, offset: self.offset, key: self.key.clone() }
    }
}

/// One table being read. What is absent or wrong reads as `None`; only what is wrong is a problem.
pub struct Section<'a, 't> {
    table: Option<&'a DeTable<'a>>,
    path: String,
    /// Where the table begins, for what is missing in it.
    offset: usize,
    asked: Vec<&'static str>,
    problems: &'a RefCell<Collector<'t>>,
}

impl<'a, 't> Section<'a, 't> {
    /// The whole document.
    pub(crate) fn document(table: &'a DeTable<'a>, problems: &'a RefCell<Collector<'t>>) -> Self {
        Section { table: Some(table), path: String::new(), offset: 0, asked: Vec::new(), problems }
    }

    /// Whether the table is written in the file.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Notes a problem with a value that was read before.
    pub fn problem<T>(&self, field: &Field<T>, message: impl Into<String>) {
        self.problems.borrow_mut().add(field.offset, field.key.clone(), message);
    }

    /// Notes a problem with a key that is absent or whose value was not kept.
    pub fn problem_of(&self, key: &str, message: &str) {
        let offset = self
            .table
            .and_then(|table| table.get_key_value(key))
            .map_or(self.offset, |(key, _)| key.span().start);
        self.problems.borrow_mut().add(offset, self.path_of(key), message);
    }

    /// Notes a problem where a key is absent.
    pub fn require(&self, key: &str, expected: &str) {
        if self.table.is_some_and(|table| !table.contains_key(key)) {
            self.problem_of(key, &format!("is missing, expected {expected}"));
        }
    }

    /// Whether a list without anything in it is written.
    #[must_use]
    pub fn is_empty_list(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.and_then(|value| value.get_ref().as_array()).is_some_and(|list| list.is_empty())
    }

    /// The line of a value that was read before.
    #[must_use]
    pub fn line<T>(&self, field: &Field<T>) -> usize {
        self.problems.borrow().line(field.offset)
    }

    /// A table inside this one; empty where it is absent.
    pub fn table(&mut self, key: &'static str) -> Section<'a, 't> {
        let field = self.value(key);
        let offset = field.as_ref().map_or(0, |field| field.offset);
        let table = field.and_then(|field| {
            let table = field.value.as_table();
            if table.is_none() {
                self.mismatch(&field, &format!("a table `[{}]`", field.key));
            }
            table
        });
        Section {
            table,
            path: self.path_of(key),
            offset,
            asked: Vec::new(),
            problems: self.problems,
        }
    }

    /// The tables of an array of tables, `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Option<Vec<Section<'a, 't>>> {
        let field = self.value(key)?;
        let expected = format!("tables `[[{}]]`", field.key);
        let mut sections = Vec::new();
        for item in self.items(&field, &expected)? {
            match item.value.as_table() {
                Some(table) => sections.push(Section {
                    table: Some(table),
                    path: field.key.clone(),
                    offset: item.offset,
                    asked: Vec::new(),
                    problems: self.problems,
                }),
                None => self.mismatch(&item, &expected),
            }
        }
        Some(sections)
    }

    /// A string; `expected` says which.
    pub fn string(&mut self, key: &'static str, expected: &str) -> Option<Field<&'a str>> {
        let field = self.value(key)?;
        self.as_string(&field, expected)
    }

    /// A switch.
    pub fn boolean(&mut self, key: &'static str) -> Option<Field<bool>> {
        let field = self.value(key)?;
        let value = field.value.as_bool();
        if value.is_none() {
            self.mismatch(&field, "true or false");
        }
        value.map(|value| field.with(value))
    }

    /// One of a few words, each with its value.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Field<T>> {
        let field = self.value(key)?;
        self.as_word(&field, words)
    }

    /// A list of a few words, each with its value.
    pub fn words<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Option<Vec<Field<T>>> {
        let field = self.value(key)?;
        let names: Vec<&str> = words.iter().map(|&(name, _)| name).collect();
        let items = self.items(&field, &format!("a list of {}", one_of(&names)))?;
        Some(items.iter().filter_map(|item| self.as_word(item, words)).collect())
    }

    /// A whole number within a range; `unit` follows the numbers in a message and may be empty.
    pub fn number<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
        unit: &str,
    ) -> Option<Field<T>>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let field = self.value(key)?;
        self.as_number(&field, range, unit)
    }

    /// A number within a range, with or without a fraction; `unit` follows the numbers in a message and may be empty.
    pub fn float(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        unit: &str,
    ) -> Option<Field<f64>> {
        let space = if unit.is_empty() { "" } else { " " };
        let expected = format!("a number from {} to {}{space}{unit}", range.start(), range.end());
        let field = self.value(key)?;
        let written = match field.value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            // Of whole numbers only decimal ones, as they stand beside fractions.
            DeValue::Integer(integer) if integer.radix() == 10 => {
                integer.as_str().parse::<f64>().ok()
            }
            DeValue::Integer(_)
            | DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        let Some(number) = written else {
            self.mismatch(&field, &expected);
            return None;
        };
        // Neither infinity nor what is no number is in a range that ends.
        if !range.contains(&number) {
            self.problem(&field, format!("{number} is out of range, expected {expected}"));
            return None;
        }
        Some(field.with(number))
    }

    /// A list of strings.
    pub fn strings(&mut self, key: &'static str, expected: &str) -> Option<Vec<Field<&'a str>>> {
        let field = self.value(key)?;
        let items = self.items(&field, &format!("a list of {expected}"))?;
        Some(items.iter().filter_map(|item| self.as_string(item, expected)).collect())
    }

    /// A list of whole numbers within a range.
    pub fn numbers<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
        expected: &str,
    ) -> Option<Vec<Field<T>>>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let field = self.value(key)?;
        let items = self.items(&field, &format!("a list of {expected}"))?;
        Some(items.iter().filter_map(|item| self.as_number(item, range.clone(), "")).collect())
    }

    /// Every entry of this table, where the keys are the user's: name, place and string.
    pub fn entries(&mut self, expected: &str) -> Vec<(Field<&'a str>, Field<&'a str>)> {
        let Some(table) = self.table.take() else { return Vec::new() };
        let mut entries = Vec::new();
        for (name, value) in table {
            let key = self.path_of(name.get_ref());
            let name =
                Field { value: &**name.get_ref(), offset: name.span().start, key: key.clone() };
            let value = Field { value: value.get_ref(), offset: value.span().start, key };
            if let Some(value) = self.as_string(&value, expected) {
                entries.push((name, value));
            }
        }
        entries
    }

    /// Notes the keys that were never asked for.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name = key.get_ref();
            if !self.asked.contains(&&**name) {
                let hint = suggestion(name, &self.asked);
                let message = format!("unknown key, expected {}{hint}", one_of(&self.asked));
                self.problems.borrow_mut().add(key.span().start, self.path_of(name), message);
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn value(&mut self, key: &'static str) -> Option<Field<&'a DeValue<'a>>> {
        self.asked.push(key);
        let value: &Spanned<DeValue<'a>> = self.table?.get(key)?;
        Some(Field { value: value.get_ref(), offset: value.span().start, key: self.path_of(key) })
    }

    /// The items of an array, each with a place of its own.
    fn items(
        &self,
        field: &Field<&'a DeValue<'a>>,
        expected: &str,
    ) -> Option<Vec<Field<&'a DeValue<'a>>>> {
        let Some(array) = field.value.as_array() else {
            self.mismatch(field, expected);
            return None;
        };
        let item = |value: &'a Spanned<DeValue<'a>>| Field {
            value: value.get_ref(),
            offset: value.span().start,
            key: field.key.clone(),
        };
        Some(array.iter().map(item).collect())
    }

    fn as_string(&self, field: &Field<&'a DeValue<'a>>, expected: &str) -> Option<Field<&'a str>> {
        let value = field.value.as_str();
        if value.is_none() {
            self.mismatch(field, expected);
        }
        value.map(|value| field.with(value))
    }

    fn as_word<T: Copy>(
        &self,
        field: &Field<&'a DeValue<'a>>,
        words: &[(&str, T)],
    ) -> Option<Field<T>> {
        let names: Vec<&str> = words.iter().map(|&(name, _)| name).collect();
        let field = self.as_string(field, &one_of(&names))?;
        let written = field.value;
        let found = words.iter().find(|&&(name, _)| name == written);
        if found.is_none() {
            let hint = suggestion(written, &names);
            self.problem(
                &field,
                format!("`{written}` is unknown, expected {}{hint}", one_of(&names)),
            );
        }
        found.map(|&(_, value)| field.with(value))
    }

    fn as_number<T>(
        &self,
        field: &Field<&'a DeValue<'a>>,
        range: RangeInclusive<T>,
        unit: &str,
    ) -> Option<Field<T>>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let (least, most): (i128, i128) = ((*range.start()).into(), (*range.end()).into());
        let space = if unit.is_empty() { "" } else { " " };
        let expected = format!("a whole number from {least} to {most}{space}{unit}");
        let Some(integer) = field.value.as_integer() else {
            self.mismatch(field, &expected);
            return None;
        };
        let written = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        match written.filter(|number| (least..=most).contains(number)).map(T::try_from) {
            Some(Ok(number)) => Some(field.with(number)),
            Some(Err(_)) | None => {
                self.problem(field, format!("{integer} is out of range, expected {expected}"));
                None
            }
        }
    }

    fn mismatch(&self, field: &Field<&'a DeValue<'a>>, expected: &str) {
        let article = match field.value {
            DeValue::Integer(_) | DeValue::Array(_) => "an",
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => "a",
        };
        let found = field.value.type_str();
        self.problem(field, format!("{article} {found} stands here, expected {expected}"));
    }
}
