//! Plays every flow of `tests/flows` in every topology that it is about, a test each: `cargo test -p tests --test flows 10.3`.

use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use tests::flow::{Topology, parse, play};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("flows");
    let mut trials = Vec::new();
    for entry in fs::read_dir(&folder).expect("the folder of the flows") {
        let file = entry.expect("a file of flows").path();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match parse(&fs::read_to_string(&file).expect("a file of flows is text")) {
            Err(why) => {
                trials.push(Trial::test(name, move || Err(Failed::from(why))));
            }
            Ok(flows) => {
                for flow in flows {
                    for topology in Topology::ALL.into_iter().filter(|one| one.suits(&flow)) {
                        let title = format!("{name}: {} ({})", flow.title, topology.label());
                        let flow = flow.clone();
                        let file = format!("tests/flows/{name}.flow");
                        trials.push(Trial::test(title, move || {
                            play(&flow, topology).map_err(|why| format!("{file}, {why}").into())
                        }));
                    }
                }
            }
        }
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit_code()
}
