//! The command line: what was typed after `sae-app`.

use std::ffi::OsString;

use crate::address::Address;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Args {
    /// Show the window, perhaps with something open.
    Window(Option<Address>),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// The help.
pub const HELP: &str = "\
Look at the features of a language model, and at the text that makes them fire.

Usage: sae-app [PATH | ADDRESS]

  PATH      a run, a dataset, or a folder that holds some; also a dictionary
            of a different program, to be imported. It may be in a store:
            s3://BUCKET/PREFIX; to be read only, https://HOST/FOLDER,
            gs://BUCKET/PREFIX or az://CONTAINER/PREFIX
  ADDRESS   a place in one: RUN#features, RUN#feature=123,
            RUN#feature=123&example=4, RUN#claim=123, RUN#map, RUN#truth,
            RUN#fields, RUN#matching=NAME, RUN#prompt, RUN#curves,
            DATASET#documents, DATASET#document=4,
            DATASET#document=4&token=40, DATASET#experts,
            DATASET#expert=2:11 (layer 2, expert 11), GRAPH#graph,
            PROBES#probes, MODEL#training

Options:
  -h, --help      print this help
  -V, --version   print the version

Examples:
  sae-app sae-demo
  sae-app \"sae-demo/run#feature=123\"
  sae-app s3://lake/runs

In the window, Ctrl+P lists every command.
";

/// Reads the arguments after the program's name.
///
/// # Errors
/// An unknown option, a second path or an address without a place; the message is for the terminal.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
    let mut path: Option<OsString> = None;
    let mut only_paths = false;
    for arg in args {
        match arg.to_str() {
            Some("--help" | "-h") if !only_paths => return Ok(Args::Help),
            Some("--version" | "-V") if !only_paths => return Ok(Args::Version),
            Some("--") if !only_paths => only_paths = true,
            Some(option) if option.starts_with('-') && !only_paths => {
                return Err(format!("unknown option `{option}`; see `sae-app --help`"));
            }
            _ if path.is_some() => {
                return Err("only one path can be opened; see `sae-app --help`".to_owned());
            }
            _ => path = Some(arg),
        }
    }
    let address = match path {
        None => None,
        // A name that is not text cannot have a place after it.
        Some(path) => Some(match path.to_str() {
            Some(text) => Address::parse(text)?,
            None => Address { folder: path.into(), place: None },
        }),
    };
    Ok(Args::Window(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Args, String> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn arguments() {
        assert_eq!(read(&[]), Ok(Args::Window(None)));
        assert_eq!(read(&["--help", "x"]), Ok(Args::Help));
        assert_eq!(read(&["-V"]), Ok(Args::Version));
        assert!(matches!(read(&["demo#feature=3"]), Ok(Args::Window(Some(a))) if a.place.is_some()));
        assert!(matches!(read(&["--", "-odd"]), Ok(Args::Window(Some(a))) if a.folder.ends_with("-odd")));
        assert!(read(&["--wat"]).unwrap_err().contains("--wat"));
        assert!(read(&["a", "b"]).is_err());
    }
}
