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
      ../Cargo.lock
      ../Cargo.toml
      ../src
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # Of .cargo/config.toml, what is not for rust-lld: nixpkgs has a linker of its own.
  env."CARGO_TARGET_${pkgsStatic.stdenv.hostPlatform.rust.cargoEnvVarTarget}_RUSTFLAGS" =
    ''-Crelocation-model=static --cfg=sha2_backend="soft" --cfg=sha2_backend_soft="compact"'';

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
