//! The command line every gateway shares.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Sources, environment, load, print_with_sources};

/// What a gateway can be told on its command line.
#[derive(Clone, Debug, Default, Parser)]
#[command(about = None, long_about = None)]
pub struct Args {
    /// Read this TOML file over the compiled-in defaults; variables win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Load the configuration, say whether it is good, and stop
    #[arg(long, conflicts_with = "print_config")]
    pub check_config: bool,

    /// Print the effective configuration and who set each key, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

/// What reading the configuration led to.
#[derive(Debug)]
enum Outcome<C, T> {
    /// Start with this, and with what was made of it.
    Run(C, T),
    /// Print this to stdout and stop.
    Say(String),
}

impl Args {
    /// Reads this process's command line. `Err` is what to exit with: help and version were printed, or a mistake was.
    pub fn from_command_line(name: &'static str, version: &'static str) -> Result<Self, ExitCode> {
        Self::parsed(name, version, std::env::args_os()).map_err(|error| not_to_run(&error))
    }

    /// Loads the configuration of this process, lets `build` make of it what it is for, and does what the command line
    /// asked. What types cannot say, ranges and contradictions, `build` refuses with [`Sources::refuse`]; it is asked
    /// whatever the command line says, so that a good configuration is one that starts. `Err` is what to exit with:
    /// what was asked for has been printed, or the mistake has.
    pub fn configure<C: DeserializeOwned + Serialize, T>(
        &self,
        prefix: &str,
        defaults: &'static str,
        build: impl FnOnce(&C, &Sources<'_>) -> Result<T, Error>,
    ) -> Result<(C, T), ExitCode> {
        let sources = Sources {
            prefix,
            defaults,
            overlay: None,
            file: self.config.as_deref(),
            env: environment(),
        };
        match self.outcome(&sources, build) {
            Ok(Outcome::Run(config, made)) => Ok((config, made)),
            Ok(Outcome::Say(text)) => {
                // A closed stdout is no reason to fail.
                let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
                Err(ExitCode::SUCCESS)
            }
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "{error}");
                Err(ExitCode::from(Error::EXIT_CODE))
            }
        }
    }

    fn parsed(
        name: &'static str,
        version: &'static str,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command().name(name).version(version);
        let matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches)
    }

    fn outcome<C: DeserializeOwned + Serialize, T>(
        &self,
        sources: &Sources<'_>,
        build: impl FnOnce(&C, &Sources<'_>) -> Result<T, Error>,
    ) -> Result<Outcome<C, T>, Error> {
        let config: C = load(sources)?;
        let made = build(&config, sources)?;
        if self.check_config {
            return Ok(Outcome::Say("configuration is good".to_owned()));
        }
        if self.print_config {
            return Ok(Outcome::Say(print_with_sources(&config, sources)?));
        }
        Ok(Outcome::Run(config, made))
    }
}

/// What to exit with where the command line is no order to run: help was asked for and is printed, or a mistake is, in
/// one line.
pub fn not_to_run(error: &clap::Error) -> ExitCode {
    // A closed terminal is no reason to answer anything else.
    if error.use_stderr() {
        let _ = writeln!(std::io::stderr(), "{}", one_line(error));
        ExitCode::from(Error::EXIT_CODE)
    } else {
        let _ = error.print();
        ExitCode::SUCCESS
    }
}

/// The mistake itself: the first paragraph, without the usage and the tips below it.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.strip_prefix("error: ").unwrap_or(&text);
    let said = said.lines().take_while(|line| !line.trim().is_empty());
    said.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Tiny {
        port: u16,
    }

    fn args(words: &[&str]) -> Result<Args, clap::Error> {
        let words = ["web-bff"].iter().chain(words).map(OsString::from);
        Args::parsed("web-bff", "1.2.3", words)
    }

    fn outcome(words: &[&str], defaults: &'static str) -> Result<Outcome<Tiny, ()>, Error> {
        let sources = Sources {
            prefix: "WEB",
            defaults,
            overlay: None,
            file: None,
            env: Vec::new(),
        };
        args(words)
            .unwrap()
            .outcome(&sources, |tiny: &Tiny, sources| {
                if tiny.port == 0 {
                    Err(sources.refuse("port", "must not be 0"))
                } else {
                    Ok(())
                }
            })
    }

    #[test]
    fn the_file_is_an_option() {
        let args = args(&["--config", "web.toml"]).unwrap();
        assert_eq!(args.config, Some(PathBuf::from("web.toml")));
        assert!(!args.check_config && !args.print_config);
    }

    #[test]
    fn help_and_version_go_to_stdout_and_mistakes_to_stderr() {
        let version = args(&["--version"]).unwrap_err();
        assert!(!version.use_stderr());
        assert_eq!(version.to_string(), "web-bff 1.2.3\n");
        let help = args(&["--help"]).unwrap_err();
        assert!(!help.use_stderr());
        assert!(help.to_string().contains("--check-config"), "{help}");
        for (words, line) in [
            (&["--confg", "x"][..], "unexpected argument '--confg' found"),
            (
                &["--config"],
                "a value is required for '--config <FILE>' but none was supplied",
            ),
            (
                &["--check-config", "--print-config"],
                "the argument '--check-config' cannot be used with '--print-config'",
            ),
        ] {
            let mistake = args(words).unwrap_err();
            assert!(mistake.use_stderr());
            assert_eq!(one_line(&mistake), line);
        }
    }

    #[test]
    fn check_says_good_or_names_the_mistake() {
        let good = outcome(&["--check-config"], "port = 80").unwrap();
        assert!(matches!(good, Outcome::Say(text) if text == "configuration is good"));
        let bad = outcome(&["--check-config"], "port = 0").unwrap_err();
        assert_eq!(
            bad.to_string(),
            "port in the compiled-in defaults: must not be 0"
        );
        assert!(outcome(&["--print-config"], "port = 0").is_err());
    }

    #[test]
    fn print_names_the_source_of_each_key() {
        let printed = outcome(&["--print-config"], "port = 80").unwrap();
        assert!(
            matches!(printed, Outcome::Say(text) if text == "port = 80 # the compiled-in defaults\n")
        );
        assert!(matches!(
            outcome(&[], "port = 80").unwrap(),
            Outcome::Run(Tiny { port: 80 }, ())
        ));
    }
}
