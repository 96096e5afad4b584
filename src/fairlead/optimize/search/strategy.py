"""What to try next: ask for a recipe, tell what it showed. Pure and deterministic: the same findings give the same next recipe.

In this order, each as far as there is something new to try:
1. each pass alone that does not train, with its defaults: seconds each, and what a model will bear shows here;
2. each pass alone that trains and changes the structure, and its strength, by bisection toward the floor, then the values just short of
   it: everything works on what it leaves; the best of them with what does not train; then each other pass that trains;
3. students of another kind than the model: whether a few trees or a line can do it; then the other settings of what gained something, and
   the strength of what gained most;
4. the best recipes so far, each with one pass more;
5. the best recipe, one setting after the other;
6. where all recipes together are few, those that are left.

A pass that refused the model alone is not tried again with others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fairlead.core.pass_use import PassUse, Setting
from fairlead.core.search import Objective
from fairlead.optimize.search.front import Finding, cost, pareto, ranked
from fairlead.optimize.search.knob import Tried, gentler, is_knob, next_value
from fairlead.optimize.search.space import Recipe, Room, Space, place_of

EXHAUSTIVE = 48  # recipes; a space that is not larger is searched whole
_BASES = 3
_FRONT = 4
_SAFER = 4
_KNOBS = 3  # passes whose strength is sought before they are combined
_STEPS = 5  # values of it; the best recipe's are sought further in the end
_GAIN = 0.005  # of cost: a pass that gains less alone is not worth combining


@dataclass(frozen=True)
class Strategy:
    """What is known: the space, what is wanted, and what was found so far. `tell` gives the next state."""

    space: Space
    objective: Objective = Objective.LATENCY
    findings: tuple[Finding, ...] = ()

    def tell(self, finding: Finding) -> Strategy:
        """Return the strategy that knows `finding`, too."""
        return replace(self, findings=(*self.findings, finding))

    def ask(self, pending: Sequence[Recipe] = ()) -> Recipe | None:
        """Return the next recipe that is neither known nor `pending`; None where nothing new is left, or only what is pending can tell."""
        known = {_key(one.recipe) for one in self.findings} | {_key(recipe) for recipe in pending}
        return next((recipe for recipe in self._proposals() if _key(recipe) not in known), None)

    def _proposals(self) -> Iterator[Recipe]:
        yield ()
        trains = self.space.trains
        others = [name for name in self.space.values if place_of(name).makes is not None]
        shapes = [name for name in trains if place_of(name).room is Room.STRUCTURE]
        yield from ((self.space.first(name),) for name in self.space.values if name not in trains and name not in others)
        yield from ((self.space.first(name),) for name in self.space.values if name in shapes)
        yield from self._knobs_alone(shapes)
        yield from self._gentler(shapes)
        yield from self._stored()
        yield from ((self.space.first(name),) for name in self.space.values if name in trains)
        yield from ((self.space.first(name),) for name in others)
        yield from self._varied()
        yield from self._knobs_alone()
        yield from self._grown()
        yield from self._refined()
        if self.space.count(EXHAUSTIVE + 1) <= EXHAUSTIVE:
            yield from self._left()

    def _varied(self) -> Iterator[Recipe]:
        """The other values of passes that do not train, where the default gained something or was too much for the floor."""
        worth = {use.name for use in self._gaining()} | self._broke()
        for name in self.space.values:
            if name in worth and name not in self.space.trains:
                yield from ((use,) for use in itertools.islice(self.space.singles(name), 1, None))

    def _knobs_alone(self, among: Sequence[str] = ()) -> Iterator[Recipe]:
        """A step of the strength of those passes that gain most, or that were too strong for the floor."""
        order = [use.name for use in self._gaining()]
        order += [name for name in self.space.values if name in self._broke() and name not in order]
        order = [name for name in order if name in among] if among else order
        for name in order[:_KNOBS]:
            yield from self._turned((self.space.first(name),), 0, _STEPS)

    def _gentler(self, among: Sequence[str]) -> Iterator[Recipe]:
        """Of those passes, the values worth trying that take less than the strongest that held: on other rows it may not hold."""
        for name in among:
            recipe = (self.space.first(name),)
            for setting, values in self.space.values.get(name, {}).items():
                if is_knob(values):
                    held = [one.value for one in self._line(recipe, 0, setting, values[0]) if one.holds]
                    yield from (_with(recipe, 0, setting, value, values[0]) for value in gentler(setting, values, held))

    def _stored(self) -> Iterator[Recipe]:
        """The best structures with what does not train and gained something behind them: seconds each, and a bound on size may need it."""
        quick = [use for use in self._gaining() if use.name not in self.space.trains and place_of(use.name).room > Room.STRUCTURE]
        yield from self._joined(self._structures()[:_BASES], quick)

    def _joined(self, bases: Sequence[Finding], uses: Sequence[PassUse]) -> Iterator[Recipe]:
        for base, use in itertools.product(bases, uses):
            longer = self.space.joined(base.recipe, use)
            if longer is not None:
                yield longer

    def _grown(self) -> Iterator[Recipe]:
        """The best recipes, the front and the next best structures, which may hold where the best does not, each with one pass more: as it
        did best alone, or gentler; what does not train first.
        """
        bases = list(self._best()[:_BASES])
        bases += [one for one in pareto(self.findings)[:_FRONT] if one not in bases]
        bases += [one for one in self._structures() if one not in bases][:_SAFER]
        singles = self._gaining()
        holding = {str(one.recipe[0]) for one in self.findings if len(one.recipe) == 1 and one.holds_floor}
        plain = [self.space.first(use.name) for use in singles]
        singles += [use for use in plain if use not in singles and str(use) in holding]
        singles.sort(key=lambda use: use.name in self.space.trains)
        yield from self._joined([one for one in bases if one.recipe], singles)

    def _refined(self) -> Iterator[Recipe]:
        """The best recipes with one setting changed: numbers by bisection, everything else value by value."""
        for base in self._best()[:2]:
            for place in range(len(base.recipe)):
                yield from self._turned(base.recipe, place, 2 * _STEPS)
                yield from self._switched(base.recipe, place)

    def _turned(self, recipe: Recipe, place: int, step_limit: int) -> Iterator[Recipe]:
        use = recipe[place]
        for setting, values in self.space.values.get(use.name, {}).items():
            if is_knob(values):
                tried = self._line(recipe, place, setting, values[0])
                value = next_value(setting, values, tried) if len(tried) < step_limit else None
                if value is not None:
                    yield _with(recipe, place, setting, value, values[0])

    def _switched(self, recipe: Recipe, place: int) -> Iterator[Recipe]:
        for setting, values in self.space.values.get(recipe[place].name, {}).items():
            if len(values) > 1 and not is_knob(values):
                yield from (_with(recipe, place, setting, value, values[0]) for value in values)

    def _line(self, recipe: Recipe, place: int, setting: str, default: Setting) -> list[Tried]:
        """What became of the recipe with other values of that setting."""
        wanted = _key(_with(recipe, place, setting, default, default))
        found = []
        for one in self.findings:
            if len(one.recipe) == len(recipe) and _key(_with(one.recipe, place, setting, default, default)) == wanted:
                value = one.recipe[place].settings.get(setting, default)
                found.append(Tried(float(value), one.holds_floor))
        return found

    def _best(self) -> tuple[Finding, ...]:
        return ranked(self.findings, self.objective)

    def _structures(self) -> list[Finding]:
        """Passes that change the structure, alone, as far as they hold the floor; the best first."""
        return [one for one in self._best() if len(one.recipe) == 1 and place_of(one.recipe[0].name).room is Room.STRUCTURE]

    def _left(self) -> Iterator[Recipe]:
        """Every other recipe but those with a pass that could not be applied alone, or broke the floor alone."""
        bad = [one.recipe[0] for one in self.findings if len(one.recipe) == 1 and not one.holds_floor]
        refused = self._refused()
        for recipe in self.space.recipes():
            if not any(use.name in refused or use in bad for use in recipe):
                yield recipe

    def _gaining(self) -> list[PassUse]:
        """Each pass as it did best alone, where it held the floor and gained something; the best first."""
        plain = next((cost(one, self.objective) for one in self.findings if not one.recipe), math.inf)
        found: dict[str, PassUse] = {}
        for one in self._best():
            if len(one.recipe) == 1 and cost(one, self.objective) < plain - _GAIN:
                found.setdefault(one.recipe[0].name, one.recipe[0])
        return list(found.values())

    def _broke(self) -> set[str]:
        """The passes that were too much for the floor alone."""
        return {one.recipe[0].name for one in self.findings if len(one.recipe) == 1 and not one.holds_floor and not one.is_failed}

    def _refused(self) -> set[str]:
        """The passes that could not be applied alone."""
        return {
            one.recipe[0].name
            for one in self.findings
            if len(one.recipe) == 1 and one.is_failed and one.recipe[0] == self.space.first(one.recipe[0].name)
        }


def _with(recipe: Recipe, place: int, setting: str, value: Setting, default: Setting) -> Recipe:
    """The recipe with one setting changed; a default is not written."""
    use = recipe[place]
    settings = {name: kept for name, kept in use.settings.items() if name != setting}
    if value != default:
        settings[setting] = value
    return (*recipe[:place], PassUse(use.name, settings), *recipe[place + 1 :])


def _key(recipe: Recipe) -> tuple[tuple[str, tuple[tuple[str, Setting], ...]], ...]:
    return tuple((use.name, tuple(sorted(use.settings.items()))) for use in recipe)
