//! `seawall run` with every datagram arriving at a core that is not its home: the worst that a kernel may do.

use seawall::config::{Config, Machine};
use seawall::serve::{Delivery, serve};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, option, file] = arguments.as_slice() else {
        eprintln!("wrong-core run --config FILE");
        return ExitCode::from(2);
    };
    assert_eq!((run.as_str(), option.as_str()), ("run", "--config"));
    let served = Config::load(Path::new(file), &Machine::this())
        .map_err(|problems| problems.to_string())
        .and_then(|config| serve(&config, Delivery::ToTheFirstCore));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
