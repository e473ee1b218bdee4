# boot.initrd.makeroom: creates and formats, in the systemd initrd, the partitions that a flashed image lacks.
#
# What Nix can know is checked here; everything else by the program itself when the initrd is built, with its own words.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib)
    concatMapStringsSep
    concatStringsSep
    filter
    hasPrefix
    literalExpression
    mkEnableOption
    mkIf
    mkOption
    optional
    optionals
    removePrefix
    types
    unique
    ;

  cfg = config.boot.initrd.makeroom;

  # --- what is declared ---

  # A setting that is not given is not written: the program's own default counts.
  given = lib.filterAttrs (_: value: value != null);

  declared = map given cfg.partitions ++ optionals cfg.partitionsFromSystemdRepart fromRepart;

  labels = map (partition: partition.label) declared;

  formatOf = partition: partition.format or (if partition.type == "swap" then "swap" else null);

  formats = unique (filter (format: format != null) (map formatOf declared));

  # --- systemd.repart.partitions, by the names of their attributes, as systemd-repart sorts files ---

  repartKeys = {
    Label = "label";
    Type = "type";
    Format = "format";
    Weight = "weight";
    SizeMinBytes = "size-min";
    SizeMaxBytes = "size-max";
    Priority = "priority";
    UUID = "uuid";
    PaddingWeight = "padding-weight";
    PaddingMinBytes = "padding-min";
    PaddingMaxBytes = "padding-max";
    MakeDirectories = "directories";
    Subvolumes = "subvolumes";
    DefaultSubvolume = "default-subvolume";
    Flags = "flags";
    NoAuto = "no-auto";
    ReadOnly = "read-only";
    GrowFileSystem = "grow-file-system";
    FactoryReset = "factory-reset";
  };

  texts = [
    "Label"
    "Type"
    "Format"
    "UUID"
    "DefaultSubvolume"
  ];

  lists = [
    "MakeDirectories"
    "Subvolumes"
  ];

  booleans = [
    "NoAuto"
    "ReadOnly"
    "GrowFileSystem"
    "FactoryReset"
  ];

  # repart.d(5) takes numbers as text, too.
  number =
    value:
    if builtins.isString value && builtins.match "-?[0-9]+" value != null then
      lib.toIntBase10 value
    else
      value;

  # What is no word for yes or no stays, and fails in the check.
  boolean =
    value:
    if value == "yes" || value == "true" || value == "on" then
      true
    else if value == "no" || value == "false" || value == "off" then
      false
    else
      value;

  converted =
    key: value:
    if builtins.elem key texts then
      literal value
    else if builtins.elem key booleans then
      boolean value
    else if builtins.elem key lists && builtins.isString value then
      map literal (filter (word: word != "") (lib.splitString " " value))
    else if builtins.elem key lists then
      map literal value
    else
      number value;

  # "%%" is a percent sign; what any other stands for, only systemd knows.
  literal = builtins.replaceStrings [ "%%" ] [ "%" ];

  hasSpecifier =
    value: builtins.match ".*%.*" (builtins.replaceStrings [ "%%" ] [ "" ] (toString value)) != null;

  # As systemd-repart does: directories are made in some file system.
  defaultFormat =
    { Type, ... }@definition:
    if Type == "swap" || definition ? Format || !(definition ? MakeDirectories) then
      { }
    else
      { format = if Type == "esp" || Type == "xbootldr" then "vfat" else "ext4"; };

  fromDefinition =
    definition:
    defaultFormat definition
    // lib.mapAttrs' (key: value: {
      name = repartKeys.${key};
      value = converted key value;
    }) (lib.filterAttrs (key: _: repartKeys ? ${key}) definition);

  # By file name, as systemd-repart does: "-" sorts before ".".
  repartNames = lib.sort (a: b: a + ".conf" < b + ".conf") (
    builtins.attrNames config.systemd.repart.partitions
  );

  fromRepart = map fromDefinition (
    filter (definition: definition ? Label && definition ? Type) (
      map (name: config.systemd.repart.partitions.${name}) repartNames
    )
  );

  repartProblems = lib.concatLists (
    lib.mapAttrsToList (
      name: definition:
      let
        unknown = filter (key: !(repartKeys ? ${key})) (builtins.attrNames definition);
        missing = filter (key: !(definition ? ${key})) [
          "Label"
          "Type"
        ];
        # A "%M" taken as it stands would be a partition of another name.
        expanded = filter (key: hasSpecifier (definition.${key} or "")) [
          "Label"
          "MakeDirectories"
          "Subvolumes"
          "DefaultSubvolume"
        ];
      in
      map (
        key:
        "systemd.repart.partitions.${name}: makeroom has no ${key}; remove it, or leave this partition to systemd-repart without partitionsFromSystemdRepart"
      ) unknown
      ++ map (
        key:
        "systemd.repart.partitions.${name} has no ${key}, and makeroom knows partitions by their labels"
      ) missing
      ++ map (
        key:
        "systemd.repart.partitions.${name}: ${key} has a specifier (%), which nobody expands here; write what it means"
      ) expanded
    ) config.systemd.repart.partitions
  );

  # --- where things are mounted from ---

  byPartLabel = "/dev/disk/by-partlabel/";
  byMakeroom = "/dev/disk/by-makeroom/";

  # What follows in a device path, as it was before udev wrote some of its characters as \x20; null for other paths.
  decodedBehind =
    prefix: device:
    if hasPrefix prefix device then
      builtins.fromJSON "\"${
        builtins.replaceStrings [ "\\x" ] [ "\\u00" ] (removePrefix prefix device)
      }\""
    else
      null;

  labelIn =
    device:
    if hasPrefix byPartLabel device then
      decodedBehind byPartLabel device
    else
      decodedBehind byMakeroom device;

  # What is mounted, and where the configuration says so.
  mounts =
    lib.mapAttrsToList (path: mount: {
      where = "fileSystems.\"${path}\"";
      device = if mount.device or null == null then "" else mount.device;
      fsType = mount.fsType or "auto";
      autoFormat = mount.autoFormat or false;
      # On whichever disk it is, the boot does without it.
      isOptional = lib.any (option: option == "nofail" || option == "noauto") (mount.options or [ ]);
    }) config.fileSystems
    ++ map (swap: {
      where = "swapDevices";
      device = if swap.device or null == null then "" else swap.device;
      fsType = "swap";
      autoFormat = false;
      isOptional = lib.any (option: option == "nofail" || option == "noauto") (swap.options or [ ]);
    }) config.swapDevices;

  mountsOf =
    partition:
    filter (
      mount:
      labelIn mount.device == partition.label
      || decodedBehind "/dev/disk/by-label/" mount.device == partition.fs-label or partition.label
    ) mounts;

  anchors = unique (
    filter (label: label != null && !(builtins.elem label labels)) (
      map (mount: labelIn mount.device) (filter (mount: !mount.isOptional) mounts)
    )
  );

  # --- the configuration file ---

  tools = {
    ext4 = pkgs.e2fsprogs;
    xfs = pkgs.xfsprogs;
    btrfs = pkgs.btrfs-progs;
    f2fs = pkgs.f2fs-tools;
    vfat = pkgs.dosfstools;
    swap = pkgs.util-linux;
  };

  hasLinks = cfg.settings.boot-disk.links or cfg.bootDisk.links;

  toolName = format: if format == "swap" then "mkswap" else "mkfs.${format}";

  toolPaths =
    builtins.listToAttrs (
      map (format: {
        name = toolName format;
        value = "${lib.getBin tools.${format}}/bin/${toolName format}";
      }) (filter (format: tools ? ${format}) formats)
    )
    // lib.optionalAttrs hasLinks {
      udevadm = "${config.boot.initrd.systemd.package}/bin/udevadm";
    };

  settings = lib.recursiveUpdate {
    boot-disk = given {
      labels = if cfg.bootDisk.labels == [ ] then null else cfg.bootDisk.labels;
      inherit (cfg.bootDisk) device wait;
      links = if hasLinks then true else null;
    };
    partition = declared;
    tools = toolPaths;
  } cfg.settings;

  # Strings, numbers and lists of JSON are those of TOML; tables are not.
  toml =
    let
      line = key: value: "${builtins.toJSON key} = ${builtins.toJSON value}";
      table = header: attrs: concatStringsSep "\n" ([ header ] ++ lib.mapAttrsToList line attrs) + "\n";
      section =
        name: value:
        if builtins.isList value then
          concatMapStringsSep "\n" (table "[[${name}]]") value
        else
          table "[${name}]" value;
    in
    concatStringsSep "\n" (
      lib.mapAttrsToList section (lib.filterAttrs (_: value: value != [ ] && value != { }) settings)
    );

  # What root and usr mean on the machine that will boot; the build may run on another.
  architectures = {
    x86_64 = "x86-64";
    aarch64 = "arm64";
    armv6l = "arm";
    armv7l = "arm";
    i686 = "x86";
    riscv64 = "riscv64";
  };

  cpu = pkgs.stdenv.hostPlatform.parsed.cpu.name;

  # The build may run on another machine.
  checker =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      cfg.package
    else
      pkgs.buildPackages.callPackage ./package.nix { };

  checked =
    pkgs.runCommand "makeroom.toml"
      {
        inherit toml;
        passAsFile = [ "toml" ];
        nativeBuildInputs = [ checker ];
      }
      ''
        cp "$tomlPath" makeroom.toml
        makeroom check --config makeroom.toml ${
          lib.optionalString (architectures ? ${cpu}) "--architecture ${architectures.${cpu}}"
        }
        cp makeroom.toml "$out"
      '';

  # --- the unit ---

  partitionModule = {
    # Its other words are as they are, and `makeroom check` knows them.
    freeformType = types.attrsOf types.anything;
    options = {
      label = mkOption {
        type = types.str;
        example = "root";
        description = "Its name in the partition table, by which it is known. A partition that has this label is kept as it is.";
      };
      type = mkOption {
        type = types.str;
        example = "root";
        description = ''
          Its type: a name of the Discoverable Partitions Specification (`root`, `home`, `var`, `srv`, `swap`, `esp`,
          `linux-generic`, ...) or a GUID.
        '';
      };
      format = mkOption {
        type = types.nullOr (
          types.enum [
            "ext4"
            "xfs"
            "btrfs"
            "f2fs"
            "vfat"
            "swap"
          ]
        );
        default = null;
        example = "ext4";
        description = "The file system to make on it; none when null. Its tool and the kernel's module come into the initrd.";
      };
      weight = mkOption {
        type = types.nullOr types.ints.unsigned;
        default = null;
        example = 2000;
        description = "Its share of the free space relative to the other new partitions, 0 to 1000000; 1000 when null.";
      };
      size-min = mkOption {
        type = types.nullOr (types.either types.ints.unsigned types.str);
        default = null;
        example = "1G";
        description = "Its smallest size, in bytes or with a unit (base 1024); 10 MiB, or what the file system needs, when null.";
      };
      size-max = mkOption {
        type = types.nullOr (types.either types.ints.unsigned types.str);
        default = null;
        example = "16G";
        description = "Its largest size; no limit when null.";
      };
      priority = mkOption {
        type = types.nullOr types.int;
        default = null;
        example = 10;
        description = "Above 0: it may be left out when the space is short, highest number first.";
      };
      fs-label = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The file system's own label; the partition's when null, cut to what the file system takes.";
      };
      mkfs-options = mkOption {
        type = types.nullOr (types.listOf types.str);
        default = null;
        example = [
          "-N"
          "200000"
        ];
        description = "Arguments for the tool that makes the file system, after those of makeroom.";
      };
    };
  };
