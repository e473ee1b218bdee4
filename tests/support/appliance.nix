# The appliance of README, for the check of the flake.
{
  boot.initrd.systemd.enable = true;
  boot.loader.grub.enable = false;
  boot.initrd.makeroom = {
    enable = true;
    partitions = [
      {
        label = "home";
        type = "home";
        format = "ext4";
        weight = 2000;
      }
      {
        label = "var";
        type = "var";
        format = "ext4";
      }
    ];
  };
  fileSystems = {
    "/" = {
      device = "none";
      fsType = "tmpfs";
    };
    "/boot" = {
      device = "/dev/disk/by-partlabel/boot";
      fsType = "vfat";
    };
    "/nix/store" = {
      device = "/dev/disk/by-partlabel/nix-store";
      fsType = "squashfs";
    };
    "/home" = {
      device = "/dev/disk/by-partlabel/home";
      fsType = "ext4";
    };
    "/var" = {
      device = "/dev/disk/by-partlabel/var";
      fsType = "ext4";
    };
  };
  system.stateVersion = "26.05";
}
