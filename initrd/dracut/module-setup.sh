#!/bin/bash
# dracut module for makeroom: the program, its configuration, the tools that it needs, and its unit.
# shellcheck disable=SC2154 # dracut sets moddir, initdir and the like

check() {
    # Without a configuration there is nothing to do at boot.
    require_binaries makeroom udevadm || return 1
    [ -e "${dracutsysrootdir-}/etc/makeroom.toml" ]
}

depends() {
    echo systemd-initrd
}

installkernel() {
    # EFI's variables tell which disk was booted; the file systems are those that may be made and have to be mounted.
    local format
    hostonly='' instmods efivarfs
    for format in ext4 xfs btrfs f2fs vfat; do
        case " $(makeroom_says) " in
        *[\ ,/]mkfs."$format"[\ ,]*) hostonly='' instmods "$format" ;;
        esac
    done
}

install() {
    local said tool kind drop_in
    said=$(makeroom_says) || {
        dfatal "makeroom: ${said:-the configuration cannot be checked}"
        exit 1
    }
    # The last line; those before are warnings.
    said=${said##*$'\n'}
    inst_simple /etc/makeroom.toml
    takes_definitions && install_definitions
    inst_binary makeroom
    while read -r tool; do
        inst_binary "$tool" || dfatal "makeroom: $tool is not there"
    done < <(needed "$said")

    inst_simple "$moddir/makeroom.service" "$systemdsystemunitdir/makeroom.service"
    $SYSTEMCTL -q --root "$initdir" enable makeroom.service

    # The time that systemd waits for a partition by its label starts when makeroom has finished. A name that ends in a dash
    # is for all that begin so (systemd.unit(5)).
    for kind in label makeroom partlabel; do
        drop_in="$initdir$systemdsystemunitdir/dev-disk-by\\x2d$kind-.device.d"
        mkdir -p "$drop_in"
        printf '[Unit]\nAfter=makeroom.service\n' >"$drop_in/makeroom.conf"
    done
}

# "... is valid: it declares root, home; needs mkfs.ext4", or the mistake.
makeroom_says() {
    local arguments=(--config "${dracutsysrootdir-}/etc/makeroom.toml")
    ! takes_definitions || arguments+=(--definitions "${dracutsysrootdir-}/etc/repart.d")
    makeroom check "${arguments[@]}" 2>&1
}

# A configuration that declares no partition leaves that to systemd-repart's definitions.
takes_definitions() {
    [ -d "${dracutsysrootdir-}/etc/repart.d" ] &&
        makeroom check --config "${dracutsysrootdir-}/etc/makeroom.toml" 2>&1 | grep -Eq 'declares nothing(;|$)'
}

install_definitions() {
    local file
    while read -r file; do
        inst_simple "${file#"${dracutsysrootdir-}"}"
    done < <(find "${dracutsysrootdir-}/etc/repart.d" -name '*.conf' -not -type d)
    drop_in=$initdir$systemdsystemunitdir/makeroom.service.d
    mkdir -p "$drop_in"
    cat >"$drop_in/definitions.conf" <<'UNIT'
[Service]
ExecStart=
ExecStart=/usr/bin/makeroom apply --config /etc/makeroom.toml --definitions /etc/repart.d
UNIT
}

# The tools of that sentence, one in each line.
needed() { # SENTENCE
    case "$1" in
    *'; needs '*) printf '%s\n' "${1##*; needs }" | sed 's/, /\n/g' ;;
    esac
}
