"""The estimators under scikit-learn's own checks, and in its searches, pipelines and processes."""

from __future__ import annotations

import functools
import pickle
import signal
import threading
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import joblib
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

try:
    from sklearn.utils.estimator_checks import parametrize_with_checks
except RuntimeError as error:  # 1.6 beside array-api-compat asks for SCIPY_ARRAY_API=1
    pytest.skip(str(error), allow_module_level=True)

import gpucnn
from gpucnn import Model, Network
from gpucnn.callbacks import EarlyStopping
from gpucnn.errors import ArgumentError, DataError, SettingError, ShapeError, TrainingError
from gpucnn.estimators import CNNClassifier, CNNRegressor
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Upsample2D
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.optimizers import SGD

X, Y = load_digits(return_X_y=True)
FEW, LABELS = X[:300], Y[:300]
REST, OTHERS = X[300:600], Y[300:600]
LAYERS = [Conv2D(4, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(10)]
WEIGHTS = "batches hold random examples, and an update divides by their number, whatever their weights are"
EXPECTED_FAILURES = {"check_sample_weight_equivalence_on_dense_data": WEIGHTS}


@dataclass(frozen=True)
class Checked:
    """A function that makes a network for scikit-learn's checks, whose X has few features, and classes as they like."""

    first: tuple[object, ...]

    def __call__(self, input_shape, outputs):
        return Network(input_shape, (*self.first, ReLU(), Flatten(), Dense(outputs)))


def net(input_shape, outputs, width=2):
    return Network(input_shape, (Flatten(), Dense(width), Dense(outputs)))


class BySigmoid(SoftmaxCrossEntropy):
    def probabilities(self, logits):
        return gpucnn.ops.sigmoid(logits)


def tiny(**how):
    """A classifier that is trained in some milliseconds."""
    given = {"network": LAYERS, "epochs": 3, "batch_size": 16, "lr": 0.01, "random_state": 0}
    return CNNClassifier(**{"device": "cpu", "threads": 1} | given | how)


def brightness(**how):
    """A regressor of how much ink there is."""
    given = {"network": [Flatten(), Dense(1)], "epochs": 5, "batch_size": 16, "lr": 0.02, "random_state": 0}
    return CNNRegressor(**{"device": "cpu", "threads": 1} | given | how)


FAST = {"device": "cpu", "threads": 1, "lr": 0.02}
CHECKED = [
    CNNClassifier(Checked((Dense(16),)), image_shape=(-1,), **FAST),
    CNNClassifier(Checked((Conv2D(8, (1, 1)),)), image_shape=(1, -1, 1), loss="hinge", **FAST),
    CNNRegressor(Checked((Dense(16),)), image_shape=(-1,), dtype="float64", **FAST),
]


@pytest.mark.filterwarnings("ignore:the labels are of")  # partial_fit with classes that come later
@parametrize_with_checks(CHECKED, expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


class TestParameters:
    def test_clone_and_set_params(self):
        given = tiny(early_stopping=EarlyStopping(patience=2), optimizer=SGD(0.9))
        copy = clone(given)
        assert copy.get_params()["network"] == given.network
        assert copy.set_params(lr=0.5, network="softmax-regression").get_params()["lr"] == 0.5
        assert "random_state=0" in repr(given)

    def test_only_fit_looks_at_them(self):
        given = tiny(lr="much")
        with pytest.raises(SettingError, match="a learning rate above 0 was expected"):
            given.fit(FEW, LABELS)

    @pytest.mark.parametrize(
        ("how", "said"),
        [
            ({"learning_rate": 0.1}, "CNNClassifier has no setting 'learning_rate'; write lr"),
            ({"max_iter": 5}, "write epochs"),
            ({"seed": 5}, "write random_state"),
            ({"progress": True}, "write verbose"),
            ({"epoch": 5}, "did you mean epochs"),
        ],
    )
    def test_those_that_there_are_not(self, how, said):
        with pytest.raises(ArgumentError, match=said):
            CNNClassifier(**how)

    def test_a_factory_of_ones_own_gets_what_is_said_alone(self, tmp_path, monkeypatch):
        """Whatever its settings mean."""
        (tmp_path / "nets_with_padding.py").write_text(
            "from gpucnn import Network\nfrom gpucnn.layers import Dense, Flatten, ZeroPad2D\n"
            "def net(input_shape, classes, *, padding: int = 2):\n"
            "    return Network(input_shape, (ZeroPad2D(padding), Flatten(), Dense(classes)))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        made = CNNClassifier("nets_with_padding:net", epochs=1, device="cpu").fit(FEW, LABELS)
        assert made.model_.network.shapes()[1] == (12, 12, 1)

    def test_fit_writes_none(self):
        stopping = EarlyStopping(patience=1)
        before = dict(vars(stopping))
        tiny(early_stopping=stopping).fit(FEW, LABELS)
        assert vars(stopping) == before

    @pytest.mark.parametrize(
        ("how", "said"),
        [
            ({"network": "two-cnv"}, "did you mean two-conv"),
            ({"network": [Flatten(), Dense(3)]}, "y has 10 classes, and the network 3 outputs"),
            ({"network": lambda shape, outputs: None}, "the function gave a NoneType"),
            ({"settings": {"filters": 3}}, "are of a network by its name"),
            ({"network": "two-conv", "settings": {"filtres": 3}}, "did you mean filters"),
            (
                {"network": net, "settings": {"widht": 3}},
                "no argument 'widht'; behind the first two it has width; did you mean w",
            ),
            (
                {"network": lambda shape, outputs: None, "settings": {"width": 3}},
                "no argument 'width'; behind .* it has none",
            ),
            (
                {"network": Network((8, 8, 1), LAYERS), "settings": {"width": 3}},
                "or of a function, and network is neit",
            ),
            ({"loss": "mse"}, "is of numbers, and CNNClassifier of classes; choose another loss, or CNNRegressor"),
            ({"image_shape": 64}, "image_shape=64"),
            ({"image_shape": (-1, -1, 1)}, "of which one may be -1"),
            ({"image_shape": (7, 9)}, r"rows of 64 features, which are none of \(7, 9\)"),
            ({"image_shape": (-1, 7, 1)}, "rows of 64 features"),
            ({"random_state": -1}, "seed=-1"),
            ({"early_stopping": 5}, "early_stopping=5"),
            ({"early_stopping": True, "validation_fraction": 0.0}, "let validation_fraction hold out a part, such as"),
            ({"dtype": "float16"}, "one of float32, float64"),
        ],
    )
    def test_wrong_ones_are_refused_with_what_to_do(self, how, said):
        with pytest.raises(ValueError, match=said):
            tiny(**how).fit(FEW, LABELS)

    def test_the_network_may_be_a_name_layers_a_network_or_a_function(self):
        network = Network((8, 8, 1), LAYERS)
        made = functools.partial(gpucnn.networks.two_conv, filters=(4,), padding="same")
        for given, settings, parameters in (
            (None, None, 13034),
            ("two-conv", {"filters": (4,), "padding": "same", "hidden": 16}, None),
            (network, None, network.parameters),
            (tuple(LAYERS), None, network.parameters),
            (made, None, made((8, 8, 1), 10).parameters),
        ):
            found = tiny(network=given, settings=settings, epochs=1).fit(FEW, LABELS).model_
            assert parameters in (None, found.network.parameters)
            assert found.network.input_shape == (8, 8, 1)

    def test_the_settings_of_a_function_can_be_searched_over(self):
        search = GridSearchCV(
            tiny(network=net, epochs=1), {"settings": [{"width": 1}, {"width": 2}]}, cv=2, refit=False
        )
        search.fit(FEW[:40], np.arange(40) % 4)
        assert not np.isnan(search.cv_results_["mean_test_score"]).any()
        assert tiny(network=net, settings={"width": 3}, epochs=1).fit(FEW, LABELS).model_.network == net(
            (8, 8, 1), 10, 3
        )

    def test_the_usual_network_is_two_conv(self):
        for images in (FEW, gpucnn.data.load("digits").train_images[:300]):
            usual, named = (tiny(network=each, epochs=1).fit(images, LABELS).model_ for each in (None, "two-conv"))
            assert usual.describe() == named.describe()
            np.testing.assert_array_equal(usual.theta, named.theta)
        other = tiny(network="two-conv", settings={"padding": "valid", "filters": (4,)}, epochs=1).fit(FEW, LABELS)
        assert other.model_.layers[0].padding == "valid"

    @pytest.mark.filterwarnings("ignore:.* takes no images as small as 8x8:UserWarning")
    def test_names_can_be_searched_over_whatever_the_images(self):
        names = [name for name in gpucnn.networks.NETWORKS if name not in ("resnet20", "record-long", "vgg-small")]
        said = "lenet5 takes no images as small as 8x8: they are enlarged 2 times"
        search = GridSearchCV(tiny(epochs=1), {"network": names}, cv=2, error_score="raise", refit=False)
        with pytest.warns(UserWarning, match=said):
            search.fit(FEW[:40], np.arange(40) % 4)
        assert len(search.cv_results_["params"]) == len(names)

    def test_images_that_are_too_small_for_a_named_network_are_enlarged_by_the_least_factor(self):
        with pytest.warns(UserWarning, match=r"enlarged 2 times, by an Upsample2D\(2\) before its layers"):
            found = tiny(network="fast", epochs=1).fit(FEW, LABELS).model_
        assert (found.input_shape, found.layers[0]) == ((8, 8, 1), Upsample2D(2))
        assert found.layers[1:] == gpucnn.networks.build("fast", (16, 16, 1), 10).layers
        with pytest.raises(ShapeError, match="does not fit an image of"):
            tiny(network="lenet5", image_shape=(1, -1, 1)).fit(FEW, LABELS)

    def test_a_named_network_has_its_own_loss(self):
        found = tiny(network="ten-sigmoid", epochs=1).fit(FEW, LABELS)
        assert type(found.model_.loss).__name__ == "BinaryCrossEntropy"
        np.testing.assert_allclose(found.predict_proba(REST).sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found.predict_log_proba(REST), np.log(found.predict_proba(REST)))

    def test_probabilities_of_a_loss_of_ones_own_add_up_to_1(self):
        found = tiny(loss=BySigmoid(), epochs=1).fit(FEW, LABELS)
        np.testing.assert_allclose(found.predict_proba(REST).sum(axis=1), 1, rtol=1e-5)
        parts = found.model_.predict_proba(REST.reshape(-1, 8, 8))
        np.testing.assert_allclose(found.predict_proba(REST), parts / parts.sum(axis=1, keepdims=True), rtol=1e-5)


class TestImages:
    def test_rows_and_images_are_the_same(self):
        fitted = tiny().fit(FEW, LABELS)
        assert fitted.n_features_in_ == 64
        assert fitted.image_shape_ == (8, 8, 1)
        for shape in ((-1, 8, 8), (-1, 8, 8, 1)):
            again = tiny().fit(FEW.reshape(shape), LABELS)
            np.testing.assert_array_equal(again.model_.theta, fitted.model_.theta)
            np.testing.assert_array_equal(again.predict_proba(REST), fitted.predict_proba(REST.reshape(shape)))

    def test_the_model_takes_them_too(self):
        fitted = tiny().fit(FEW, LABELS)
        np.testing.assert_array_equal(fitted.model_.logits(REST.reshape(-1, 8, 8)), fitted.decision_function(REST))

    def test_colour_has_a_shape_of_its_own(self):
        colour = np.repeat(FEW.reshape(-1, 8, 8, 1), 3, axis=3)
        assert tiny().fit(colour, LABELS).image_shape_ == (8, 8, 3)
        rows = colour.reshape(len(colour), -1)
        with pytest.raises(SettingError, match="rows of 192 features, which are no square image"):
            tiny().fit(rows, LABELS)
        fitted = tiny(image_shape=(8, -1, 3)).fit(rows, LABELS)
        assert fitted.image_shape_ == (8, 8, 3)
        with pytest.raises(DataError, match=r"images of \(3, 8, 8\), and \(8, 8, 3\) was expected"):
            fitted.predict(np.moveaxis(colour, 3, 1))
        with pytest.raises(DataError, match=r"images of \(3, 8, 8\)"):
            tiny(image_shape=(8, 8, 3)).fit(np.moveaxis(colour, 3, 1), LABELS)

    @pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64])
    def test_the_type_does_not_matter(self, kind):
        fitted = tiny(dtype="float64").fit(FEW, LABELS)
        again = tiny(dtype="float64").fit(FEW.astype(kind), LABELS)
        np.testing.assert_allclose(again.predict_proba(REST), fitted.predict_proba(REST.astype(kind)), rtol=1e-7)

    @pytest.mark.parametrize(("factor", "shift"), [(1 / 16, 0), (255 / 16, 0), (1, -8), (1e-4, 3), (-3, 1000)])
    def test_the_range_does_not_matter(self, factor, shift):
        fitted = tiny(dtype="float64").fit(FEW, LABELS)
        again = tiny(dtype="float64").fit(FEW * abs(factor) + shift, LABELS)
        np.testing.assert_allclose(
            again.predict_proba(REST * abs(factor) + shift), fitted.predict_proba(REST), rtol=1e-5, atol=1e-9
        )

    def test_a_row_gets_what_it_gets_among_others(self):
        """One far outside of what fit saw, too."""
        fitted = tiny(dtype="float64").fit(FEW, LABELS)
        rows = np.concatenate([REST[:20], REST[:1] * 100 - 50])
        alone = np.concatenate([fitted.predict_proba(rows[k : k + 1]) for k in range(len(rows))])
        np.testing.assert_allclose(alone, fitted.predict_proba(rows), rtol=1e-9)

    def test_the_network_sees_them_standardised(self):
        scaling = tiny().fit(FEW, LABELS).model_.scaling
        np.testing.assert_allclose(scaling.scale, 1 / FEW.std())
        np.testing.assert_allclose(scaling.shift, -FEW.mean() / FEW.std())
        assert scaling.floats

    def test_images_that_are_all_alike(self):
        assert tiny(epochs=1).fit(np.full((20, 64), 7.0), np.arange(20) % 10).predict([[7.0] * 64]).shape == (1,)


class TestTraining:
    def test_it_is_the_training_of_a_model(self):
        """To the same bits."""
        fitted = tiny(batch_size=50, schedule="cosine", optimizer="nesterov").fit(FEW, LABELS)
        model = Model(Network((8, 8, 1), LAYERS), scaling=fitted.model_.scaling, device="cpu", threads=1, seed=0)
        images = FEW.reshape(-1, 8, 8).astype(np.float32)
        how = {"epochs": 3, "lr": 0.01, "batch_size": 50, "schedule": "cosine", "optimizer": "nesterov", "seed": 0}
        history = model.fit(images, LABELS, **how)
        np.testing.assert_array_equal(model.theta, fitted.model_.theta)
        assert history["train_loss"] == fitted.history_["train_loss"]

    def test_the_same_state_gives_the_same_bits_and_none_draws(self):
        first, again, other = (tiny(random_state=state).fit(FEW, LABELS) for state in (5, 5, 6))
        np.testing.assert_array_equal(first.model_.theta, again.model_.theta)
        assert (first.model_.theta != other.model_.theta).any()
        drawn = [tiny(random_state=None, epochs=1).fit(FEW, LABELS).model_.theta for _ in range(2)]
        assert (drawn[0] != drawn[1]).any()
        states = [tiny(random_state=np.random.RandomState(3), epochs=1).fit(FEW, LABELS) for _ in range(2)]
        np.testing.assert_array_equal(states[0].model_.theta, states[1].model_.theta)

    def test_texts_two_classes_and_truth_values(self):
        names = np.array(["even", "odd"])[LABELS % 2]
        two = [Flatten(), Dense(2)]
        fitted = tiny(network=two).fit(FEW, names)
        assert fitted.classes_.tolist() == ["even", "odd"]
        assert fitted.model_.class_names == ("even", "odd")
        assert set(fitted.predict(REST)) <= {"even", "odd"}
        found = fitted.decision_function(REST)
        assert found.shape == (300,)
        np.testing.assert_array_equal(found > 0, fitted.predict(REST) == "odd")
        truth = tiny(network=two).fit(FEW, LABELS % 2 == 1)
        assert truth.predict(REST).dtype == bool
        np.testing.assert_array_equal(truth.predict(REST), fitted.predict(REST) == "odd")

    def test_classes_that_count_as_they_like(self):
        fitted = tiny(network=[Flatten(), Dense(3)]).fit(FEW, np.array([-4, 7, 30])[LABELS % 3])
        assert set(fitted.predict(REST)) <= {-4, 7, 30}
        with pytest.raises(DataError, match="one class alone, 4; at least two"):
            tiny().fit(FEW, np.full(300, 4))

    def test_weights_of_classes_and_of_examples(self):
        rare = np.where(LABELS == 3, "rare", "usual")
        how = {"network": [Flatten(), Dense(2)], "optimizer": "sgd", "schedule": "constant"}
        plain = tiny(**how).fit(FEW, rare)
        balanced = tiny(class_weight="balanced", **how).fit(FEW, rare)
        assert (balanced.predict(REST) == "rare").sum() > (plain.predict(REST) == "rare").sum()
        ratio = (rare == "usual").sum() / (rare == "rare").sum()
        factors = np.where(rare == "rare", ratio, 1.0)
        by_dict = tiny(class_weight={"rare": ratio, "usual": 1.0}, **how).fit(FEW, rare)
        by_example = tiny(**how).fit(FEW, rare, sample_weight=factors)
        np.testing.assert_array_equal(by_dict.model_.theta, by_example.model_.theta)
        both = tiny(class_weight={"rare": ratio, "usual": 1.0}, **how).fit(FEW, rare, sample_weight=1 / factors)
        np.testing.assert_allclose(both.model_.theta, plain.model_.theta, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("weights", "said"),
        [
            (np.zeros(300), "sample_weight is zero"),
            (-np.ones(300), "at least 0"),
            (np.ones(299), "inconsistent"),
            (np.ones((300, 2)), "sample_weight of shape"),
        ],
    )
    def test_weights_that_are_none(self, weights, said):
        with pytest.raises(ValueError, match=said):
            tiny().fit(FEW, LABELS, sample_weight=weights)
        with pytest.raises(ValueError, match=said):
            brightness().fit(FEW, LABELS, sample_weight=weights)

    def test_early_stopping_holds_a_tenth_out(self):
        fitted = tiny(epochs=40, lr=0.05, early_stopping=True).fit(FEW, LABELS)
        assert fitted.history_.stopped
        assert fitted.history_.examples == 270
        assert fitted.history_.kept < len(fitted.history_)
        third = tiny(epochs=1, validation_fraction=1 / 3).fit(FEW, LABELS, sample_weight=np.ones(300))
        assert third.history_.examples == 200
        assert third.history_[0]["validation_accuracy"] > 0
        assert tiny(epochs=1).fit(FEW, LABELS).history_[0]["validation_loss"] is None

    def test_callbacks_are_told(self):
        told = []
        tiny(callbacks=[told.append]).fit(FEW, LABELS)
        assert [each.epoch for each in told] == [1, 2, 3]

    def test_a_parameter_may_hold_arrays_and_be_changed_where_it_is(self):
        settings = {"filters": np.array([2, 2]), "hidden": 8}
        fitted = tiny(warm_start=True, network="two-conv", settings=settings).fit(FEW, LABELS)
        fitted.set_params(settings={**settings, "filters": np.array([2, 2])}).fit(FEW, LABELS)
        settings["hidden"] = 4
        with pytest.raises(SettingError, match="settings has changed since"):
            fitted.set_params(settings=settings).fit(FEW, LABELS)
        fitted.settings["filters"] = np.array([2, 3])
        with pytest.raises(SettingError, match="settings has changed since"):
            fitted.fit(FEW, LABELS)

    def test_what_the_model_takes_is_handed_on(self):
        changed = tiny(augmentation="shift=1", kernels="reference", verbose=True).fit(FEW, LABELS)
        assert changed.model_.execution.context.kernels.name == "reference"
        plain = tiny(kernels="reference").fit(FEW, LABELS)
        assert (changed.model_.theta != plain.model_.theta).any()

    def test_warm_start_goes_on(self):
        fitted = tiny(warm_start=True, network=[Flatten(), Dense(10)]).fit(FEW, LABELS)
        first, model = fitted.history_["train_loss"][0], fitted.model_
        assert fitted.fit(REST, OTHERS).history_["train_loss"][0] < first / 2
        assert fitted.model_ is model
        before = fitted.model_.theta.copy()
        for others in (LABELS + 2, LABELS % 9):
            with pytest.raises(
                DataError, match=r"y has the classes .*; give y with the same ones, use partial_fit, or"
            ):
                fitted.fit(FEW, others)
        np.testing.assert_array_equal(fitted.model_.theta, before)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("network", [Flatten(), Dense(3), Dense(10)]),
            ("network", "softmax-regression"),
            ("loss", "focal"),
            ("dtype", "float64"),
            ("kernels", "reference"),
            ("threads", 2),
            ("standardize", False),
        ],
    )
    def test_a_model_goes_on_with_what_it_was_made_with_alone(self, name, value):
        made = brightness if name == "standardize" else tiny
        y = FEW.mean(axis=1) if name == "standardize" else LABELS
        fitted = made(warm_start=True).fit(FEW, y)
        fitted = pickle.loads(pickle.dumps(fitted)).set_params(lr=0.02).fit(FEW, y)
        before, theta = getattr(fitted, name), fitted.model_.theta.copy()
        fitted.set_params(**{name: value})
        for again in (fitted.fit, fitted.partial_fit):
            with pytest.raises(SettingError, match=f"{name} has changed since .*; set it back, or .* warm_start=False"):
                again(FEW, y)
        np.testing.assert_array_equal(fitted.model_.theta, theta)
        fitted.set_params(**{name: before}).fit(FEW, y)
        assert fitted.set_params(**{name: value}, warm_start=False).fit(FEW, y).model_.theta is not theta

    def test_several_labels_are_for_others(self):
        with pytest.raises(DataError, match=r"y has 3 columns, .*MultiOutputClassifier or .*OneVsRest.* gpucnn\.Model"):
            tiny().fit(FEW, np.eye(3, dtype=int)[LABELS % 3])
        with pytest.raises(DataError, match="y has 3 columns"):
            tiny(loss="multi-label").partial_fit(FEW, [[0, 1, 1]] * 300, classes=range(10))

    def test_columns_of_a_frame_name_the_numbers(self):
        pandas = pytest.importorskip("pandas")
        frame, how = pandas.DataFrame({"mean": FEW.mean(axis=1), "most": FEW.max(axis=1)}), {"network": net}
        assert brightness(**how).fit(FEW, frame).model_.class_names == ("mean", "most")
        assert brightness(**how).partial_fit(FEW, frame).model_.class_names == ("mean", "most")
        assert brightness(**how).fit(FEW, frame.to_numpy()).model_.class_names == ("0", "1")
        for names in (["most", "most"], ["most", 1], ["most", "of\nall"]):  # which name no outputs
            assert brightness(**how).fit(FEW, frame.set_axis(names, axis=1)).model_.class_names == ("0", "1")

    def test_partial_fit_goes_on(self):
        whole = tiny(schedule="constant").fit(FEW, LABELS)
        parts = tiny().partial_fit(FEW, LABELS, classes=range(10))
        for _ in range(2):
            parts.partial_fit(FEW, LABELS)
        np.testing.assert_array_equal(parts.model_.theta, whole.model_.theta)
        assert parts.history_["epoch"] == [1, 2, 3]
        assert parts.history_["train_loss"] == whole.history_["train_loss"]

    def test_partial_fit_meets_classes_and_ranges_later(self):
        low, texts = LABELS < 5, LABELS.astype(str)
        with pytest.warns(UserWarning, match="the labels are of 5 of the 10 classes"):
            fitted = tiny(lr=0.05).partial_fit(FEW[low] / 2, texts[low], classes=[str(k) for k in range(10)])
        for _ in range(10):
            fitted.partial_fit(FEW, texts)
        assert set(fitted.predict(FEW)) - set(texts[low])
        with pytest.raises(DataError, match="y holds x, and the classes are 0"):
            fitted.partial_fit(FEW, np.full(300, "x"))
        with pytest.raises(SettingError, match="others than in the first call"):
            fitted.partial_fit(FEW, texts, classes=["0", "1"])
        with pytest.raises(SettingError, match="classes are missing"):
            tiny().partial_fit(FEW, LABELS)
        with pytest.raises(SettingError, match="as a dict"):
            tiny(class_weight="balanced").partial_fit(FEW, LABELS, classes=range(10))

    def test_ctrl_c_is_heard_and_what_was_learnt_stays(self):
        def interrupt(epoch):
            signal.raise_signal(signal.SIGINT)

        assert threading.current_thread() is threading.main_thread()
        fitted = tiny(callbacks=[interrupt])
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # of a process behind & it is ignored
        try:
            with pytest.raises(KeyboardInterrupt):
                fitted.fit(FEW, LABELS)
        finally:
            signal.signal(signal.SIGINT, before)
        assert fitted.history_.interrupted
        assert fitted.predict(REST).shape == (300,)

    def test_a_fit_that_is_refused_leaves_no_model_of_other_classes(self):
        fitted = tiny().fit(FEW, LABELS)
        fitted.set_params(lr=-1)
        with pytest.raises(ValueError, match="lr"):
            fitted.fit(FEW, np.array(list("jihgfedcba"))[LABELS])
        with pytest.raises(NotFittedError):
            fitted.predict(FEW)

    @pytest.mark.parametrize("change", [lambda X: X * 1e-50, lambda X: X * 1e38, lambda X: X + 1e12])
    def test_numbers_that_float32_cannot_tell_apart_are_refused(self, change):
        with pytest.raises(DataError, match='StandardScaler before the estimator, or give it dtype="float64"'):
            tiny().fit(change(FEW.astype(float)), LABELS)

    def test_numbers_that_float64_cannot_square_are_refused(self):
        with pytest.raises(DataError, match=r"StandardScaler before the estimator$"):
            tiny(dtype="float64").fit(FEW * 1e200, LABELS)

    def test_weights_of_classes_that_a_batch_lacks(self):
        few = LABELS < 2
        weighted = tiny(class_weight={0: 1.0, 9: 5.0}).partial_fit(FEW[few], LABELS[few], classes=range(10))
        assert weighted.predict(REST).shape == (300,)
        with pytest.raises(ValueError, match="class_weight has 17, and the classes are 0"):
            tiny(class_weight={17: 5.0}).fit(FEW, LABELS)

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ({"class_weight": {1: -1.0}}, "class_weight: -1.0 for 1: a number of at least 0 was expected"),
            ({"class_weight": {1: float("nan")}}, "class_weight: nan for 1: a number of at least 0 was expected"),
            ({"class_weight": {1: "2"}}, "class_weight: '2' for 1: a number of at least 0 was expected"),
            ({"class_weight": [1.0, 2.0]}, 'class_weight=.*: "balanced", or a dict of factors by class, was expected'),
            ({"network": "two-conv", "settings": [1]}, r"settings=\[1\]: a dict was expected"),
        ],
        ids=str,
    )
    def test_settings_of_another_kind_are_refused_by_their_names(self, wrong, sentence):
        with pytest.raises(SettingError, match=sentence):
            tiny(**wrong).fit(FEW, LABELS)

    def test_images_of_too_many_axes(self):
        with pytest.raises(DataError, match="X has 5 axes"):
            tiny().fit(FEW.reshape(len(FEW), 2, 2, 4, 4), LABELS)

    def test_training_that_diverges(self):
        diverging = tiny(optimizer="sgd", lr=1e30, network=[Flatten(), Dense(10)])
        with np.errstate(all="ignore"), pytest.raises(TrainingError, match="lower learning rate"):
            diverging.fit(FEW, LABELS)
        assert not hasattr(diverging, "model_")

    def test_what_is_not_fitted_says_so(self):
        for method in ("predict", "predict_proba", "decision_function"):
            with pytest.raises(NotFittedError):
                getattr(tiny(), method)(FEW)


