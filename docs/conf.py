"""Settings of the documentation site, which `nox -s docs` builds. The reference comes from the docstrings."""

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
default_role = "code"  # docstrings use single backticks for code, like Markdown
add_module_names = False
python_use_unqualified_type_names = True
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Types of other projects have no page here, and the build downloads nothing.
nitpick_ignore_regex = [("py:.*", r"(?!azurerm_lite).*"), ("py:.*", r"azurerm_lite\..*")]

PACKAGES = ("azurerm_lite", "azurerm_lite.upgrade")


class PublicNames(SphinxDirective):
    """`.. public-names:: PACKAGE MODULE …`: document the public names of these modules.

    A package loads its names when they are first used; its `_EXPORTS` has the names of each module.
    """

    required_arguments = 2
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        names = [name for module in self.arguments[1].split() for name in package._EXPORTS[module].split()]
        lines = [line for name in names for line in (*_directive(package, name), "")]
        return self.parse_text_to_nodes("\n".join(lines))


def _directive(package: Any, name: str) -> tuple[str, ...]:
    """The lines of the autodoc directive for a name."""
    value, full_name = getattr(package, name), f"{package.__name__}.{name}"
    if inspect.isclass(value):
        return (f".. autoclass:: {full_name}", "   :members:", "   :exclude-members: __new__, __init__")
    return (f".. auto{'function' if callable(value) else 'data'}:: {full_name}",)


def _public_name(name: str) -> str:
    """The public name of a class, from the full name of its module; the same name if it has no public one."""
    module, _, class_name = name.rpartition(".")
    for package in reversed(PACKAGES):
        if module.startswith(package) and class_name in importlib.import_module(package).__all__:
            return f"{package}.{class_name}"
    return name


def _resolve_by_public_name(app: Sphinx, env: Any, reference: Any, content: nodes.Node) -> nodes.Node | None:
    """Link a reference that Sphinx could not resolve; annotations name a class by the module that defines it."""
    if reference.get("refdomain") != "py":
        return None
    name = _public_name(reference["reftarget"])
    if name == reference["reftarget"]:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, reference["refdoc"], app.builder, reference["reftype"], name, reference, content)


def setup(app: Sphinx) -> None:
    app.add_directive("public-names", PublicNames)
    app.connect("missing-reference", _resolve_by_public_name)
