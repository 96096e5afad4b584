"""What can be tried on a model: passes with the settings worth trying, and the laws of their order. Pure; opens no file, runs no pass.

Takes the operators of a model and what there is to work with; gives a Space, and what was left out and why. A recipe is a tuple of passes
in the order of their rooms: the structure before the weights that it leaves, the weights before the numbers that compute with them, and how
the result is stored last. One pass of a kind: two quantizations of one model are one too many.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.core.pass_use import PassUse, Setting
from fairlead.optimize.catalog import PASSES, PassKind, traits_of

Recipe = tuple[PassUse, ...]
NO_FLOOR = "no requirement says what may be lost"


class Room(enum.IntEnum):
    """What a pass works on; recipes go upwards."""

    GRAPH = 0  # dead and constant parts, equal splits: exact
    STRUCTURE = 1  # fewer channels, units, trees; a smaller model in its place
    WEIGHTS = 2  # which values the weights have
    NUMBERS = 3  # in which numbers products are computed
    STORAGE = 4  # in which numbers weights lie in the file
    LAST = 5  # what only the runtime understands


class Family(enum.StrEnum):
    """Which models a pass is for."""

    ANY = "any"
    NETWORK = "network"
    TREES = "trees"


@dataclass(frozen=True)
class Place:
    """Where a pass stands; passes with the same `slot` exclude each other. One that `makes` another kind of model stands with passes for
    that kind only.
    """

    room: Room
    family: Family
    slot: str = ""
    makes: Family | None = None


_NETWORK, _TREES = Family.NETWORK, Family.TREES
_PLACES: Mapping[str, Place] = {
    "clean_graph": Place(Room.GRAPH, Family.ANY, "clean"),
    "slim_graph": Place(Room.GRAPH, _NETWORK, "clean"),
    "merge_splits": Place(Room.GRAPH, _TREES),
    "merge_trees": Place(Room.GRAPH, _TREES),
    "train_tfmot": Place(Room.STRUCTURE, _NETWORK, "shape"),  # starts from the Keras model: nothing can stand before it
    "distill_network": Place(Room.STRUCTURE, _NETWORK, "shape"),
    "distill_strided": Place(Room.STRUCTURE, _NETWORK, "shape"),
    "prune_structured": Place(Room.STRUCTURE, _NETWORK, "shape"),
    "factorize_dense": Place(Room.STRUCTURE, _NETWORK),
    "distill_trees": Place(Room.STRUCTURE, Family.ANY, "shape", makes=_TREES),
    "distill_linear": Place(Room.STRUCTURE, Family.ANY, "shape", makes=_NETWORK),
    "shorten_ensemble": Place(Room.STRUCTURE, _TREES),
    "prune_trees": Place(Room.STRUCTURE, _TREES),
    "prune_magnitude": Place(Room.WEIGHTS, _NETWORK),
    "cluster_weights": Place(Room.WEIGHTS, _NETWORK),
    "refit_leaves": Place(Room.WEIGHTS, _TREES),
    "round_leaves": Place(Room.NUMBERS, _TREES),
    "share_thresholds": Place(Room.WEIGHTS, _TREES),
    "train_int8": Place(Room.NUMBERS, _NETWORK, "numbers"),
    "cast_fp16": Place(Room.STORAGE, _NETWORK, "numbers"),
    "optimize_graph": Place(Room.LAST, Family.ANY),
}
_PREFIXES: Mapping[str, Place] = {
    "quantize_": Place(Room.NUMBERS, _NETWORK, "numbers"),
    "store_": Place(Room.STORAGE, _NETWORK, "numbers"),
    "factorize_": Place(Room.STRUCTURE, _NETWORK),
}
# Passes that gain nothing that a search measures.
_NAMED_ONLY = {"prune_magnitude": "it makes archives of the file smaller, not the file nor its time: name it in --passes"}
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Einsum", "Gather"})


def place_of(name: str) -> Place:
    """Return where the pass called `name` stands; one that an entry point added works on weights of any model."""
    if name in _PLACES:
        return _PLACES[name]
    return next((place for prefix, place in _PREFIXES.items() if name.startswith(prefix)), Place(Room.WEIGHTS, Family.ANY))


def family_of(operators: Sequence[str]) -> Family:
    """Return what kind of model has these operator types; ANY where it is neither a network nor trees."""
    if any(operator.startswith("TreeEnsemble") for operator in operators):
        return Family.TREES
    return Family.NETWORK if _PRODUCTS.intersection(operators) else Family.ANY


@dataclass(frozen=True)
class Supply:
    """What there is to work with: rows to measure ranges on, rows to train on, whether a requirement says what may be lost, and the extras
    that are not installed.
    """

    has_rows: bool = False
    has_training: bool = False
    is_lossy_allowed: bool = False
    missing_extras: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Space:
    """`values` are the settings worth trying of each pass, the default first, in the order in which passes may follow each other.

    `left_out` are (pass, why) of those that cannot be tried here, `missing` (pass, extra) of those that an extra would bring. `trains` are
    the passes that train, `fixed` the settings that the user has set.
    """

    values: Mapping[str, Mapping[str, tuple[Setting, ...]]]
    left_out: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    trains: frozenset[str] = frozenset()
    fixed: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)

    def first(self, name: str) -> PassUse:
        """The pass with its defaults, and what is fixed."""
        return PassUse(name, self.fixed.get(name, {}))

    def singles(self, name: str) -> Iterator[PassUse]:
        """The pass with its defaults, then with each other value of one setting."""
        fixed = self.fixed.get(name, {})
        yield PassUse(name, fixed)
        for setting, values in self.values[name].items():
            for value in values[1:]:
                yield PassUse(name, {**fixed, setting: value})

    def grid(self, name: str) -> Iterator[PassUse]:
        """The pass with every combination of the values that are worth trying."""
        settings, fixed = self.values[name], self.fixed.get(name, {})
        for chosen in itertools.product(*settings.values()):
            picked = zip(settings, chosen, strict=True)
            yield PassUse(name, {**fixed, **{setting: value for setting, value in picked if value != settings[setting][0]}})

    def joined(self, recipe: Recipe, use: PassUse) -> Recipe | None:
        """Return `recipe` with `use` in its place; None where the laws of order do not let both stand."""
        longer = in_order((*recipe, use))
        return longer if _may_stand([one.name for one in longer]) else None

    def recipes(self) -> Iterator[Recipe]:
        """Every recipe of the grid, the short ones first."""
        names = list(self.values)
        for count in range(len(names) + 1):
            for chosen in itertools.combinations(names, count):
                if _may_stand(chosen):
                    yield from (in_order(uses) for uses in itertools.product(*(tuple(self.grid(name)) for name in chosen)))

    def count(self, limit: int) -> int:
        """How many recipes the grid has, at most `limit`."""
        return sum(1 for _ in itertools.islice(self.recipes(), limit))


def _may_stand(names: Sequence[str]) -> bool:
    """Whether these passes may stand together: each once, one of a slot, and none for another kind of model than a student is."""
    places = [place_of(name) for name in names]
    slots = [place.slot for place in places if place.slot]
    made = next((place.makes for place in places if place.makes is not None), None)
    fits = made is None or all(place.family in (Family.ANY, made) for place in places)
    return fits and len(slots) == len(set(slots)) and len(names) == len(set(names))


def in_order(uses: Sequence[PassUse]) -> Recipe:
    """Return the passes in the order of their rooms; within a room they keep theirs."""
    return tuple(sorted(uses, key=lambda use: place_of(use.name).room))


def make_space(operators: Sequence[str], supply: Supply, *, only: Sequence[PassUse] = ()) -> Space:
    """Return what can be tried on a model with these operators. `only` are the passes to choose from, all where there are none; a setting
    that stands there is fixed.
    """
    pinned = {use.name: use.settings for use in only}
    family = family_of(operators)
    left_out: list[tuple[str, str]] = []
    missing: list[tuple[str, str]] = []
    names = []
    for name in pinned or PASSES.names():
        reason = _why_not(name, family, supply) or ("" if name in pinned else _NAMED_ONLY.get(name, ""))
        variant = PASSES.variants.get(name)
        if reason:
            left_out.append((name, reason))
        elif variant is not None and variant.extra in supply.missing_extras:
            missing.append((name, variant.extra))
        else:
            names.append(name)
    names.sort(key=lambda name: place_of(name).room)
    values = {name: _values(name, pinned.get(name, {})) for name in names}
    return Space(values, tuple(left_out), tuple(missing), frozenset(name for name in names if traits_of(name).needs_training), pinned)


def _values(name: str, pinned: Mapping[str, Setting]) -> dict[str, tuple[Setting, ...]]:
    """The values worth trying, but for the settings that are fixed."""
    return {**traits_of(name).settings, **{setting: (value,) for setting, value in pinned.items()}}


def _why_not(name: str, family: Family, supply: Supply) -> str:
    place, traits = place_of(name), traits_of(name)
    if place.family is not Family.ANY and place.family is not family:
        return f"it is for {'trees' if place.family is Family.TREES else 'networks'}"
    if traits.kind is PassKind.LOSSY and not supply.is_lossy_allowed:
        return NO_FLOOR
    if traits.needs_training and not supply.has_training:
        return "it trains, and there are no rows to train on"
    if traits.needs_rows and not supply.has_rows:
        return "it measures ranges on rows, and there are none"
    return ""