class TestNumbers:
    def test_one_number_and_several(self):
        ink = FEW.mean(axis=1) - 5
        fitted = brightness(epochs=20).fit(FEW, ink)
        assert fitted.predict(REST).shape == (300,)
        assert fitted.score(REST, REST.mean(axis=1) - 5) > 0.9
        halves = np.stack([FEW[:, :32].mean(axis=1), FEW[:, 32:].mean(axis=1)], axis=1)
        both = brightness(network=[Flatten(), Dense(2)]).fit(FEW, halves)
        assert both.predict(REST).shape == (300, 2)
        parts = brightness().partial_fit(FEW, ink).partial_fit(FEW, ink, sample_weight=np.ones(300))
        assert parts.history_["epoch"] == [1, 2]

    def test_numbers_that_are_large_behind_a_transformer(self):
        large = 5000 + 1000 * FEW.mean(axis=1)
        fitted = TransformedTargetRegressor(brightness(epochs=20), transformer=StandardScaler()).fit(FEW, large)
        assert fitted.score(REST, 5000 + 1000 * REST.mean(axis=1)) > 0.9

    def test_a_loss_of_classes_is_refused(self):
        with pytest.raises(SettingError, match="CNNRegressor of numbers; choose another loss, or CNNClassifier"):
            brightness(loss="softmax", network=[Flatten(), Dense(2)]).fit(FEW, np.ones((300, 2)))


