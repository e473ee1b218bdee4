//! The command line: words in, an [`Invocation`] out. Touches nothing.

use std::path::PathBuf;

use lexopt::{Arg, Parser};

use crate::partition_type::Architecture;
use crate::plan::SMALLEST_ALIGNMENT;
use crate::text;
use crate::units::{Guid, UnitError, parse_size};

/// What `--help` prints.
pub const HELP: &str = "\
makeroom - create and format the partitions that a flashed card lacks

Usage: makeroom apply|plan|check|locate [OPTION...]

  apply   create and format what is missing
  plan    show what apply would do; write nothing
  check   validate a configuration; touch no disk
  locate  name the boot disk and the evidence for it

  -c, --config FILE      TOML [default: /etc/makeroom.toml]
      --definitions DIR  partitions from the repart.d(5) files of a directory;
                         again for more [default, where there is no TOML: the
                         directories of systemd-repart]
      --disk PATH        a disk (a partition means its whole disk) or an image
                         file [default: what [boot-disk] describes]
      --architecture A   what types root and usr mean [default: this machine's]
      --size SIZE        plan: as if the disk had this size
      --sector-size N    image files: 512 or 4096 [default: where the GPT is
                         found, else 512]
      --align SIZE       start and size alignment [default: 1M, or the erase
                         size that a card names]
      --seed UUID        derive GUIDs from this seed, as systemd-repart does
                         [default: random]
      --factory-reset    delete what is marked for it, and make it anew
      --json             machine-readable result on stdout
  -v, --verbose          log each step
  -h, --help             print this
  -V, --version          print the version

On the kernel command line, for runs without --disk: makeroom=off,
makeroom=plan, makeroom.disk=PATH, and, in an initrd, systemd.factory_reset=1.
Sizes: bytes, or a number with K, M, G, T, P or E (base 1024).
Exit status: 0 done or nothing missing, 64 usage, 65 the disk contradicts
the declaration, 69 disk not found, 73 does not fit or a tool is missing,
74 I/O or mkfs failed, 75 busy, 77 no permission, 78 configuration wrong.
";

/// What makeroom is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// One of the commands.
    Run(Invocation),
}

/// A command with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Which command.
    pub command: Command,
    /// The configuration, where one is named.
    pub config: Option<PathBuf>,
    /// Directories of definitions, where some are named.
    pub definitions: Vec<PathBuf>,
    /// The disk or image to work on.
    pub disk: Option<PathBuf>,
    /// A boot has started it: its disk may yet have to appear.
    pub is_boot: bool,
    /// The disk that the kernel command line names; not known here, see [`boot_arguments`].
    pub boot_disk: Option<PathBuf>,
    /// What `root` and `usr` mean.
    pub architecture: Architecture,
    /// Pretended size in bytes.
    pub size: Option<u64>,
    /// Bytes in a sector.
    pub sector_size: Option<u32>,
    /// Alignment in bytes.
    pub align: Option<u64>,
    /// Seed for GUIDs.
    pub seed: Option<Guid>,
    /// Whether what is marked for it is deleted and made anew.
    pub factory_reset: bool,
    /// JSON instead of text.
    pub json: bool,
    /// Log each step.
    pub verbose: bool,
}

/// The commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the help says it
pub enum Command {
    Apply,
    Plan,
    Check,
    Locate,
}

/// A command line that is not understood. Exit status 64. What somebody wrote reaches no console raw.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Wrong words or a value missing.
    #[error("{} (makeroom --help lists everything)", text::escape(.0))]
    Words(String),
    /// A value that is not what its option takes.
    #[error("{option}: {}", text::escape(.reason))]
    Value {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}

