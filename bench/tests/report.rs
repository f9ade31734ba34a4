//! Folders of runs, and what is shown of them, from runs of all kinds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bench::storm::record::{Class, Run};
use bench::storm::report::{self, Ending, Folder, Judgement, goals};
use bench::storm::view::{self, Playing, Progress, View};
use fixture::Played;

/// A folder of this test alone, gone when it ends.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path =
            std::env::temp_dir().join(format!("seawall-report-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Place(path)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(played: &Played, path: &Path) -> PathBuf {
    let mut folder = Folder::create(path, played.run.about.started_unix_secs).unwrap();
    played.write(&mut folder).unwrap();
    folder.finish(&played.run, &played.whole).unwrap()
}

#[test]
fn a_run_is_read_back_as_it_was_written() {
    for (name, played) in fixture::all() {
        let place = Place::new(&format!("back-{name}"));
        write(played, &place.0);
        let recorded = Folder::read(&place.0).unwrap();
        let json = |run: &Run| serde_json::to_string(run).unwrap();
        assert_eq!(json(&recorded.run), json(&played.run), "{name}");
        for class in Class::ALL {
            assert_eq!(recorded.tally.of(class), played.whole.of(class), "{name}: {class:?}");
            let text = place.0.join(format!("{}.hgrm", class.name()));
            assert_eq!(text.exists(), !played.whole.of(class).is_empty(), "{name}: {class:?}");
        }
        let rows = place.text(report::SERIES).lines().count();
        assert_eq!(rows, 1 + played.seconds.len(), "{name}");
    }
}

#[test]
fn a_run_that_is_killed_leaves_its_seconds() {
    let played = fixture::one("cut-short");
    let place = Place::new("killed");
    let mut folder = Folder::create(&place.0, 0).unwrap();
    played.write(&mut folder).unwrap();
    // Nothing is written when it goes.
    std::mem::forget(folder);
    assert_eq!(place.text(report::SERIES).lines().count(), 1 + 11);
    let last = place.text(report::LOG).lines().last().unwrap().to_owned();
    assert!(last.contains(",10.000,1.000,"), "{last}");
}

#[test]
fn a_folder_keeps_the_run_that_it_has() {
    let played = fixture::one("empty");
    let place = Place::new("twice");
    write(played, &place.0);
    let again = Folder::create(&place.0, 0).err().unwrap();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn what_cannot_be_read_is_named() {
    let place = Place::new("unreadable");
    let missing = Folder::read(&place.0).unwrap_err().to_string();
    assert!(missing.contains(report::RUN), "{missing}");
    write(fixture::one("empty"), &place.0);
    let file = place.0.join(report::RUN);
    let newer = place.text(report::RUN).replacen("\"schema\": 1", "\"schema\": 99", 1);
    std::fs::write(&file, newer).unwrap();
    let wrong = Folder::read(&place.0).unwrap_err().to_string();
    assert!(wrong.contains("its schema is 99"), "{wrong}");
    std::fs::write(&file, "{\"schema\": 1, \"about\": 5}").unwrap();
    let wrong = Folder::read(&file).unwrap_err().to_string();
    assert!(wrong.contains("run.json"), "{wrong}");
}

#[test]
fn goals_are_judged_by_what_was_measured() {
    let judged = |played: &Played, name: &str| {
        goals(&played.run)
            .into_iter()
            .find(|goal| goal.name.starts_with(name))
            .map(|goal| goal.judgement)
    };
    let held = fixture::one("control");
    let fell = fixture::one("without-control");
    assert_eq!(judged(held, "Goodput over capacity while"), Some(Judgement::Met));
    assert_eq!(judged(fell, "Goodput over capacity while"), Some(Judgement::Missed));
    assert_eq!(judged(held, "Emergency calls"), Some(Judgement::Met));
    assert_eq!(judged(fell, "Emergency calls"), Some(Judgement::Missed));
    let silent = fixture::one("without-metrics");
    assert_eq!(judged(silent, "Emergency calls"), None, "a scenario without calls asks for none");
    // p = 0 has no threshold.
    assert_eq!(judged(silent, "T99"), Some(Judgement::Published));
    assert_eq!(report::verdict(&fixture::one("invalid").run).0, Ending::Invalid);
    assert_eq!(report::verdict(&fixture::one("cut-short").run).0, Ending::CutShort);
    assert_eq!(report::verdict(&fell.run).0, Ending::Missed);
}

#[test]
fn a_folder_s_name_sorts_by_time_and_is_safe() {
    assert_eq!(Folder::name("S1", 1_795_830_000), "storm-S1-20261128-014000");
    assert_eq!(Folder::name("../x y", 0), "storm----x-y-19700101-000000");
}

/// What was written, for a test to see.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn playing(run: &Run) -> Playing {
    Playing {
        title: format!("{} {}", run.scenario.id, run.scenario.title),
        user_agents: run.scaled.user_agents,
        kappa: run.capacity.kappa,
        before_secs: run.scaled.before_secs,
        t_min_secs: run.scaled.t_min_secs,
    }
}

/// All that a view shows of a run: what it draws, and its summary.
fn shown(played: &Played, in_place: bool, columns: usize) -> (String, String) {
    let (live, paper) = (Shared::default(), Shared::default());
    let mut view = View::to(
        Box::new(live.clone()),
        Box::new(paper.clone()),
        in_place,
        Box::new(move || Some(columns)),
    );
    view.note("measuring what the server can do");
    let playing = playing(&played.run);
    for end in 1..=played.run.seconds.len() {
        view.second(&Progress {
            playing: &playing,
            seconds: &played.run.seconds[..end],
            ends_secs: 45.0,
        });
    }
    view.finish(&played.run, Path::new("storm-S1/report.html"));
    (live.text(), paper.text())
}

/// What a terminal shows after that text; it knows no more than a view may use.
fn terminal(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(escape) = rest.strip_prefix("\x1b[") {
            let end = escape.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            match &escape[end..=end] {
                "A" => {
                    let up: usize = escape[..end].parse().unwrap();
                    assert_eq!(lines.last().unwrap(), "", "it goes up from the start of a line");
                    let kept = lines.len() - 1 - up;
                    lines.truncate(kept);
                    lines.push(String::new());
                }
                "J" => assert_eq!(&escape[..end], ""),
                other => panic!("no terminal is asked for {other}"),
            }
            rest = &escape[end + 1..];
            continue;
        }
        if next == '\n' {
            lines.push(String::new());
        } else {
            lines.last_mut().unwrap().push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    lines
}

#[test]
fn a_terminal_is_redrawn_in_place_within_its_width() {
    for (name, played) in fixture::all() {
        for columns in [20, 40, 80, 200] {
            let (live, _) = shown(played, true, columns);
            let lines = terminal(&live);
            assert_eq!(
                lines,
                ["measuring what the server can do", ""].map(|line| {
                    line.chars()
                        .take(columns - 1)
                        .enumerate()
                        .map(
                            |(i, c)| {
                                if line.len() >= columns && i == columns - 2 { '…' } else { c }
                            },
                        )
                        .collect::<String>()
                }),
                "{name}: the lines of the run are gone before the summary"
            );
            let printed = live.replace("\x1b[J", "").replace("\x1b[6A", "");
            for line in printed.lines() {
                assert!(line.chars().count() < columns, "{name}, {columns}: {line}");
            }
            assert!(!live.contains("NaN") && !live.contains("inf"), "{name}: {live}");
        }
    }
}

#[test]
fn elsewhere_a_line_is_written_every_five_seconds() {
    let played = fixture::one("control");
    let (live, _) = shown(played, false, 80);
    assert!(!live.contains('\x1b'));
    let lines = live.lines().count();
    let expected = 1 + played.run.seconds.len().div_ceil(5);
    assert_eq!(lines, expected, "{live}");
}

#[test]
fn the_summary_judges_and_says_where_the_report_lies() {
    for (name, played) in fixture::all() {
        let (_, paper) = shown(played, true, 80);
        assert!(paper.trim_end().ends_with("report: storm-S1/report.html"), "{paper}");
        assert!(!paper.contains("NaN") && !paper.contains("inf"), "{name}: {paper}");
        let judged = goals(&played.run).len();
        assert_eq!(
            paper.lines().count(),
            1 + 1 + played.run.invalid.len() + 1 + judged + 1,
            "{paper}"
        );
    }
    let (_, paper) = shown(fixture::one("invalid"), true, 80);
    assert!(
        paper.contains("not valid") && paper.contains("97 datagrams at its own sockets"),
        "{paper}"
    );
}

#[test]
fn the_lines_of_a_terminal() {
    let played = fixture::one("control");
    let playing = playing(&played.run);
    let progress =
        Progress { playing: &playing, seconds: &played.run.seconds[..15], ends_secs: 45.0 };
    insta::assert_snapshot!(view::screen(&progress, 100).join("\n"));
}

#[test]
fn the_lines_of_a_summary() {
    let played = fixture::one("without-control");
    insta::assert_snapshot!(view::summary(&played.run, Path::new("storm-S1/report.html")));
}

/// The page of a run, kept where a person can look at it.
fn page(name: &str, played: &Played) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storm-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::read_to_string(write(played, &path)).unwrap()
}

#[test]
fn a_page_is_whole_whatever_the_run() {
    for (name, played) in fixture::all() {
        let page = page(name, played);
        for wrong in ["NaN", "inf", "Infinity", "<script", "http://", "https://", "url("] {
            assert!(!page.contains(wrong), "{name}: {wrong} in the page");
        }
        balanced(name, &page);
        assert!(page.contains(&played.run.scenario.title), "{name}");
        let plots = page.matches("<svg").count();
        let expected = match *name {
            "empty" => 0,
            "without-metrics" => 8,
            _ => 9,
        };
        assert_eq!(plots, expected, "{name}");
        assert!(page.len() < 1_000_000, "{name}: {} bytes", page.len());
    }
}

/// Every element that is opened is closed, in order.
fn balanced(name: &str, page: &str) {
    let void = ["meta", "link"];
    let mut open: Vec<&str> = Vec::new();
    let body = &page[page.find("</style>").unwrap()..];
    let mut rest = body.strip_prefix("</style>").unwrap();
    open.extend(["html", "head"]);
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{name}: near {}", &rest[..rest.len().min(80)]);
        } else {
            let tag_name = tag.split([' ', '/']).next().unwrap();
            if !(tag.ends_with('/') || void.contains(&tag_name)) {
                open.push(tag_name);
            }
        }
    }
    assert!(open.is_empty(), "{name}: {open:?} left open");
}

#[test]
fn runs_are_compared_in_a_table_and_on_a_page() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("storm-compared");
    let _ = std::fs::remove_dir_all(&place);
    let folders: Vec<PathBuf> = fixture::all()
        .iter()
        .map(|(name, played)| {
            let folder = place.join(name);
            write(played, &folder);
            folder
        })
        .collect();
    let two = report::compare(&folders[..2], &place.join("two")).unwrap();
    insta::assert_snapshot!(two.table);
    let all = report::compare(&folders, &place).unwrap();
    let text = std::fs::read_to_string(&all.page).unwrap();
    balanced("comparison", &text);
    for (what, text) in [("table", &all.table), ("page", &text)] {
        assert!(
            text.contains("figures of different kinds, which must not be compared: slowed 1 ms in 20 ms (A, B, C, D, F), unscaled (E)"),
            "{what}"
        );
        assert!(text.contains("not valid: D") && text.contains("cut short: C, F"), "{what}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{what}");
    }
    assert_eq!(text.matches("<svg").count(), 4);
    assert!(!two.table.contains("different kinds"));
    let missing =
        report::compare(&[folders[0].clone(), place.join("nowhere")], &place).unwrap_err();
    assert!(missing.to_string().contains("nowhere"), "{missing}");
}
