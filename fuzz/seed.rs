//! Makes seed corpora for all targets: `seed CORPUS...`, folders of sound files.

#[path = "checks/mod.rs"]
#[allow(dead_code, unused_imports)] // targets aren't run here
mod checks;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut files = vec![PathBuf::from("seeds")];
    files.extend(env::args_os().skip(1).map(PathBuf::from));
    let mut seeds = checks::own();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path)?.flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "tgm") {
            seeds.extend(checks::of_file(&fs::read(path)?));
        }
    }
    for (target, seed) in seeds {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&seed))), seed)?;
    }
    Ok(())
}