/// Reads the command line, without the program's name.
pub fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Request, UsageError> {
    let mut parser = Parser::from_args(arguments);
    let mut command = None;
    let mut options = Invocation {
        command: Command::Check,
        is_boot: false,
        config: None,
        definitions: Vec::new(),
        disk: None,
        boot_disk: None,
        architecture: Architecture::native(),
        size: None,
        sector_size: None,
        align: None,
        seed: None,
        factory_reset: false,
        json: false,
        verbose: false,
    };
    while let Some(argument) = parser.next().map_err(words)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Version),
            Arg::Value(word) if command.is_none() => command = Some(command_named(&word.to_string_lossy())?),
            Arg::Value(word) => return Err(excess(&word.to_string_lossy())),
            Arg::Short('c') | Arg::Long("config") => options.config = Some(parser.value().map_err(words)?.into()),
            Arg::Long("definitions") => options.definitions.push(parser.value().map_err(words)?.into()),
            Arg::Short('v') | Arg::Long("verbose") => options.verbose = true,
            Arg::Long("json") => options.json = true,
            Arg::Long("factory-reset") => options.factory_reset = true,
            Arg::Long("disk") => options.disk = Some(parser.value().map_err(words)?.into()),
            Arg::Long("architecture") => options.architecture = architecture(&value(&mut parser)?)?,
            Arg::Long("size") => options.size = Some(size("--size", &value(&mut parser)?)?),
            Arg::Long("sector-size") => options.sector_size = Some(sector_size(&value(&mut parser)?)?),
            Arg::Long("align") => options.align = Some(alignment(&value(&mut parser)?)?),
            Arg::Long("seed") => options.seed = Some(seed(&value(&mut parser)?)?),
            Arg::Short(unknown) => return Err(UsageError::Words(format!("unknown option -{unknown}"))),
            Arg::Long(unknown) => return Err(unknown_option(unknown)),
        }
    }
    let Some(command) = command else {
        return Err(UsageError::Words(format!("a command is missing: {}", COMMANDS.map(|(name, _)| name).join(", "))));
    };
    if options.size.is_some() && command != Command::Plan {
        return Err(UsageError::Words(
            "--size is for plan only: nothing can be written to a size that is not there".into(),
        ));
    }
    Ok(Request::Run(Invocation { command, is_boot: command == Command::Apply, ..options }))
}

const COMMANDS: [(&str, Command); 4] =
    [("apply", Command::Apply), ("plan", Command::Plan), ("check", Command::Check), ("locate", Command::Locate)];

/// What the kernel command line asks of a run that was not told which disk to work on: the rescue hatch, which needs
/// no new image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootArguments {
    /// `makeroom=`.
    pub mode: BootMode,
    /// `makeroom.disk=`.
    pub disk: Option<PathBuf>,
    /// `systemd.factory_reset=` (systemd-factory-reset(8)).
    pub factory_reset: bool,
}

/// What `apply` shall do at this boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootMode {
    /// What it was made for.
    #[default]
    Apply,
    /// Only show it: `makeroom=plan`.
    Plan,
    /// Nothing: `makeroom=off`.
    Off,
}

