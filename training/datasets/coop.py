"""The ten small data sets of CoOp's protocol, read through CoOp's split files or the splits they ship with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from candor.errors import InvalidInput
from training.data import ImageDataset, Sample
from training.datasets import official
from training.datasets.files import first_folder, image_sample
from training.datasets.split_file import Split, read_split
from training.datasets.templates import TEMPLATES

OFFICIAL = "official"


@dataclass(frozen=True)
class CoopSpec:
    """Where a data set lies under the root.

    Attributes:
        images: the folder that a split file's paths are relative to: CoOp's place first, then torchvision's.
        split_file: its name; None where CoOp uses the data set's own lists.
        own: reads the split that comes with the images (root -> split).
    """

    images: tuple[str, ...]
    split_file: str | None
    own: Callable[[Path], Split]


def _zhou(name: str) -> str:
    return f"split_zhou_{name}.json"


# A new data set with a split file is one line here and one template.
COOP: dict[str, CoopSpec] = {
    "caltech101": CoopSpec(official.CALTECH, _zhou("Caltech101"), official.caltech101),
    "dtd": CoopSpec(("dtd/images", "dtd/dtd/images"), _zhou("DescribableTextures"), official.dtd),
    "eurosat": CoopSpec(official.EUROSAT, _zhou("EuroSAT"), official.eurosat),
    "fgvc_aircraft": CoopSpec(official.AIRCRAFT, None, official.fgvc_aircraft),
    "food101": CoopSpec(("food-101/images",), _zhou("Food101"), official.food101),
    "oxford_flowers": CoopSpec(("oxford_flowers/jpg", "flowers-102/jpg"), _zhou("OxfordFlowers"), official.oxford_flowers),
    "oxford_pets": CoopSpec(official.PETS, _zhou("OxfordPets"), official.oxford_pets),
    "stanford_cars": CoopSpec(("stanford_cars",), _zhou("StanfordCars"), official.stanford_cars),
    "sun397": CoopSpec(official.SUN, _zhou("SUN397"), official.sun397),
    "ucf101": CoopSpec(official.UCF, _zhou("UCF101"), official.ucf101),
}


def coop_dataset(name: str, root: Path, part: str = "") -> ImageDataset:
    """A data set of CoOp's protocol.

    Args:
        name: in COOP.
        root: the folder that holds all data sets, as CoOp's DATASETS.md lays them out ($DATA there).
        part: "" for CoOp's split; "official" for the split that comes with the images, which gives other figures.

    Raises:
        InvalidInput: no such part, or folders or files are missing or not of their form; the message says which.
    """
    if part not in ("", OFFICIAL):
        raise InvalidInput(f"unknown data set '{name}/{part}'; valid: {name}, {name}/{OFFICIAL}")
    spec = COOP[name]
    if part == OFFICIAL or spec.split_file is None:
        split = spec.own(root)
    else:
        images = first_folder(root, spec.images, name)
        split = read_split(_find_split(name, spec.split_file, root, images), images)
    label = f"{name}/{part}" if part else name
    return ImageDataset(
        label, split.classnames, TEMPLATES[name], _samples(split.train), _samples(split.test), _samples(split.val)
    )


def _samples(pairs: tuple[tuple[Path, int], ...]) -> tuple[Sample, ...]:
    return tuple(image_sample(label, path) for path, label in pairs)


def _find_split(name: str, file: str, root: Path, images: Path) -> Path:
    """The split file, in the image folder or any folder from there up to the root."""
    places = [place for place in (images, *images.parents) if place == root or root in place.parents]
    for place in places:
        if (place / file).is_file():
            return place / file
    raise InvalidInput(
        f"{name}: {file} is missing; looked in {', '.join(map(str, places))} (CoOp's DATASETS.md says where to get it; "
        f"{name}/{OFFICIAL} does without, but gives figures that cannot be compared with CoOp's)"
    )
