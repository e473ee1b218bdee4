# What initrd/module.nix needs of nixpkgs' lib, for machines without nixpkgs: enough to evaluate one module, without a
# check of types. tests/module.nix takes the real one where it is given.
let
  inherit (builtins)
    attrNames
    concatLists
    concatStringsSep
    elem
    filter
    foldl'
    isAttrs
    listToAttrs
    map
    mapAttrs
    stringLength
    substring
    ;

  nameValue = name: value: { inherit name value; };

  lib = rec {
    inherit
      concatLists
      concatStringsSep
      filter
      stringLength
      ;
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    removePrefix =
      prefix: text:
      if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalString = condition: text: if condition then text else "";
    optionalAttrs = condition: attrs: if condition then attrs else { };
    unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
    any = builtins.any;
    count = wanted: values: builtins.length (filter wanted values);
    concatMap = builtins.concatMap;
    concatStrings = concatStringsSep "";
    concatMapStringsSep =
      separator: f: values:
      concatStringsSep separator (map f values);
    splitString = separator: text: filter builtins.isString (builtins.split separator text);
    stringToCharacters = text: builtins.genList (at: substring at 1 text) (stringLength text);
    toIntBase10 = text: builtins.fromJSON (concatStringsSep "" (builtins.match "(-?)0*([0-9]+)" text));
    sort = builtins.sort;
    filterAttrs =
      wanted: attrs:
      listToAttrs (
        map (name: nameValue name attrs.${name}) (
          filter (name: wanted name attrs.${name}) (attrNames attrs)
        )
      );
    mapAttrs' = f: attrs: listToAttrs (map (name: f name attrs.${name}) (attrNames attrs));
    mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (attrNames attrs);
    recursiveUpdate =
      old: new:
      old
      // mapAttrs (
        name: value:
        if isAttrs value && isAttrs (old.${name} or null) then recursiveUpdate old.${name} value else value
      ) new;
    getBin = package: package.bin or package;
    strings.escapeC =
      characters: text:
      let
        codes = {
          " " = "20";
          "!" = "21";
          "\"" = "22";
          "'" = "27";
          "(" = "28";
          ")" = "29";
          "&" = "26";
          "+" = "2b";
          "," = "2c";
          "-" = "2d";
          "/" = "2f";
          "\\" = "5c";
        };
      in
      builtins.replaceStrings characters (map (character: "\\x${codes.${character}}") characters) text;

    literalExpression = text: { inherit text; };
    mkOption = attrs: attrs // { isOption = true; };
    mkEnableOption =
      what:
      mkOption {
        description = "Whether to enable ${what}.";
        default = false;
      };
    mkIf = condition: content: { inherit condition content; };
    types = {
      anything = { };
      bool = { };
      int = { };
      package = { };
      str = { };
      ints.unsigned = { };
      either = _: _: { };
      enum = _: { };
      attrsOf = _: { };
      nullOr = type: type;
      listOf = element: { inherit element; };
      submodule = module: {
        inherit (module) options;
        isFree = module ? freeformType;
      };
    };

    # The value of an option, or of a set of them, where `given` is what a user wrote.
    valueOf =
      option: given:
      if !(option.isOption or false) then
        mapAttrs (name: inner: valueOf inner (given.${name} or null)) option
      else if given == null then
        option.default or null
      else if option.type.element or { } ? options then
        map (
          element:
          lib.optionalAttrs option.type.element.isFree element // valueOf option.type.element.options element
        ) given
      else
        given;

    evalModule =
      {
        module,
        defaults,
        given,
        pkgs,
      }:
      let
        # Without what the module itself sets, which it does not read.
        config = recursiveUpdate (recursiveUpdate defaults given) {
          boot.initrd.makeroom = valueOf evaluated.options.boot.initrd.makeroom (
            given.boot.initrd.makeroom or { }
          );
        };
        evaluated = module { inherit config lib pkgs; };
      in
      recursiveUpdate config (if evaluated.config.condition then evaluated.config.content else { });
  };
in
lib
