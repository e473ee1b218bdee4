//! Programs that makeroom runs, and where they are.

use std::path::{Path, PathBuf};

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name, also in `[tools]`.
    pub name: &'static str,
    /// What cannot be done without it.
    pub needed_for: String,
    /// Debian package and Nix package that have it.
    pub packages: (&'static str, &'static str),
}

/// A program is nowhere to be found. Exit status 73.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is not there: {} needs it ({searched}); install the package {} (Debian) or {} (nixpkgs), or give its path as \
     \"{}\" in [tools]", tool.name, tool.needed_for, tool.packages.0, tool.packages.1, tool.name
)]
pub struct MissingTool {
    tool: Tool,
    searched: String,
}

/// Where tools are looked for when the configuration gives no path. No `$PATH`: in an initrd it says little, and
/// a tool that formats disks should not come from wherever a shell happened to point.
pub const TOOL_DIRECTORIES: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/run/current-system/sw/bin"];

/// What makes udev read its rules again.
pub fn udevadm() -> Tool {
    Tool { name: UDEVADM, needed_for: "links = true".to_owned(), packages: ("udev", "systemd") }
}

/// Its name in `[tools]`.
pub const UDEVADM: &str = "udevadm";

impl Tool {
    /// Its path: the configured one, else the first that there is.
    pub fn find(
        self,
        configured: Option<PathBuf>,
        is_executable: impl Fn(&Path) -> bool,
    ) -> Result<PathBuf, MissingTool> {
        let (candidates, searched) = match configured {
            Some(path) => (vec![path.clone()], format!("[tools] says {}", path.display())),
            None => (
                TOOL_DIRECTORIES.iter().map(|directory| Path::new(directory).join(self.name)).collect(),
                format!("searched {}", TOOL_DIRECTORIES.join(" ")),
            ),
        };
        let found = candidates.into_iter().find(|path| is_executable(path));
        found.ok_or(MissingTool { tool: self, searched })
    }
}
