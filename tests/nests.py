"""Nests of layers, as lines of the table of cases: by name, the layers and the input shape."""

from __future__ import annotations

from gpucnn.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, Parallel, ReLU, Residual, Shared, Tanh
from gpucnn.network import Network

CONV = Conv2D(2, 3, padding="same")
NESTS = {
    "residual": ((Residual((CONV, Tanh())),), (5, 4, 2)),
    "residual of nothing": ((CONV, Residual(())), (3, 4, 2)),
    "residual, projected": ((Residual((Conv2D(3, 3, 2, padding="same"), ReLU()), Conv2D(3, 1, 2)),), (6, 5, 2)),
    "residual between convolutions": ((CONV, Residual((ReLU(), CONV)), ReLU(), Conv2D(2, 2)), (5, 4, 1)),
    "residual in residual": ((Residual((Residual((CONV, ReLU())), Tanh(), CONV), (CONV,)),), (5, 4, 2)),
    "residual with a block": (
        (Residual((Conv2D(3, 3), ReLU(), MaxPool2D()), (MaxPool2D(3, 2, padding=((0, 0), (0, 0))), Conv2D(3, 1))),),
        (8, 8, 2),
    ),
    "residual of vectors": ((Dense(4), Residual((Dense(3), ReLU(), Dense(4))), Dense(2)), (5,)),
    "residual twice the input": ((CONV, Residual((ReLU(), ReLU(0.0))), Conv2D(2, 2)), (4, 3, 2)),
    "branches": ((Parallel((Conv2D(3, 1), (CONV, ReLU()), AvgPool2D(3, 1, 1))),), (5, 4, 2)),
    "branches with the input": ((Parallel(((), Conv2D(1, 1), ())), Conv2D(2, 2)), (5, 4, 2)),
    "branches added": ((Parallel((Conv2D(3, 1), Conv2D(3, 3, padding="same", bias=None)), "add"),), (5, 4, 2)),
    "branches of vectors": ((Parallel((Dense(3), (), (Dense(2), Tanh()))), Dense(4)), (5,)),
    "branches of vectors added": ((Parallel((Dense(5), (), ()), "add"),), (5,)),
    "branches flattened": ((Parallel(((Conv2D(3, 2), Flatten()), Flatten())), Dense(3)), (4, 3, 2)),
    "one branch": ((Parallel((CONV,)), Parallel((Tanh(),), "add")), (4, 3, 2)),
    "branches in branches": (
        (Parallel((Parallel((CONV, Residual((CONV,))), "add"), (Parallel((CONV, ())), ReLU()))), MaxPool2D()),
        (4, 6, 2),
    ),
    "network in a residual": ((Residual((Network((4, 3, 2), (CONV, ReLU(), CONV)),)),), (4, 3, 2)),
    "shared": ((Shared("a", CONV), ReLU(), Shared("a", CONV)), (4, 5, 2)),
    "shared in nests": (
        (
            Residual((Shared("a", (CONV, ReLU(), MaxPool2D(2, 1))), Conv2D(2, 2)), Conv2D(2, 3)),
            Parallel((Shared("a", (CONV, ReLU(), MaxPool2D(2, 1, "same"))), Shared("b", CONV), Shared("b", CONV))),
        ),
        (7, 6, 2),
    ),
    "shared in a network": ((Network((4, 5, 2), (Shared("a", CONV), Tanh(), Shared("a", CONV))), ReLU()), (4, 5, 2)),
    "shared in networks and around them": (
        (
            Shared("a", Dense(4)),
            Network(
                (4,), (Tanh(), Shared("a", Dense(4)), Network((4,), (Shared("a", Dense(4)), Shared("a", Dense(4)))))
            ),
            Residual((Network((4,), (Shared("a", Dense(4)), Shared("b", Dense(4)), Shared("b", Dense(4)))),)),
            Tanh(),
            Shared("a", Dense(4)),
        ),
        (4,),
    ),
    "shared in shared": (
        (Shared("all", (Shared("a", Dense(4)), Dense(4))), Tanh(), Shared("all", (Shared("a", Dense(4)), Dense(4)))),
        (4,),
    ),
}
