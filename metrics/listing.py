"""Names and descriptions of all metrics, read from their source: importing them would load PyTorch."""

import ast
from collections.abc import Mapping
from pathlib import Path


def summaries() -> Mapping[str, str]:
    """Return the first line of each metric's docstring ("" without one) by name, in the order of the names.

    A metric is a class of this package that has the decorator `register` with its name as first argument.
    """
    found = {}
    for path in Path(__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "register":
                    docstring = ast.get_docstring(node) or ""
                    found[ast.literal_eval(call.args[0])] = docstring.partition("\n")[0]
    return dict(sorted(found.items()))
