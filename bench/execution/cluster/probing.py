"""Before any cell is run: does every node see the shared folder, and is it a machine of the same kind?"""

import hashlib
import json
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pydantic import TypeAdapter

from bench.execution.cluster.engine import Call, Ended, Engine
from bench.execution.cluster.shared_folder import SharedFolder, open_shared
from bench.execution.cluster.task import Place
from bench.execution.cluster.worker import begin
from bench.support.environment import hardware
from cwwm.support.errors import BadInput

_PLACE = TypeAdapter(Place)


@dataclass(frozen=True)
class Machine:
    """What a node says of itself.

    Attributes:
        host: its name. conditions: what identities depend on. hardware: what does the work.
        card_bytes: memory of its GPU, or None. said: name of its file in the shared folder; empty if it saw none.
        fault: why it cannot begin.
    """

    host: str
    conditions: dict[str, Any]
    hardware: str
    card_bytes: int | None = None
    said: str = ""
    fault: str = ""


_MACHINE = TypeAdapter(Machine)


def answer(text: str) -> str:
    """Read the driver's file in the shared folder, and write one that answers it; called on every node."""
    asked = json.loads(text)
    place, nonce = _PLACE.validate_python(asked["place"]), asked["nonce"]
    host = socket.gethostname()
    try:
        conditions = begin(place)
        said = _reply(open_shared(place.shared), nonce)
    except BadInput as error:
        return json.dumps(asdict(Machine(host, {}, "", fault=str(error))))
    device = torch.device(place.device)
    card = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
    return json.dumps(asdict(Machine(host, conditions, hardware(device), card, said)))


def _reply(shared: SharedFolder, nonce: str) -> str:
    """Return the name of the file that answers; empty if the driver's is not to be seen, and then none is made."""
    found = shared.read(f"probe/{nonce}")
    if found is None:
        return ""
    name = f"probe/{nonce}.{secrets.token_hex(8)}"
    shared.write(name, _seen(found))
    return name


def _seen(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def probe(engine: Engine, shared: SharedFolder, place: Place, say: Callable[[str], None]) -> Machine:
    """Return the kind of machine that all nodes are, once each of them has read and answered a file.

    Raises:
        BadInput: if a node cannot begin, does not share the folder, or is another kind of machine.
    """
    nonce, content = secrets.token_hex(8), secrets.token_bytes(16)
    shared.write(f"probe/{nonce}", content)
    nodes = engine.nodes()
    if not nodes:
        raise BadInput(f"{engine.name} has no node that can take a task on {place.device}")
    say(f"trying {len(nodes)} nodes of {engine.name}")
    argument = json.dumps({"place": asdict(place), "nonce": nonce})
    machines = _all(engine, [Call(answer, argument, node=node) for node in nodes])
    for machine in machines:
        _check(machine, shared, content)
    for name in (f"probe/{nonce}", *(machine.said for machine in machines)):
        shared.remove(name)
    return _one_kind(machines)


def _all(engine: Engine, calls: Sequence[Call]) -> list[Machine]:
    handles, found = set(engine.submit(calls)), list[Machine]()
    while handles:
        for handle, ended in engine.wait(handles, 1.0):
            handles.discard(handle)
            found.append(_machine(ended, engine.name))
    return found


def _machine(ended: Ended, name: str) -> Machine:
    if ended.result is None:
        raise BadInput(f"a worker of {name} cannot begin: {ended.lost or ended.raised}")
    return _MACHINE.validate_json(ended.result)


def _check(machine: Machine, shared: SharedFolder, content: bytes) -> None:
    if machine.fault:
        raise BadInput(f"node {machine.host} cannot begin: {machine.fault}")
    if not machine.said or shared.read(machine.said) != _seen(content):
        raise BadInput(
            f"node {machine.host} and this machine do not share {shared.url}; give --shared a folder or URL that "
            "every node reads and writes"
        )


def _one_kind(machines: Sequence[Machine]) -> Machine:
    first = machines[0]
    for other in machines[1:]:
        for name, value in first.conditions.items():
            if other.conditions.get(name) != value:
                raise BadInput(
                    f"nodes {first.host} and {other.host} differ in {name}: {value}, {other.conditions.get(name)}; "
                    "a run takes machines of one kind (or --numerics portable, for processors that differ)"
                )
    smallest = [machine for machine in machines if machine.card_bytes is not None]
    return min(smallest, key=lambda machine: machine.card_bytes or 0, default=first)
