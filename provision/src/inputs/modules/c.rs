//! Builds C programs from sources in Go modules.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;

use super::super::error::Error;

/// Flags for small, static and reproducible programs.
const FLAGS: [&str; 4] = ["-Os", "-static", "-s", "-Wl,--build-id=none"];

/// Identifies the compiler and its flags.
pub(super) fn compiler() -> Result<String, Error> {
    let version = Cmd::new("cc").arg("--version").run()?.stdout;
    Ok(format!("{}\n{version}", FLAGS.join(" ")))
}

/// Builds the program `to` from all sources in the folder `from`.
pub(super) fn build(from: &Path, to: &Path) -> Result<(), Error> {
    let listed = fs::read_dir(from).map_err(failed("list", from))?;
    let paths = listed.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(failed("list", from))?;
    paths.retain(|path| path.extension() == Some(OsStr::new("c")));
    paths.sort();
    Cmd::new("cc").args(FLAGS).arg("-o").arg(to).args(paths).run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::{build, compiler};

    #[test]
    fn all_sources_of_a_folder_are_compiled() {
        let dir = tempfile::tempdir().unwrap();
        let sources = [
            ("main.c", "int answer(void); int main(void) { return answer(); }"),
            ("answer.c", "int answer(void) { return 42; }"),
            ("answer.h", "no C"),
        ];
        for (name, text) in sources {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        for to in [&one, &other] {
            build(dir.path(), to).unwrap();
        }
        assert_eq!(Command::new(&one).status().unwrap().code(), Some(42));
        assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
        assert!(compiler().unwrap().contains("-static"));
    }
}