class TestInScikitLearn:
    def test_a_search(self):
        grid = {"lr": [1e-4, 0.02], "network": [[Flatten(), Dense(10)], "softmax-regression"]}
        search = GridSearchCV(tiny(), grid, cv=2).fit(FEW, LABELS)
        assert search.best_params_["lr"] == 0.02
        assert search.best_score_ > 0.8
        assert search.best_estimator_.predict(REST).shape == (300,)

    @pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler])
    def test_behind_a_scaler(self, scaler):
        """Whose numbers lie outside of 0..1, in what is predicted too."""
        pipeline = make_pipeline(scaler(), tiny(network=None, epochs=8))
        assert pipeline.fit(FEW, LABELS).score(REST, OTHERS) > 0.8
        assert cross_val_score(pipeline, FEW, LABELS, cv=2).min() > 0.7

    def test_which_pixels_matter(self):
        fitted = tiny(epochs=10).fit(FEW, LABELS)
        found = permutation_importance(fitted, FEW, LABELS, n_repeats=2, random_state=0).importances_mean
        assert found[0] == 0  # a corner that is always empty
        assert found.max() > 0.02

    def test_two_processes_find_what_one_finds(self):
        alone, shared = (cross_val_score(tiny(), FEW, LABELS, cv=2, n_jobs=jobs) for jobs in (1, 2))
        np.testing.assert_array_equal(alone, shared)

    @pytest.mark.parametrize("made", [tiny, brightness])
    def test_copies_have_the_same_bits(self, made, tmp_path):
        fitted = made(early_stopping=True).fit(FEW, LABELS)
        joblib.dump(fitted, tmp_path / "it")
        for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "it")):
            np.testing.assert_array_equal(copy.predict(REST), fitted.predict(REST))
            np.testing.assert_array_equal(copy.model_.theta, fitted.model_.theta)
            assert copy.history_ == fitted.history_

    def test_a_saved_model_answers_alike(self, tmp_path):
        fitted = tiny().fit(FEW, LABELS.astype(str))
        model = gpucnn.load(fitted.model_.save(tmp_path / "model"), device="cpu", threads=1)
        np.testing.assert_array_equal(model.predict_proba(REST.reshape(-1, 8, 8)), fitted.predict_proba(REST))

    @pytest.mark.parametrize("train", ["fit", "partial_fit"])
    def test_truth_values_are_numbers_to_a_regressor(self, train):
        bright = FEW.mean(axis=1) > 5
        for y in (bright, np.stack((bright, ~bright), axis=1), bright.tolist()):
            network = [Flatten(), Dense(np.ndim(y))]
            found = getattr(brightness(network=network), train)(FEW, y)
            by_numbers = getattr(brightness(network=network), train)(FEW, np.asarray(y, float))
            np.testing.assert_array_equal(found.predict(REST), by_numbers.predict(REST))
            assert found.score(FEW, y) == by_numbers.score(FEW, np.asarray(y, float))

    def test_tables_are_taken_by_their_columns(self):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        names = [f"pixel{k}" for k in range(64)]
        table = pandas.DataFrame(FEW, columns=names)
        fitted = tiny().fit(table, pandas.Series(LABELS))
        assert fitted.feature_names_in_.tolist() == names
        np.testing.assert_array_equal(fitted.predict(table), tiny().fit(FEW, LABELS).predict(FEW))
        with pytest.raises(ValueError, match="feature names"):
            fitted.predict(table[names[::-1]])

    @pytest.mark.slow
    def test_the_digits(self):
        search = GridSearchCV(CNNClassifier(random_state=0), {"lr": [0.003, 0.01]}, cv=5, n_jobs=2).fit(X, Y)
        assert search.best_score_ > 0.95


