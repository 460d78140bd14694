//! What the tests need beside Rust: Debian's MariaDB, and a Python environment with pinned packages under `target`.
//!
//! Only what is missing is installed, and nothing outside `target` but Debian packages.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Context, run};

/// Installs what is missing. Quick when nothing is.
pub fn all(context: &Context) -> Result<(), String> {
    debian_packages()?;
    python_packages(context)
}

/// Returns the Python interpreter of the environment.
pub fn python(context: &Context) -> PathBuf {
    context.target.join("venv/bin/python")
}

/// Writes the flights tables as CSV files and returns their folder.
pub fn flights(context: &Context) -> Result<PathBuf, String> {
    let folder = context.target.join("flights");
    if !folder.join("complete").exists() {
        let mut command = Command::new(python(context));
        command.arg(context.root.join("tests/python/flights.py")).arg(&folder);
        run(command)?;
    }
    Ok(folder)
}

/// Puts the native half of the Python package, as the workspace's build made it, beside its Python half: a link, as
/// `maturin develop` would copy it after a build of its own.
pub fn extension(context: &Context) -> Result<(), String> {
    let built = context.target.join("debug/libstrandline_native.so");
    if !built.is_file() {
        return Err(format!("no {}: run `cargo build --workspace`", built.display()));
    }
    let link = context.root.join("python/strandline/_native.abi3.so");
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link).map_err(|error| format!("{}: {error}", link.display()))?;
    }
    std::os::unix::fs::symlink(&built, &link).map_err(|error| format!("{}: {error}", link.display()))
}

fn debian_packages() -> Result<(), String> {
    let needs = [
        ("mariadb-client", succeeds("mysqldump", &["--version"]) && succeeds("mysql", &["--version"])),
        ("mariadb-server", succeeds("mariadbd", &["--version"]) || succeeds("/usr/sbin/mariadbd", &["--version"])),
        ("python3-venv", succeeds("python3", &["-c", "import venv, ensurepip"])),
    ];
    install(&needs)
}

/// Installs what a disk needs that records its writes, and sees whether this machine can have one.
pub fn recording_disk() -> Result<(), String> {
    if !succeeds("sh", &["-c", "test $(id -u) = 0"]) {
        return Err("only root may mount file systems: run it as root, in a machine or container of its own".to_owned());
    }
    for (device, needed) in [("/dev/fuse", "FUSE"), ("/dev/loop-control", "loop devices")] {
        if !std::path::Path::new(device).exists() {
            return Err(format!(
                "there is no {device}: it needs a kernel with {needed}, and a container that may use them"
            ));
        }
    }
    install(&[
        ("nbdkit", succeeds("nbdkit", &["--version"])),
        ("nbdkit-plugin-python", succeeds("nbdkit", &["--dump-plugin", "python"])),
        ("libnbd-bin", succeeds("nbdfuse", &["--version"])),
        ("fuse3", succeeds("fusermount3", &["--version"])),
        ("e2fsprogs", succeeds("mkfs.ext4", &["-V"])),
    ])?;
    // Whether one can be made is known once it has been tried.
    let free = succeeds("losetup", &["-f"]);
    if free { Ok(()) } else { Err("no loop device is free: see `losetup -l`, and detach some".to_owned()) }
}

/// Installs those packages that are not there.
fn install(needs: &[(&str, bool)]) -> Result<(), String> {
    let missing: Vec<&str> = needs.iter().filter(|(_, there)| !there).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(", "));
    run(apt_get(&["update", "-qq"]))?;
    let mut install = apt_get(&["install", "-y", "-qq", "--no-install-recommends"]);
    install.args(missing);
    run(install)
}

fn python_packages(context: &Context) -> Result<(), String> {
    let wanted = context.root.join("tests/python/requirements.txt");
    let data = context.root.join("tests/python/requirements-data.txt");
    let read = |path: &PathBuf| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let package = context.root.join("python/tests/requirements.txt");
    let text = read(&wanted)? + &read(&data)? + &read(&package)?;
    let stamp = context.target.join("venv/installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(());
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(context.target.join("venv"));
    run(create)?;
    let pip = || {
        let mut command = Command::new(python(context));
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        command
    };
    let mut install = pip();
    install.arg("-r").arg(&wanted).arg("-r").arg(&package);
    run(install)?;
    // The data package asks for pandas, which its CSV files do not need.
    let mut install = pip();
    install.arg("--no-deps").arg("-r").arg(&data);
    run(install)?;
    fs::write(&stamp, text).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn apt_get(arguments: &[&str]) -> Command {
    let root = succeeds("sh", &["-c", "test $(id -u) = 0"]);
    let mut command = Command::new(if root { "apt-get" } else { "sudo" });
    if !root {
        command.arg("apt-get");
    }
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
