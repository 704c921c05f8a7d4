"""Configuration: strict YAML, strict schemas, and errors that name file, key and the closest valid value."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

    from selectbench.llm.agents import ClusterAgent
    from selectbench.methods._base import Method

from selectbench.data.entries import CorpusEntry, DatasetEntry, Entry
from selectbench.errors import ConfigError, SelectbenchError, first_line, shorten, spell, suggest
from selectbench.planning.checks import check_augment, check_keeps, check_network, check_sides, check_training
from selectbench.planning.entries import (
    NGRAM,
    AnyModel,
    Compare,
    EncoderEntry,
    Keep,
    Main,
    MethodEntry,
    Paper,
    RecipeEntry,
    Scale,
    TableEntry,
)
from selectbench.planning.folders import check_folders
from selectbench.planning.given import GivenSubsets, read_given
from selectbench.planning.strict_yaml import read_yaml
from selectbench.policy import parse_keep

SCALES = Path("config/scale")
PAPERS = Path("config/papers")
SEEDS = Path("config/seeds")
ONE_LINE = r"^[^\x00-\x1f\x7f\x85\u2028\u2029]*$"  # pattern of texts for people in the schemas


@dataclass(frozen=True)
class Config:
    """The whole configuration, checked: every name that a file refers to is defined."""

    main: Main
    scale: Scale
    datasets: dict[str, Entry]
    models: dict[str, AnyModel]
    recipes: dict[str, RecipeEntry]
    encoders: dict[str, EncoderEntry]
    methods: dict[str, MethodEntry]
    papers: dict[str, Paper]
    known_papers: Mapping[str, str]  # all papers, requested or not, with their titles
    listed: Mapping[str, str]  # the scales on the front page, in their order, with their titles
    given: Mapping[str, GivenSubsets]  # method → the subsets that other code has chosen for it
    named: frozenset[str]  # the methods that a table of any paper names, requested or not
    added: Mapping[str, int]  # folder of runs that differ in seed alone → their number, where it is more than the scale's

    def base_of(self, dataset: str) -> str:
        """Return the data set whose files, recipes and encoder a data set uses: itself, or the one that it is made from."""
        entry = self.datasets[dataset]
        return dataset if "task" in entry else entry.get("base", dataset)

    def find_images(self, dataset: str) -> DatasetEntry:
        """Return the entry of a data set of images."""
        return cast(DatasetEntry, self.datasets[dataset])

    def find_texts(self, dataset: str) -> CorpusEntry:
        """Return the entry of a text data set."""
        return cast(CorpusEntry, self.datasets[dataset])

    def is_planned(self, name: str | None) -> bool:
        """Tell whether a method is not built yet; nothing is not."""
        return name is not None and self.methods[name].get("planned", False)

    def is_dynamic(self, name: str) -> bool:
        """Tell whether a method selects anew in every epoch: a sampler of ``selectbench.dynamic``, without a fixed subset."""
        return self.methods[name].get("dynamic", False)

    def is_text(self, dataset: str) -> bool:
        """Tell whether a data set is a text data set, an entry of ``config/corpora.yaml``."""
        return "task" in self.datasets[dataset]

    def is_search(self, name: str) -> bool:
        """Tell whether a method is an agent of ``selectbench.llm.agents``, which searches clusters of texts."""
        return self.methods[name].get("search", False)

    def is_given(self, name: str) -> bool:
        """Tell whether other code has chosen a method's subsets, which a file lists."""
        return "subsets" in self.methods[name]

    def needs_proxy(self, name: str) -> bool:
        """Tell whether a method reads what a proxy recorded, or trains proxies itself."""
        if self.is_dynamic(name) or self.is_given(name):
            return False
        return self.is_search(name) or self.make_static(name).needs_proxy()

    def make_agent(self, name: str) -> "ClusterAgent":
        """Return the agent of an entry that searches clusters, with its parameters."""
        if name not in self._agents:
            from selectbench.llm.agents import make_agent

            self._agents[name] = make_agent(self.method_file(name), self.methods[name].get("parameters", {}))
        return self._agents[name]

    @cached_property
    def _agents(self) -> dict[str, "ClusterAgent"]:
        return {}

    def find_method(self, name: str) -> type["Method"]:
        """Return the class of a static method by the id of its entry, which may be a variant that runs another method's file."""
        from selectbench.methods import load_method

        return load_method(self.method_file(name))

    def make_static(self, name: str) -> "Method":
        """Return a static method with the parameters of its entry."""
        if name not in self._made:
            from selectbench.methods import make_method

            self._made[name] = make_method(self.method_file(name), self.methods[name].get("parameters", {}))
        return self._made[name]

    @cached_property
    def _made(self) -> dict[str, "Method"]:
        return {}

    def is_head(self, model: str) -> bool:
        """Tell whether a model is a head on frozen embeddings."""
        entry = self.models[model]
        return entry["library"] == "transformers" and entry["kind"] == "head"

    def list_learned(self) -> list[str]:
        """List the methods whose subsets an agent chooses beside a model, in a stage of their own."""
        other = ("planned", "dynamic", "search", "subsets")
        static = [name for name, entry in self.methods.items() if not any(entry.get(kind) for kind in other)]
        return [name for name in static if self.find_method(name).learned]

    def list_given(self) -> list[str]:
        """List the methods whose subsets other code has chosen."""
        return [name for name in self.methods if self.is_given(name)]

    def list_searches(self) -> list[str]:
        """List the methods whose subsets an agent finds among clusters of texts."""
        return [name for name in self.methods if self.is_search(name)]

    def list_texts(self) -> list[str]:
        """List all text data sets."""
        return [name for name in self.datasets if self.is_text(name)]

    def method_file(self, name: str) -> str:
        """Return the file that a method's entry runs."""
        return self.methods[name].get("method", name)