def test_a_model_is_no_network():
    model = Model(Network((8, 8, 1), (Flatten(), Dense(10))), device="cpu")
    for given in (model, gpucnn.Ensemble([model])):
        with pytest.raises(SettingError, match=r"^network: (Model|Ensemble) was given.*; give model\.network"):
            tiny(network=given).fit(FEW, LABELS)


def test_a_class_of_one_example_is_named_where_some_are_held_out():
    labels = np.repeat([7, 8], 15)
    labels[0] = 99
    images = np.zeros((30, 8, 8), np.uint8)
    for held in ({"early_stopping": True}, {"validation_fraction": 0.2}):
        with pytest.raises(DataError, match=r"y has one example alone of 99, .*; add examples of it, .* none out"):
            CNNClassifier(device="cpu", **held).fit(images, labels)


def test_a_network_of_other_outputs_than_y_has_classes():
    network = Network((8, 8, 1), (Flatten(), Dense(7)))
    with pytest.raises(DataError, match="y has 10 classes, and the network 7 outputs; give one of 10, or its name"):
        CNNClassifier(network, device="cpu").fit(np.zeros((30, 8, 8), np.uint8), np.arange(30) % 10)
    with pytest.raises(DataError, match="y has 1 column, and the network 7 outputs; give one of 1, or"):
        CNNRegressor(network, device="cpu").fit(np.zeros((30, 8, 8), np.uint8), np.arange(30) / 10)
