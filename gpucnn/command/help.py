"""How commands explain themselves: options in groups, examples, and what may have been meant by an unknown option."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from typer import BadParameter, Option
from typer.core import TyperCommand, TyperGroup

from ..errors import nearest, suggested

MANY = 12  # arguments and options, help among them, from which on they stand in groups

GROUPS = {
    "Data": (
        *("data", "part", "validation", "classes", "size", "channels", "invert", "fit", "skip_broken", "augment"),
        "tta",
    ),
    "Network and training": (
        *(
            "options",
            "models",
            "more",
            "recipe",
            "layers",
            "epochs",
            "batch_size",
            "loss",
            "label_smoothing",
            "class_weights",
            "threshold",
            "no_standardize",
            "patience",
            "keep",
        ),
        *("watch", "init", "init_except", "freeze", "seed", "lowest", "highest", "updates"),
    ),
    "Optimiser": (
        *("optimizer", "lr", "schedule", "momentum", "weight_decay", "decay", "clip_norm", "clip_value", "ema"),
        "accumulate",
    ),
    "Measuring": ("devices", "steps", "batch", "batches", "rounds", "accuracy", "all_kernels"),
    "Device": ("device", "threads", "kernels"),
    "On a CUDA GPU": ("precision", "graph", "tune", "tuning", "autotune"),
    "Runs and output": (
        "out",
        "report",
        "plot",
        "verbose",
        "force",
        "config",
        "resume",
        "anyway",
        "log_every",
        "quiet",
        "top",
        "as_csv",
        "as_json",
        "help",
    ),
}
PLACES = {name: (k, group) for k, (group, names) in enumerate(GROUPS.items()) for name in names}

MEANT = {  # words of other programs, and what they are called here
    "learning-rate": "--lr",
    "dataset": "--data",
    "output": "--out",
    "output-dir": "--out",
    "gpu": "--device cuda",
    "cuda": "--device cuda",
    "cpu": "--device cpu",
    "workers": "--threads",
    "jobs": "--threads",
    "early-stopping": "--patience",
    "batch": "--batch-size",
    "val-split": "--validation",
    "pos-weight": "--class-weights",
    "test-size": "--validation",
    "image-size": "--size",
    "img-size": "--size",
    "crop": "--fit crop",
    **dict.fromkeys(("pad", "letterbox"), "--fit pad"),
    **dict.fromkeys(("stretch", "squash"), "--fit stretch"),
    "pretrained": "--init",
    "weights": "--init",
    "random-state": "--seed",
    "l2": "--weight-decay",
    "grad-clip": "--clip-norm",
    "warmup": "--schedule warmup=0.05,cosine",
    "fp16": "--precision bfloat16",
    "amp": "--precision bfloat16",
    **{
        name: f"--augment {name}={value}"
        for name, value in (("mixup", 0.2), ("rotate", 15), ("shift", 2), ("cutout", 8))
    },
    "flip": "--augment flip",
    "no-augment": "--augment none",
}
LAYERS = (
    "dropout",
    *("dropout-rate", "batch-norm", "batchnorm", "layer-norm", "activation", "layers", "num-layers", "kernel-size"),
    *("padding", "stride", "pooling", "residual"),
)
SETTINGS = ("filters", "hidden", "channels-out", "width", "units", "hidden-size")
MADE_OF = {  # what is no option of a command that makes a network, and where it is said
    **dict.fromkeys(
        LAYERS,
        " (layers, such as Dropout(0.5), are written in a network of your own, which is then named as in `gpucnn train "
        "my_nets:net`: see README, A network of your own)",
    ),
    **dict.fromkeys(
        SETTINGS,
        " (a network's own settings are given by --set, as in --set hidden=64: `gpucnn networks NETWORK` lists them)",
    ),
    **dict.fromkeys(
        ("network", "model", "arch", "architecture"), " (the network is a word of its own, as in `gpucnn train fast`)"
    ),
}
MISSING: dict[str, Callable[[Mapping[str, Any]], str]] = {}  # by command, what to write, from what was given
CHECKED: dict[str, Callable[[Mapping[str, Any]], None]] = {}  # by command, what looks at all that was given
MORE = re.compile(r"^Got unexpected extra arguments?(?:\(s\))? \((.+)\)")  # what the parser says of a word too many
NO_NUMBER = re.compile("^Input should|is not a valid (int|float)|is not in the range")  # what the parser says of one
NUMBERS = {  # by what checks a number
    "positive": "a number above 0",
    "not_negative": "a number of at least 0",
    "part": "0, or a part of 1 such as 0.1,",
    "inner_part": "a part of 1, above 0, such as 0.999",
}
NEAR = 0.7  # how alike a word and an option must be, of 1, to be taken for each other


class Command(TyperCommand):
    """A command whose options stand in groups where they are many."""

    def __init__(self, name: str | None, **how: Any) -> None:
        super().__init__(name, **how | _text(how))

    def get_params(self, ctx: Any) -> list[Any]:
        return arranged(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return _parsed(super().parse_args, self, ctx, args)


class Group(TyperGroup):
    """A command that has commands."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how | _text(how))

    def get_params(self, ctx: Any) -> list[Any]:
        return arranged(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return _parsed(super().parse_args, self, ctx, args)


def is_given(context: Any, name: str) -> bool:
    """Whether the command line says that option: not its default, and no file of settings."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def one_of(names: Collection[str], default: str, text: str, own: str = "") -> Any:
    """An option that takes a name in a table, as the table is when the command runs. default: a clause for the help.
    own: what of one's own it takes, too, as module:Name; "" for none.
    """

    def known(name: str | None) -> str | None:
        if name is not None and name not in names and not (own and ":" in name):
            raise BadParameter(f"{name!r} is not known; {suggested(name, names)}choose one of {', '.join(names)}")
        return name

    shown = f"{text} One of {', '.join(names)}{own and f', or module:Name of {own}'}; {default}."
    return Option(metavar="NAME", callback=known, help=shown, show_default=False, autocompletion=lambda: [*names])


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["Examples:", *(f"  gpucnn {line}" for line in lines)])


def _text(how: dict[str, Any]) -> dict[str, Any]:
    """The help without the line breaks of the docstring that it is; "[web]" in it is no mark-up."""
    paragraphs = inspect.cleandoc(how.get("help") or "").split("\n\n")
    text = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    return {"help": re.sub(r"\[(?=[a-z])", r"\\[", text)}


def arranged(params: list[Any]) -> list[Any]:
    """The parameters as help lists them: no kinds of value where there is none or a name says it, and in groups."""
    for each in params:
        if each.param_type_name == "argument":
            each.display_type_rich = lambda ctx: ""
        elif each.is_flag:
            each.metavar = ""
        if len(params) >= MANY and each.param_type_name == "option":
            each.rich_help_panel = PLACES.get(each.name, (0, None))[1]
    return sorted(params, key=lambda each: PLACES.get(each.name, (0, ""))[0]) if len(params) >= MANY else params


def _parsed(parse: Any, command: Any, ctx: Any, args: list[str]) -> list[str]:
    """parse(ctx, args), whose error for an unknown option says what may have been meant, if anything is alike, and
    that for a missing argument what to write; that for a number says what was given, and what is expected.
    """
    given = [*args]
    try:
        rest = parse(ctx, args)
    except Exception as error:
        if hasattr(error, "possibilities") and hasattr(error, "option_name"):
            known = [name for each in command.get_params(ctx) for name in (*each.opts, *each.secondary_opts)]
            error.possibilities = []
            error.message += meant(error.option_name, known)  # type: ignore[attr-defined]
        elif type(error).__name__ == "MissingParameter" and _words(ctx) in MISSING:
            error.message = MISSING[_words(ctx)](ctx.params)  # type: ignore[attr-defined]
        elif getattr(error, "param", None) is not None and NO_NUMBER.search(getattr(error, "message", "")):
            error.message = _number(error.param, ctx, given)  # type: ignore[attr-defined]
        elif found := MORE.search(getattr(error, "message", "")):
            error.message += _data(found[1].split(), command, ctx)  # type: ignore[attr-defined]
        raise
    if _words(ctx) in CHECKED:
        CHECKED[_words(ctx)](ctx.params)
    if "" in given or any(word.startswith("--") and word.endswith("=") for word in given):
        _check_empty(command, ctx)
    return rest


def _check_empty(command: Any, ctx: Any) -> None:
    """Raises BadParameter for an empty text: as a path it would be the current folder."""
    for each in command.get_params(ctx):
        value = ctx.params.get(each.name)
        texts = value if isinstance(value, (list, tuple)) else (value,)
        if is_given(ctx, each.name) and "" in texts:
            raise BadParameter("an empty text was given; a variable of the shell that is not set is one", ctx, each)


def _words(ctx: Any) -> str:
    """The command's name, behind those of the groups that it is in, such as "data show"."""
    if ctx.parent is None and hasattr(ctx.command, "commands"):
        return ""
    before = "" if ctx.parent is None else _words(ctx.parent)
    return f"{before} {ctx.command.name}".strip()


def _number(param: Any, ctx: Any, given: list[str]) -> str:
    """ "0: a whole number of at least 1 was expected", where an option or a file gives 0."""
    value = (ctx.default_map or {}).get(param.name)
    for word, after in zip(given, [*given[1:], ""]):
        name, equals, behind = word.partition("=")
        if name in param.opts:
            value = behind if equals else after
    of_click = getattr(param, "type", None)  # where typer has no types of its own
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", None) or getattr(of_click, "name", "")
    least, most = (getattr(param, end, getattr(of_click, end, None)) for end in ("min", "max"))
    if kind is int or str(kind).startswith("int"):
        ends = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
        return f"{value}: a whole number{ends} was expected"
    return f"{value}: {NUMBERS.get(getattr(param.callback, '__name__', ''), 'a number')} was expected"


def _data(words: list[str], command: Any, ctx: Any) -> str:
    """What to write where a word too many is the name or the path of data; else ""."""
    from .missing import is_data

    takes_data = any("--data" in each.opts for each in command.get_params(ctx))
    found = [word for word in words if takes_data and is_data(word)]
    return f"; data are said by --data {found[0]}" if found else ""


def meant(option: str, known: list[str]) -> str:
    """ "; did you mean --epochs?" for --epoch, or where that is said which is no option; "" where nothing is alike."""
    word = option.lstrip("-").replace("_", "-").lower()
    words = {each.lstrip("-"): each for each in known if each.startswith("--")}
    if word in MEANT and MEANT[word].split()[0] in known:
        return f"; did you mean {MEANT[word]}?"
    if word in MADE_OF and "--set" in known:
        return MADE_OF[word]
    near = nearest(word, words, NEAR) or next((each for each in words if sorted(each) == sorted(word)), None)
    return f"; did you mean {words[near]}?" if near else ""
