//! What cannot be taken back is asked for twice.

use std::io::{IsTerminal as _, Write as _};

use super::failure::Failure;

/// Goes on when `yes` was said with the command, or now, by a person at a terminal. `what` ends the
/// sentence "this …".
pub(crate) fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Failure::Usage(format!("this {what}: say --yes to do it")));
    }
    eprint!("This {what}. Go on? [y/N] ");
    let mut answer = String::new();
    let heard = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    match heard {
        Ok(_) if means_yes(&answer) => Ok(()),
        Ok(_) => Err(Failure::Usage("nothing was done".to_owned())),
        Err(error) => Err(Failure::Failed(format!("cannot read the answer: {error}"))),
    }
}

fn means_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(confirm(true, "does no harm").is_ok());
        for yes in ["y\n", "Yes\n", " Y \n"] {
            assert!(means_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "no\n", "yep\n", "はい\n"] {
            assert!(!means_yes(no), "{no:?}");
        }
    }
}
