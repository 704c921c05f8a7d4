"""Specifications, and parts of them, that several stages share."""

from typing import TYPE_CHECKING, Any, Generic, NotRequired, TypedDict, TypeVar

from selectbench.models.pretrained import digest_declared
from selectbench.planning.entries import AnyModel, EncoderEntry, RecipeEntry
from selectbench.records.rows import RunAxes
from selectbench.seeds import derive_seed

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.training.choices import SamplerSpec

Parameters = dict[str, Any]  # of a method, checked by its class


class DataSpec(TypedDict):
    """What a stage needs to know of the data set that it opens.

    Parameters
    ----------
    dataset : its id
    num_classes : C, the number of classes
    threads : number of processors of the job
    arithmetic : ``avx2``, ``sse4``, ``native`` or ``deterministic``
    input_shape : (channels, height, width) of images
    task : ``classification`` or ``choice``, for text data sets
    class_names : names of the classes of a text data set, or None
    """

    dataset: str
    num_classes: int
    threads: int
    arithmetic: str
    input_shape: NotRequired[list[int]]
    task: NotRequired[str]
    class_names: NotRequired[list[str] | None]


class DeviceSpec(TypedDict):
    """The devices that a job requests.

    Parameters
    ----------
    gpu : number of GPUs to lease
    """

    gpu: int


class EncoderSpec(TypedDict):
    """The encoder that a scale declares for a data set.

    Parameters
    ----------
    encoder_name : its id
    encoder : its entry in ``config/encoders.yaml``
    """

    encoder_name: str
    encoder: EncoderEntry


class ModelSpec(DataSpec):
    """A model for a data set.

    Parameters
    ----------
    model_name, model : id and entry of the model
    """

    model_name: str
    model: AnyModel


class TrainingSpec(ModelSpec, DeviceSpec):
    """How a model is trained in its role.

    Parameters
    ----------
    role : ``proxy``, ``selector`` or ``target``
    id_test_set : the test set from the distribution of the pool
    recipe_name, recipe : id and entry of the recipe
    weights : SHA-256 of the weights file that the recipe starts from, or None if it names no file
    """

    role: str
    id_test_set: str
    recipe_name: str
    recipe: RecipeEntry
    weights: str | None


class MethodSpec(TypedDict):
    """A static method or an agent, and the proxy that it reads.

    Parameters
    ----------
    proxy : its id
    method : its file, which several entries of ``config/methods.yaml`` may share
    parameters : of the method's entry
    seed : of the run
    selection_seed : seed of everything random in the selection
    """

    proxy: str
    method: str
    parameters: Parameters
    seed: int
    selection_seed: int


class SelectionSpec(MethodSpec):
    """A method on a pool.

    Parameters
    ----------
    dataset : its id
    arithmetic : ``avx2``, ``sse4``, ``native`` or ``deterministic``
    """

    dataset: str
    arithmetic: str


class SelectorSpec(TrainingSpec, MethodSpec):
    """The agents of a method, one per keep fraction, and the model with which they select.

    Parameters
    ----------
    method_name : id of the method's entry
    keeps : keep fractions, ascending
    state : folder of the states from which an interrupted job continues
    code : fingerprint of the code, including the method's
    """

    method_name: str
    keeps: list[str]
    state: str
    code: str


class ReplicateSpec(TrainingSpec):
    """Which replicates of a proxy are trained.

    Parameters
    ----------
    seed : of the run
    source : ``early_replicates`` or ``whole_replicates``
    number : R, how many
    trained_epochs : how many of the recipe's epochs each is trained for
    state : folder of the states from which an interrupted job continues
    code : fingerprint of the code
    """

    seed: int
    source: str
    number: int
    trained_epochs: int
    state: str
    code: str


class TrainedRun(RunAxes):
    """A run, as the batch that trains it needs it.

    Parameters
    ----------
    subset : file of the subsets, one of which it trains on, or None
    sampler : the dynamic sampler that selects during training, or None
    """

    subset: str | None
    sampler: "SamplerSpec | None"


class EvaluatedRun(RunAxes):
    """A run, as the batch that evaluates it needs it.

    Parameters
    ----------
    test_sets : the test sets it is evaluated on
    """

    test_sets: list[str]


Asked = TypeVar("Asked", TrainedRun, EvaluatedRun)


class BatchSpec(TypedDict, Generic[Asked]):
    """A batch of runs, all done by one job.

    Parameters
    ----------
    runs : the runs
    folder : results folder of the scale
    code : fingerprint of the code
    """

    runs: list[Asked]
    folder: str
    code: str


class TargetSpec(TrainingSpec, BatchSpec[TrainedRun]):
    """A batch of targets that are trained.

    Parameters
    ----------
    regime : ``equal_epochs`` or ``equal_steps``
    """

    regime: str


class EvaluationSpec(TrainingSpec, BatchSpec[EvaluatedRun]):
    """A batch of targets that are evaluated."""


def specify_data(plan: "Plan", dataset: str) -> DataSpec:
    """Return the part of a specification that describes a data set."""
    entry, threads = plan.config.datasets[dataset], plan.config.scale["resources"]["threads"]
    shared = DataSpec(dataset=dataset, num_classes=entry["classes"], threads=threads, arithmetic=plan.arithmetic)
    if "task" in entry:
        return {**shared, "task": entry["task"], "class_names": entry.get("class_names")}
    return {**shared, "input_shape": entry["input_shape"]}


def specify_text_encoder(plan: "Plan", dataset: str) -> EncoderSpec:
    """Return the part of a specification that names the sentence encoder of a text data set."""
    name = plan.config.scale["encoders"][dataset]
    return {"encoder_name": name, "encoder": plan.config.encoders[name]}


def specify_training(plan: "Plan", role: str, dataset: str, model: str, recipe_name: str = "", gpus: int | None = None) -> TrainingSpec:
    """Return the part of a specification that describes a training.

    Parameters
    ----------
    recipe_name : id of the recipe; by default the usual one of the model in its role
    gpus : number of GPUs; by default as many as the scale gives a job
    """
    recipe_name = recipe_name or plan.recipe_name(role, dataset, model)
    recipe = plan.config.recipes[recipe_name]
    return {
        **specify_data(plan, dataset),
        "gpu": plan.config.scale["resources"]["gpu"] if gpus is None else gpus,
        "role": role,
        "id_test_set": plan.id_test_set(dataset),
        "model_name": model,
        "model": plan.config.models[model],
        "recipe_name": recipe_name,
        "recipe": recipe,
        "weights": digest_declared(recipe.get("pretrained", False), f"config/recipes.yaml: {recipe_name}.pretrained"),
    }


def specify_selection(plan: "Plan", dataset: str, proxy: str, method: str, seed: str) -> SelectionSpec:
    """Return the part of a specification that describes a method on a pool."""
    file = plan.config.method_file(method)
    return {
        "dataset": dataset,
        "arithmetic": plan.arithmetic,
        "proxy": proxy,
        "method": file,
        "parameters": plan.config.methods[method].get("parameters", {}),
        "seed": int(seed),
        "selection_seed": derive_seed("selection", dataset, proxy, file, seed),
    }
