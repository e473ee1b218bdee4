{
  description = "makeroom: creates and formats, at first boot, the partitions that a flashed image lacks";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      forEachSystem = nixpkgs.lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsFor = system: nixpkgs.legacyPackages.${system};
    in
    {
      packages = forEachSystem (system: rec {
        makeroom = (pkgsFor system).callPackage ./initrd/package.nix { };
        default = makeroom;
      });

      nixosModules = rec {
        makeroom = import ./initrd/module.nix;
        default = makeroom;
      };

      checks = forEachSystem (system: {
        package = self.packages.${system}.makeroom;
        # A whole system with the module: assertions, its initrd, and with it the check of the configuration.
        initrd =
          (nixpkgs.lib.nixosSystem {
            modules = [
              self.nixosModules.default
              ./tests/support/appliance.nix
              { nixpkgs.hostPlatform = system; }
            ];
          }).config.system.build.toplevel;
      });

      formatter = forEachSystem (system: (pkgsFor system).nixfmt);
    };
}
