//! `hikae depot`: a depot looked at, filled and emptied with no server and no catalog.

pub(crate) mod args;
mod changed;
mod check;
mod copy;
mod export;
mod import;
mod look;
mod meter;
mod nbd;
mod place;
mod ranges;
mod raw;
mod rebuild;
mod remove;
mod verify;

use std::process::ExitCode;

use args::{DepotArgs, DepotCommand};

use crate::args::{Connection, Output};
use crate::cli::failure::Failure;

/// Runs one command to its end. Ctrl-C drops it where it is: what it had put is garbage, drafts go.
pub(crate) async fn run(connection: Connection, arguments: DepotArgs) -> ExitCode {
    let output = connection.output;
    let ended = tokio::select! {
        // First, so that it listens before anything has begun.
        biased;
        signal = tokio::signal::ctrl_c() => {
            let _ = signal;
            Err(Failure::Interrupted("interrupted; nothing was finished".to_owned()))
        }
        ended = Box::pin(dispatch(&connection, arguments)) => ended,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}

async fn dispatch(connection: &Connection, arguments: DepotArgs) -> Result<(), Failure> {
    let DepotArgs { place, command } = arguments;
    let output: Output = connection.output;
    // Held to the end of the command.
    let _lock = match &command {
        DepotCommand::Init | DepotCommand::Import(_) | DepotCommand::Delete { .. } => {
            place::lock(connection)?
        }
        DepotCommand::Gc { explain: false } => place::lock(connection)?,
        _ => None,
    };
    let found = place::find(&place, connection, matches!(command, DepotCommand::Init)).await?;
    match command {
        DepotCommand::Init => look::init(&found.init().await?, output),
        DepotCommand::Check => check::check(&found, output).await,
        DepotCommand::Verify { no_keys } => verify::verify(found, !no_keys, output).await,
        DepotCommand::Ls => look::ls(&found.open().await?, output).await,
        DepotCommand::Diff { from, to } => look::diff(&found.open().await?, &from, &to, output).await,
        DepotCommand::Stats => look::stats(&found.open().await?, output).await,
        DepotCommand::Export(arguments) => export::export(&found.open().await?, &arguments, output).await,
        DepotCommand::Import(arguments) => {
            let found = if arguments.fresh { found.knowing_nothing() } else { found };
            import::import(&found.open().await?, &arguments, output).await
        }
        DepotCommand::Copy(arguments) => {
            let to = place::find(&arguments.other(&place), connection, false).await?.open().await?;
            copy::copy(&found.open().await?, &to, &arguments, output).await
        }
        DepotCommand::Rebuild => rebuild::rebuild(&found.open().await?, output).await,
        DepotCommand::Delete { group, yes } => {
            remove::delete(&found.open().await?, &group, yes, output).await
        }
        DepotCommand::Gc { explain: true } => remove::explain(&found.open().await?, output).await,
        DepotCommand::Gc { explain: false } => remove::collect(&found.open().await?, output).await,
    }
}
