//! What a percent sign with a letter stands for in a definition (repart.d(5), "Specifiers").

use super::Surroundings;
use super::syntax::words;

/// What a specifier shall become a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The same at every boot: otherwise the partition would be made anew.
    Label,
    Path,
}

/// What `%` with a letter stands for. An initrd knows its architecture, its kernel, and what its os-release says.
pub(super) fn expanded(text: &str, wanted_for: Use, surroundings: Surroundings) -> std::result::Result<String, String> {
    let mut expanded = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            expanded.push(char);
            continue;
        }
        match chars.next() {
            Some('%') => expanded.push('%'),
            Some(letter) => expanded.push_str(&specifier(letter, wanted_for, surroundings)?),
            None => return Err("a % at the end: write %% for a percent sign".to_owned()),
        }
    }
    Ok(expanded)
}

fn specifier(letter: char, wanted_for: Use, surroundings: Surroundings) -> std::result::Result<String, String> {
    let name = match letter {
        'a' => return Ok(surroundings.architecture.name().to_owned()),
        'A' => "IMAGE_VERSION",
        'B' => "BUILD_ID",
        'M' => "IMAGE_ID",
        'W' => "VARIANT_ID",
        'o' => "ID",
        'w' => "VERSION_ID",
        'v' => "",
        'b' => return Err("%b, the boot's id, is another one at every boot: remove it".to_owned()),
        'H' | 'l' => return Err(format!("%{letter}, the host's name, is not known in an initrd: write the name")),
        'm' => return Err("%m, the machine's id, is not known at a first boot: remove it".to_owned()),
        'T' | 'V' => {
            return Err(format!("%{letter}, a directory for temporary files, is none of a partition: remove it"));
        }
        _ => {
            return Err(format!(
                "unknown specifier %{letter}: known are %a %A %B %M %o %v %w %W; write %% for a percent sign"
            ));
        }
    };
    if wanted_for == Use::Label && matches!(letter, 'A' | 'B' | 'v' | 'w') {
        return Err(format!(
            "%{letter} is another one after an update, and a partition with another label would be made then: write what \
             stays, as %M or %o do"
        ));
    }
    match letter {
        'v' => Ok(system_file(&["/proc/sys/kernel/osrelease"], surroundings)?.trim_end().to_owned()),
        _ => Ok(os_release(&system_file(&["/etc/os-release", "/usr/lib/os-release"], surroundings)?, name)),
    }
}

/// The first of these files that there is.
fn system_file(paths: &[&str], surroundings: Surroundings) -> std::result::Result<String, String> {
    let found = paths.iter().find_map(|path| (surroundings.read)(path.as_ref()).ok());
    let content = found.ok_or_else(|| format!("{} cannot be read, which a specifier asks for", paths[0]))?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// A field of os-release(5); empty where it is not set.
fn os_release(text: &str, name: &str) -> String {
    let value = |line: &str| line.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    let value = text.lines().filter_map(value).next_back().unwrap_or_default();
    words(&value).ok().and_then(|words| words.into_iter().next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition_type::Architecture;

    fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/usr/lib/os-release") => Ok(b"NAME=\"My OS\"\nID=my-os\nVERSION_ID='1.2 3'\nIMAGE_ID=box\n".into()),
            Some("/proc/sys/kernel/osrelease") => Ok(b"6.12.1-x\n".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    fn surroundings() -> Surroundings<'static> {
        Surroundings { architecture: Architecture::by_name("arm64").unwrap(), read: &read }
    }

    #[test]
    fn specifiers_are_what_an_initrd_knows_and_stays_the_same() {
        let label = |text: &str| expanded(text, Use::Label, surroundings());
        let path = |text: &str| expanded(text, Use::Path, surroundings());
        assert_eq!(label("%M-%o-%a-100%%"), Ok("box-my-os-arm64-100%".to_owned()));
        assert_eq!(path("/%w/%v/[%B]"), Ok("/1.2 3/6.12.1-x/[]".to_owned()));
        for letter in "ABvwbHlmTVxz".chars() {
            let said = label(&format!("a%{letter}")).unwrap_err();
            assert!(said.contains(&format!("%{letter}")), "{said}");
        }
        assert!(label("50%").unwrap_err().contains("%%"));
        let nothing = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let nowhere = Surroundings { read: &nothing, ..surroundings() };
        assert!(expanded("%o", Use::Path, nowhere).unwrap_err().contains("/etc/os-release cannot be read"));
    }
}
