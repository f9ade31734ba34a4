//! What a run shows while it goes: a few lines redrawn in place on a terminal, a line every few seconds elsewhere, and a summary at the end. It
//! draws from numbers alone, and leaves the cursor where a shell expects it after every write.

mod sys;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use super::record::{Run, Second};
use super::report::number::{
    compact, grouped, over, percent, ratio, rounded, seconds, time_us, whole,
};
use super::report::{Goal, Judgement, goals, label, p99_us, verdict};

/// Seconds between two lines where there is no terminal.
const LINE_EVERY_SECS: f64 = 5.0;
/// Width where it cannot be told.
const COLUMNS: usize = 80;
/// Wider lines would be harder to read.
const COLUMNS_MOST: usize = 110;
/// Steps of a sparkline.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is being played; it does not change while it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playing {
    /// `S1 power-step`.
    pub title: String,
    /// How many user agents.
    pub user_agents: u32,
    /// Registrations a second that the server can finish.
    pub kappa: f64,
    /// Seconds before the arrival.
    pub before_secs: f64,
    /// Of the shortest possible recovery, in seconds.
    pub t_min_secs: f64,
}

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is being played.
    pub playing: &'a Playing,
    /// All seconds so far.
    pub seconds: &'a [Second],
    /// When it will have ended at the latest, in seconds from the start of the arrival.
    pub ends_secs: f64,
}

/// Where the lines go.
pub struct View {
    /// Redrawn in place, or a line at a time.
    live: Box<dyn Write + Send>,
    /// Gets the summary.
    paper: Box<dyn Write + Send>,
    in_place: bool,
    columns: Box<dyn Fn() -> Option<usize> + Send>,
    /// Lines that the next drawing replaces.
    drawn: usize,
    /// Of the last line where there is no terminal.
    last_line_secs: Option<f64>,
}

impl View {
    /// On the terminal of standard error, or in lines on it where that is none; the summary goes to standard output.
    pub fn new() -> View {
        let in_place =
            io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        View::to(
            Box::new(io::stderr()),
            Box::new(io::stdout()),
            in_place,
            Box::new(sys::columns_of_stderr),
        )
    }

    /// Shows nothing.
    pub fn silent() -> View {
        View::to(Box::new(io::sink()), Box::new(io::sink()), false, Box::new(|| None))
    }

    /// To these writers; `columns` tells the width of the first.
    pub fn to(
        live: Box<dyn Write + Send>,
        paper: Box<dyn Write + Send>,
        in_place: bool,
        columns: Box<dyn Fn() -> Option<usize> + Send>,
    ) -> View {
        View { live, paper, in_place, columns, drawn: 0, last_line_secs: None }
    }

    /// Says what is being done before or after the seconds of the run. It stays on the screen.
    pub fn note(&mut self, phase: &str) {
        self.replace(&[phase.to_owned()]);
        self.drawn = 0;
    }

    /// Shows a second.
    pub fn second(&mut self, progress: &Progress<'_>) {
        if self.in_place {
            self.replace(&screen(progress, self.width()));
            return;
        }
        let Some(second) = progress.seconds.last() else { return };
        if self.last_line_secs.is_none_or(|last| second.at_secs - last >= LINE_EVERY_SECS - 0.5) {
            self.last_line_secs = Some(second.at_secs);
            self.replace(&[line(progress)]);
        }
    }

    /// Shows how it ended, and where the report is.
    pub fn finish(&mut self, run: &Run, report: &Path) {
        self.replace(&[]);
        // A summary that nobody reads is no reason to lose a run.
        let _ = self.paper.write_all(summary(run, report).as_bytes());
        let _ = self.paper.flush();
    }

    fn width(&self) -> usize {
        (self.columns)().unwrap_or(COLUMNS).min(COLUMNS_MOST)
    }

