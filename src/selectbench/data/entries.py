"""Types of what is known about a data set: its entry in the configuration, and the manifest of its prepared splits."""

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, final

SplitName = str  # "pool", "validation" (text data sets only) or the id of a test set


class FileEntry(TypedDict):
    """A published file.

    Parameters
    ----------
    path : name in the raw folder, or path inside the installed package
    distribution : the installed Python package that holds the file
    url : where the file is downloaded from
    bytes : size, for the quick check before any job starts
    sha256, md5 : checksum
    members : the files to read inside an archive
    part : the name of the split on the Hugging Face hub
    subset : the configuration of the data set on the hub
    label, split : of texts, the label of all that the file holds, and the split that it is
    """

    path: str
    distribution: NotRequired[str]
    url: NotRequired[str]
    bytes: NotRequired[int]
    sha256: NotRequired[str]
    md5: NotRequired[str]
    members: NotRequired[list[str]]
    part: NotRequired[str]
    subset: NotRequired[str]
    label: NotRequired[int | str]
    split: NotRequired[SplitName]


class SourceEntry(TypedDict):
    """One place from which the published files of a data set can be fetched.

    Parameters
    ----------
    name : for ``selectbench data fetch --source``
    fetch : how the files arrive; ``package`` reads them inside an installed Python package, ``user`` and ``file`` leave it to the user
    layout : how the files are laid out, a key of ``LAYOUTS`` or ``TEXT_LAYOUTS``, or ``class_folders``
    package, version : of the registry package, or of the data set on the Hugging Face hub
    class_list : file in this package with one class id per line, for ``class_folders``
    note : what a user has to place or do first
    files : all of them; missing only where the user places folders
    """

    name: str
    fetch: Literal["package", "npm", "apt", "url", "user", "file", "sdist", "hub"]
    layout: str
    package: NotRequired[str]
    version: NotRequired[str]
    class_list: NotRequired[str]
    note: NotRequired[str]
    files: NotRequired[list[FileEntry]]


class TestSetEntry(TypedDict):
    """A test set.

    Parameters
    ----------
    title : name in tables and figures
    kind : drawn from the pool's distribution, from a shifted one, or made by corrupting another test set
    size : number of samples, except for corrupted test sets
    of, corruptions : for a corrupted test set, the one it is made from and the names of its corruptions
    layout, folder, note, class_list : for a test set placed by the user, how it is laid out, where, what to place, and its classes
    licence, citation : for a test set placed by the user
    """

    title: str
    kind: Literal["id", "shift", "corrupted"]
    size: NotRequired[int]
    of: NotRequired[str]
    corruptions: NotRequired[list[str]]
    layout: NotRequired[Literal["class_folders", "label_lists"]]
    folder: NotRequired[str]
    note: NotRequired[str]
    class_list: NotRequired[str]
    licence: NotRequired[str]
    citation: NotRequired[str]


class LabelFileEntry(FileEntry):
    """A zip inside an installed Python package, with labels given by people.

    Parameters
    ----------
    member : the file inside the zip
    """

    member: str


class NoiseEntry(TypedDict):
    """The noise added to the pool of a data set.

    Parameters
    ----------
    kind : label noise (symmetric, asymmetric, human) or corrupted images
    rate : share of noisy samples; for asymmetric noise, of each class that is not mapped to itself
    to : for asymmetric noise, the label that replaces each class
    corruptions, severity : for corrupted images
    labels, file : for human labels, the name of the label set and the file it is in
    """

    kind: Literal["symmetric", "asymmetric", "human", "corruption"]
    rate: NotRequired[float]
    to: NotRequired[list[int]]
    corruptions: NotRequired[list[str]]
    severity: NotRequired[int]
    labels: NotRequired[str]
    file: NotRequired[LabelFileEntry]


Pinned = Mapping[SplitName, Mapping[str, str]]  # split → name of a checksum → the checksum that every source must give


class WholeEntry(TypedDict):
    """What a part of a data set is taken from: the sizes, test sets and pinned checksums of its base."""

    pool_size: int
    test_sets: dict[str, TestSetEntry]
    arrays: NotRequired[Pinned]


