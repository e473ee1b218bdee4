# The part of NixOS that initrd/module.nix touches, without its packages.
rec {
  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
  };

  pkgs = {
    callPackage = _: _: package "makeroom";
    buildPackages.callPackage = _: _: package "makeroom-for-the-build";
    runCommand =
      name:
      { toml, ... }:
      script:
      package name
      // {
        inherit toml script;
      };
    stdenv = {
      buildPlatform.canExecute = _: false;
      hostPlatform.parsed.cpu.name = "aarch64";
    };
    btrfs-progs = package "btrfs-progs";
    dosfstools = package "dosfstools";
    e2fsprogs = package "e2fsprogs" // {
      bin = package "e2fsprogs-bin";
    };
    f2fs-tools = package "f2fs-tools";
    util-linux = package "util-linux";
    xfsprogs = package "xfsprogs";
  };

  # Its options as a module: of nixpkgs' lib, or of the stand-in.
  options =
    lib:
    let
      inherit (lib) mkOption types;
      option =
        type: default:
        mkOption {
          inherit type default;
        };
      attrs = types.attrsOf types.anything;
    in
    {
      options = {
        assertions = option (types.listOf types.unspecified) [ ];
        warnings = option (types.listOf types.str) [ ];
        fileSystems = option (types.attrsOf attrs) { };
        nixpkgs.hostPlatform = option types.str "aarch64-linux";
        swapDevices = option (types.listOf attrs) [ ];
        systemd.repart.partitions = option (types.attrsOf attrs) { };
        boot.growPartition = option types.bool false;
        boot.initrd = {
          availableKernelModules = option (types.listOf types.str) [ ];
          supportedFilesystems = option (types.attrsOf types.bool) { };
          systemd = {
            enable = option types.bool true;
            package = option types.package (package "systemd" // { withEfi = true; });
            repart.enable = option types.bool false;
            storePaths = option (types.listOf types.str) [ ];
            contents = option (types.attrsOf attrs) { };
            services = option (types.attrsOf attrs) { };
            units = option (types.attrsOf attrs) { };
          };
        };
      };
    };
}
