//! The built command, run in the folder of the example files.

use std::process::{Command, Output, Stdio};

/// The example files.
pub(crate) const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data");

/// The command, without arguments yet.
pub(crate) fn millibar() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millibar"));
    command.current_dir(DATA).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    millibar().args(args).output().unwrap()
}

/// What a command that succeeds prints. It has nothing to complain about.
pub(crate) fn stdout(args: &[&str]) -> String {
    let done = run(args);
    let complaints = String::from_utf8(done.stderr).unwrap();
    assert_eq!((done.status.code(), complaints.as_str()), (Some(0), ""), "{args:?}");
    String::from_utf8(done.stdout).unwrap()
}
