"""Import, on first use, of packages that only metrics need: training works without them."""

import importlib
import os
from typing import Any

from utils.errors import MetricError


def extra(module: str) -> Any:
    """Import a module by its dotted name and return it; raise MetricError if a package is not installed."""
    backend = os.environ.pop("MPLBACKEND", None)  # matplotlib fails on an unknown backend; writing files needs none
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        remedy = "pip install -r requirements-evaluation.txt"
        raise MetricError(f"the package {error.name} is not installed: {remedy}") from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