def load_config(root: Path, overrides: Mapping[str, object] | None = None) -> Config:
    """Read and check every configuration file below ``root``.

    Parameters
    ----------
    root : the project's folder
    overrides : values that replace those of ``config/config.yaml`` (``snakemake --config scale=small``)

    Raises
    ------
    ConfigError
        A file is missing or not YAML, a key is unknown, missing or of the wrong kind, or a name is not defined anywhere.
    """
    main = _read_checked(root, Path("config/config.yaml"), "config", dict(overrides or {}))
    check_folders(root, main)
    scales = sorted(path.stem for path in (root / SCALES).glob("*.yaml"))
    if main["scale"] not in scales:
        raise ConfigError(f"config/config.yaml: scale: unknown {main['scale']!r}{suggest(main['scale'], scales)}")
    papers = sorted(path.stem for path in (root / PAPERS).glob("*.yaml"))
    for paper in main["papers"]:
        if paper not in papers:
            raise ConfigError(f"config/config.yaml: papers: unknown {shorten(repr(paper))}{suggest(paper, papers)}")
    for folder, names in ((SCALES, [main["scale"]]), (PAPERS, papers)):
        for name in names:
            if not re.fullmatch(r"[a-z0-9_]+", name):
                raise ConfigError(f"{folder / spell(f'{name}.yaml')}: rename it: ids have lower-case letters, digits and underscores")
    every_paper = {paper: _read_checked(root, PAPERS / f"{paper}.yaml", "paper") for paper in papers}
    scale, methods = _read_scale(root, main["scale"]), _read_named(root, "methods")
    datasets = _join(_fill_derived(_read_named(root, "datasets")), _read_named(root, "corpora"), "corpora")
    if "less_data" in scale:
        _check_name(scale["less_data"], [name for name in scales if name != main["scale"]], f"{SCALES / main['scale']}.yaml: less_data")
    config = Config(
        main=main,
        scale=scale,
        papers={paper: every_paper[paper] for paper in main["papers"] if paper in scale.get("tables", papers)},
        known_papers={paper: every_paper[paper]["title"] for paper in papers},
        listed=_list_scales(root, scales),
        named=frozenset(
            method for paper in every_paper.values() for table in paper["tables"].values() for method in table["where"]["method"]
        ),
        added=_read_added(root, main["scale"], scale),
        datasets=datasets,
        models=_join(_read_named(root, "models"), _read_named(root, "language_models"), "language_models"),
        recipes=_read_named(root, "recipes"),
        encoders=_read_named(root, "encoders"),
        methods=methods,
        given=read_given(root, methods, datasets),
    )
    _check_datasets(config)
    _check_methods(config)
    _check_networks(config)
    _check_encoders(config)
    _check_recipes(config)
    _check_scale(config)
    for paper, content in config.papers.items():
        _check_paper(config, PAPERS / f"{paper}.yaml", content)
    return (
        config if "less_data" in scale else replace(config, papers={paper: _drop_orders(entry) for paper, entry in config.papers.items()})
    )


