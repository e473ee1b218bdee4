//! The program in an initrd that dracut makes, from the files in `initrd/`. What of the machine changes changes in overlays.

use crate::*;

const SCRIPT: &str = r#"
    set -e
    work=$1 repository=$2 program=$3
    mount -t tmpfs none "$work"
    overlay() {
        mkdir -p "$work/upper$1" "$work/work$1"
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$work/upper$1,workdir=$work/work$1" "$1"
    }
    overlay /usr/lib/dracut/modules.d; overlay /etc; overlay /usr/bin
    # As README says.
    mkdir /usr/lib/dracut/modules.d/90makeroom
    cp "$repository"/initrd/makeroom.service "$repository"/initrd/dracut/module-setup.sh /usr/lib/dracut/modules.d/90makeroom
    install -m 755 "$program" /usr/bin/makeroom
    cat >/etc/makeroom.toml
    if [ "$4" = definitions ]; then
        mkdir /etc/repart.d
        printf '[Partition]\nType=root\nLabel=root\nFormat=xfs\n' >/etc/repart.d/10-root.conf
    fi
    dracut --quiet --force --no-hostonly --no-kernel --modules makeroom "$work/initrd" || exit
    cd "$work"; mkdir tree; cd tree
    { zcat ../initrd || cat ../initrd; } 2>/dev/null | cpio --extract --make-directories --quiet
    find . -path '*makeroom*' -type f -o -path '*makeroom*' -type l -o -name 'mkfs.*' | sort
    cat usr/lib/systemd/system/dev-disk-by*partlabel-.device.d/makeroom.conf
    if [ "$4" = definitions ]; then
        cat usr/lib/systemd/system/makeroom.service.d/definitions.conf
        chroot . /usr/bin/makeroom check --config /etc/makeroom.toml --definitions /etc/repart.d
    else
        chroot . /usr/bin/makeroom check
    fi
"#;

fn dracut(config: &str, more: &str) -> Output {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let mut dracut = Command::new("unshare");
    dracut.args(["--mount", "bash", "-c", SCRIPT, "bash"]).arg(directory.path()).arg(env!("CARGO_MANIFEST_DIR"));
    dracut.args([&traceable(), more]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = dracut.spawn().unwrap();
    child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn dracut_takes_the_program_its_tools_and_the_unit_or_says_what_is_wrong() {
    // A binary for another machine cannot be asked what it needs; one of glibc needs more than dracut is asked for here.
    if traceable().contains("/debug/") || std::env::var("MAKEROOM_PROGRAM").is_ok_and(|words| words.contains(' ')) {
        println!("only with this machine's static binary");
        return;
    }
    let config = "[boot-disk]\nlabels=[\"boot\"]\nlinks=true\n\
                  [[partition]]\nlabel=\"my (root)\"\ntype=\"root\"\nformat=\"xfs\"\n\
                  [[partition]]\nlabel=\"a-label-too-long-for-ext4\"\ntype=\"var\"\nformat=\"ext4\"\n";
    let output = dracut(config, "");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    snapbox::assert_data_eq!(text(&output.stdout), snapbox::file!["../snapshots/dracut.txt"].raw());
    let output = dracut("[boot-disk]\nlabels=[\"boot\"]\n", "definitions");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    snapbox::assert_data_eq!(text(&output.stdout), snapbox::file!["../snapshots/dracut_definitions.txt"].raw());
    let output = dracut(&config.replace("xfs", "xsf"), "");
    assert!(!output.status.success());
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("did you mean \"xfs\"?"), "{said}");
}
