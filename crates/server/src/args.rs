//! The command line: every command, option and word of help.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const MAIN_HELP: &str = "\
Examples:
  hikae serve --data /var/lib/hikae            serve this machine's libvirt guests
  hikae serve --data /tmp/try --simulate 3     try it where there is no hypervisor
  hikae instance list                          what can be protected
  hikae policy create nightly --every 1d --keep-days 30
  hikae protect web database --policy nightly
  hikae backup web --wait                      one backup now
  hikae point list --instance web
  hikae rollback s-000… --boot --wait --yes    overwrite web with what it was
  hikae clone s-000… --name web-copy --wait    or have both

Where the server is: --endpoint, --access-key-id and --access-key-secret, or the environment variables
HIKAE_ENDPOINT, HIKAE_ACCESS_KEY_ID and HIKAE_ACCESS_KEY_SECRET, or --data DIR on the server's own machine,
which reads DIR/root-access-key.json and DIR/endpoint. Without any of them ./hikae-data is looked at.

Exit codes:
  0    done
  1    the job failed or was canceled, or something failed on this side
  2    wrong usage: nothing was sent
  3    the server refused, and says why
  4    the server cannot be reached
  130  interrupted while watching; the job goes on";

#[derive(Debug, Parser)]
#[command(
    name = "hikae",
    version,
    about = "Agentless backup for virtual machines on libvirt/KVM",
    after_help = "See 'hikae --help' for examples and exit codes.",
    after_long_help = MAIN_HELP,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// The server's data directory [default: ./hikae-data]
    #[arg(long, global = true, env = "HIKAE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The server's address, such as http://127.0.0.1:8642
    #[arg(long, global = true, env = "HIKAE_ENDPOINT", value_name = "URL", help_heading = "Client options")]
    pub(crate) endpoint: Option<String>,
    /// The access key to sign with
    #[arg(
        long,
        global = true,
        env = "HIKAE_ACCESS_KEY_ID",
        value_name = "ID",
        help_heading = "Client options"
    )]
    pub(crate) access_key_id: Option<String>,
    /// Its secret (other users of the machine can see it here: prefer the environment)
    #[arg(
        long,
        global = true,
        env = "HIKAE_ACCESS_KEY_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        help_heading = "Client options"
    )]
    pub(crate) access_key_secret: Option<SecretText>,
    /// The region to work in [default: the server's default region]
    #[arg(long, global = true, env = "HIKAE_REGION", value_name = "REGION", help_heading = "Client options")]
    pub(crate) region: Option<String>,
    /// How to print what comes back
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value = "table",
        value_name = "FORM",
        help_heading = "Client options"
    )]
    pub(crate) output: Output,
}