def _drop_orders(paper: Paper) -> Paper:
    """Return a paper without the figures that compare a scale with one that has less data."""
    return {**paper, "figures": {name: figure for name, figure in paper["figures"].items() if figure["kind"] != "order"}}


def _read_scale(root: Path, name: str) -> Any:
    """Return the content of a scale's file, with the keys of its base that it does not give itself, at any depth."""
    path = SCALES / f"{name}.yaml"
    content = read_yaml(root / path, path)
    base: dict[str, Any] = {}
    if "base" in content:
        others = {other.stem: other for other in sorted((root / SCALES).glob("*.yaml")) if other.stem != name}
        _check_name(str(content["base"]), others, f"{path}: base")
        base = read_yaml(others[content["base"]], SCALES / f"{content['base']}.yaml")
        if "base" in base:
            raise ConfigError(f"{path}: base: {content['base']} has a base itself; name {base['base']}")
    schema = Path("workflow/schemas/scale.schema.yaml")
    merged = merge_keys(base, content)
    check_schema(merged, read_yaml(root / schema, schema), path)
    return merged


def merge_keys(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return two mappings as one; where both have a mapping, these are merged too, and everything else is that of the second."""
    both = {key: merge_keys(base[key], value) for key, value in own.items() if isinstance(value, dict) and isinstance(base.get(key), dict)}
    return {**base, **own, **both}


def list_looks(scale: Scale) -> list[int]:
    """List the numbers of seeds at which claims are judged: that of the scale, doubled until its most; none if it adds no seeds."""
    if "decide" not in scale:
        return []
    looks = [len(scale["seeds"])]
    while 2 * looks[-1] < scale["decide"]["most"]:
        looks.append(2 * looks[-1])
    return [*looks, scale["decide"]["most"]]


def list_seeds(scale: Scale, number: int) -> list[int]:
    """List the first seeds: those of the scale, then the whole numbers that follow its largest."""
    first = max(scale["seeds"]) + 1
    return [*scale["seeds"], *range(first, first + number)][:number]


def list_table_seeds(scale: Scale, entry: TableEntry) -> list[int]:
    """List the seeds of a table: those of the scale, or, where claims are not given more later, as many as the table asks for."""
    return scale["seeds"] if "decide" in scale else scale["seeds"][: entry["where"].get("seeds")]


def _read_added(root: Path, name: str, scale: Scale) -> dict[str, int]:
    """Read how many seeds ``selectbench decide`` has given to runs; no file means that it has given none."""
    path = SEEDS / f"{name}.yaml"
    if not (root / path).exists():
        return {}
    if "decide" not in scale:
        raise ConfigError(f"{path}: scale {name} adds no seeds; delete the file, or give config/scale/{name}.yaml the key 'decide'")
    added: dict[str, int] = _read_checked(root, path, "seeds")
    looks = list_looks(scale)[1:]
    for runs, number in added.items():
        if number not in looks:
            raise ConfigError(f"{path}: {spell(runs)}: {number} seeds; claims are judged at {', '.join(map(str, looks))}")
    return added


def _list_scales(root: Path, scales: Iterable[str]) -> dict[str, str]:
    """Return scale → title of the listed scales: those that add seeds until claims are decided, then by the time limit of their jobs."""
    entries = {name: _read_scale(root, name) for name in scales}
    listed = [name for name, entry in entries.items() if entry.get("listed", True)]

    def rank(name: str) -> tuple[bool, int, str]:
        return "decide" not in entries[name], entries[name]["resources"]["runtime"], name

    return {name: entries[name]["title"] for name in sorted(listed, key=rank)}


def _read_named(root: Path, name: str) -> Any:
    """Read and check ``config/<name>.yaml``."""
    return _read_checked(root, Path(f"config/{name}.yaml"), name)


def _join(entries: dict[str, Any], others: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the entries of two files, the second of which is ``config/<name>.yaml``; an id may be defined in only one of them."""
    for twice in sorted(entries.keys() & others.keys()):
        raise ConfigError(f"config/{name}.yaml: {twice}: the id is defined in another file already")
    return entries | others


def _fill_derived(datasets: dict[str, Any]) -> dict[str, Any]:
    """Return the data sets, in which noisy pools and parts have inherited from the data sets that they are made from."""
    whole = {name: entry for name, entry in datasets.items() if "base" not in entry}
    filled = {}
    for name, entry in datasets.items():
        if name not in whole:
            where = f"config/datasets.yaml: {name}"
            _check_name(entry["base"], whole, f"{where}.base")
            base = whole[entry["base"]]
            if any(source["layout"] == "class_folders" for source in base["sources"]):
                raise ConfigError(f"{where}.base: the images of {entry['base']} stay in their folders; noise and parts need arrays")
            if ("noise" in entry) == ("per_class" in entry):
                raise ConfigError(f"{where}: should have either noise or per_class")
            entry = _fill_noisy(base, entry, where) if "noise" in entry else _fill_part(base, entry, where)
        filled[name] = entry
    return filled


def _fill_noisy(base: dict[str, Any], entry: dict[str, Any], where: str) -> dict[str, Any]:
    noise = entry["noise"]
    if noise["kind"] == "asymmetric" and (len(noise["to"]) != base["classes"] or max(noise["to"]) >= base["classes"]):
        raise ConfigError(f"{where}.noise.to: should be {base['classes']} classes, each below {base['classes']}")
    return base | entry


def _fill_part(base: dict[str, Any], entry: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the entry of a part, with its own sizes, and under ``whole`` the sizes and checksums of what it is taken from."""
    per_class = entry["per_class"]
    sizes = {name: base["classes"] * count for name, count in per_class.items()}
    published = {name: settings for name, settings in base["test_sets"].items() if not {"of", "folder"} & settings.keys()}
    for split in per_class:
        _check_name(split, ["pool", *published], f"{where}.per_class")
    test_sets = {
        name: settings | ({"size": sizes[name]} if name in sizes else {})
        for name, settings in base["test_sets"].items()
        if name in sizes or settings.get("of") in sizes
    }
    whole = {"pool_size": base["pool_size"], "test_sets": {name: base["test_sets"][name] for name in test_sets}}
    whole |= {"arrays": base["arrays"]} if "arrays" in base else {}
    return (
        {key: value for key, value in base.items() if key != "arrays"}
        | entry
        | {
            "pool_size": sizes["pool"],
            "test_sets": test_sets,
            "whole": whole,
        }
    )


def _read_checked(root: Path, name: Path, schema: str, overrides: Mapping[str, object] | None = None) -> Any:
    """Return the content of a file, of the shape that its schema describes."""
    content = read_yaml(root / name, name) | dict(overrides or {})
    schema_name = Path(f"workflow/schemas/{schema}.schema.yaml")
    check_schema(content, read_yaml(root / schema_name, schema_name), name)
    return content


def check_schema(content: dict[str, Any], schema: dict[str, Any], name: Path) -> None:
    """Raise a ``ConfigError`` for the first violation of the JSON schema; numbers must be finite."""
    for error in sorted(_make_validator()(schema).iter_errors(content), key=lambda error: [str(part) for part in error.absolute_path]):
        raise ConfigError(f"{name}: {_describe(error)}")


@cache
def _make_validator() -> type["Validator"]:
    """Return a validator that accepts no whole float as an integer, and neither NaN nor infinity as a number."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    checker = checker.redefine("number", lambda _, value: type(value) is int or (type(value) is float and math.isfinite(value)))
    validator: type[Validator] = extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]  # the stubs lack types here
    return validator


def _describe(error: "ValidationError") -> str:
    """Describe one schema error as ``<key>: <what is wrong>; did you mean …?``."""
    while error.context:
        error = min(error.context, key=lambda inner: (inner.validator in ("type", "required"), len(inner.message)))
    key = ".".join(spell(part) for part in error.absolute_path)
    prefix = f"{key}: " if key else ""
    instance: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "additionalProperties":
        schema: Any = error.schema
        valid: dict[str, Any] = schema.get("properties", {})
        patterns: dict[str, Any] = schema.get("patternProperties", {})
        unknown = sorted(word for word in set(instance) - set(valid) if not any(re.search(pattern, word) for pattern in patterns))[0]
        problem = "unknown key" if valid else f"no id: it should match {' or '.join(patterns)}"
        return f"{key + '.' if key else ''}{spell(unknown)}: {problem}{suggest(unknown, valid)}"
    if error.validator == "required":
        missing = next(name for name in wanted if name not in instance)
        return f"{prefix}the key {missing!r} is missing"
    if error.validator == "enum":
        return f"{prefix}unknown {shorten(repr(instance))}{suggest(instance, wanted)}"
    if error.validator == "uniqueItems":
        twice = next(item for position, item in enumerate(instance) if item in instance[:position])
        return f"{prefix}{shorten(error.message)}: {shorten(repr(twice))} occurs twice"
    if error.validator == "pattern":
        return f"{prefix}{shorten(repr(instance))} should {'be one line' if wanted == ONE_LINE else f'match {wanted}'}"
    if error.validator in ("not", None):  # None: a schema that is false
        return f"{prefix}the key does not go with the others"
    return f"{prefix}{shorten(error.message)}"


def as_list(names: str | Sequence[str]) -> list[str]:
    """Return the names of an axis, which may be given as a single name."""
    return [names] if isinstance(names, str) else list(names)


def _check_name(name: str, valid: Iterable[str], where: str) -> None:
    if name not in valid:
        raise ConfigError(f"{where}: unknown {shorten(repr(name))}{suggest(name, valid)}")


def _check_datasets(config: Config) -> None:
    for name, entry in config.datasets.items():
        where = f"config/{'corpora' if config.is_text(name) else 'datasets'}.yaml: {name}.test_sets"
        usual = [test_set for test_set, settings in entry["test_sets"].items() if settings["kind"] == "id"]
        if len(usual) != 1:
            raise ConfigError(f"{where}: {len(usual)} of its test sets have the kind 'id', of the pool's own distribution, and one should")


def _check_methods(config: Config) -> None:
    from selectbench.dynamic import available_samplers, draft
    from selectbench.llm.agents import available_agents, make_agent
    from selectbench.methods import available_methods, make_method

    for name, entry in config.methods.items():
        where = f"config/methods.yaml: {name}"
        if "twin" in entry:
            _check_name(entry["twin"], config.methods.keys() - {name}, f"{where}.twin")
            _check_twin(config, name, entry["twin"], f"{where}.twin")
        built = available_samplers() if entry.get("dynamic") else available_agents() if entry.get("search") else available_methods()
        if entry.get("planned"):
            if name in built:
                raise ConfigError(f"{where}.planned: the method is built; remove the key")
            continue
        if config.is_given(name):
            if name in built:
                raise ConfigError(f"{where}.subsets: {name} has a file of its own; choose another id")
            continue
        if "method" in entry:
            _check_name(entry["method"], built, f"{where}.method")
            if name in built:
                raise ConfigError(f"{where}.method: {name} has a file of its own; remove the key or rename the variant")
        elif name not in built:
            raise ConfigError(f"{where}: no such method{suggest(name, built)}")
        file, parameters = entry.get("method", name), entry.get("parameters", {})
        try:
            if entry.get("dynamic"):
                draft(file, num_samples=100, keep=0.5, epochs=100, **parameters)
            elif entry.get("search"):
                make_agent(file, parameters)
            else:
                make_method(file, parameters)
        except SelectbenchError as error:
            raise ConfigError(f"{where}.parameters: {shorten(first_line(error))}") from None


def _check_twin(config: Config, name: str, twin: str, where: str) -> None:
    """Raise unless a twin runs the file of its method, whose agent learns, and has no twin itself."""
    if config.method_file(name) != config.method_file(twin):
        raise ConfigError(f"{where}: {twin} runs {config.method_file(twin)}; a twin runs the method's own file, {config.method_file(name)}")
    if "twin" in config.methods[twin]:
        raise ConfigError(f"{where}: {twin} has a twin itself; name a method that never learns")


def _check_networks(config: Config) -> None:
    for name, entry in config.models.items():
        if entry["library"] != "transformers":
            check_network(entry, f"config/models.yaml: {name}")


def _check_encoders(config: Config) -> None:
    for name, entry in config.encoders.items():
        if entry["kind"] == "simclr":
            _check_name(entry["model"], config.models, f"config/encoders.yaml: {name}.model")
            check_training(entry, f"config/encoders.yaml: {name}")


def _check_recipes(config: Config) -> None:
    for name, entry in config.recipes.items():
        check_training(entry, f"config/recipes.yaml: {name}")


def _check_scale(config: Config) -> None:
    where = f"config/scale/{config.main['scale']}.yaml"
    axes = config.scale["axes"]
    named_here: list[tuple[str, Mapping[str, str | None], Iterable[str]]] = [
        ("dataset", axes["dataset"], config.datasets),
        ("model", axes["model"], config.models),
    ]
    for axis, mapped, ids in named_here:
        for paper_name, name in mapped.items():
            if name is not None:
                _check_name(name, ids, f"{where}: axes.{axis}.{paper_name}")
    tested = {test_set for entry in config.datasets.values() for test_set in entry["test_sets"]}
    for paper_name, name in axes["test_set"].items():
        if name is not None:
            _check_name(name, tested, f"{where}: axes.test_set.{paper_name}")
    if not config.papers:
        raise ConfigError(f"{where}: tables: names none of the papers {', '.join(config.main['papers'])}")
    for paper, tables in config.scale.get("tables", {}).items():
        _check_name(paper, config.known_papers, f"{where}: tables")
        for table in tables if paper in config.papers else ():
            _check_name(table, config.papers[paper]["tables"], f"{where}: tables.{paper}")
    for dataset in filter(None, config.scale["axes"]["dataset"].values()):
        for key, declared in (("recipes", config.scale["recipes"].keys()), ("encoders", config.scale["encoders"].keys())):
            if config.base_of(dataset) not in declared:
                raise ConfigError(f"{where}: {key}: the key {config.base_of(dataset)!r} is missing")
        if config.is_text(dataset):
            _check_reference(config, dataset, where)
    for dataset, roles in config.scale["recipes"].items():
        _check_name(dataset, config.datasets, f"{where}: recipes")
        named = {"proxy": roles["proxy"], "target": roles["target"]} | ({"selector": roles["selector"]} if "selector" in roles else {})
        for model, recipe in roles.get("target_of", {}).items():
            _check_name(model, config.models, f"{where}: recipes.{dataset}.target_of")
            named[f"target_of.{model}"] = recipe
        for paper, recipe in roles.get("target_in", {}).items():
            _check_name(paper, config.known_papers, f"{where}: recipes.{dataset}.target_in")
            named[f"target_in.{paper}"] = recipe
        for role, recipe in named.items():
            _check_name(recipe, config.recipes, f"{where}: recipes.{dataset}.{role}")
        _check_roles(config, dataset, named, where)
    if "decide" in config.scale and (most := config.scale["decide"]["most"]) <= len(config.scale["seeds"]):
        raise ConfigError(f"{where}: decide.most: {most} is no more than the {len(config.scale['seeds'])} seeds that all runs have")
    for method in config.scale.get("arithmetic_sd", {}):
        _check_name(method, config.methods, f"{where}: arithmetic_sd")
    for dataset, encoder in config.scale["encoders"].items():
        _check_name(dataset, config.datasets, f"{where}: encoders")
        _check_name(encoder, config.encoders, f"{where}: encoders.{dataset}")
        if (config.encoders[encoder]["kind"] == "sentence") != config.is_text(dataset):
            fitting = [name for name, entry in config.encoders.items() if (entry["kind"] == "sentence") == config.is_text(dataset)]
            held = "texts" if config.is_text(dataset) else "images"
            raise ConfigError(f"{where}: encoders.{dataset}: {encoder} does not embed {held}{suggest(encoder, fitting)}")


def _check_reference(config: Config, dataset: str, where: str) -> None:
    """Raise unless a scale names the language model that perplexities of a text data set are read from."""
    references = config.scale.get("reference_models", {})
    if dataset not in references:
        raise ConfigError(f"{where}: reference_models: the key {dataset!r} is missing")
    models = {name: entry for name, entry in config.models.items() if entry["library"] == "transformers"}
    causal = [name for name, entry in models.items() if entry["kind"] == "causal"]
    _check_name(references[dataset], [NGRAM, *causal], f"{where}: reference_models.{dataset}")


def _check_roles(config: Config, dataset: str, named: Mapping[str, str], where: str) -> None:
    """Raise for the first recipe of a data set that lacks a key which images need, or has one which texts cannot use."""
    if not config.is_text(dataset) and "selector" not in named:
        raise ConfigError(f"{where}: recipes.{dataset}: the key 'selector' is missing")
    for role, recipe in named.items():
        for key in ("augment", "stem"):
            if (key in config.recipes[recipe]) == config.is_text(dataset):
                problem = f"{dataset} holds texts" if config.is_text(dataset) else f"the key is missing, and {dataset} holds images"
                raise ConfigError(f"config/recipes.yaml: {recipe}.{key}: {problem}")
        for key in ("record_at", "align_at", "replicates"):
            if role == "proxy" and not config.is_text(dataset) and key not in config.recipes[recipe]:
                raise ConfigError(f"config/recipes.yaml: {recipe}: the key {key!r} is missing, and proxies on {dataset} need it")
        if not config.is_text(dataset):
            check_augment(config.recipes[recipe]["augment"], config.find_images(dataset)["input_shape"], f"config/recipes.yaml: {recipe}")
        early = config.recipes[recipe].get("replicates", {}).get("early", {"epochs": 0})
        if early["epochs"] > (epochs := config.recipes[recipe]["epochs"]):
            raise ConfigError(f"config/recipes.yaml: {recipe}.replicates.early.epochs: {early['epochs']} is more than its {epochs} epochs")


def _check_paper(config: Config, name: Path, paper: Paper) -> None:
    axes = config.scale["axes"]
    if "browse" in paper:
        _check_name(paper["browse"], paper["tables"], f"{name}: browse")
    for table, entry in paper["tables"].items():
        where = f"{name}: tables.{table}"
        asked = entry["where"]
        for axis, named, valid in (
            ("dataset", asked["dataset"], axes["dataset"]),
            ("proxy", asked["proxy"], axes["model"]),
            ("target", asked["target"], axes["model"]),
            ("method", asked["method"], config.methods),
        ):
            for value in as_list(named):
                _check_name(value, valid, f"{where}.where.{axis}")
        for test_set in as_list(entry["test_set"]):
            _check_name(test_set, axes["test_set"], f"{where}.test_set")
        check_keeps(entry["where"]["keep"], f"{where}.where")
    for figure, drawn in paper["figures"].items():
        _check_name(drawn["table"], paper["tables"], f"{name}: figures.{figure}.table")
        if "keep" in drawn:
            _check_drawn(drawn["keep"], paper["tables"][drawn["table"]]["where"]["keep"], f"{name}: figures.{figure}")
    for claim, claimed in paper["claims"].items():
        _check_name(claimed["table"], paper["tables"], f"{name}: claims.{claim}.table")
        for key in ("compare", "together", "provided"):
            if key in claimed:
                _check_compare(config, claimed[key], paper["tables"][claimed["table"]], f"{name}: claims.{claim}.{key}")


def _check_drawn(keep: Keep, keeps: Sequence[Keep], where: str) -> None:
    """Raise unless a figure shows a keep fraction of its table."""
    check_keeps([keep], where)
    valid = [parse_keep(other) for other in keeps]
    if parse_keep(keep) not in valid:
        raise ConfigError(f"{where}.keep: its table has no keep fraction {keep}{suggest(keep, keeps)}")


def _check_compare(config: Config, compare: Compare, table: TableEntry, place: str) -> None:
    check_keeps(compare.get("keep", ()), place)
    check_keeps([compare["than"]] if "than" in compare else [], place)
    for side, methods in (("method", compare["method"]), ("against", compare.get("against", ()))):
        for method in methods:
            _check_name(method, config.methods, f"{place}.{side}")
    for test_set in compare.get("test_set", ()):
        _check_name(test_set, as_list(table["test_set"]), f"{place}.test_set")
    check_sides(compare, place)
