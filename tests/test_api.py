"""Rules that the whole public interface keeps."""

import inspect

import pytest

import watson_jax as wj

FUNCTIONS = [
    f for name, f in vars(wj).items() if inspect.isfunction(f) and not name.startswith("_")
]


@pytest.fixture(params=FUNCTIONS, ids=lambda f: f.__name__)
def function(request):
    return request.param


def parameters(function):
    return inspect.signature(function).parameters.values()


def test_options_are_keyword_only(function):
    for parameter in parameters(function):
        has_default = parameter.default is not inspect.Parameter.empty
        assert not has_default or parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter.name


def test_order_of_arguments(function):
    names = [p.name for p in parameters(function) if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    ranks = {"key": 0, "params": 0, "image": 1, "reference": 2}
    order = [ranks[name] for name in names if name in ranks]
    assert order == sorted(order)
    assert "key" not in names[1:]


def test_docstrings_say_what_comes_in_and_out(function):
    doc = inspect.getdoc(function)
    for name in (p.name for p in parameters(function)):
        assert f"{name}:" in doc, name
    assert "Returns:" in doc or function is wj.save_params
    assert "Example:" in doc or function is wj.load_params
