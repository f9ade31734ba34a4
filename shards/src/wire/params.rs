//! Header parameters as they stand in a message, read when asked for. It owns no copy and unescapes nothing.

use super::cursor::{Cursor, Span};

/// A header parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'m> {
    /// Its name, in the case it came in.
    pub name: &'m [u8],
    /// Its value; a quoted one keeps its quotes and escapes. `None` for `;name`.
    pub value: Option<&'m [u8]>,
}

/// The parameters behind an address, whose grammar was checked; folds and white space between them as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'m> {
    raw: &'m [u8],
}

impl<'m> Params<'m> {
    #[inline]
    pub(super) fn new(raw: &'m [u8]) -> Self {
        Params { raw }
    }

    /// Parameters whose grammar was checked when they were received. Of others, those before the first defect are seen.
    #[must_use]
    pub fn checked(raw: &'m [u8]) -> Self {
        Params::new(raw)
    }

    /// The bytes, from the first semicolon to the end of the last parameter; empty where there is none.
    #[must_use]
    pub fn raw(&self) -> &'m [u8] {
        self.raw
    }

    /// Each parameter in order.
    #[must_use]
    pub fn iter(&self) -> ParamsIter<'m> {
        let all = Span::new(0, self.raw.len());
        ParamsIter { cursor: Cursor::new(self.raw, all, "") }
    }

    /// The first parameter of this name, whose case does not matter.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Param<'m>> {
        self.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }
}

impl<'m> IntoIterator for Params<'m> {
    type Item = Param<'m>;
    type IntoIter = ParamsIter<'m>;

    fn into_iter(self) -> ParamsIter<'m> {
        self.iter()
    }
}

impl<'m> IntoIterator for &Params<'m> {
    type Item = Param<'m>;
    type IntoIter = ParamsIter<'m>;

    fn into_iter(self) -> ParamsIter<'m> {
        self.iter()
    }
}

/// Iterator over [`Params`].
#[derive(Clone, Debug)]
pub struct ParamsIter<'m> {
    cursor: Cursor<'m>,
}

impl<'m> Iterator for ParamsIter<'m> {
    type Item = Param<'m>;

    fn next(&mut self) -> Option<Param<'m>> {
        let bytes = self.cursor.bytes;
        let param = self.cursor.param().ok().flatten()?;
        Some(Param { name: param.name.of(bytes), value: param.value.map(|value| value.of(bytes)) })
    }
}
