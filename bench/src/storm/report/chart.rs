//! The frame that all plots share: one size, one set of margins, axes with round marks, and labels beside what they name. What is plotted it
//! does not know.

use super::axis::Scale;
use super::svg::{Anchor, Markup, escaped};

/// In units of the drawing, which the page scales to its width.
pub(super) const WIDTH: f64 = 520.0;
pub(super) const HEIGHT: f64 = 292.0;
pub(super) const LEFT: f64 = 58.0;
/// The margin to its right is for labels.
pub(super) const RIGHT: f64 = WIDTH - 104.0;
pub(super) const TOP: f64 = 26.0;
pub(super) const BOTTOM: f64 = HEIGHT - 38.0;
/// Between the base lines of two labels.
const LABEL_HEIGHT: f64 = 14.0;

/// A plot under construction.
pub(super) struct Chart {
    title: String,
    /// Under the title: what is shown, in a sentence, and the key where labels do not fit beside the lines.
    caption: Markup,
    pub(super) x: Scale,
    pub(super) y: Scale,
    back: Markup,
    front: Markup,
    hits: Markup,
    labels: Vec<(f64, String, String)>,
}

impl Chart {
    pub(super) fn new(title: &str, caption: &str, x: Scale, y: Scale) -> Chart {
        let mut text = Markup::default();
        text.element("p", "", caption);
        Chart {
            title: title.to_owned(),
            caption: text,
            x,
            y,
            back: Markup::default(),
            front: Markup::default(),
            hits: Markup::default(),
            labels: Vec::new(),
        }
    }

    /// Marks the horizontal axis, and names it at its right end.
    pub(super) fn x_axis(&mut self, ticks: &[f64], text: impl Fn(f64) -> String, name: &str) {
        self.back.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        for tick in ticks {
            let x = self.x.at(*tick);
            self.back.line("axis", (x, BOTTOM), (x, BOTTOM + 4.0));
            self.back.text("tick", (x, BOTTOM + 17.0), Anchor::Middle, &text(*tick));
        }
        self.back.text("unit", (RIGHT, BOTTOM + 32.0), Anchor::End, name);
    }

    /// Marks the vertical axis with lines across, and names it above.
    pub(super) fn y_axis(&mut self, ticks: &[f64], text: impl Fn(f64) -> String, name: &str) {
        for tick in ticks {
            let y = self.y.at(*tick);
            self.back.line("grid", (LEFT, y), (RIGHT, y));
            self.back.text("tick", (LEFT - 7.0, y + 4.0), Anchor::End, &text(*tick));
        }
        self.back.text("unit", (0.0, TOP - 12.0), Anchor::Start, name);
    }

    fn places(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let place = |(x, y): &(f64, f64)| {
            if x.is_finite() && y.is_finite() {
                (self.x.at(*x), self.y.at(*y))
            } else {
                (f64::NAN, f64::NAN)
            }
        };
        points.iter().map(place).collect()
    }