@final
class DatasetEntry(TypedDict):
    """An image data set: an entry of ``config/datasets.yaml``, complete (a noisy pool or a part has inherited from its base).

    Parameters
    ----------
    title : name in tables and figures
    classes : number of classes; labels are 0 to classes − 1
    input_shape : channels, height and width of an image
    pool_size : number of training samples, from which methods select
    licence, citation : terms of use, and what to cite
    sources : in order of preference
    test_sets : by id
    arrays : pinned checksums
    mean, std : of each channel on the scale 0…1, where images stay in folders; otherwise measured on the pool
    base : the data set that a noisy pool or a part is made from
    noise : added to the pool of ``base``
    per_class : for a part, split → number of samples per class
    whole : for a part, what it is taken from
    """

    title: str
    classes: int
    input_shape: list[int]
    pool_size: int
    licence: str
    citation: str
    sources: list[SourceEntry]
    test_sets: dict[str, TestSetEntry]
    arrays: NotRequired[Pinned]
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    base: NotRequired[str]
    noise: NotRequired[NoiseEntry]
    per_class: NotRequired[dict[SplitName, int]]
    whole: NotRequired[WholeEntry]


class ColumnsEntry(TypedDict):
    """The columns to read of files that have named columns.

    Parameters
    ----------
    text : joined by line breaks
    label : the class, or the number of the correct option or that option itself; missing where each file has one label
    options : the options of a question
    """

    text: list[str]
    label: NotRequired[str]
    options: NotRequired[str]


@final
class CorpusEntry(TypedDict):
    """A text data set: an entry of ``config/corpora.yaml``.

    Parameters
    ----------
    title : name in tables and figures
    task : texts with a class, or questions with options
    classes : number of classes, or the largest number of options
    class_names : in the order of their numbers, for classification
    pool_size : number of training samples, from which methods select
    validation_size : number of samples that selection may read and no target trains on
    doubtful_below : share of agreeing annotators below which a label counts as noisy
    columns, labels : for files with named columns, those to read, and the values of the label column in order
    licence, citation : terms of use, and what to cite
    sources : in order of preference
    test_sets : by id
    arrays : pinned checksums
    """

    title: str
    task: Literal["classification", "choice"]
    classes: int
    class_names: NotRequired[list[str]]
    pool_size: int
    validation_size: int
    doubtful_below: NotRequired[float]
    columns: NotRequired[ColumnsEntry]
    labels: NotRequired[list[int | str]]
    licence: str
    citation: str
    sources: list[SourceEntry]
    test_sets: dict[str, TestSetEntry]
    arrays: NotRequired[Pinned]


Entry = DatasetEntry | CorpusEntry  # `"task" in entry` tells a text data set


class SplitManifest(TypedDict):
    """What is recorded of a prepared split.

    Parameters
    ----------
    num : number of samples
    labels_sha256 : digest of the labels
    images_sha256 : digest of the images, or of the list of their paths where they stay in folders
    contents_sha256 : digest of the names and contents of the images' files, where these are separate
    texts_sha256 : digest of the texts with their options
    class_counts : samples per class
    classes : the classes that logits are restricted to, or None
    noise, num_noisy : of a noisy pool
    noisy_sha256 : digest of the ids of its noisy samples
    corruptions : of a corrupted test set, in order
    """

    num: int
    labels_sha256: str
    images_sha256: NotRequired[str]
    contents_sha256: NotRequired[str]
    texts_sha256: NotRequired[str]
    class_counts: list[int]
    classes: list[int] | None
    noise: NotRequired[NoiseEntry]
    num_noisy: NotRequired[int]
    noisy_sha256: NotRequired[str]
    corruptions: NotRequired[list[str]]


@final
class DatasetManifest(TypedDict):
    """What ``prepare_dataset`` records of an image data set.

    Parameters
    ----------
    name : id of the data set
    source : name of the source that was read
    splits : by name
    mean, std : of the pool's channels, on the scale 0…1
    """

    name: str
    source: str
    splits: dict[SplitName, SplitManifest]
    mean: list[float]
    std: list[float]


@final
class CorpusManifest(TypedDict):
    """What ``prepare_texts`` records of a text data set.

    Parameters
    ----------
    name : id of the data set
    source : name of the source that was read
    task : see ``CorpusEntry``
    class_names : None for questions without class names
    dropped : number of rows left out, by reason
    splits : by name
    """

    name: str
    source: str
    task: Literal["classification", "choice"]
    class_names: list[str] | None
    dropped: dict[str, int]
    splits: dict[SplitName, SplitManifest]
