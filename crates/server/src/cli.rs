//! The command line as a client: everything it does goes through the signed API, as anybody's does.

mod answer;
mod api;
pub(crate) mod client;
pub(crate) mod confirm;
pub(crate) mod failure;
mod instances;
mod jobs;
pub(crate) mod output;
mod points;
mod policies;
mod restores;
mod watch;

use std::process::ExitCode;

use crate::args::{Command, Connection, InstanceCommand, JobCommand, Output, PointCommand, PolicyCommand};
use client::Client;
use failure::Failure;

/// What every command is given.
struct Session {
    client: Client,
    output: Output,
}

/// Runs a client command.
pub(crate) async fn run(mut connection: Connection, mut command: Command) -> ExitCode {
    if let Command::Api(arguments) = &mut command
        && let Err(failure) = api::take_options(arguments, &mut connection)
    {
        return failure.report(connection.output);
    }
    let output = connection.output;
    let result = match Client::new(&connection) {
        Ok(client) => dispatch(&Session { client, output }, command).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}

async fn dispatch(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Instance(InstanceCommand::List) => instances::list(session).await,
        Command::Instance(InstanceCommand::Start { instance }) => instances::start(session, &instance).await,
        Command::Instance(InstanceCommand::Stop { instance, force }) => {
            instances::stop(session, &instance, force).await
        }
        Command::Policy(PolicyCommand::Create(arguments)) => policies::create(session, &arguments).await,
        Command::Policy(PolicyCommand::List) => policies::list(session).await,
        Command::Policy(PolicyCommand::Delete { policy }) => policies::delete(session, &policy).await,
        Command::Policy(PolicyCommand::Run { policy, instance, wait }) => {
            policies::run(session, &policy, instance.as_deref(), wait).await
        }
        Command::Protect(arguments) => policies::protect(session, &arguments).await,
        Command::Unprotect(arguments) => policies::unprotect(session, &arguments).await,
        Command::Backup(arguments) => jobs::back_up(session, &arguments).await,
        Command::Job(JobCommand::List(arguments)) => jobs::list(session, &arguments).await,
        Command::Job(JobCommand::Watch { job }) => watch::watch(session, &job).await,
        Command::Job(JobCommand::Cancel { job }) => jobs::cancel(session, &job).await,
        Command::Point(PointCommand::List { instance }) => points::list(session, instance.as_deref()).await,
        Command::Point(PointCommand::Delete { points, yes }) => points::delete(session, &points, yes).await,
        Command::Rollback(arguments) => restores::roll_back(session, &arguments).await,
        Command::Clone(arguments) => restores::clone(session, &arguments).await,
        Command::Api(arguments) => api::call(session, &arguments).await,
        Command::Serve(_) | Command::Depot(_) | Command::Completions { .. } => {
            Err(Failure::Usage("this is not a client command".to_owned()))
        }
    }
}

/// `name=value` pairs of a call.
fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> client::Pairs {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