    pub(super) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let places = self.places(points);
        self.front.path(&format!("line {class}"), &places);
    }

    /// The area between two lines of as many points.
    pub(super) fn area(&mut self, class: &str, upper: &[(f64, f64)], lower: &[(f64, f64)]) {
        let (upper, lower) = (self.places(upper), self.places(lower));
        self.front.area(&format!("area {class}"), &upper, &lower);
    }

    pub(super) fn dot(&mut self, class: &str, x: f64, y: f64, radius: f64) {
        let at = (self.x.at(x), self.y.at(y));
        self.front.circle(&format!("dot {class}"), at, radius);
    }

    /// Rectangles from one pair of values to another.
    pub(super) fn cells(&mut self, class: &str, cells: &[(f64, f64, f64, f64)]) {
        let places: Vec<_> = cells
            .iter()
            .map(|(x0, y0, x1, y1)| {
                let (left, right) = (self.x.at(*x0), self.x.at(*x1));
                let (top, bottom) = (self.y.at(*y1), self.y.at(*y0));
                (left, top, right - left, bottom - top)
            })
            .collect();
        self.front.cells(&format!("cell {class}"), &places);
    }

    /// A line across at a value, with its label to the right.
    pub(super) fn rule(&mut self, class: &str, y: f64, label: &str) {
        let place = self.y.at(y);
        self.front.line(&format!("rule {class}"), (LEFT, place), (RIGHT, place));
        self.label(class, y, label);
    }

    /// A line upward at a value, with its label at the top.
    pub(super) fn moment(&mut self, x: f64, label: &str) {
        let place = self.x.at(x);
        self.back.line("moment", (place, TOP - 4.0), (place, BOTTOM));
        // Above the plot, but for where the axis has its name.
        let (anchor, x, y) = match place {
            _ if place < LEFT + 120.0 => (Anchor::Start, place + 4.0, TOP + 12.0),
            _ if place > RIGHT - 20.0 => (Anchor::End, RIGHT, TOP - 8.0),
            _ => (Anchor::Middle, place, TOP - 8.0),
        };
        self.front.text("mark", (x, y), anchor, label);
    }

    /// What lies before a value is set back.
    pub(super) fn shade_until(&mut self, x: f64) {
        let place = self.x.at(x);
        self.back.rect("before", LEFT, TOP, place - LEFT, BOTTOM - TOP);
    }

    /// A label to the right of a line that ends at a value.
    pub(super) fn label(&mut self, class: &str, y: f64, text: &str) {
        self.labels.push((self.y.at(y), class.to_owned(), text.to_owned()));
    }

    /// A label in the plot.
    pub(super) fn note(
        &mut self,
        class: &str,
        x: f64,
        y: f64,
        aside: (f64, f64),
        anchor: Anchor,
        text: &str,
    ) {
        let at = (self.x.at(x) + aside.0, self.y.at(y) + aside.1);
        self.front.text(&format!("label {class}"), at, anchor, text);
    }

    /// Tells more of what lies between two values of the horizontal axis, to who points there.
    pub(super) fn hover(&mut self, from: f64, to: f64, told: &str) {
        let (left, right) = (self.x.at(from), self.x.at(to));
        self.hits.hit(left, TOP, (right - left).max(1.0), BOTTOM - TOP, told);
    }

    /// The key of what has no room for labels.
    pub(super) fn key(&mut self, items: &[(&str, String)]) {
        self.caption.raw("<p class=\"key\">");
        for (class, text) in items {
            self.caption.raw(&format!("<span class=\"{class}\"><i></i>{}</span>", escaped(text)));
        }
        self.caption.raw("</p>");
    }

    /// The figure for the page.
    pub(super) fn into_figure(self) -> String {
        let mut front = self.front;
        for (y, class, text) in spread(self.labels) {
            front.text(&format!("label {class}"), (RIGHT + 7.0, y + 4.0), Anchor::Start, &text);
        }
        format!(
            "<figure><figcaption><h3>{title}</h3>{caption}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">{back}{front}{hits}</svg></figure>",
            title = escaped(&self.title),
            caption = self.caption.into_text(),
            back = self.back.into_text(),
            front = front.into_text(),
            hits = self.hits.into_text(),
        )
    }
}

/// A figure that says why it has no plot.
pub(super) fn without(title: &str, why: &str) -> String {
    let mut markup = Markup::default();
    markup.raw("<figure><figcaption>").element("h3", "", title).element("p", "", why);
    markup.raw("</figcaption></figure>");
    markup.into_text()
}

/// Moves labels apart, as little as it takes, within the plot's height.
fn spread(mut labels: Vec<(f64, String, String)>) -> Vec<(f64, String, String)> {
    labels.sort_by(|one, other| one.0.total_cmp(&other.0));
    // Those that touch form a block around the mean of their places, or as near to it as the plot allows; blocks that touch are one.
    let half = |count: usize| count as f64 * LABEL_HEIGHT / 2.0;
    let middle = |(sum, count): (f64, usize)| {
        let inset = half(count - 1);
        (sum / count as f64).clamp(TOP + inset, (BOTTOM - inset).max(TOP + inset))
    };
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (y, ..) in &labels {
        blocks.push((*y, 1));
        while let [.., above, below] = blocks.as_slice()
            && middle(*below) - middle(*above) < half(above.1 + below.1)
        {
            let merged = (above.0 + below.0, above.1 + below.1);
            blocks.truncate(blocks.len() - 2);
            blocks.push(merged);
        }
    }
    let places = blocks.into_iter().flat_map(|block| {
        let first = middle(block) - half(block.1 - 1);
        (0..block.1).map(move |n| first + n as f64 * LABEL_HEIGHT)
    });
    for (label, place) in labels.iter_mut().zip(places) {
        label.0 = place;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_touch_and_stay_in_order() {
        let label = |y: f64| (y, String::new(), format!("{y}"));
        let placed = spread([200.0, 100.0, 101.0, 99.0, 254.0, 254.0, 235.0].map(label).into());
        let texts: Vec<&str> = placed.iter().map(|(.., text)| text.as_str()).collect();
        assert_eq!(texts, ["99", "100", "101", "200", "235", "254", "254"]);
        for pair in placed.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= LABEL_HEIGHT - 1e-9, "{placed:?}");
        }
        assert!(placed.iter().all(|(y, ..)| (TOP..=BOTTOM).contains(y)));
        assert!((placed[1].0 - 100.0).abs() < 1e-9, "those in a block are around their middle");
    }
}
