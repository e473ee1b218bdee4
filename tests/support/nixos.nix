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

  # What NixOS has where a configuration says nothing.
  defaults = {
    assertions = [ ];
    warnings = [ ];
    fileSystems = { };
    swapDevices = [ ];
    systemd.repart.partitions = { };
    boot.initrd = {
      availableKernelModules = [ ];
      supportedFilesystems = { };
      systemd = {
        enable = true;
        package = package "systemd" // {
          withEfi = true;
        };
        repart.enable = false;
        storePaths = [ ];
        contents = { };
        services = { };
        units = { };
      };
    };
  };

  # The same as options, for nixpkgs' module system.
  options =
    lib:
    let
      inherit (lib) mkOption types;
      option =
        type: default:
        mkOption {
          inherit type default;
        };
    in
    {
      options = {
        assertions = option (types.listOf types.unspecified) [ ];
        warnings = option (types.listOf types.str) [ ];
        fileSystems = option (types.attrsOf (types.attrsOf types.anything)) { };
        nixpkgs = option types.anything { };
        swapDevices = option (types.listOf (types.attrsOf types.anything)) [ ];
        systemd.repart.partitions = option (types.attrsOf (types.attrsOf types.anything)) { };
        boot.initrd = {
          availableKernelModules = option (types.listOf types.str) [ ];
          supportedFilesystems = option (types.attrsOf types.bool) { };
          systemd = {
            enable = option types.bool true;
            package = option types.package defaults.boot.initrd.systemd.package;
            repart.enable = option types.bool false;
            storePaths = option (types.listOf types.str) [ ];
            contents = option (types.attrsOf (types.attrsOf types.anything)) { };
            services = option (types.attrsOf (types.attrsOf types.anything)) { };
            units = option (types.attrsOf (types.attrsOf types.anything)) { };
          };
        };
      };
    };
}
