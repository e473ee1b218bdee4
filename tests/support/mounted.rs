//! Mounts, for root. Not a part of `support`, which fuzzers share: they have no temporary directories.

use tempfile::TempDir;

use crate::support::cleanup::{assert_clean, clean, insist};
use crate::support::{text, tool};

/// Mounted in a directory of its own for as long as this lives.
pub struct Mounted {
    pub directory: TempDir,
}

impl Mounted {
    pub fn new(node: &str) -> Mounted {
        Mounted::with(&[node])
    }

    /// With the arguments that `mount` has before the directory.
    pub fn with(arguments: &[&str]) -> Mounted {
        let directory = tempfile::tempdir().unwrap();
        let output = tool("mount", &[arguments, &[directory.path().to_str().unwrap()]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        Mounted { directory }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.directory.path().to_str().unwrap();
        let unmounted = insist(|| clean("umount", &[path]));
        if unmounted.is_err() {
            // Else the directory would be emptied through the mount.
            assert_clean(clean("umount", &["--lazy", path]).and(unmounted));
        }
    }
}
