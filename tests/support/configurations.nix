# Configurations of NixOS: the two walk-throughs of README, and one for everything that can be said or be wrong.
let
  by = label: "/dev/disk/by-partlabel/${label}";

  mount = label: fsType: {
    device = by label;
    inherit fsType;
  };

  makeroom = settings: {
    boot.initrd.makeroom = {
      enable = true;
    }
    // settings;
    fileSystems = mounts;
  };

  mounts = {
    "/boot" = mount "boot" "vfat" // {
      mountPoint = "/boot";
    };
    "/nix/store" = mount "nix-store_v0" "squashfs" // {
      mountPoint = "/nix/store";
    };
  };

  root = {
    label = "root";
    type = "root";
    format = "xfs";
  };

  withPartitions = partitions: makeroom { inherit partitions; };

  withMount =
    configuration: path: settings:
    configuration
    // {
      fileSystems = configuration.fileSystems // {
        ${path} = settings // {
          mountPoint = path;
        };
      };
    };

  fromRepart =
    partitions:
    makeroom { partitionsFromSystemdRepart = true; }
    // {
      systemd.repart.partitions = partitions;
    };
in
{
  raspberry-pi = withMount (withPartitions [ root ]) "/" (mount "root" "xfs");

  appliance =
    withPartitions [
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
    ]
    // {
      fileSystems = {
        "/" = {
          device = "none";
          fsType = "tmpfs";
        };
        "/boot" = mount "boot" "vfat";
        "/nix/store" = mount "nix-store" "squashfs";
        "/home" = mount "home" "ext4";
        "/var" = mount "var" "ext4";
      };
    };

  every-format = withPartitions (
    map
      (format: {
        label = "data-${format}";
        type = if format == "swap" then "swap" else "linux-generic";
        inherit format;
        size-min = "512M";
        size-max = 4294967296;
        priority = 1;
      })
      [
        "ext4"
        "xfs"
        "btrfs"
        "f2fs"
        "vfat"
        "swap"
      ]
  );

  every-option = makeroom {
    partitions = [
      (
        root
        // {
          format = "ext4";
          fs-label = "system";
          mkfs-options = [
            "-N"
            "200000"
          ];
        }
      )
      {
        label = "my data";
        type = "linux-generic";
      }
    ];
    bootDisk = {
      labels = [
        "boot"
        "nix-store_*"
      ];
      wait = "1min";
    };
    settings.tools."mkfs.ext4" = "/opt/mkfs.ext4";
    onFailure = "continue";
    verbose = true;
  };

  device-only =
    makeroom {
      partitions = [ root ];
      bootDisk.device = "/dev/disk/by-path/platform-fe340000.mmc";
    }
    // {
      fileSystems = { };
    };

  links =
    makeroom {
      partitions = [ root ];
      bootDisk.links = true;
    }
    // {
      fileSystems = {
        "/" = {
          device = "/dev/disk/by-makeroom/root";
          fsType = "xfs";
        };
        "/nix/store" = {
          device = "/dev/disk/by-makeroom/nix\\x20store";
          fsType = "squashfs";
        };
      };
    };

  from-repart = fromRepart {
    "20-var" = {
      Type = "var";
      Label = "var";
      Format = "ext4";
      SizeMinBytes = "1G";
    };
    "10-home" = {
      Type = "home";
      Label = "home";
      Format = "ext4";
      Weight = "2000";
      Priority = -1;
      SizeMaxBytes = 8589934592;
    };
  };

  # Whatever a definition may have, in the ways in which Nix may have it.
  from-repart-every-key = fromRepart {
    "10-root" = {
      Type = "root";
      Label = "root";
      Format = "btrfs";
      UUID = "0fc63daf-8483-4772-8e79-3d69d8477de4";
      PaddingWeight = "10";
      PaddingMinBytes = "1M";
      PaddingMaxBytes = 2097152;
      MakeDirectories = "/@/etc  /@/boot";
      Subvolumes = [
        "/@"
        "/@/.snapshots:ro"
      ];
      DefaultSubvolume = "/@";
      Flags = "4";
      NoAuto = "no";
      ReadOnly = false;
      GrowFileSystem = "off";
      FactoryReset = true;
    };
  };

  other-words = withPartitions [
    (
      root
      // {
        grow = false;
        directories = [ "/etc" ];
      }
    )
  ];

  # A disk that the boot does without, and a label that Nix cannot escape for systemd.
  other-disks = withMount (withMount (withPartitions [
    root
    {
      label = "größe";
      type = "linux-generic";
    }
  ]) "/backup" (mount "usb-backup" "ext4" // { options = [ "nofail" ]; })) "/" (mount "root" "xfs");

  swap =
    withPartitions [
      {
        label = "swap";
        type = "swap";
      }
    ]
    // {
      swapDevices = [ { device = by "swap"; } ];
    };

  # By file name: "-" sorts before ".".
  repart-order = fromRepart {
    home = {
      Type = "home";
      Label = "home";
    };
    home-backup = {
      Type = "linux-generic";
      Label = "backup";
      Weight = "0500";
    };
  };

  links-with-another-disk =
    makeroom {
      partitions = [ root ];
      bootDisk = {
        labels = [ "nix-store" ];
        links = true;
      };
    }
    // {
      fileSystems = {
        "/" = {
          device = "/dev/disk/by-makeroom/root";
          fsType = "xfs";
        };
        "/nix/store" = {
          device = "/dev/disk/by-makeroom/nix-store";
          fsType = "squashfs";
        };
        "/data" = mount "data" "ext4";
      };
    };

  # --- what warns ---

  nothing-declared = makeroom { };

  repart-beside = makeroom { partitions = [ root ]; } // {
    boot.initrd = {
      makeroom = {
        enable = true;
        partitions = [ root ];
      };
      systemd.repart.enable = true;
    };
    systemd.repart.partitions."10-root" = {
      Type = "root";
      Label = "root";
    };
  };

  grow-partition-beside = makeroom { partitions = [ root ]; } // {
    boot.growPartition = true;
    boot.initrd.makeroom = {
      enable = true;
      partitions = [ root ];
    };
  };

  # --- what fails ---

  scripted-initrd = withPartitions [ root ] // {
    boot.initrd = {
      makeroom = {
        enable = true;
        partitions = [ root ];
      };
      systemd.enable = false;
    };
  };

  no-labels = withPartitions [ root ] // {
    fileSystems."/".device = "/dev/disk/by-uuid/00000000-0000-0000-0000-000000000000";
  };

  label-twice = withPartitions [
    root
    root
  ];

  label-too-long = withPartitions [
    (root // { label = "a-label-that-has-more-than-36-characters"; })
  ];

  other-file-system = withMount (withPartitions [ root ]) "/" (mount "root" "ext4");

  auto-format = withMount (withPartitions [ root ]) "/" (
    mount "root" "xfs" // { autoFormat = true; }
  );

  links-not-made = withMount (withPartitions [ root ]) "/" {
    device = "/dev/disk/by-makeroom/root";
    fsType = "xfs";
  };

  other-file-system-by-label = withMount (withPartitions [ root ]) "/" {
    device = "/dev/disk/by-label/root";
    fsType = "ext4";
    autoFormat = true;
  };

  links-not-used = withMount (makeroom {
    partitions = [ root ];
    bootDisk.links = true;
  }) "/" (mount "root" "xfs");

  repart-with-more = fromRepart {
    "10-esp".Type = "esp";
    "20-root" = {
      Type = "root";
      Label = "root";
      Encrypt = "tpm2";
    };
  };

  repart-with-percent-signs = fromRepart {
    "10-root" = {
      Type = "root";
      Label = "100%%-root";
      MakeDirectories = "/50%% /b";
    };
  };

  repart-with-specifiers = fromRepart {
    "10-root" = {
      Type = "root";
      Label = "%M-root";
      MakeDirectories = [
        "/a"
        "/%o"
      ];
    };
    "20-data" = {
      Type = "linux-generic";
      Label = "100%%";
    };
  };
}
