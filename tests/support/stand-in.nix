# What initrd/module.nix needs of nixpkgs' lib, for machines without nixpkgs: enough to evaluate that module, without a
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
      unspecified = { };
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

    # What is set, below `path`: an option that was not declared is an error, as it is to nixpkgs.
    declared =
      path: options: set:
      if options.isOption or false then
        set
      else
        let
          unknown = filter (name: !(options ? ${name})) (attrNames set);
          inner = name: declared "${path}${name}." options.${name};
        in
        if unknown == [ ] then
          mapAttrs inner set
        else
          throw "The option `${path}${builtins.head unknown}' does not exist.";

    # Of modules that are functions, all that they set is below one mkIf, and no module reads it. Others are options, or
    # settings alone. The later one wins: lists are not joined.
    evalModules =
      { modules, specialArgs }:
      let
        isFunction = builtins.isFunction;
        plain = filter (module: !(isFunction module)) modules;
        called = map (module: module (specialArgs // { inherit config lib; })) (filter isFunction modules);
        merged = foldl' recursiveUpdate { };

        options = merged (map (module: module.options or { }) (plain ++ called));
        settings = filter (module: !(module ? options)) plain;
        config = valueOf options (merged (map (declared "" options) settings));
        contents = map (module: lib.optionalAttrs module.config.condition module.config.content) called;
      in
      {
        config = merged ([ config ] ++ map (declared "" options) contents);
      };
  };
in
lib
