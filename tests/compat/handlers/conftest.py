"""The gallery: both servers, which load the models of the selected tests ahead of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from harness.gallery import Case, Gallery
from harness.pair import Pair, reference_environment
from harness.server import Server


@pytest.fixture(scope="module")
def gallery(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gallery]:
    """Both servers with the models of all selected tests, in their order."""
    environment = reference_environment()
    folder = tmp_path_factory.mktemp("gallery")
    commands = {"ours": None, "theirs": [str(environment / "bin" / "torchserve")]}
    # TorchServe calls torchrun by its bare name; an environment that borrows torch has no script.
    scripts = folder / "bin"
    scripts.mkdir()
    torchrun = scripts / "torchrun"
    torchrun.write_text(
        f'#!/bin/sh\nexec "{environment}/bin/python" -m torch.distributed.run "$@"\n'
    )
    torchrun.chmod(0o755)
    path = {"PATH": os.pathsep.join([str(scripts), os.environ["PATH"]])}
    servers = {
        name: Server(
            folder / name,
            command=command,
            config={"max_response_size": 20_000_000},
            environment=path if command else None,
        )
        for name, command in commands.items()
    }
    cases = {}
    for item in request.session.items:
        if item.get_closest_marker("skip"):
            continue  # nobody would remove it
        model = getattr(item, "callspec", None) and item.callspec.params.get("model")
        if isinstance(model, tuple) and isinstance(model[1], Case):
            cases[model[0].name] = model
    built = None
    try:
        for server in servers.values():
            server.start(ready=False)
        for server in servers.values():
            server.wait_until_serving(180)
        built = Gallery(Pair(**servers), folder, cases)
        yield built
    finally:
        if built is not None:
            built.close()
        for server in servers.values():
            server.stop()
