//! `hikae depot`: its commands and options.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

const HELP: &str = "\
Works on a depot as it lies in its bucket or directory, with the root key and nothing else: no server, no
catalog. Looking is always fine. Before import, delete and gc stop the server of this depot; with --data DIR
its lock is taken, and a server that still runs is refused.

The secret of a bucket's access key comes from --depot-secret-file or the variable HIKAE_DEPOT_SECRET.

Examples:
  hikae depot ls --depot /var/lib/hikae/depots/default --root-key /safe/root.key
  hikae depot export s-… --to disk.qcow2 --format qcow2 --data /var/lib/hikae
  hikae depot diff s-… s-… --data /var/lib/hikae
  hikae depot verify --no-keys --depot 's3://backups/tokyo?endpoint=https://s3.example:9000'
  hikae depot import disk.raw --base s-… --changed auto --data /var/lib/hikae
  hikae depot copy --all --to /mnt/usb/tokyo --data /var/lib/hikae
  hikae depot gc --explain --data /var/lib/hikae";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct DepotArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: DepotCommand,
}

/// Which depot, and what opens it.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// A directory, or s3://bucket/prefix?endpoint=… [default: <data>/depots/<region>]
    #[arg(long, global = true, env = "HIKAE_DEPOT", value_name = "PLACE", help_heading = "Depot options")]
    pub(crate) depot: Option<String>,
    /// The root key the depot was made with [default: <data>/root.key]
    #[arg(long, global = true, env = "HIKAE_ROOT_KEY", value_name = "FILE", help_heading = "Depot options")]
    pub(crate) root_key: Option<PathBuf>,
    /// The bucket's access key id
    #[arg(
        long,
        global = true,
        env = "HIKAE_DEPOT_ACCESS_KEY_ID",
        value_name = "ID",
        help_heading = "Depot options"
    )]
    pub(crate) depot_access_key_id: Option<String>,
    /// A file that holds its secret [default: the variable HIKAE_DEPOT_SECRET]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Depot options")]
    pub(crate) depot_secret_file: Option<PathBuf>,
    /// Where to remember which chunks the depot has [default: <data>/known, else the user's cache folder]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Depot options")]
    pub(crate) cache: Option<PathBuf>,
    /// Remember nothing from one command to the next
    #[arg(long, global = true, conflicts_with = "cache", help_heading = "Depot options")]
    pub(crate) no_cache: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DepotCommand {
    /// Make a depot where there is none, and a root key if there is none
    #[command(
        after_help = "Example:\n  hikae depot init --depot /backup/tokyo --root-key /safe/root.key --region tokyo"
    )]
    Init,
    /// List groups and their snapshots
    #[command(
        after_help = "Example:\n  hikae depot ls --depot /backup/depots/tokyo --root-key /safe/root.key"
    )]
    Ls,
    /// Tell where two snapshots differ; reads no data
    #[command(after_help = "Example:\n  hikae depot diff s-… s-… --data /var/lib/hikae")]
    Diff {
        /// Of a snapshot, or of a group with one disk
        from: String,
        /// Of another, of a disk that was cut alike
        to: String,
    },
    /// Look for damage; exit code 1 if there is any
    #[command(after_help = "Example:\n  hikae depot verify --no-keys --depot /backup/depots/tokyo")]
    Verify {
        /// Only compare packs with their names and manifests with their checksums: needs no key
        #[arg(long)]
        no_keys: bool,
    },
    /// Write a snapshot's disk to a new file
    #[command(
        after_help = "Example:\n  hikae depot export s-… --to disk.qcow2 --format qcow2 --data /var/lib/hikae"
    )]
    Export(ExportArgs),
    /// Store an image, or an NBD export, as a group of one
    #[command(after_help = "Nobody may write the image meanwhile.\n\nExamples:\n  \
        hikae depot import disk.raw --name web --data /var/lib/hikae\n  \
        hikae depot import disk.qcow2 --format qcow2 --base s-… --data /var/lib/hikae\n  \
        hikae depot import nbd+unix:///vda?socket=/run/vda.sock --base s-… --changed ranges.json")]
    Import(ImportArgs),
    /// Copy groups to another depot: only what it lacks
    #[command(
        after_help = "A copy keeps the ids of its group and snapshots; made twice, it is one. It starts from the \
        nearest snapshot\nboth depots have. If it is interrupted, the next try finds what was stored. Stop the \
        other depot's server\nmeanwhile: its collector takes what no group names yet for garbage, and the copy \
        would have to begin anew.\n\nExamples:\n  \
        hikae depot copy ssg-… --to /mnt/usb/tokyo --data /var/lib/hikae\n  \
        hikae depot copy --all --to 's3://far/tokyo?endpoint=https://s3.example' --to-root-key /safe/far.key \\\n    \
        --data /var/lib/hikae"
    )]
    Copy(CopyArgs),
    /// Make the list of snapshots, and the cache of known chunks, anew from the bucket alone
    #[command(
        after_help = "Lists like ls, and tells of every object that cannot be read. The cache lets the next \
        import or copy find\nwhat the depot has; it is read from the packs of the newest snapshots first.\n\n\
        Example:\n  hikae depot rebuild --depot /backup/depots/tokyo --root-key /safe/root.key"
    )]
    Rebuild,
    /// Delete a group for good; policies and immutability are not known here
    #[command(after_help = "At a terminal it asks; elsewhere --yes must be said.\n\nExample:\n  \
        hikae depot delete ssg-… --yes --data /var/lib/hikae")]
    Delete {
        /// Its id, as 'hikae depot ls' shows it
        group: String,
        /// Yes, delete it
        #[arg(long)]
        yes: bool,
    },
    /// Collect garbage: one visit, which marks packs or deletes those marked a day ago
    #[command(after_help = "Example:\n  hikae depot gc --explain --data /var/lib/hikae")]
    Gc {
        /// Say what a visit would do, and why; change nothing
        #[arg(long)]
        explain: bool,
    },
    /// Count what is there, and what of it is needed
    #[command(after_help = "Example:\n  hikae depot stats --data /var/lib/hikae")]
    Stats,
    /// Try out whether a store keeps what a depot relies on, under a throw-away prefix
    #[command(
        after_help = "Example:\n  hikae depot check --depot 's3://backups/new?endpoint=https://s3.example:9000'"
    )]
    Check,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Of a snapshot, or of a group with one disk
    pub(crate) snapshot: String,
    /// A file that is not there yet, or - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value = "raw", value_name = "FORMAT")]
    pub(crate) format: ImageFormat,
    /// Do not wait until the file is on disk: faster, and after a power cut the file may be there in part
    #[arg(long)]
    pub(crate) no_sync: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// A group, or a snapshot, which stands for its whole group
    #[arg(required_unless_present = "all")]
    pub(crate) what: Option<String>,
    /// Every group, the oldest first
    #[arg(long, conflicts_with = "what")]
    pub(crate) all: bool,
    /// The other depot, as --depot names this one; 'hikae depot init' makes it
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: String,
    /// The other depot's root key [default: this one's]
    #[arg(long, value_name = "FILE")]
    pub(crate) to_root_key: Option<PathBuf>,
    /// The other bucket's access key id [default: this one's]
    #[arg(long, value_name = "ID")]
    pub(crate) to_access_key_id: Option<String>,
    /// A file that holds its secret [default: this one's]
    #[arg(long, value_name = "FILE")]
    pub(crate) to_secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A file or block device, nbd://host:port/export or nbd+unix:///export?socket=PATH
    pub(crate) source: String,
    /// What the file is; said, never guessed: a guest chooses the first bytes of its raw disk
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<ImageFormat>,
    /// The instance's name in the group [default: the base's, or the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The snapshot this disk was at before
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) base: Option<String>,
    /// What differs from the base: a JSON list of [offset, length], or auto to read and compare everything
    #[arg(long, value_name = "FILE", requires = "base", default_value = "auto")]
    pub(crate) changed: PathBuf,
    /// Link to nothing the depot holds, not even to the base, which may be damaged: all is stored anew
    #[arg(long, conflicts_with = "changed")]
    pub(crate) fresh: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    Raw,
    Qcow2,
}