/// Reads the kernel command line. What is not understood is an error: somebody wanted something else than usual.
pub fn boot_arguments(line: &str) -> Result<BootArguments, UsageError> {
    let mut found = BootArguments::default();
    for word in kernel_words(line) {
        match word.split_once('=').unwrap_or((&word, "")) {
            ("makeroom", "off") => found.mode = BootMode::Off,
            ("makeroom", "plan") => found.mode = BootMode::Plan,
            ("makeroom.disk", path) if path.starts_with('/') => found.disk = Some(path.into()),
            ("systemd.factory_reset", value) => found.factory_reset = is_yes(value),
            (name, _) if name.starts_with("makeroom") => {
                return Err(UsageError::Words(format!(
                    "kernel command line: {word}: known are makeroom=off, makeroom=plan and makeroom.disk=/dev/...; \
                     nothing was done"
                )));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A boolean as systemd reads it (parse-util.c, `parse_boolean`); without a value it is true. What is neither does
/// nothing: data must not be deleted for a typing error.
fn is_yes(value: &str) -> bool {
    ["", "1", "yes", "y", "true", "t", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// The words of a kernel command line: white space ends a word unless it is between double quotes, which are no part
/// of it (lib/cmdline.c, `next_arg`).
pub fn kernel_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words
}

const LONG_OPTIONS: [&str; 13] = [
    "config",
    "definitions",
    "disk",
    "architecture",
    "size",
    "sector-size",
    "align",
    "seed",
    "factory-reset",
    "json",
    "verbose",
    "help",
    "version",
];

fn command_named(word: &str) -> Result<Command, UsageError> {
    COMMANDS.iter().find(|(name, _)| *name == word).map(|(_, command)| *command).ok_or_else(|| {
        let hint = text::suggestion(word, COMMANDS.map(|(name, _)| name));
        UsageError::Words(format!("unknown command \"{word}\": {hint}"))
    })
}

fn unknown_option(option: &str) -> UsageError {
    let near = text::nearest(option, LONG_OPTIONS).map(|near| format!(": did you mean --{near}?")).unwrap_or_default();
    UsageError::Words(format!("unknown option --{option}{near}"))
}

fn excess(word: &str) -> UsageError {
    UsageError::Words(format!("\"{word}\" is one word too many"))
}

fn words(error: lexopt::Error) -> UsageError {
    UsageError::Words(error.to_string())
}

fn value(parser: &mut Parser) -> Result<String, UsageError> {
    parser.value().and_then(lexopt::ValueExt::string).map_err(words)
}

fn size(option: &'static str, value: &str) -> Result<u64, UsageError> {
    parse_size(value).map_err(|error: UnitError| UsageError::Value { option, reason: error.to_string() })
}

fn sector_size(value: &str) -> Result<u32, UsageError> {
    let reason = format!("\"{value}\" is neither 512 nor 4096");
    let known = [("512", 512), ("4096", 4096)].into_iter().find(|(name, _)| *name == value);
    known.map(|(_, bytes)| bytes).ok_or(UsageError::Value { option: "--sector-size", reason })
}

fn alignment(value: &str) -> Result<u64, UsageError> {
    const LARGEST_ALIGNMENT: u64 = 1 << 30;
    let bytes = size("--align", value)?;
    match bytes % SMALLEST_ALIGNMENT == 0 && (SMALLEST_ALIGNMENT..=LARGEST_ALIGNMENT).contains(&bytes) {
        true => Ok(bytes),
        false => Err(UsageError::Value {
            option: "--align",
            reason: format!("{bytes} bytes is not a multiple of {SMALLEST_ALIGNMENT} up to 1 GiB"),
        }),
    }
}

fn architecture(value: &str) -> Result<Architecture, UsageError> {
    Architecture::by_name(value).ok_or_else(|| UsageError::Value {
        option: "--architecture",
        reason: format!("unknown \"{value}\": {}", text::suggestion(value, Architecture::names())),
    })
}

fn seed(value: &str) -> Result<Guid, UsageError> {
    value
        .parse()
        .map_err(|error: crate::units::GuidError| UsageError::Value { option: "--seed", reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_command_line_is_read_as_the_kernel_does() {
        let read = |line| boot_arguments(line).map_err(|error| error.to_string());
        let arguments = |mode, disk: Option<&str>| {
            Ok(BootArguments { mode, disk: disk.map(PathBuf::from), ..BootArguments::default() })
        };
        assert_eq!(read("console=ttyS0 quiet xmakeroom=off\n"), arguments(BootMode::Apply, None));
        assert_eq!(read("quiet makeroom=off"), arguments(BootMode::Off, None));
        assert_eq!(read("makeroom=off makeroom=plan\n"), arguments(BootMode::Plan, None));
        assert_eq!(read("makeroom.disk=/dev/sda"), arguments(BootMode::Apply, Some("/dev/sda")));
        assert_eq!(read("makeroom.disk=\"/dev/a b\" x"), arguments(BootMode::Apply, Some("/dev/a b")));
        assert_eq!(read("dyndbg=\"file makeroom.c makeroom=off +p\""), arguments(BootMode::Apply, None));
        for line in
            ["makeroom", "makeroom=", "makeroom=of", "makeroom.disk=", "makeroom.disk=sda", "makeroom-disk=/dev/x"]
        {
            assert!(read(line).unwrap_err().starts_with("kernel command line: makeroom"), "{line}");
        }
    }

    #[test]
    fn a_factory_reset_is_asked_for_by_systemd_s_word_and_its_yes() {
        let is_reset = |line| boot_arguments(line).unwrap().factory_reset;
        for yes in ["systemd.factory_reset=1", "quiet systemd.factory_reset=Yes", "systemd.factory_reset"] {
            assert!(is_reset(yes), "{yes}");
        }
        for no in ["", "systemd.factory_reset=0", "systemd.factory_reset=yess", "factory_reset=1"] {
            assert!(!is_reset(no), "{no}");
        }
    }

    #[test]
    fn no_word_acts_on_the_console_that_shows_it() {
        let words = ["x\u{1b}[2J", "--x\u{1b}[2J", "-\u{1b}", "plan x\u{1b}[2J", "plan --config=x y\u{1b}"];
        let values = ["--align", "--size", "--sector-size", "--architecture", "--seed"];
        let values = values.map(|option| format!("plan {option}=\u{1b}[2J"));
        for line in words.into_iter().chain(values.iter().map(String::as_str)) {
            let shown = parse(line.split(' ').map(Into::into)).unwrap_err().to_string();
            assert!(shown.contains("\\u{1b}") && !shown.contains('\u{1b}'), "{line:?}: {shown:?}");
        }
        let shown = boot_arguments("makeroom=\u{1b}[2J").unwrap_err().to_string();
        assert!(shown.contains("\\u{1b}") && !shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn the_help_names_every_option_and_command() {
        for option in LONG_OPTIONS {
            assert!(HELP.contains(&format!("--{option}")), "{option}");
        }
        for (command, _) in COMMANDS {
            assert!(HELP.contains(&format!("\n  {command} ")), "{command}");
        }
        assert!(HELP.lines().all(|line| line.len() <= 80));
    }
}
