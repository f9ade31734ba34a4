//! `seawall storm`: shows scenarios of registration storms, plays them, and compares runs. It knows what may be asked on the command line; what
//! scenarios are is the simulator's.

mod play;

use bench::Population;
use bench::storm::report::{CompareError, compare};
use bench::storm::scenario::{Scenario, Wanted, builtin, describe, parse};
use clap::{Args, Subcommand};
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

/// What is asked of the simulator.
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = LESSON,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub struct Storm {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    play: play::Play,
}

#[derive(Clone, Debug, Subcommand)]
enum Task {
    /// Lists the scenarios that come with the program.
    List,
    /// Prints a scenario's file, a start for one of your own, and what it means in numbers.
    Show(Show),
    /// Puts runs side by side, in a table and on a page.
    Compare(Compare),
    /// Prints the accounts of the phones, for a server of your own that challenges: username,domain,ha1.
    Subscribers(Subscribers),
}

#[derive(Clone, Debug, Args)]
struct Show {
    /// A scenario's name as in S1 or power-step, or a file.
    scenario: String,
    /// Registrations a second that your server can finish, for numbers instead of multiples.
    #[arg(long, value_name = "N", value_parser = positive)]
    kappa: Option<f64>,
    #[command(flatten)]
    amount: Amount,
}

#[derive(Clone, Debug, Args)]
struct Compare {
    /// The folders of runs, or their run.json.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the page compare.html goes.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct Subscribers {
    /// How many. Beside the scenario's phones a run has some 270,000 that measure the server, call, and are steady load.
    count: u32,
    /// Domain of the phones, and realm of their passwords.
    #[arg(long, default_value = "sip.test")]
    domain: String,
}

/// How much of a scenario.
#[derive(Clone, Debug, Args)]
struct Amount {
    /// Part of the population, within the same part of the time.
    #[arg(long, value_name = "SHARE", default_value_t = describe::QUICK.scale, value_parser = part)]
    scale: f64,
    /// All of it, to its end; minutes rather than one.
    #[arg(long, conflicts_with = "scale")]
    full: bool,
    /// First attempts at the peak, in multiples of what the server can do, in place of the scenario's.
    #[arg(long, value_name = "X", value_parser = positive)]
    multiple: Option<f64>,
}

impl Amount {
    fn wanted(&self) -> Wanted {
        Wanted { scale: if self.full { 1.0 } else { self.scale }, multiple: self.multiple }
    }
}

const LESSON: &str = "\
A registration storm is what follows when many phones lose a server and find it again at the same time: more of them
than it can register, each resending what is not answered and trying again later. What matters is how long it takes until
all are back, against the shortest time that it could take, and what becomes of calls meanwhile.

Sizes are told in kappa, the registrations a second that a server can finish, so a scenario fits any server.

  seawall storm list                         what there is
  seawall storm S1                           plays it against a Seawall of its own, within about a minute
  seawall storm show S1                      a scenario's file, with the reasons for its numbers
  seawall storm show S1 --kappa 24000        what it means for such a server
  seawall storm show S1 > mine.toml          a start for your own, played by `seawall storm mine.toml`
  seawall storm S1 --full                    the whole population, to its end
  seawall storm S1 --unscaled --multiple 2   the server at full speed, twice what it can do
  seawall storm S1 -p 0                      as if no phone heeded a Retry-After
  seawall storm compare RUN RUN              runs side by side, by their folders
  seawall storm S1 --target 127.0.0.1:5070   any SIP registrar. If it challenges, it needs accounts for the phones:
  seawall storm subscribers 1000000          username,domain,ha1, as Seawall's file and Kamailio's table have them

A run is live, unscaled or slowed, and says which: slowed means that the server gets a part of its CPU, as a generator
on one core can't send ten times what a server on another can do. Figures of the two are never to be mixed.

Exit codes: 0 for a run that counts; 3 for one that left a report but is invalid or was cut short, as the report says; 2
for a wrong command line or file; 1 for a machine or a server that does not give what it takes.";

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    Whole,
    /// A report, which is not to be believed or not whole, and says so.
    Doubtful,
}

/// Why it came to nothing.
#[derive(Debug)]
pub enum Failed {
    /// The command line or a file is wrong.
    Usage(String),
    /// Everything else.
    Environment(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Usage(text) | Failed::Environment(text) => f.write_str(text),
        }
    }
}

/// Does what is asked, and prints to standard output.
///
/// # Errors
/// What to tell.
pub fn run(storm: &Storm) -> Result<Done, Failed> {
    match &storm.task {
        None => return play::play(&storm.play),
        Some(Task::List) => print(|to| to.write_all(describe::list().as_bytes())),
        Some(Task::Show(show)) => {
            let text = shown(show)?;
            print(|to| to.write_all(text.as_bytes()))
        }
        Some(Task::Compare(Compare { runs, out })) => {
            let comparison = compare(runs, out).map_err(|error| match error {
                CompareError::Read(_) | CompareError::Count(_) => Failed::Usage(error.to_string()),
                CompareError::Write(..) => Failed::Environment(error.to_string()),
            })?;
            let (table, page) = (comparison.table, comparison.page);
            print(|to| writeln!(to, "{}\n\nreport: {}", table.trim_end(), page.display()))
        }
        Some(Task::Subscribers(Subscribers { count, domain })) => {
            print(|to| Population::new(*count, 1, 1).write_subscribers(domain, to))
        }
    }?;
    Ok(Done::Whole)
}

/// The file, and as comments behind it what it means: together they are a file again.
fn shown(show: &Show) -> Result<String, Failed> {
    let (scenario, text) = named(&show.scenario)?;
    let wanted = show.amount.wanted();
    let numbers = describe::numbers(&scenario, show.kappa, wanted);
    let comments: String = numbers.lines().map(|line| format!("# {line}\n")).collect();
    Ok(format!("{}\n\n{comments}", text.trim_end()))
}

/// A scenario that comes with the program, or one from a file, with its text.
fn named(name: &str) -> Result<(Scenario, String), Failed> {
    if let Some(builtin) = builtin::find(name) {
        return Ok((builtin.scenario(), builtin.text.to_owned()));
    }
    let file = Path::new(name);
    let is_meant_as_file = name.contains(['/', '.']) || file.exists();
    if !is_meant_as_file {
        let message = format!(
            "`{name}` is no scenario and no file; `seawall storm list` tells what there is{}",
            builtin::suggestion(name)
        );
        return Err(Failed::Usage(message));
    }
    let read = toml_tree::text(file).and_then(|text| Ok((parse(file, &text)?, text)));
    read.map_err(|problems| Failed::Usage(problems.to_string()))
}

fn print(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> io::Result<()>,
) -> Result<(), Failed> {
    let mut to = BufWriter::new(io::stdout().lock());
    match write(&mut to).and_then(|()| to.flush()) {
        // Whoever closed our output early has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failed::Environment(format!("the answer can't be printed: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, 1e-3, 1e9).ok_or_else(|| "expected a number above 0".to_owned())
}

fn part(text: &str) -> Result<f64, String> {
    number(text, 1e-3, 1.0).ok_or_else(|| "expected a part as in 0.2, from 0.001 to 1".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0).ok_or_else(|| "expected a share as in 0.5, from 0 to 1".to_owned())
}

fn number(text: &str, least: f64, most: f64) -> Option<f64> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}
