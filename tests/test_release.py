"""README as a package index shows it."""

import pathlib
import re

from tools.release import with_absolute_links

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_links_and_pictures_are_absolute():
    address = "https://example.org/project"
    readme = with_absolute_links(README.read_text("utf-8"), address, "1.2.3")
    links = re.findall(r"\]\(([^)]*)\)", readme)
    assert f"{address}/raw/v1.2.3/docs/results_celeba_reconstructions.png" in links
    assert f"{address}/blob/v1.2.3/docs/which_loss.md" in links
    assert all(link.startswith("https://") for link in links)


def test_other_addresses_and_anchors_stay():
    text = "[a](https://example.org/a) [b](#use) [c](mailto:c@example.org)"
    assert with_absolute_links(text, "https://example.org/project", "1.2.3") == text