/// A secret given on the command line: it must not be printed with the other options.
#[derive(Clone)]
pub(crate) struct SecretText(pub(crate) zeroize::Zeroizing<String>);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl std::str::FromStr for SecretText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(zeroize::Zeroizing::new(text.to_owned())))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs: the shapes are documented in docs/cli.md and stay
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Instances: what can be protected
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Policies: when to back up, and how long to keep
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Put a policy on instances
    #[command(after_help = "Disks that cannot be snapshotted are left out by themselves.\n\nExamples:\n  \
        hikae protect web database --policy nightly\n  \
        hikae protect web --policy nightly --exclude-disk d-…")]
    Protect(ProtectArgs),
    /// Take a policy off instances; their points stay
    #[command(after_help = "Example:\n  hikae unprotect web database")]
    Unprotect(UnprotectArgs),
    /// Back up one instance now
    #[command(after_help = "Examples:\n  hikae backup web --wait\n  \
        hikae backup web --keep-days 90 --name before-upgrade")]
    Backup(BackupArgs),
    /// Backup and restore jobs
    #[command(subcommand)]
    Job(JobCommand),
    /// Points: what instances can be rolled back to or cloned from
    #[command(subcommand)]
    Point(PointCommand),
    /// Overwrite a stopped instance with what it was at a point
    #[command(
        after_help = "Everything written since the point is lost: at a terminal it asks, elsewhere --yes \
        must be said. The instance must be stopped.\n\nExample:\n  hikae rollback s-000… --boot --wait --yes"
    )]
    Rollback(RollbackArgs),
    /// Make a new instance from a point
    #[command(after_help = "Example:\n  hikae clone s-000… --name web-copy --boot --wait")]
    Clone(CloneArgs),
    /// A depot by itself, without any server
    Depot(crate::depot_tool::args::DepotArgs),
    /// Call any operation of the API and print its answer as it came
    #[command(after_help = "Examples:\n  hikae api hbr DescribeRegions\n  \
        hikae api hbr DescribeBackupJobs2 --Filters.1.Key Status --Filters.1.Values.1 FAILED\n  \
        hikae api ecs DescribeDisks --RegionId=default --InstanceId i-…")]
    Api(ApiArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  hikae completions bash > /etc/bash_completion.d/hikae")]
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Everything lives under the data directory: the catalog (catalog.db), the regions' depots (depots/), \
root-access-key.json, and the root key that seals all others (root.key: keep a copy elsewhere, without it \
the depots cannot be read). Stop with Ctrl-C or SIGTERM; jobs under way are taken up again by the next start.

Examples:
  hikae serve --data /var/lib/hikae
  hikae serve --data /var/lib/hikae --listen 0.0.0.0:8642 --config /etc/hikae.toml
  hikae serve --data /tmp/try --simulate 3")]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:8642", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Regions, depots and hosts, as TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve N made-up instances instead of libvirt's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) simulate: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InstanceCommand {
    /// List instances with their disks
    #[command(after_help = "Examples:\n  hikae instance list\n  hikae --output json instance list")]
    List,
    /// Start one
    #[command(after_help = "Example:\n  hikae instance start web")]
    Start {
        /// Id or name
        instance: String,
    },
    /// Stop one, as its guest likes
    #[command(after_help = "Examples:\n  hikae instance stop web\n  hikae instance stop web --force")]
    Stop {
        /// Id or name
        instance: String,
        /// Cut its power
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make a policy
    #[command(after_help = "Examples:\n  hikae policy create nightly --every 1d --keep-days 30\n  \
        hikae policy create office --schedule 'C|1767225600|0 0 2 ? * 2-6' --keep-days 90")]
    Create(PolicyCreateArgs),
    /// List policies
    #[command(after_help = "Example:\n  hikae policy list")]
    List,
    /// Delete a policy that is on no instance; its points stay
    #[command(after_help = "Example:\n  hikae unprotect web database\n  hikae policy delete nightly")]
    Delete {
        /// Id or name
        policy: String,
    },
    /// Back up everything a policy is on, now
    #[command(after_help = "Examples:\n  hikae policy run nightly --wait\n  \
        hikae policy run nightly --instance web --wait")]
    Run {
        /// Id or name
        policy: String,
        /// Only this instance
        #[arg(long)]
        instance: Option<String>,
        /// Wait for it to end
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCreateArgs {
    /// Its name; no two policies should share one
    pub(crate) name: String,
    /// What it is for
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    /// Back up every so often from now on: 6h, 1d, 1w
    #[arg(long, value_name = "SPAN", conflicts_with = "schedule")]
    pub(crate) every: Option<String>,
    /// A schedule as the API writes it: I|start|interval or C|start|cron
    #[arg(long)]
    pub(crate) schedule: Option<String>,
    /// Keep points for so many days
    #[arg(long, default_value_t = 7, value_name = "DAYS")]
    pub(crate) keep_days: u32,
    /// Points cannot be deleted before they expire
    #[arg(long)]
    pub(crate) immutable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProtectArgs {
    /// Ids or names
    #[arg(required = true)]
    pub(crate) instances: Vec<String>,
    /// Id or name
    #[arg(long)]
    pub(crate) policy: String,
    /// Leave this disk out (repeatable)
    #[arg(long, value_name = "DISK")]
    pub(crate) exclude_disk: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnprotectArgs {
    /// Ids or names
    #[arg(required = true)]
    pub(crate) instances: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Id or name
    pub(crate) instance: String,
    /// Keep the point for so many days
    #[arg(long, default_value_t = 7, value_name = "DAYS")]
    pub(crate) keep_days: u32,
    /// The job's name
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// Wait for it to end
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List backup and restore jobs, newest first
    #[command(after_help = "Examples:\n  hikae job list --limit 10\n  \
        hikae job list --instance web --restores")]
    List(JobListArgs),
    /// Follow a backup or restore job to its end
    #[command(after_help = "Ctrl-C ends the watching, not the job.\n\nExample:\n  hikae job watch job-…")]
    Watch {
        /// The id that started it printed, and that 'hikae job list' shows
        job: String,
    },
    /// Ask a backup job to stop: it makes no point
    #[command(after_help = "Example:\n  hikae job cancel job-…")]
    Cancel {
        /// Its id
        job: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobListArgs {
    /// About this instance only: its id or name
    #[arg(long)]
    pub(crate) instance: Option<String>,
    /// Backup jobs only
    #[arg(long, conflicts_with = "restores")]
    pub(crate) backups: bool,
    /// Restore jobs only
    #[arg(long)]
    pub(crate) restores: bool,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PointCommand {
    /// List points
    #[command(after_help = "Examples:\n  hikae point list\n  hikae point list --instance web")]
    List {
        /// Of this instance only, by id or name; also one that is gone
        #[arg(long)]
        instance: Option<String>,
    },
    /// Delete points for good
    #[command(
        after_help = "At a terminal it asks; elsewhere --yes must be said. Immutable points are refused.\n\n\
        Example:\n  hikae point delete s-000… s-000… --yes"
    )]
    Delete {
        /// Their ids, as 'hikae point list' shows them
        #[arg(required = true)]
        points: Vec<String>,
        /// Yes, delete them
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Its id, as 'hikae point list' shows it
    pub(crate) point: String,
    /// Start the instance afterwards
    #[arg(long)]
    pub(crate) boot: bool,
    /// Also where a disk was detached in the meantime
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait for it to end
    #[arg(long)]
    pub(crate) wait: bool,
    /// Yes, overwrite its disks
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// Its id, as 'hikae point list' shows it
    pub(crate) point: String,
    /// The new instance's name
    #[arg(long)]
    pub(crate) name: String,
    /// Start it afterwards
    #[arg(long)]
    pub(crate) boot: bool,
    /// A shape such as kvm.c2m4096 instead of the source's
    #[arg(long, default_value = "", value_name = "TYPE")]
    pub(crate) instance_type: String,
    /// A network of the host instead of the source's
    #[arg(long, default_value = "", value_name = "NETWORK")]
    pub(crate) network: String,
    /// Wait for it to end
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// hbr or ecs
    pub(crate) product: String,
    /// As the API spells it: DescribeRegions
    pub(crate) action: String,
    /// --Name value or --Name=value; lists flattened: --Filters.1.Key
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PARAMETERS")]
    pub(crate) params: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_by_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if !command.has_subcommands() {
                let help = command.clone().render_long_help().to_string();
                assert!(help.contains("Example"), "{path} --help has no example");
            }
            command.get_subcommands().for_each(|sub| check(sub, &path));
        }
        check(&Arguments::command(), "");
    }

    #[test]
    fn a_secret_is_not_printed_with_the_options() {
        let arguments =
            Arguments::try_parse_from(["hikae", "instance", "list", "--access-key-secret", "hush-hush"])
                .expect("well formed");
        assert!(!format!("{arguments:?}").contains("hush-hush"));
    }
}
