"""Parts that the specifications of several stages have in common."""

from typing import TYPE_CHECKING, Any, Generic, NotRequired, TypedDict, TypeVar

from selectbench.models.pretrained import digest_declared
from selectbench.planning.entries import AnyModel, EncoderEntry, RecipeEntry
from selectbench.records.rows import RunAxes
from selectbench.seeds import derive_seed

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.training.choices import SamplerSpec

Parameters = dict[str, Any]  # of a method, checked by its file


class DataSpec(TypedDict):
    """A data set, as stages that open it need it.

    Parameters
    ----------
    dataset : its id
    num_classes : C
    threads : processors of the job
    input_shape : (channels, height, width) of images
    task : of texts, ``classification`` or ``choice``
    class_names : of texts, or None
    """

    dataset: str
    num_classes: int
    threads: int
    input_shape: NotRequired[list[int]]
    task: NotRequired[str]
    class_names: NotRequired[list[str] | None]


class DeviceSpec(TypedDict):
    """What a job asks for where it runs.

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
    encoder : its entry of ``config/encoders.yaml``
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
    weights : SHA-256 of the file of weights that the recipe starts from, if it names one
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
    parameters : of the entry
    seed : of the run
    selection_seed : of everything random in the selection
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
    """

    dataset: str


class SelectorSpec(TrainingSpec, MethodSpec):
    """Which agents are trained, beside which model.

    Parameters
    ----------
    method_name : id of the method's entry
    keeps : keep fractions, ascending
    state : folder of the states from which an interrupted job continues
    code : fingerprint, with that of the method
    """

    method_name: str
    keeps: list[str]
    state: str
    code: str


class TrainedRun(RunAxes):
    """A run as a batch trains it.

    Parameters
    ----------
    subset : file of the subsets, one of which it trains on, or None
    sampler : that chooses while it trains, or None
    """

    subset: str | None
    sampler: "SamplerSpec | None"


class EvaluatedRun(RunAxes):
    """A run as a batch evaluates it.

    Parameters
    ----------
    test_sets : that are asked of it
    """

    test_sets: list[str]


Asked = TypeVar("Asked", TrainedRun, EvaluatedRun)


class BatchSpec(TypedDict, Generic[Asked]):
    """A batch of runs that one job does.

    Parameters
    ----------
    runs : the runs
    folder : results folder of the scale
    code : fingerprint
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
    shared = DataSpec(dataset=dataset, num_classes=entry["classes"], threads=threads)
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
    recipe_name : of the recipe, by default the usual one of the model in its role
    gpus : by default as many as the scale gives a job
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
        "proxy": proxy,
        "method": file,
        "parameters": plan.config.methods[method].get("parameters", {}),
        "seed": int(seed),
        "selection_seed": derive_seed("selection", dataset, proxy, file, seed),
    }
