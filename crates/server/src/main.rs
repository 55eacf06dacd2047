//! hikae: the server and its command line.

mod args;
mod cli;
mod depot_tool;
mod edge;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "hikae", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Command::Serve(serve) => serve::run(arguments.connection.data, &serve),
        Command::Depot(depot) => work(depot_tool::run(arguments.connection, depot)),
        command => block_on(cli::run(arguments.connection, command)),
    }
}

/// For a command that does the work itself, on all cores.
fn work(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // Work that was abandoned need not be waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("hikae: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(client: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(client),
        Err(error) => {
            eprintln!("hikae: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
