//! The command line that all gateways have.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches, Parser};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Sources, environment, load, print_with_sources, unknown_variables};

/// The command line of a gateway.
#[derive(Clone, Debug, Default, Parser)]
#[command(about = None, long_about = None)]
pub struct Args {
    /// Read this TOML file over the gateway's defaults; variables win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Load the configuration, report whether it is valid, and stop
    #[arg(long, conflicts_with = "print_config")]
    pub check_config: bool,

    /// Print the effective configuration and the source of each key, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

/// A valid configuration.
#[derive(Debug)]
pub struct Configured<C, T> {
    /// The configuration.
    pub config: Arc<C>,
    /// The value that was built from it.
    pub output: T,
    /// The lines about ignored variables, for the log.
    pub warnings: Vec<String>,
}

/// The next step of a program with a valid configuration.
#[derive(Debug)]
enum Outcome<C, T> {
    /// Start with this configuration.
    Run(Arc<C>, T),
    /// Print this to stdout and stop.
    Print(String),
}

impl Args {
    /// Reads the command line of this process. `Err` is the exit code: help, version or the mistake is printed.
    pub fn from_command_line(name: &'static str, version: &'static str) -> Result<Self, ExitCode> {
        Self::parsed(name, version, std::env::args_os()).map_err(|error| exit_code_for(&error))
    }

    /// Loads the configuration of this process, calls `build` with it, and does what the command line requests. `build`
    /// reports mistakes that types cannot express with [`Sources::invalid`]. It always runs, so a configuration is
    /// valid only if the program can start with it. `Err` is the exit code: the output or the mistake is printed.
    pub fn configure<C: DeserializeOwned + Serialize, T>(
        &self,
        prefix: &str,
        core_defaults: &'static str,
        defaults: &'static str,
        build: impl FnOnce(&Arc<C>, &Sources<'_>) -> Result<T, Error>,
    ) -> Result<Configured<C, T>, ExitCode> {
        let sources = Sources {
            prefix,
            core_defaults,
            defaults,
            overlay: None,
            file: self.config.as_deref(),
            env: environment(),
        };
        let outcome = self.outcome(&sources, build);
        let outcome = outcome.and_then(|next| Ok((next, unknown_variables::<C>(&sources)?)));
        match outcome {
            Ok((Outcome::Run(config, output), warnings)) => Ok(Configured {
                config,
                output,
                warnings,
            }),
            Ok((Outcome::Print(text), warnings)) => {
                for warning in warnings {
                    let _ = writeln!(std::io::stderr(), "warning: {warning}");
                }
                // A closed stdout is no failure.
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
        build: impl FnOnce(&Arc<C>, &Sources<'_>) -> Result<T, Error>,
    ) -> Result<Outcome<C, T>, Error> {
        let config: Arc<C> = Arc::new(load(sources)?);
        let output = build(&config, sources)?;
        if self.check_config {
            return Ok(Outcome::Print("configuration is valid".to_owned()));
        }
        if self.print_config {
            return Ok(Outcome::Print(print_with_sources(&*config, sources)?));
        }
        Ok(Outcome::Run(config, output))
    }
}

/// The exit code for a command line that does not start the program. Prints the help, or the mistake in one line.
pub fn exit_code_for(error: &clap::Error) -> ExitCode {
    // A closed terminal does not change the exit code.
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
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
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
            ..Sources::default()
        };
        args(words)
            .unwrap()
            .outcome(&sources, |tiny: &Arc<Tiny>, sources| {
                if tiny.port == 0 {
                    Err(sources.invalid("port", "must not be 0"))
                } else {
                    Ok(())
                }
            })
    }

    #[test]
    fn config_takes_a_file() {
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
    fn check_config_reports_valid_or_the_mistake() {
        let valid = outcome(&["--check-config"], "port = 80").unwrap();
        assert!(matches!(valid, Outcome::Print(text) if text == "configuration is valid"));
        let invalid = outcome(&["--check-config"], "port = 0").unwrap_err();
        assert_eq!(
            invalid.to_string(),
            "port in the gateway's defaults: must not be 0"
        );
        assert!(outcome(&["--print-config"], "port = 0").is_err());
    }

    #[test]
    fn print_config_names_the_source_of_each_key() {
        let printed = outcome(&["--print-config"], "port = 80").unwrap();
        assert!(
            matches!(printed, Outcome::Print(text) if text == "port = 80 # the gateway's defaults\n")
        );
        assert!(matches!(
            outcome(&[], "port = 80").unwrap(),
            Outcome::Run(config, ()) if *config == Tiny { port: 80 }
        ));
    }
}
