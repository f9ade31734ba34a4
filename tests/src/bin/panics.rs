//! A process that behaves like `seawall run` when one of its threads panics.

use std::thread;
use std::time::Duration;

fn main() {
    seawall::serve::end_on_panic();
    let worker = thread::Builder::new().name("core-1".to_owned()).spawn(|| panic!("two\nlines"));
    assert!(worker.is_ok(), "a thread can be started");
    // Whoever outlives this has not been ended.
    thread::sleep(Duration::from_secs(5));
}