in
{
  options.boot.initrd.makeroom = {
    enable = mkEnableOption "makeroom, which creates and formats in the initrd the partitions that a flashed image lacks";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = literalExpression "the package of the flake that this module comes from";
      description = "The package to use.";
    };

    bootDisk = {
      labels = mkOption {
        type = types.listOf types.str;
        default = anchors;
        defaultText = literalExpression "every X of /dev/disk/by-partlabel/X in fileSystems that is not itself declared";
        example = [
          "boot"
          "nix-store_*"
        ];
        description = ''
          Labels of partitions that are in the image: the disk that carries all of them is the boot disk. `*` stands for any
          text and `?` for one character. When several disks carry them, the one is taken that the firmware has started
          from, or none. Set them when something else is mounted by its label from another disk, without `nofail`.
        '';
      };
      device = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/dev/disk/by-path/platform-fe340000.mmc";
        description = "The escape hatch: a path of the boot disk, instead of a search.";
      };
      wait = mkOption {
        type = types.nullOr (types.either types.ints.unsigned types.str);
        default = null;
        example = "1min";
        description = "How long the disk may take to appear; 30 s when null.";
      };
      links = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Gives the partitions of the boot disk names below `/dev/disk/by-makeroom`, which no other disk with the same labels
          can take. Use them in {option}`fileSystems` instead of `/dev/disk/by-partlabel`.
        '';
      };
    };

    partitions = mkOption {
      type = types.listOf (types.submodule partitionModule);
      default = [ ];
      example = literalExpression ''
        [
          { label = "home"; type = "home"; format = "ext4"; weight = 2000; }
          { label = "var"; type = "var"; format = "ext4"; }
        ]
      '';
      description = "Partitions that shall exist, in their order on the disk.";
    };

    partitionsFromSystemdRepart = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Also takes {option}`systemd.repart.partitions`, in the order of their names, so that
        {option}`boot.initrd.systemd.repart.enable` can be replaced by this.
      '';
    };

    settings = mkOption {
      type = types.attrsOf (
        types.either (types.attrsOf types.anything) (types.listOf (types.attrsOf types.anything))
      );
      default = { };
      example = {
        tools."mkfs.ext4" = "/nix/store/.../bin/mkfs.ext4";
      };
      description = "Anything else of {file}`/etc/makeroom.toml`; it wins over what the other options say.";
    };

    onFailure = mkOption {
      type = types.enum [
        "stop"
        "continue"
      ];
      default = "stop";
      description = ''
        What a refusal does to the boot: `stop` ends it at once with the reason on the console; `continue` lets it go on and
        fail where something is missing, which can take 90 seconds.
      '';
    };

    verbose = mkOption {
      type = types.bool;
      default = false;
      description = "Logs each step.";
    };
  };

  config = mkIf cfg.enable {
    assertions =
      let
        twice = unique (filter (label: lib.count (other: other == label) labels > 1) labels);
        wrongType =
          partition:
          filter (
            mount:
            formatOf partition != null
            && !(builtins.elem mount.fsType [
              "auto"
              (formatOf partition)
            ])
          ) (mountsOf partition);
        autoFormatted =
          partition: filter (mount: formatOf partition != null && mount.autoFormat) (mountsOf partition);
        # Of the boot disk, by a name that a clone has, too.
        unproven = filter (
          mount:
          hasPrefix byPartLabel mount.device
          && builtins.elem (labelIn mount.device) (labels ++ cfg.bootDisk.labels)
        ) mounts;
        unmade = filter (mount: hasPrefix byMakeroom mount.device) mounts;
      in
      [
        {
          assertion = config.boot.initrd.systemd.enable;
          message = "boot.initrd.makeroom needs the systemd initrd: set boot.initrd.systemd.enable = true.";
        }
        {
          assertion =
            cfg.bootDisk.labels != [ ] || cfg.bootDisk.device != null || cfg.settings.boot-disk or { } != { };
          message = "boot.initrd.makeroom: no fileSystems entry names a partition of the image by /dev/disk/by-partlabel/; set boot.initrd.makeroom.bootDisk.labels to labels that only the boot disk has.";
        }
        {
          assertion = twice == [ ];
          message = "boot.initrd.makeroom: declared twice: ${concatStringsSep ", " twice}. A label is what tells partitions apart.";
        }
      ]
      ++ map (label: {
        assertion = lib.stringLength label <= 36 || builtins.match "[ -~]*" label == null;
        message = "boot.initrd.makeroom: the label \"${label}\" has ${toString (lib.stringLength label)} characters, a partition table takes 36.";
      }) labels
      ++ lib.concatMap (
        partition:
        map (mount: {
          assertion = false;
          message = "boot.initrd.makeroom: ${mount.where} mounts \"${partition.label}\" as ${mount.fsType}, but it is formatted as ${formatOf partition}.";
        }) (wrongType partition)
        ++ map (mount: {
          assertion = false;
          message = "boot.initrd.makeroom: ${mount.where} has autoFormat, but makeroom formats \"${partition.label}\" itself: remove autoFormat, or the partition's format.";
        }) (autoFormatted partition)
      ) declared
      ++ optionals (!hasLinks) (
        map (mount: {
          assertion = false;
          message = "boot.initrd.makeroom: ${mount.where} mounts ${mount.device}, which is there only with boot.initrd.makeroom.bootDisk.links = true.";
        }) unmade
      )
      ++ optionals hasLinks (
        map (mount: {
          assertion = false;
          message = "boot.initrd.makeroom.bootDisk.links is set, but ${mount.where} mounts ${mount.device}, which any disk with that label can take: use /dev/disk/by-makeroom/.";
        }) unproven
      )
      ++ optionals cfg.partitionsFromSystemdRepart (
        map (message: {
          assertion = false;
          message = "boot.initrd.makeroom: ${message}.";
        }) repartProblems
      );

    warnings =
      optional (
        labels == [ ]
      ) "boot.initrd.makeroom is enabled and no partition is declared: it does nothing."
      ++
        optional
          (
            (config.boot.initrd.systemd.repart.enable or false)
            && lib.any (definition: builtins.elem (definition.Label or null) labels) (
              builtins.attrValues config.systemd.repart.partitions
            )
          )
          "boot.initrd.systemd.repart is enabled beside boot.initrd.makeroom for the same partitions: whichever runs first makes them. Set boot.initrd.systemd.repart.enable = false."
      ++
        optional (config.boot.growPartition or false)
          "boot.growPartition is enabled beside boot.initrd.makeroom: it lets the root partition grow while the system runs, into what makeroom has left free. Set boot.growPartition = false: what makeroom declares grows before it is mounted.";

    boot.initrd.supportedFilesystems = builtins.listToAttrs (
      map (name: {
        inherit name;
        value = true;
      }) (filter (format: format != "swap") formats)
    );

    # EFI's variables tell which disk was booted; the systemd initrd of NixOS has this module under the same condition.
    boot.initrd.availableKernelModules = optional (config.boot.initrd.systemd.package.withEfi or false
    ) "efivarfs";

    boot.initrd.systemd = {
      contents."/etc/makeroom.toml".source = checked;

      storePaths = [
        "${cfg.package}/bin/makeroom"
      ]
      ++ filter (hasPrefix builtins.storeDir) (builtins.attrValues (settings.tools or { }));

      services.makeroom = {
        description = "Create and format missing partitions";
        unitConfig.DefaultDependencies = false;
        # No device unit: makeroom waits for its disk itself, and a disk that it has to mend may have none.
        after = [ "systemd-udev-trigger.service" ];
        before = [
          "initrd-root-device.target"
          "sysroot.mount"
          "local-fs-pre.target"
          "initrd-root-fs.target"
          "shutdown.target"
          "initrd-switch-root.target"
        ];
        conflicts = [
          "shutdown.target"
          "initrd-switch-root.target"
        ];
        # Not required by sysroot.mount: our stop at switch-root would unmount the system.
        requiredBy = optional (cfg.onFailure == "stop") "initrd-root-device.target";
        wantedBy = optional (cfg.onFailure == "continue") "initrd-root-device.target";
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${cfg.package}/bin/makeroom apply${lib.optionalString cfg.verbose " --verbose"}";
          # Formatting a slow card takes as long as it takes, and must not be killed half-way.
          TimeoutStartSec = "infinity";
          NotifyAccess = "main";
          StandardOutput = "journal+console";
          StandardError = "journal+console";
        };
      };

      # The time that systemd waits for a partition by its label starts when makeroom has finished: a slow card may take longer
      # to format, and a disk that it has to mend has no partitions before. A name that ends in a dash is for all that begin
      # so (systemd.unit(5)).
      units = builtins.listToAttrs (
        map
          (kind: {
            name = "dev-disk-by\\x2d${kind}-.device";
            value = {
              overrideStrategy = "asDropin";
              text = ''
                [Unit]
                After=makeroom.service
              '';
            };
          })
          [
            "label"
            "makeroom"
            "partlabel"
          ]
      );
    };
  };
}