    /// Writes lines over the last ones in one write. The cursor is left at the start of the line below, so that whatever ends the
    /// program, a prompt stands well.
    fn replace(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.in_place && self.drawn > 0 {
            // Up to the first of them, and all below is erased.
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        for line in lines {
            let line = if self.in_place { cut(line, self.width()) } else { line.clone() };
            text.push_str(&line);
            text.push('\n');
        }
        self.drawn = if self.in_place { lines.len() } else { 0 };
        // Standard error may be closed; the run goes on.
        let _ = self.live.write_all(text.as_bytes());
        let _ = self.live.flush();
    }
}

impl Default for View {
    fn default() -> View {
        View::new()
    }
}

/// So much of a line as leaves the last column free, where terminals would wrap.
fn cut(line: &str, columns: usize) -> String {
    let room = columns.saturating_sub(1).max(1);
    if line.chars().count() <= room {
        return line.to_owned();
    }
    line.chars().take(room - 1).chain(['…']).collect()
}

/// The lines of a terminal.
pub fn screen(progress: &Progress<'_>, columns: usize) -> Vec<String> {
    let Progress { playing, seconds: all, ends_secs } = *progress;
    let none = Second::default();
    let now = all.last().unwrap_or(&none);
    let spark_columns = columns.saturating_sub(58).clamp(8, 40);
    let row = |name: &str, history: Option<Vec<f64>>, top: f64, text: String| {
        let spark =
            history.map_or(String::new(), |history| spark(&history, top, spark_columns) + "  ");
        format!("{name:<11}{spark}{text}")
    };
    let history = |of: fn(&Second) -> f64| {
        let from = all.len().saturating_sub(spark_columns);
        all[from..].iter().map(of).collect::<Vec<f64>>()
    };
    let most = |history: &[f64]| history.iter().copied().fold(1.0, f64::max);
    let goodput = history(|second| second.registered as f64);
    let offered = history(|second| second.sent as f64);
    let late = history(|second| p99_us([second]).filter(|us| *us < f64::MAX).unwrap_or(0.0));
    let dropped =
        history(|second| (second.kernel_drops + second.server_drops.values().sum::<u64>()) as f64);
    let share = share_registered(playing, now);
    let (top_offered, top_late, top_dropped) = (most(&offered), most(&late), most(&dropped));
    vec![
        heading(progress, now, ends_secs, columns),
        row(
            "registered",
            None,
            1.0,
            format!(
                "{}  {:>7}  {} of {}",
                bar(share, spark_columns),
                percent(share),
                grouped(now.total_registered),
                grouped(u64::from(playing.user_agents))
            ),
        ),
        row(
            "goodput",
            Some(goodput),
            playing.kappa.max(1.0),
            format!("{:>7}/s  {}", compact(now.registered as f64), of_kappa(playing, now)),
        ),
        row(
            "offered",
            Some(offered),
            top_offered,
            format!(
                "{:>7}/s  datagrams, {} sent again",
                compact(now.sent as f64),
                compact(now.retransmitted as f64)
            ),
        ),
        row("p99", Some(late), top_late, format!("{:>9}  until an answer", answer(now))),
        row("dropped", Some(dropped), top_dropped, drops(now)),
    ]
}

/// The title, how far it is, and how long it still takes.
fn heading(progress: &Progress<'_>, now: &Second, ends_secs: f64, columns: usize) -> String {
    let playing = progress.playing;
    let length = (ends_secs + playing.before_secs).max(1.0);
    let done = ((now.at_secs + playing.before_secs) / length).clamp(0.0, 1.0);
    let phase = phase(progress, now);
    let left = (ends_secs - now.at_secs).max(0.0);
    let text = format!("{}  {phase}", playing.title);
    let end = format!("at most {} left", seconds(left.round()));
    let room = columns.saturating_sub(text.chars().count() + end.chars().count() + 5).clamp(6, 30);
    format!("{text}  {}  {end}", bar(done, room))
}

fn phase(progress: &Progress<'_>, now: &Second) -> String {
    match now.at_secs {
        at if at <= 0.0 => format!("before the storm, {} to go", seconds((-at).round())),
        at if share_registered(progress.playing, now) >= 0.99 => {
            format!("after it, {}", seconds(at.round()))
        }
        at => format!("storm, {}", seconds(at.round())),
    }
}

/// A line where there is no terminal.
pub fn line(progress: &Progress<'_>) -> String {
    let Progress { playing, seconds: all, ends_secs: _ } = *progress;
    let none = Second::default();
    let now = all.last().unwrap_or(&none);
    format!(
        "{} {:>5.0} s: {} registered, goodput {}/s ({}), offered {}/s, p99 {}, dropped {}",
        playing.title,
        now.at_secs,
        percent(share_registered(playing, now)),
        compact(now.registered as f64),
        of_kappa(playing, now),
        compact(now.sent as f64),
        answer(now),
        drops(now),
    )
}

fn share_registered(playing: &Playing, now: &Second) -> f64 {
    over(now.total_registered as f64, f64::from(playing.user_agents)).unwrap_or(0.0)
}

fn of_kappa(playing: &Playing, now: &Second) -> String {
    over(now.registered as f64, playing.kappa)
        .map_or("capacity not known".to_owned(), |share| format!("{} of capacity", ratio(share)))
}

/// The 99th percentile of the second's answers; beyond the last bound it is only known to be above.
fn answer(now: &Second) -> String {
    match p99_us([now]) {
        Some(us) if us < f64::MAX => time_us(us),
        Some(_) => {
            let last = now.answer_age_us.iter().map(|(bound, _)| *bound).rfind(|us| *us < f64::MAX);
            format!("> {}", time_us(last.unwrap_or(0.0)))
        }
        None => "–".to_owned(),
    }
}

fn drops(now: &Second) -> String {
    let server: u64 = now.server_drops.values().sum();
    format!(
        "{}/s by the kernel, {}/s by the server",
        compact(now.kernel_drops as f64),
        compact(server as f64)
    )
}

/// A share as a bar of this many columns, to an eighth of one.
fn bar(share: f64, columns: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = usize::try_from(whole(share * columns as f64 * 8.0)).unwrap_or(0);
    let mut text = "█".repeat(eighths / 8);
    if eighths % 8 > 0 {
        text.push(EIGHTHS[eighths % 8]);
    }
    let missing = columns - text.chars().count();
    text + &"░".repeat(missing)
}

/// The last values, a column each, on a scale from 0 to `top`; what is above it is as high as it.
fn spark(values: &[f64], top: f64, columns: usize) -> String {
    let shown = &values[values.len().saturating_sub(columns)..];
    let step = |value: &f64| {
        let share = if value.is_finite() { (value / top).clamp(0.0, 1.0) } else { 0.0 };
        let last = STEPS.len() as f64 - 1.0;
        STEPS[usize::try_from(whole(share * last)).unwrap_or(0).min(STEPS.len() - 1)]
    };
    let text: String = shown.iter().map(step).collect();
    format!("{text:<columns$}")
}

/// About ten lines: how it ended, each goal, and where to read more.
pub fn summary(run: &Run, report: &Path) -> String {
    let (_, sentence) = verdict(run);
    let mut text = String::new();
    let _ = writeln!(text, "\n{} {}: {sentence}", run.scenario.id, run.scenario.title);
    for why in &run.invalid {
        let _ = writeln!(text, "  because {why}");
    }
    let _ = writeln!(
        text,
        "  {} user agents against {} at {}; {}; kappa {}/s",
        grouped(u64::from(run.scaled.user_agents)),
        run.about.server,
        run.about.target,
        label(&run.about.label),
        rounded(run.capacity.kappa)
    );
    for Goal { name, threshold, measured, judgement } in goals(run) {
        let (mark, word) = match judgement {
            Judgement::Met => ("  ✓", ""),
            Judgement::Missed => ("  ✗", "  MISSED"),
            Judgement::NotMeasured => ("  ·", "  not measured"),
            Judgement::Published => ("  ·", "  no goal"),
        };
        let threshold = if threshold.is_empty() { threshold } else { format!("({threshold})") };
        let _ = writeln!(text, "{mark} {name:<44} {measured:>9}  {threshold}{word}");
    }
    let _ = writeln!(text, "  report: {}", report.display());
    text
}
