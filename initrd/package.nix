# One static binary, from Cargo.lock and without a network.
{
  lib,
  pkgsStatic,
}:

let
  manifest = (lib.importTOML ../Cargo.toml).package;
in
pkgsStatic.rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../.cargo
      ../Cargo.lock
      ../Cargo.toml
      ../src
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # The tests need tools, loop devices and a fixture that is not in the source above.
  doCheck = false;

  meta = {
    inherit (manifest) description;
    license = with lib.licenses; [
      mit
      asl20
    ];
    platforms = lib.platforms.linux;
    mainProgram = "makeroom";
  };
}
