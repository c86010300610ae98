"""README's table of methods is what the presets say, and names tests that are there."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from supernet.presets import preset_names


def test_it_is_what_the_presets_say(root: Path) -> None:
    spec = spec_from_file_location("make_methods", root / "docs" / "make_methods.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert readme == module.written(readme), "make pages writes it anew"
    for name in preset_names("method"):
        head = module.comment(name)
        assert module.LINK.search(" ".join(head)), f"{name} names its paper with a link"
        assert f"supernet search method={name}" in " ".join(head)
        oracle = module.fact(head, "verified")
        assert (root / oracle).is_file(), f"{name}: 'verified:' names the file of its oracles, not {oracle!r}"
        if "reconstruction" in " ".join(head):
            assert not module.fact(head, "published"), f"{name} is a reconstruction: no published figure beside it"
