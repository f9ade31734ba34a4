//! The scenarios that come with the program: their files, and how they are found by name. It reads none from disk.

use std::path::Path;

use super::{Scenario, parse};

/// A scenario's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Its name, as in `S1`.
    pub id: &'static str,
    /// The text of the file, comments included.
    pub text: &'static str,
}

/// All, in the order of lists.
pub const ALL: [Builtin; 15] = [
    Builtin { id: "S0", text: include_str!("../../../scenarios/S0.toml") },
    Builtin { id: "S1", text: include_str!("../../../scenarios/S1.toml") },
    Builtin { id: "S2", text: include_str!("../../../scenarios/S2.toml") },
    Builtin { id: "S3", text: include_str!("../../../scenarios/S3.toml") },
    Builtin { id: "S4", text: include_str!("../../../scenarios/S4.toml") },
    Builtin { id: "S5", text: include_str!("../../../scenarios/S5.toml") },
    Builtin { id: "S6", text: include_str!("../../../scenarios/S6.toml") },
    Builtin { id: "S7", text: include_str!("../../../scenarios/S7.toml") },
    Builtin { id: "S8", text: include_str!("../../../scenarios/S8.toml") },
    Builtin { id: "S9", text: include_str!("../../../scenarios/S9.toml") },
    Builtin { id: "S10", text: include_str!("../../../scenarios/S10.toml") },
    Builtin { id: "S11", text: include_str!("../../../scenarios/S11.toml") },
    Builtin { id: "S12", text: include_str!("../../../scenarios/S12.toml") },
    Builtin { id: "S13", text: include_str!("../../../scenarios/S13.toml") },
    Builtin { id: "S14", text: include_str!("../../../scenarios/S14.toml") },
];

impl Builtin {
    /// What the file says.
    ///
    /// # Panics
    /// The file is wrong, which a test of this module would have told.
    pub fn scenario(&self) -> Scenario {
        parse(Path::new(self.id), self.text).unwrap_or_else(|problems| panic!("{problems}"))
    }
}

/// The one of this name, be it the short one or the title, in any case.
pub fn find(name: &str) -> Option<Builtin> {
    let is_called = |builtin: &Builtin| {
        builtin.id.eq_ignore_ascii_case(name) || builtin.scenario().title.eq_ignore_ascii_case(name)
    };
    ALL.into_iter().find(is_called)
}

/// ` (did you mean ...?)` where one of them has nearly this name, else nothing.
pub fn suggestion(name: &str) -> String {
    let titles: Vec<String> = ALL.iter().map(|builtin| builtin.scenario().title).collect();
    let names: Vec<&str> =
        ALL.iter().map(|builtin| builtin.id).chain(titles.iter().map(String::as_str)).collect();
    toml_tree::suggestion(name, &names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_valid_and_named_as_it_says() {
        for builtin in ALL {
            let file = format!("{}.toml", builtin.id);
            let scenario = parse(Path::new(&file), builtin.text)
                .unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(scenario.id, builtin.id);
        }
    }

    #[test]
    fn no_file_lies_beside_them_that_is_not_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let toml = files.filter(|name| name.to_str().unwrap().ends_with(".toml"));
        assert_eq!(toml.count(), ALL.len());
    }

    #[test]
    fn a_name_is_found_in_any_case_and_a_slip_is_corrected() {
        assert_eq!(find("s1").unwrap().id, "S1");
        assert_eq!(find("Power-Step").unwrap().id, "S1");
        assert_eq!(find("S15"), None);
        assert_eq!(suggestion("power-stop"), "; did you mean `power-step`?");
        assert_eq!(suggestion("thunder"), "");
    }
}
