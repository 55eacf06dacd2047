//! The images that are measured: a real file system with a database in it, and the same after two kinds
//! of change.
//!
//! Built once, kept, and built anew when the recipe changes. What depends on the day (the release's packages,
//! how many transactions the database managed) is the same for every tool of a run, since all take these
//! files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::mount::Mounted;
use super::sparse::{self, Piece};
use crate::janitor::Janitor;
use crate::sh::{command, quiet, say, text, timed};
use crate::{setup, sh};

mod change;
mod database;
mod mount;
mod root;

/// Counts up when the steps below change in a way the recipe's own values do not tell.
const STEPS: u32 = 2;

/// Everything an image is made of.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) size_bytes: u64,
    packages: &'static [&'static str],
    /// A hundred thousand accounts each, about 15 MB.
    pgbench_scale: u32,
    day_s: u32,
    seed: u64,
}

/// As large as the aims are stated for: about 3 GiB in 8 GiB.
pub(crate) const FULL: Recipe = Recipe {
    name: "images",
    size_bytes: 8 << 30,
    packages: &[
        "apt",
        "build-essential",
        "cargo",
        "clang",
        "cmake",
        "gdb",
        "gfortran",
        "git",
        "golang-go",
        "less",
        "llvm",
        "man-db",
        "openjdk-17-jre-headless",
        "openssh-server",
        "perl",
        "postgresql-15",
        "python3",
        "rustc",
        "systemd",
        "vim-nox",
    ],
    pgbench_scale: 60,
    day_s: 40,
    seed: 0x68_696b_6165,
};

/// Enough to see that everything works, and too little to judge by.
pub(crate) const QUICK: Recipe = Recipe {
    name: "images-quick",
    size_bytes: 2 << 30,
    packages: &["build-essential", "openjdk-17-jre-headless"],
    pgbench_scale: 6,
    day_s: 5,
    seed: 0x68_696b_6165,
};

/// Where they are.
#[derive(Debug)]
pub(crate) struct Images {
    home: PathBuf,
}

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    Base,
    OnePercent,
    Day,
}

impl Image {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::OnePercent => "one-percent",
            Self::Day => "day",
        }
    }
}

impl Images {
    pub(crate) fn path(&self, image: Image) -> PathBuf {
        self.home.join(format!("{}.raw", image.name()))
    }

    /// What differs from the base, as a JSON list of `[offset, length]`.
    pub(crate) fn changed(&self, image: Image) -> PathBuf {
        self.home.join(format!("{}.json", image.name()))
    }
}

impl Recipe {
    fn text(&self) -> String {
        format!("{STEPS} {self:?}")
    }
}

/// The images of this recipe, made if they are not there. Takes minutes then.
pub(crate) fn ready(recipe: &Recipe, janitor: &Janitor) -> Result<Images> {
    let images = Images { home: sh::target().join("bench").join(recipe.name) };
    let marker = images.home.join("recipe");
    if std::fs::read_to_string(&marker).is_ok_and(|made| made == recipe.text()) {
        return Ok(images);
    }
    say(format!("making the images in {}: a few minutes, once", images.home.display()));
    let _ = std::fs::remove_dir_all(&images.home);
    std::fs::create_dir_all(&images.home).context("make a directory for the images")?;
    timed("base.raw", || base(recipe, &images, janitor))?;
    timed("one-percent.raw", || one_percent(recipe, &images))?;
    timed("day.raw", || day(recipe, &images, janitor))?;
    std::fs::write(&marker, recipe.text()).context("note how the images were made")?;
    Ok(images)
}

fn base(recipe: &Recipe, images: &Images, janitor: &Janitor) -> Result<()> {
    let (draft, made) = (images.home.join("draft.raw"), images.path(Image::Base));
    let packages = setup::scratch(janitor, &images.home, "packages")?;
    root::download(recipe.packages, &packages)?;
    mount::format(&draft, recipe.size_bytes)?;
    {
        let mounted = Mounted::new(janitor, &draft)?;
        root::unpack(&packages, mounted.path())?;
        database::fill(janitor, mounted.path(), recipe.pgbench_scale)?;
        mounted.end()?;
    }
    // What was written and is all zero again takes no place.
    quiet(&mut command("cp", &["--sparse=always", text(&draft)?, text(&made)?])).context("keep the base")?;
    std::fs::remove_file(draft).context("remove the draft")?;
    std::fs::remove_dir_all(packages).context("remove the packages")?;
    // The base again differs in nothing.
    std::fs::write(images.changed(Image::Base), "[]").context("write an empty list")
}

fn one_percent(recipe: &Recipe, images: &Images) -> Result<()> {
    let made = images.path(Image::OnePercent);
    copy(&images.path(Image::Base), &made)?;
    let pieces = change::one_percent(&made, recipe.seed)?;
    tell(&images.changed(Image::OnePercent), &pieces)
}

fn day(recipe: &Recipe, images: &Images, janitor: &Janitor) -> Result<()> {
    let (base, made) = (images.path(Image::Base), images.path(Image::Day));
    copy(&base, &made)?;
    {
        let mounted = Mounted::new(janitor, &made)?;
        database::work(janitor, mounted.path(), recipe.day_s)?;
        change::new_files(mounted.path(), recipe.seed)?;
        mounted.end()?;
    }
    tell(&images.changed(Image::Day), &sparse::differing(&base, &made)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let arguments = ["--sparse=always", "--reflink=auto", text(from)?, text(to)?];
    quiet(&mut command("cp", &arguments)).with_context(|| format!("copy to {}", to.display()))
}

fn tell(path: &Path, pieces: &[Piece]) -> Result<()> {
    say(format!("{} pieces of {} KiB differ", pieces.len(), sparse::PIECE_BYTES >> 10));
    let list: Vec<[u64; 2]> = pieces.iter().map(|piece| [piece.offset, piece.len]).collect();
    std::fs::write(path, serde_json::to_string(&list)?).with_context(|| format!("write {}", path.display()))
}
