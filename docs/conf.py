"""The site: `nox -s docs`. Pages are Markdown; the reference is made from docstrings, names loaded late included."""

import importlib
import inspect
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import azurerm_lite

project = "azurerm_lite"
version = release = azurerm_lite.__version__
copyright = "the azurerm_lite authors, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"azurerm_lite {version}"
html_copy_source = False
html_show_sphinx = False
myst_heading_anchors = 3
default_role = "code"  # docstrings quote with single backticks, as Markdown does
add_module_names = False
python_use_unqualified_type_names = True
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Types of other projects have no page here, and nothing is fetched while the site is built.
nitpick_ignore_regex = [("py:.*", r"(?!azurerm_lite).*"), ("py:.*", r"azurerm_lite\..*")]

PACKAGES = ("azurerm_lite", "azurerm_lite.upgrade")


class PublicNames(SphinxDirective):
    """`.. public-names:: PACKAGE ROOM …`: the public names of those rooms, though each is loaded when first used."""

    required_arguments = 2
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        names = [name for room in self.arguments[1].split() for name in package._EXPORTS[room].split()]
        lines = [line for name in names for line in (*_directive(package, name), "")]
        return self.parse_text_to_nodes("\n".join(lines))


def _directive(package: Any, name: str) -> tuple[str, ...]:
    value, where = getattr(package, name), f"{package.__name__}.{name}"
    if inspect.isclass(value):
        return (f".. autoclass:: {where}", "   :members:", "   :exclude-members: __new__, __init__")
    return (f".. auto{'function' if callable(value) else 'data'}:: {where}",)


def _home_of(name: str) -> str:
    """A class as annotations name it, by the room that it lives in; under its public name if it has one."""
    room, _, leaf = name.rpartition(".")
    for package in reversed(PACKAGES):
        if room.startswith(package) and leaf in importlib.import_module(package).__all__:
            return f"{package}.{leaf}"
    return name


def _by_public_name(app: Sphinx, env: Any, wanted: Any, shown: nodes.Node) -> nodes.Node | None:
    if wanted.get("refdomain") != "py":
        return None
    public = _home_of(wanted["reftarget"])
    if public == wanted["reftarget"]:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, wanted["refdoc"], app.builder, wanted["reftype"], public, wanted, shown)


def setup(app: Sphinx) -> None:
    app.add_directive("public-names", PublicNames)
    app.connect("missing-reference", _by_public_name)
