"""Options of `gpucnn train`: how theta is moved, when a run ends, and which parameters it begins from and keeps."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from ..data.preprocessing import FITS
from ..losses import NAMED
from ..optimizers import OPTIMIZERS
from ..optimizers.base import DECAYS
from ..schedules import SCHEDULES
from . import completion
from .arguments import inner_part, not_negative, one_of, part, positive, scheduled

OptimizerOption = Annotated[
    str | None,
    one_of(
        OPTIMIZERS,
        "by default the recipe's",
        "The rule by which theta moves along the gradient.",
        own="an optimiser of your own",
    ),
]
ScheduleOption = Annotated[
    str | None,
    Option(
        metavar="NAME|TEXT",
        autocompletion=completion.schedules,
        callback=scheduled,
        help=f"How the learning rate changes from update to update. One of {', '.join(SCHEDULES)}, some with numbers, "
        "such as polynomial=2, step=0.5/0.75 or restarts=3; with a warm-up before it, as in warmup=0.05,cosine: a "
        "length below 1 is a part of all updates, from 1 on it is their number; or several, each over its part, as in "
        "linear@0.2,step@0.8; or module:name of a function of your own. By default the recipe's.",
    ),
]
MomentumOption = Annotated[
    float | None,
    Option(metavar="PART", callback=part, help="The part of its last step that theta takes again, such as 0.9."),
]
WeightDecayOption = Annotated[
    float | None,
    Option(metavar="NUMBER", callback=not_negative, help="How strongly parameters are drawn to 0, such as 0.0005."),
]
DecayOption = Annotated[
    str | None,
    one_of(DECAYS, "by default all", "Which parameters --weight-decay is for; kernels: no biases and no norms."),
]
ClipNormOption = Annotated[
    float | None,
    Option(metavar="NUMBER", callback=positive, help="The largest norm that the gradient of all parameters may have."),
]
ClipValueOption = Annotated[
    float | None,
    Option(metavar="NUMBER", callback=positive, help="The largest value that a number of the gradient may have."),
]
EmaOption = Annotated[
    float | None,
    Option(
        metavar="PART",
        callback=inner_part,
        help="Measure and save a mean of theta over its updates, in which one counts so much of the next, such as "
        "0.999.",
    ),
]
AccumulateOption = Annotated[
    int | None,
    Option(
        min=1,
        metavar="N",
        help="Add up the gradients of N batches for each update, as if they were one batch, in the memory of one.",
    ),
]

PatienceOption = Annotated[
    int | None,
    Option(
        min=1,
        metavar="N",
        help="End the run when N epochs in a row have brought nothing better, and keep the best one's parameters.",
    ),
]
KeepOption = Annotated[
    str | None,
    one_of(("best", "last"), "by default best with --patience, else last", "The epoch whose parameters to save."),
]
WatchOption = Annotated[
    str | None,
    one_of(
        ("loss", "accuracy", "train_loss"),
        "by default loss",
        "What --patience and --keep best look at: loss or accuracy of the validation, or the loss of training.",
    ),
]

LossOption = Annotated[
    str | None,
    one_of(
        NAMED,
        "by default the network's",
        "What training makes small. softmax, binary, focal and hinge are for classes, multi-label for pictures to "
        "which several labels may belong, mse and huber for numbers.",
        own="a loss of your own",
    ),
]
LabelSmoothingOption = Annotated[
    float | None,
    Option(metavar="PART", callback=part, help="Share this part of each picture, such as 0.1, among all classes."),
]
NoStandardizeOption = Annotated[
    bool,
    Option(
        "--no-standardize",
        help="Learn numbers to be predicted as they are. Otherwise they are standardised, by their mean and deviation, "
        "so that their units do not matter, and what the model says is in these.",
    ),
]
ClassWeightsOption = Annotated[
    str | None,
    Option(
        metavar="WEIGHTS",
        help="How much each class counts in the loss: a number for each, with commas between; or balanced: all "
        "alike, however many pictures they have. Of several labels, how much each counts where it holds.",
    ),
]
ThresholdOption = Annotated[
    str | None,
    Option(
        metavar="NUMBERS",
        help="The probability above which a label is predicted, such as 0.3, or one for each label, with commas "
        "between; by default those that the model has, or 1/2.",
    ),
]
ChosenThresholdOption = Annotated[
    str | None,
    Option(
        "--threshold",
        metavar="f1|NUMBERS",
        help="Keep with the model the probabilities above which labels are predicted: f1 chooses for each label the "
        "one with the largest F1 on what is held out; or a number, or one for each label, with commas between.",
    ),
]
ClassesOption = Annotated[
    str | None, Option(metavar="A,B,...", help="Train on these classes only, by name or by number.")
]
SetOption = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="NAME=VALUE",
        autocompletion=completion.settings,
        help="Set an argument of the network, such as hidden=64; `gpucnn networks NETWORK` lists them. May be given "
        "several times.",
    ),
]
InitOption = Annotated[
    str | None,
    Option(
        metavar="MODEL",
        help="Begin with the parameters of this model.safetensors, as far as names and shapes are the same.",
    ),
]
InitExceptOption = Annotated[
    str | None,
    Option(
        metavar="PATTERNS",
        help="With --init, leave the parameters with these names newly drawn, such as '9/*'; head stands for the last "
        "layer's, which are of no use for other classes.",
    ),
]
SeedOption = Annotated[int, Option(metavar="N", min=0, help="The number that decides weights and batches.")]
GraphOption = Annotated[
    bool | None,
    Option(
        "--graph/--no-graph",
        help="Record a training step on CUDA as one graph and replay it, which saves launching its kernels one by one. "
        "By default it is, wherever it can be.",
        show_default=False,
    ),
]
TuneOption = Annotated[
    bool,
    Option(
        "--tune",
        help="On CUDA, first measure each convolution by every way that takes it, and take the fastest; the choices "
        "are kept in the run's tuning.json.",
    ),
]
TuningOption = Annotated[
    str | None,
    Option(
        metavar="FILE",
        help="Take the choices in the tuning.json of another run, and measure, as --tune does, only what it lacks.",
    ),
]
FreezeOption = Annotated[
    str | None,
    Option(
        metavar="PATTERNS",
        help="Leave the parameters with these names as they are, such as '0/*,3/bias': the layer's number and what it "
        "is, as in the files of models.",
    ),
]
SizeOption = Annotated[
    str | None, Option(metavar="HxW", help="Bring pictures from a folder to this size (see --fit); by default 28x28.")
]
ChannelsOption = Annotated[
    int | None,
    Option(metavar="N", help="Read pictures from a folder in grey (1) or colour (3); by default as they are."),
]
InvertOption = Annotated[
    bool, Option("--invert", help="Turn pictures from a folder, dark on light, into light on dark.")
]
FitOption = Annotated[
    str,
    one_of(
        FITS,
        "by default crop",
        "How pictures from a folder are brought to the size: crop cuts off what is too much at two sides, pad keeps "
        "them whole and adds edges of the colour beside these, stretch keeps them whole and distorts them.",
    ),
]
SkipBrokenOption = Annotated[
    bool,
    Option(
        "--skip-broken",
        help="Leave out the pictures of a folder that cannot be read, and classes without any, and say which.",
    ),
]
