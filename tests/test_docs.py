"""What the README and the pages of `docs` promise exists: settings, limits, commands, files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.data.settings import Budget as BudgetSettings
from streamer.data.settings import DataSettings, ProviderSettings, describe_data, variable_of
from streamer.gateway.admission import budgets
from streamer.gateway.limits import Window
from streamer.providers.base import Budget
from streamer.providers.registry import ADAPTERS
from streamer.settings import describe, load

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROVIDERS = (DOCS / "providers.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
OF_EACH = {
    f"{start}_{variable_of(provider)}_{name.upper()}"
    for provider in ADAPTERS
    for start, kind in (("STREAMER", ProviderSettings), ("FKS", BudgetSettings))
    for name in kind.model_fields
}
"""The settings that every provider has."""
OF_ALL = set(re.findall(r"\b(?:STREAMER|COINBASE|REDIS)_[A-Z_]+\b", describe() + describe_data()))
"""All others."""
LINKS = {
    (page.parent / link).resolve()
    for page in PAGES
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
}


def provider_row(section: str, provider: str) -> list[str]:
    """Return the cells of a provider's first row in a section of `docs/providers.md`."""
    text = PROVIDERS.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    line = next(line for line in text.splitlines() if line.startswith("|") and f"`{provider}`" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def shown(window: Window) -> str:
    """Return a window as `docs/providers.md` writes it."""
    length = "24 h" if window.length_s == 86_400 else f"{window.length_s:g} s"
    return f"{window.limit:,} in {length}"


def test_readme_lists_every_setting() -> None:
    """The table of the README and `--help` name the same variables, those of other providers included."""
    named = set(re.findall(r"`((?:STREAMER|COINBASE|REDIS)_[A-Z_]+)`", README))
    assert named - OF_EACH == OF_ALL


@pytest.mark.parametrize("name", DataSettings.model_fields)
def test_readme_has_the_defaults_of_other_providers(name: str) -> None:
    """What the README calls the default of a setting that all providers share is what the code has."""
    default = DataSettings.model_fields[name].default
    unit = " s" if name.endswith("_s") else ""
    if isinstance(default, tuple):
        expected = f"`{','.join(default)}`"
    elif isinstance(default, bool):
        expected = f"`{str(default).lower()}`"
    else:
        expected = "none" if default is None else f"{default:g}{unit}"
    assert f"| `STREAMER_{name.upper()}` | {expected} |" in README


@pytest.mark.parametrize("page", ["README.md", "docs/providers.md", "docs/deploy.md", "compose.yaml"])
def test_setting_of_a_provider_exists(page: str) -> None:
    """Each variable that a page names for one provider, or for all, is read somewhere."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:STREAMER|FKS)_[A-Z_]+\b", text)) <= OF_ALL | OF_EACH | {"STREAMER_REDIS_PASSWORD"}


@pytest.mark.parametrize("provider", ADAPTERS)
def test_providers_page_has_the_facts_of_the_code(provider: str) -> None:
    """Calls, bars of one call, name in settings, whether a key is needed and where it goes, as the adapter says."""
    adapter = ADAPTERS[provider]
    windows = [Window(limit.calls, limit.length_s) for limit in adapter.limits]
    if provider == "coinbase":
        windows = [*budgets(load())[Budget.MARKET]]
    calls, bars, word = provider_row("Limits", provider)[1:]
    assert calls == ", ".join(map(shown, windows))
    assert bars == f"{adapter.max_bars:,}"
    assert word == f"`{variable_of(provider)}`"
    without_key, key = provider_row("Who there is", provider)[3:]
    assert (without_key == "no") == adapter.needs_key
    assert (adapter.key_header or adapter.key_param or "none") in key


@pytest.mark.parametrize("provider", ADAPTERS)
def test_providers_page_has_the_intervals_of_the_code(provider: str) -> None:
    """An interval has "no" on the page where a provider has none of it, and nowhere else."""
    _, *cells = provider_row("Intervals", provider)
    names = re.findall(r"\b\d+[mhd]\b", PROVIDERS.split("\n## Intervals\n", 1)[1].split("\n|---", 1)[0])
    assert {name for name, cell in zip(names, cells, strict=True) if cell != "no"} == ADAPTERS[provider].intervals


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README + "make check make bench"))))
def test_make_target_exists(target: str) -> None:
    """Each `make X` of the README is a target."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`streamer ([a-z]+)", README))))
def test_command_exists_and_explains_itself(command: str) -> None:
    """Each `streamer X` of the README answers `--help` without reading anything else."""
    done = subprocess.run(
        [sys.executable, "-m", "streamer.cli.main", command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert command in done.stdout


@pytest.mark.parametrize("target", sorted(LINKS), ids=lambda target: str(target.relative_to(ROOT)))
def test_link_leads_somewhere(target: Path) -> None:
    """Each relative link of the README and of `docs` names a file of the project."""
    assert target.exists()


@pytest.mark.parametrize("heading", sorted(set(re.findall(r"\]\(#([^)]+)\)", PROVIDERS))))
def test_link_within_the_providers_page_leads_to_a_heading(heading: str) -> None:
    """Each link of `docs/providers.md` to itself names one of its headings."""
    assert heading in {
        title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", PROVIDERS, re.MULTILINE)
    }
