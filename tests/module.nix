# Evaluates initrd/module.nix for every kind of configuration:
#   nix-instantiate --store dummy:// --eval --strict --json tests/module.nix
# With nixpkgs' lib where NIXPKGS_LIB names it (the repository or its lib folder) or NIX_PATH has nixpkgs, else with a
# stand-in that checks no types. `lib` in the result says which. CONFIGURATION names one file with a configuration to
# evaluate instead.
let
  given = builtins.getEnv "NIXPKGS_LIB";
  inPath = builtins.tryEval <nixpkgs/lib>;
  found =
    if given == "" then
      (if inPath.success then inPath.value else null)
    else if builtins.pathExists (/. + given + "/lib/default.nix") then
      /. + given + "/lib"
    else
      /. + given;

  configuration = builtins.getEnv "CONFIGURATION";

  lib = import (if found != null then found else ./support/stand-in.nix);
  nixos = import ./support/nixos.nix;

  evaluate =
    configuration:
    (lib.evalModules {
      modules = [
        (nixos.options lib)
        (import ../initrd/module.nix)
        configuration
      ];
      specialArgs = { inherit (nixos) pkgs; };
    }).config;

  # A unit as NixOS would write it.
  unitText =
    unit:
    let
      value =
        setting:
        if setting == true then
          "yes"
        else if setting == false then
          "no"
        else
          toString setting;
      section = name: lines: "[${name}]\n${builtins.concatStringsSep "" lines}";
      line = name: setting: "${name}=${value setting}\n";
      lines = attrs: map (name: line name attrs.${name}) (builtins.attrNames attrs);
      list = name: settings: map (line name) settings;
    in
    section "Unit" (
      [ (line "Description" unit.description) ]
      ++ lines unit.unitConfig
      ++ list "After" unit.after
      ++ list "Before" unit.before
      ++ list "Conflicts" unit.conflicts
    )
    + section "Service" (lines unit.serviceConfig)
    + section "Install" (list "RequiredBy" unit.requiredBy ++ list "WantedBy" unit.wantedBy);

  result =
    configuration:
    let
      config = evaluate configuration;
      inherit (config.boot) initrd;
      file = initrd.systemd.contents."/etc/makeroom.toml".source;
    in
    {
      failed = map (assertion: assertion.message) (
        builtins.filter (assertion: !assertion.assertion) config.assertions
      );
      inherit (config) warnings;
      inherit (file) toml script;
      unit = unitText initrd.systemd.services.makeroom;
      settings = builtins.attrNames initrd.systemd.services.makeroom;
      dropIns = builtins.mapAttrs (
        _: unit: "${unit.overrideStrategy}\n${unit.text}"
      ) initrd.systemd.units;
      inherit (initrd) availableKernelModules;
      supportedFilesystems = builtins.attrNames initrd.supportedFilesystems;
      inherit (initrd.systemd) storePaths;
    };
in
{
  lib = if found != null then "nixpkgs" else "stand-in";
  cases = builtins.mapAttrs (_: result) (
    if configuration == "" then
      import ./support/configurations.nix
    else
      { given = import (/. + configuration); }
  );
}
