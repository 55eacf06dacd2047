//! Debian packages: installed when missing, or only unpacked where installing would change the machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::sh::{capture, command, output, quiet, say, succeeds, text};

const BACKPORTS: &str = "/etc/apt/sources.list.d/hikae-backports.sources";

/// Installs those that are missing. Asks the network only then.
pub(crate) fn install(wanted: &[&str]) -> Result<()> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    say(format!("installing {}", missing.join(" ")));
    // QEMU's parts must be of one version: where qemu-utils came from backports, the emulator must too.
    let suite = match backported("qemu-utils")? {
        Some(suite) if missing.iter().any(|package| package.starts_with("qemu-")) => {
            add_suite(&suite)?;
            Some(suite)
        }
        _ => None,
    };
    quiet(&mut apt_get(&["update", "-q"])).context("refresh the package lists")?;
    let (qemu, rest): (Vec<_>, Vec<_>) = missing.iter().partition(|package| package.starts_with("qemu-"));
    match suite {
        Some(suite) => {
            install_from(Some(&suite), &[qemu, vec![&"qemu-utils"]].concat())?;
            install_from(None, &rest)
        }
        None => install_from(None, &missing.iter().collect::<Vec<_>>()),
    }
}

fn install_from(suite: Option<&str>, packages: &[&&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut install = apt_get(&["install", "-y", "-q", "--no-install-recommends"]);
    if let Some(suite) = suite {
        install.args(["-t", suite]);
    }
    quiet(install.args(packages)).context("install packages (this needs root)")
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = command("apt-get", arguments);
    // No daemon is to be started by a package: whoever needs one starts it, and stops it.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut query = command("dpkg-query", &["-W", "-f=${db:Status-Abbrev} ${Package}\n"]);
    // It fails when one is unknown, and still answers for the others.
    let answer = output(query.args(wanted))?;
    let installed = installed(&String::from_utf8_lossy(&answer.stdout));
    Ok(wanted.iter().copied().filter(|package| !installed.contains(*package)).collect())
}

fn installed(answer: &str) -> BTreeSet<String> {
    answer.lines().filter_map(|line| line.strip_prefix("ii ")).map(|name| name.trim().to_owned()).collect()
}

/// The suite a package was installed from, if that is a backports one.
fn backported(package: &str) -> Result<Option<String>> {
    let answer = output(&mut command("dpkg-query", &["-W", "-f=${Version}", package]))?;
    let version = String::from_utf8_lossy(&answer.stdout).into_owned();
    if !answer.status.success() || !version.contains("~bpo") {
        return Ok(None);
    }
    let release = std::fs::read_to_string("/etc/os-release").context("read the system's release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("the system does not say its code name")?;
    Ok(Some(format!("{}-backports", codename.trim_matches('"'))))
}

/// Adds `<release>-backports` from wherever this machine takes its release itself.
fn add_suite(suite: &str) -> Result<()> {
    // What apt knows of its sources, it knows from their lists.
    quiet(&mut apt_get(&["update", "-q"])).context("refresh the package lists")?;
    let format = "$(RELEASE) $(ORIGIN) $(REPO_URI)";
    let known = capture(&mut command("apt-get", &["indextargets", "--format", format]))?;
    if known.lines().any(|line| line.split(' ').next() == Some(suite)) {
        return Ok(());
    }
    let release = suite.trim_end_matches("-backports");
    let archive = archive(&known, release)
        .with_context(|| format!("no source of Debian {release} is configured to take {suite} from"))?;
    say(format!("adding {suite} to apt's sources"));
    let source = format!(
        "Types: deb\nURIs: {archive}\nSuites: {suite}\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    std::fs::write(BACKPORTS, source).with_context(|| format!("write {BACKPORTS}"))
}

/// Where a Debian release comes from, by lines of "release origin address".
fn archive<'a>(known: &'a str, release: &str) -> Option<&'a str> {
    known.lines().find_map(|line| {
        let mut words = line.split(' ');
        let here = words.next() == Some(release) && words.next() == Some("Debian");
        words.next().filter(|_| here)
    })
}

/// libvirt's QEMU driver refuses to start without the user it was built for, whatever its settings
/// say. Debian makes that user with the package that also brings systemd units: we need no more of it.
pub(crate) fn guests_user() -> Result<()> {
    const NAME: &str = "libvirt-qemu";
    if !succeeds(&mut command("getent", &["group", NAME])) {
        quiet(&mut command("groupadd", &["--system", NAME])).context("make libvirt's group")?;
    }
    if succeeds(&mut command("getent", &["passwd", NAME])) {
        return Ok(());
    }
    say(format!("making the user {NAME}"));
    let mut add = command("useradd", &["--system", "--gid", NAME, "--no-create-home"]);
    add.args(["--home-dir", "/var/lib/libvirt", "--shell", "/usr/sbin/nologin", NAME]);
    quiet(&mut add).context("make libvirt's user")
}

/// Downloads a package and unpacks it under `into`, once; nothing of the system changes. `package` may be an
/// empty one that only depends on the newest of a family: then that one is taken, by its prefix.
pub(crate) fn unpack(package: &str, family: Option<&str>, into: &Path) -> Result<PathBuf> {
    let place = into.join(package);
    if place.join(".unpacked").exists() {
        return Ok(place);
    }
    std::fs::create_dir_all(into).with_context(|| format!("make {}", into.display()))?;
    let real = match family {
        None => package.to_owned(),
        Some(family) => newest(package, family).or_else(|_| {
            quiet(&mut apt_get(&["update", "-q"]))?;
            newest(package, family)
        })?,
    };
    say(format!("unpacking {real}"));
    let fetching = into.join(format!("{package}.fetching"));
    let _ = std::fs::remove_dir_all(&fetching);
    std::fs::create_dir_all(&fetching)?;
    if download(&real, &fetching).is_err() {
        quiet(&mut apt_get(&["update", "-q"])).context("refresh the package lists")?;
        download(&real, &fetching)?;
    }
    let archive = std::fs::read_dir(&fetching)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .with_context(|| format!("apt downloaded no {real}"))?;
    let _ = std::fs::remove_dir_all(&place);
    quiet(&mut command("dpkg-deb", &["-x", text(&archive)?, text(&place)?]))?;
    std::fs::write(place.join(".unpacked"), &real)?;
    std::fs::remove_dir_all(&fetching)?;
    Ok(place)
}

fn download(package: &str, into: &Path) -> Result<()> {
    // apt drops its privileges for downloads and then cannot write here; it says so and goes on as root.
    quiet(apt_get(&["download", "-q", "-o", "APT::Sandbox::User=root", package]).current_dir(into))
}

/// The package of this family that `package` depends on.
fn newest(package: &str, family: &str) -> Result<String> {
    let answer = capture(&mut command("apt-cache", &["depends", "--important", package]))?;
    let found = answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(family));
    match found {
        Some(name) => Ok(name.to_owned()),
        None => bail!("{package} depends on no {family}…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_comes_from_where_the_release_does() {
        let known = "bookworm-security Debian http://a/debian-security/\nbookworm Other http://b/\n\
             bookworm Debian http://c/debian/\n";
        assert_eq!(archive(known, "bookworm"), Some("http://c/debian/"));
        assert_eq!(archive(known, "trixie"), None);
    }

    #[test]
    fn only_what_is_wholly_installed_counts() {
        let answer = "ii  cpio\nrc  qemu-utils\nun  busybox-static\niU  e2fsprogs\n";
        assert_eq!(installed(answer), BTreeSet::from(["cpio".to_owned()]));
    }

    #[test]
    fn a_package_nobody_has_is_missing_and_dpkg_is_not() {
        let missing = missing(&["dpkg", "hikae-no-such-package"]).expect("ask dpkg");
        assert_eq!(missing, ["hikae-no-such-package"]);
    }
}
