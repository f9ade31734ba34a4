//! Writes SVG and HTML as text: escaped, with coordinates to a tenth. It knows shapes, and nothing of what they show.

use std::fmt::Write as _;

/// A piece of a page under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Markup(String);

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Markup {
    /// Adds what is markup already.
    pub(super) fn raw(&mut self, markup: &str) -> &mut Markup {
        self.0.push_str(markup);
        self
    }

    /// An element of HTML with a text in it.
    pub(super) fn element(&mut self, tag: &str, class: &str, text: &str) -> &mut Markup {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = write!(self.0, "<{tag}{class}>{}</{tag}>", escaped(text));
        self
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) -> &mut Markup {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(tenth);
        let _ = write!(
            self.0,
            "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"
        );
        self
    }

    pub(super) fn rect(
        &mut self,
        class: &str,
        x: f64,
        y: f64,
        width: f64,
        height: f64,
    ) -> &mut Markup {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(tenth);
        let _ = write!(
            self.0,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        );
        self
    }

    /// A rectangle that tells more to who points at it.
    pub(super) fn hit(
        &mut self,
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        told: &str,
    ) -> &mut Markup {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(tenth);
        let _ = write!(
            self.0,
            "<rect class=\"hit\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"><title>{}</title></rect>",
            escaped(told)
        );
        self
    }

    pub(super) fn circle(&mut self, class: &str, at: (f64, f64), radius: f64) -> &mut Markup {
        let [x, y, radius] = [at.0, at.1, radius].map(tenth);
        let _ = write!(self.0, "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>");
        self
    }

    pub(super) fn text(
        &mut self,
        class: &str,
        at: (f64, f64),
        anchor: Anchor,
        text: &str,
    ) -> &mut Markup {
        let [x, y] = [at.0, at.1].map(tenth);
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let _ = write!(
            self.0,
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{anchor}>{}</text>",
            escaped(text)
        );
        self
    }

    /// Lines from point to point; a point that is no number interrupts them.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) -> &mut Markup {
        let mut d = String::new();
        let mut drawing = false;
        for (x, y) in points {
            if !(x.is_finite() && y.is_finite()) {
                drawing = false;
                continue;
            }
            let _ = write!(d, "{}{} {}", if drawing { 'L' } else { 'M' }, tenth(*x), tenth(*y));
            drawing = true;
        }
        if !d.is_empty() {
            let _ = write!(self.0, "<path class=\"{class}\" d=\"{d}\"/>");
        }
        self
    }

    /// The area between two lines of as many points.
    pub(super) fn area(
        &mut self,
        class: &str,
        upper: &[(f64, f64)],
        lower: &[(f64, f64)],
    ) -> &mut Markup {
        let around: Vec<(f64, f64)> = upper.iter().chain(lower.iter().rev()).copied().collect();
        self.path(class, &around)
    }

    /// Many rectangles of one look.
    pub(super) fn cells(&mut self, class: &str, cells: &[(f64, f64, f64, f64)]) -> &mut Markup {
        if cells.is_empty() {
            return self;
        }
        let mut d = String::new();
        for (x, y, width, height) in cells {
            let [x, y, width, height] = [*x, *y, *width, *height].map(tenth);
            let _ = write!(d, "M{x} {y}h{width}v{height}h-{width}z");
        }
        let _ = write!(self.0, "<path class=\"{class}\" d=\"{d}\"/>");
        self
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Safe between tags and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// A coordinate; what is none is 0, so that no shape is broken by it.
fn tenth(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_no_markup() {
        let mut markup = Markup::default();
        markup.element("p", "", "<script>alert('1' & \"2\")</script>\u{1}");
        let expected =
            "<p>&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;\u{fffd}</p>";
        assert_eq!(markup.into_text(), expected);
    }

    #[test]
    fn a_point_that_is_no_number_interrupts_a_line() {
        let mut markup = Markup::default();
        markup.path("a", &[(0.0, 1.0), (1.04, 2.0), (f64::NAN, 0.0), (3.0, 4.0)]).path("b", &[]);
        assert_eq!(markup.into_text(), "<path class=\"a\" d=\"M0 1L1 2M3 4\"/>");
    }
}
