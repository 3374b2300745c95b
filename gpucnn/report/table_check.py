"""Does a network compute on a device's tables what its equations say, and does a layer look at other examples?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..device import Device
from ..engine.acceleration import Acceleration
from ..engine.execution import Execution
from ..engine.mixing import Reach, reach, reach_of_loss
from ..errors import GpucnnError
from ..kernels import Context
from ..layers.chain import inside
from ..layers.initializers import generator
from ..network import Network


def on_tables(network: Network, device: Device, *, seed: int = 0) -> list[str]:
    """The names of the tables that this device would use, each compared with the equations, in float64.

    Raises GpucnnError where an output or a gradient differs.
    """
    names, expected = [], _computed(network, Device(), Acceleration("reference"), seed)
    for kernels in ("default",) if device.kind == "cpu" else ("reference", "default"):
        found = _computed(network, device, Acceleration(kernels), seed)
        names.append(found.pop("table"))
        for what, array in found.items():
            if not np.allclose(
                array, expected[what], rtol=1e-7, atol=1e-9 * (1 + np.abs(expected[what]).max(initial=0))
            ):
                raise GpucnnError(
                    f"{what} differs between the equations and the {names[-1]!r} table of {device}; a class that says "
                    "speaks_table = True must leave the meaning of axes to context.kernels"
                )
    return names


def _computed(network: Network, device: Device, how: Acceleration, seed: int, batch: int = 3) -> dict[str, Any]:
    """The network's output and its gradients by the input and by theta, on that table; and the table's name.

    A bias is not 0, as it is at first: behind a border of zeros a ReLU would stand on its kink, and a rounding error
    would decide its slope.
    """
    execution, rng = Execution(network, device, seed=seed, dtype="float64", acceleration=how), generator(seed)
    kernels, put = execution.context.kernels, device.put
    x, dy = rng.standard_normal((batch, *network.input_shape)), rng.standard_normal((batch, *network.shapes()[-1]))
    with execution.active():
        execution.theta[...] += put(0.05 * rng.standard_normal(execution.layout.size))
        params, state = execution.layout.unpack(execution.theta), execution.state_layout.unpack(execution.state)
        context = Context(kernels, update=1, key=1, examples=put(np.arange(batch)), state=state)
        y, residuals = execution.network.forward(params, kernels.enter(put(x)), context)
        y = device.fetch(kernels.leave(y)).copy()
        dx, dparams = execution.network.backward(params, residuals, kernels.enter(put(dy)), context)
        g = execution.layout.pack(dparams, put(np.empty(execution.layout.size)))
        found = {"the output": y, "the input's gradient": kernels.leave(dx), "the parameters' gradient": g}
        return {"table": kernels.name} | {what: device.fetch(array) for what, array in found.items()}


def mixing(network: Network, loss: Any = None) -> list[str]:
    """The layers of one's own that look at other examples without context.total, and a loss that does, so that batches
    are not shared out."""
    alone = (place for place in network.walk() if not inside(place.layer))
    found = [each.described for each in alone if reach(Network(each.shape, (each.layer,))) is Reach.BATCH]
    is_one = loss is not None and reach_of_loss(loss, network.shapes()[-1][-1]) is Reach.BATCH
    return [*found, *([f"the loss {type(loss).__name__}"] if is_one else [])]
