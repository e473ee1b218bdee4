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
    local said label tool unit
    said=$(makeroom_says) || {
        dfatal "makeroom: ${said:-the configuration cannot be checked}"
        exit 1
    }
    # The last line; those before are warnings.
    said=${said##*$'\n'}
    inst_simple /etc/makeroom.toml
    inst_binary makeroom
    while read -r tool; do
        inst_binary "$tool" || dfatal "makeroom: $tool is not there"
    done < <(list_after 'needs' "$said")

    inst_simple "$moddir/makeroom.service" "$systemdsystemunitdir/makeroom.service"
    $SYSTEMCTL -q --root "$initdir" enable makeroom.service

    # The time that systemd waits for a new partition starts when makeroom has finished.
    while read -r label; do
        label=$(encode "$label")
        for unit in partlabel makeroom; do
            unit=$(systemd-escape --path --suffix=device "/dev/disk/by-$unit/$label")
            mkdir -p "$initdir$systemdsystemunitdir/$unit.d"
            printf '[Unit]\nAfter=makeroom.service\n' >"$initdir$systemdsystemunitdir/$unit.d/makeroom.conf"
        done
    done < <(list_after 'declares' "$said")
}

# "... is valid: it declares root, home; needs mkfs.ext4", or the mistake.
makeroom_says() {
    makeroom check --config "${dracutsysrootdir-}/etc/makeroom.toml" 2>&1
}

# The list that follows a word, one item in each line.
list_after() { # WORD TEXT
    case "$2" in
    *"$1 "*) printf '%s\n' "$2" | sed "s/.*$1 //; s/; .*//; s/, /\n/g" ;;
    esac
}

# A label as udev writes it in a link.
encode() { # LABEL
    local at char
    for ((at = 0; at < ${#1}; at++)); do
        char=${1:at:1}
        case $char in
        [a-zA-Z0-9#+.:=@_-]) printf '%s' "$char" ;;
        [[:ascii:]]) printf '\\x%02x' "'$char" ;;
        *) printf '%s' "$char" ;;
        esac
    done
}
