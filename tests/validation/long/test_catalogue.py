"""No check without a fault that it was seen to catch."""

from importlib import import_module
from pkgutil import iter_modules

import tests.validation.long as long_tests
from less_sync.validation.catalogue import CATALOGUE


def test_every_procedure_of_the_catalogue_was_seen_to_turn_red() -> None:
    """Each module of faults says which procedures it has tested, by name, and tests no other."""
    modules = [
        import_module(f"{long_tests.__name__}.{one.name}") for one in iter_modules(long_tests.__path__)
    ]
    faulted = [vars(module)["FAULTED"] for module in modules if "FAULTED" in vars(module)]
    assert len(faulted) > 5
    # What operators make of a command of theirs is in test_hooks.py.
    assert set().union(*faulted) | {"command"} == CATALOGUE.keys()
