"""Tables hold medians and ratios of the same rounds, and the plot is an image."""

import os
from xml.etree import ElementTree as ET

from scripts.benchmarks import usage
from scripts.benchmarks.plot import to_svg
from scripts.benchmarks.report import Results, to_markdown


def _results() -> Results:
    results = Results()
    for ours, theirs in ((4.0, 2.0), (9.0, 9.0), (6.0, 6.0)):
        results.add("securechat", {"one 10": ours, "append rate": 12_345.6})
        results.add("ngircd", {"one 10": theirs})
    return results


def test_a_cell_has_the_median_and_the_median_ratio_of_the_rounds() -> None:
    text = to_markdown(_results(), ["a condition"])
    assert "| **securechat** | 6 (1.00) | - |" in text
    assert "| **securechat** | - | - | 12,346 | - |" in text
    assert "- a condition\n" in text


def test_tables_without_figures_are_left_out() -> None:
    assert "Latency" not in to_markdown(_results(), [])


def test_without_another_server_there_are_no_ratios() -> None:
    results = Results()
    results.add("securechat", {"one 10": 3.25})
    assert "| **securechat** | 3.25 | - |" in to_markdown(results, [])


def test_the_plot_is_an_image_that_names_the_servers() -> None:
    image = ET.fromstring(to_svg(_results()))  # noqa: S314 - our own
    assert image.tag.endswith("svg")
    assert {"securechat", "ngircd"} <= {text.text for text in image.iter() if text.tag.endswith("text")}


def test_the_figures_of_a_process_are_those_of_the_kernel() -> None:
    before = usage.cpu(os.getpid())
    sum(range(100_000))
    assert usage.cpu(os.getpid()) > before
    assert usage.memory(os.getpid()) > 1024
