"""Where every equation of the source documents is: the function that carries it out, which cites it back.

two-conv and layered number their equations; the other three have headings, and displays named by their left-hand side.
A chain of equalities, or the lines of a loop, is one row. Headings above a row stand before its words, with colons.
Words are as printed, symbols that were garbled mended; in [brackets] stands what is right where the document errs.
(layered's 1.2 and 1.3 are headings without a text.)
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import SettingError


class Equation(NamedTuple):
    """number: as printed, or the heading or left-hand side. function: its name below gpucnn, such as "ops.dense"."""

    document: str
    number: int | str
    words: str
    function: str


_ROWS: dict[str, tuple[tuple[int | str, str, str], ...]] = {
    "single-filter": (
        ("Network", "28 * 28 MNIST, filter = 3 * 3, filter_bias = 0", "networks.single_filter"),
        ("Forward Pass", "(feature * filter) + filter_bias = Feature Map -> ReLU -> Pooling", "Network.forward"),
        ("Backward Pass", "Entropy -> ReLU' -> Feature Map", "Network.backward"),
        ("Neural Net", "Layers - 3, Activations - ReLU & Softmax", "networks.single_filter"),
        ("Feature Map[i, j]", "sum over u, v of filter[u, v] * feature[i+u, j+v] + filter_bias", "ops.correlate"),
        ("X = (N - L) / 1 + 1", "(28 - 3) / 1 + 1 = 26, and so Y", "ops.Window.outputs"),
        ("Feature Map = ReLU(Feature Map)", "", "ops.relu"),
        ("Pooling - Indices", "argmax(window), indices[i_start, j_start] [indices[i, j]]", "ops.max_pool_with_indices"),
        ("x, y", "(f_length - pool_dim_length) / 2 + 1 = (26 - 2) / 2 + 1 = 13", "ops.Window.outputs"),
        ("p[i, j]", "value = max(window), window = feature_map[i_start, j_start and 2 on]", "ops.max_pool"),
        ("Neural Network", "Layers = 169, 70, 10; weights and biases", "networks.single_filter"),
        ("L_1", "A_0 = 13 * 13 = pooled array = (169, 1)", "ops.flatten"),
        ("L_2", "A_1 = sum of ReLU(w_1^ji A_0^i + b_1) [ReLU of the sum over i]", "ops.dense"),
        ("L_3", "A_2 = sum of SoftMax(w_2^ki A_1^i + b_2) [SoftMax of the sum over i]", "ops.softmax"),
        ("Cross Entropy", "A_2 - Y [its gradient by z_2]", "ops.softmax_cross_entropy"),
        ("delta^2", "Back Propagation: z^2 - 1 [a^2 - y]", "ops.softmax_cross_entropy"),
        ("dc/dw^2", "dc/dz^2 dz^2/dw^2 = delta^2 a^1T", "ops.dense_backward"),
        ("dc/db^2", "delta^2", "ops.add_bias_backward"),
        ("dc/da^1", "dc/dz^2 dz^2/da^1 = delta^2 w^2 [w^2T delta^2]", "ops.dense_backward"),
        ("dc/dz^1", "dc/da^1 da^1/dz^1 = delta^1 = delta^2 w^2T * ReLU'(z^1) [w^2T delta^2]", "ops.relu_backward"),
        ("dc/dw^1", "dc/dz^1 dz^1/dw^1 = delta^1 a^0T", "ops.dense_backward"),
        ("dc/db^1", "delta^1 = (70, 169) [(70, 1)]", "ops.add_bias_backward"),
        ("dc/da^0", "dc/dz^1 dz^1/da^0 = delta^0 = delta^1 w^1T [w^1T delta^1]", "ops.dense_backward"),
        ("Back fill_map()", "new_map[indices[i]] = delta^0[i], new_map (28, 28) [(26, 26)]", "ops.back_fill"),
        ("new_map_relu_prime", "new_map * ReLU'(feature_map)", "ops.relu_backward"),
        ("fill_dw", "dw[u, v] += new_map[i, j] [relu_prime] * feature[i+u, j+v]", "ops.correlate_backward"),
        ("filter", "filter - eta * dw; so filter_bias and, above, each w and b", "optimizers.SGD"),
        ("d_filter_bias", "sum(dw) [sum(new_map_relu_prime)]", "ops.add_bias_backward"),
    ),
    "two-conv": (
        (1, "1 Layers: 1. 2D Convolution: C_ijk = sum of x_(s1 i+p)(s2 j+q)r w_(P-p)(Q-q)rk", "ops.convolve"),
        (2, "dC_ijk/dx_tuv = w_(P+s1 i-t)(Q+s2 j-u)vk", "ops.convolve_backward"),
        (3, "dC_ijk/dw_ctuv = x_(s1 i+P-c)(s2 j+Q-t)u delta_kv", "ops.convolve_backward"),
        (4, "2. Max Pooling 2x2: P_ijk = max over p, q of x_(s1 i+p)(s2 j+q)k", "ops.max_pool"),
        (5, "3. Flatten: F_(iJK+jK+k) = x_ijk", "ops.flatten"),
        (6, "4. Fully Connected (Dense): D_j = sum over i of x_i w_ij", "ops.dense"),
        (7, "dD_j/dx_k = w_kj", "ops.dense_backward"),
        (8, "dD_j/dw_ck = x_c delta_jk", "ops.dense_backward"),
        (9, "2 Activation Functions: 1. ReLU: R_i = z_i, z_i >= 0; 0, z_i < 0", "ops.relu"),
        (10, "dR_i/dz_j = delta_ij, z_i > 0; 1/2 delta_ij, z_i = 0; 0, z_i < 0", "ops.relu_backward"),
        (11, "2. Softmax: S_i = e^z_i / sum over k of e^z_k", "ops.softmax"),
        (12, "dS_i/dz_j = S_i (1 - S_j), i = j; -S_i S_j, i != j", "ops.softmax_backward"),
        (13, "3 Cost Function: Softmax cross-entropy: J = 1/B sum over b = 0..B [1..B] of J^b", "Model.evaluate"),
        (14, "J^b = sum over i of -y_i log(z_i) [log(x_i)]", "ops.cross_entropy"),
        (15, "dJ^b/dz_j = dJ^b/dx_k dS_k/dz_j = x_j - y_j", "ops.softmax_cross_entropy"),
        (16, "4 Backpropagation: 4.1 General: x^l = sigma^(l-1)(z^(l-1))", "Network.forward"),
        (17, "z^l = f^l(x^l, w^l) + b^l", "ops.add_bias"),
        (18, "Delta b_i^l = -eta dJ/db_i^l = -eta dJ/dz_i^l", "ops.add_bias_backward"),
        (19, "Delta b_i^(L-1) = -eta dJ/dx_j^L dsigma_j^(L-1)/dz_i^(L-1)", "losses.SoftmaxCrossEntropy"),
        (20, "Delta b_i^(l-1) = Delta b_j^l df_j^l/dx_k^l dsigma_k^(l-1)/dz_i^(l-1)", "Network.backward"),
        (21, "Delta w_ij^l = -eta dJ/dw_ij^l = Delta b_k^l df_k^l/dw_ij^l", "Network.backward"),
        (22, "4.2 This Case: L = 4", "networks.two_conv"),
        (23, "sigma^0 = P(R(z^0)), f^0 = C(x^0, w^0)", "networks.two_conv"),
        (24, "dsigma_i^3/dz_j^3 = dS_i/dz_j^3, df_i^3/dx_j^3 = dD_i/dx_j^3", "networks.two_conv"),
        (25, "delta_i^3 = -eta dJ/dz_i^3 [its last line has x^2, z^1 for x^1, z^0]", "networks.two_conv"),
    ),
    "binary-sigmoid": (
        ("Overview", "1. Convolution operation, 2. Convolutional layer", "networks.binary_sigmoid"),
        ("Cross-correlation", "Convolution Walk through: 1*1 + 2*6 + -1*5 + 0*3 = 8", "ops.correlate"),
        ("Size of Output", "Y = I - K + 1, input minus output plus 1 [minus kernel]", "ops.Window.outputs"),
        ("Convolution", "1*0 + 6*-1 + 5*2 + 3*1 = 7; Cross-correlation != convolution", "ops.convolve"),
        ("Math Notation", "Conv(I, K) = I * rot180(K) = I * K [* on one side only]", "ops.rotate180"),
        ("Valid", "Convolution, Cross-Correlation, Step 1 ...", "ops.convolution_window"),
        ("Full", "vs [a drawing of every place where they meet]", "ops.convolution_window"),
        ("Convolutional Layer", "Parts, Output calculation, O_1 + O_2 + O_3 + B = y_11", "layers.Conv2D"),
        ("Forward propagation", "Y_i = B_i + sum over j = 1..n of X_j * K_ij, i = 1..d", "layers.Conv2D"),
        ("(1) dE/dk_ij", "(A) Backward Propagation Overview: X * dE/dY [valid]", "ops.correlate_backward"),
        ("y = B + X * k", "expanded, y_11 = b_11 + k_11 x_11 + k_12 x_12 + k_21 x_21 + k_22 x_22", "ops.add_bias"),
        ("(2) dE/db_i", "dE/dy_i", "ops.add_bias_backward"),
        ("(3) dE/dx_i", "dE/dY * rot180(K), full cross-correlation", "ops.correlate_backward"),
        ("3) Reshape Layer", "High Level Explanations of the rest of the implementation: reshape", "ops.reshape"),
        ("4) Binary Cross Entropy Loss", "used for classification of only 2 digits", "losses.BinaryCrossEntropy"),
        ("5) Sigmoid Activation", "inputs bounded between 0-1", "layers.Sigmoid"),
        ("Cross Entropy Loss", "E = -1/n sum of [both] y* log(y) + (1-y*) log(1-y)", "ops.binary_cross_entropy"),
        ("dE/dy_1", "1/n ((1-y_1*) / (1-y_1) - y_1* / y_1)", "ops.binary_cross_entropy_backward"),
        ("Sigmoid Function", "Sigmoid Activation: sigma(x) = 1 / (1 + e^-x)", "ops.sigmoid"),
        ("Sigmoid Derivative", "sigma'(x) = e^-x / (1 + e^-x)^2 = sigma(x) (1 - sigma(x))", "ops.sigmoid_backward"),
    ),
    "avgpool-96": (
        ("Number of Parameters to be Learned", "4*5*5 + 4*1 + ... = 6170 [6070]", "networks.avgpool_96"),
        ("K_1,m", "Uniform +-sqrt(4 [6] / ((1+4) 5^2))", "layers.Conv2D.init"),
        ("K^2_m,n", "Uniform +-sqrt(6 / ((4+6) 5^2))", "layers.Conv2D.init"),
        ("W_1", "Uniform +-(6 / (96+50)) [its root]", "layers.Dense.init"),
        ("All biases initialized to zeros", "", "layers.Dense.init"),
        ("C_m(i, j)", "FORWARD PASS: f(sum of I(i-u, j-v) K_1,m(u, v) + b_m) [I(i+2-u, j+2-v)]", "ops.convolve"),
        ("CP_m(i, j)", "1/4 sum over u, v = 0, 1 of C_m(2i-u, 2j-v)", "ops.average_pool"),
        ("C^2_n(i, j)", "f(sum over m, u, v of CP_m(i-u, j-v) K^2_m,n(u, v) + b_n)", "ops.convolve"),
        ("CP^2_n(i, j)", "average pooling in second CNN layer, as CP_m [C_n is printed]", "ops.average_pool"),
        ("a_1", "f(flatten x W_1 + b_1), flattened into 16 x 6 = 96 values", "ops.dense"),
        ("a_2", "f(a_1 x W_2 + b_2), f the softmax", "ops.softmax"),
        ("delta_i", "S_i - y_i", "losses.SoftmaxCrossEntropy"),
        ("Delta W_2", "dL/da_2 da_2/dW_2 = delta x a_1^T", "ops.dense_backward"),
        ("Delta b_2", "delta", "ops.add_bias_backward"),
        ("delta_1", "W_2 x delta x derivative of activation function", "ops.tanh_backward"),
        ("Delta W_1", "dL/da_1 da_1/dW_1 = delta_1 x flatten", "ops.dense_backward"),
        ("Delta b_1", "delta_1 x da_1/db_1 [delta_1]", "ops.add_bias_backward"),
        ("delta_flatten", "W_1^T x delta_1, copied to corresponding places in S_n", "ops.flatten_backward"),
        ("delta C^2_n(i, j)", "1/4 delta S_n(ceil(i/2), ceil(j/2)) f'", "ops.average_pool_backward"),
        ("Delta K^2_m,n(u, v)", "sum over i, j [to 8] of delta C_n CP_m(i-u, j-v)", "ops.convolve_backward"),
        ("Delta b_n", "sum over i, j = 1..8 of delta C^2_n(i, j)", "ops.add_bias_backward"),
        ("delta CP_m(i, j)", "sum over n of delta C^2_n * K^2_m,n rot 180", "ops.convolve_backward"),
        ("delta C_m(i, j)", "1/4 delta CP_m(ceil(i/2), ceil(j/2)) f'", "ops.average_pool_backward"),
        ("Delta K_1,m", "delta C_m * I rot 180", "ops.convolve_backward"),
        ("Delta b_m", "sum over i, j = 1..24 of delta C_m(i, j)", "ops.add_bias_backward"),
        ("The model parameters will be updated as", "K_1,m = K_1,m - lambda Delta K_1,m", "optimizers.SGD"),
    ),
    "layered": (
        ("1.1 Part 1", "1 Report: one fully connected layer, 92% on the test set", "networks.softmax_regression"),
        (1, "2 Notes: 2.1 General: 2.1.0.1 Forward Propagation: x^l = sigma^(l-1)(z^(l-1))", "Network.forward"),
        (2, "z^l = f^l(x^l, w^l) + b^l", "ops.add_bias"),
        (3, "2.1.0.2 Backpropagation: delta_bi^l = -eta dJ_b/dz_bi^l, the whole chain", "Network.backward"),
        (4, "delta_bi^(L-1) = -eta dJ_b/dx_bj^L dsigma_bj^(L-1)/dz_bi^(L-1)", "losses.SoftmaxCrossEntropy"),
        (5, "delta_bi^(l-1) = delta_bj^l df_bj^l/dx_bk^l dsigma_bk^(l-1)/dz_bi^(l-1)", "Network.backward"),
        (6, "Delta b_bi^l = -eta dJ_b/db_bi^l = delta_bi^l", "ops.add_bias_backward"),
        (7, "Delta w_bij^l = -eta dJ_b/dw_bij^l = delta_bk^l df_k^l/dw_bij^l", "Network.backward"),
        (8, "Delta b_i^l = 1/B sum over b = 0..B [1..B] of Delta b_bi^l", "Model.fit"),
        (9, "Delta w_ij^l = 1/B sum over b = 0..B [1..B] of Delta w_bij^l", "Model.fit"),
        (10, "2.2 Layers: 1. Flatten: F(x_bijk) = x_b(iJK+jK+k)", "ops.flatten"),
        (11, "dF_bu/dx_cv = delta_bc delta_uv", "ops.flatten_backward"),
        (12, "2. Fully Connected (Dense): D_bj = sum over i of x_bi w_ij", "ops.dense"),
        (13, "dD_bj/dx_ck = delta_bc w_kj, dJ/dx_ck = dJ/dz_cj w_kj", "ops.dense_backward"),
        (14, "dD_bj/dw_km = x_bk delta_jm, dJ/dw_km = dJ/dz_bm x_bk", "ops.dense_backward"),
        (15, "3. 2D Convolution: C_bijk = sum of x_b(s1 i+p)(s2 j+q)r w_(P-p)(Q-q)rk", "ops.convolve"),
        (16, "dC_bijk/dx_ctuv = delta_bc w_(P+s1 i-t)(Q+s2 j-u)vk", "ops.convolve_backward"),
        (17, "dC_bijk/dw_mnuv = x_b(s1 i+P-m)(s2 j+Q-n)u delta_kv", "ops.convolve_backward"),
        (18, "4. Max Pooling 2x2: P_bijk = max over p, q of x_b(s1 i+p)(s2 j+q)k", "ops.max_pool"),
        (19, "dP_bijk/dx_ctuv = delta_bc delta_it delta_ju delta_kv [(t, u) in (i, j)]", "ops.max_pool_backward"),
        (20, "2.3 Activation Functions: 1. ReLU: R_bi = z_bi, z_bi >= 0; 0, z_bi < 0", "ops.relu"),
        (21, "dR_bi/dz_cj = delta_bc delta_ij, z > 0; 1/2 of it, z = 0; 0, z < 0", "ops.relu_backward"),
        (22, "2. Softmax: S_bi = e^z_bi / sum over k of e^z_bk", "ops.softmax"),
        (23, "dS_bi/dz_cj = delta_bc S_bj (1 - S_bj), i = j [and dJ/dz_cj a sum over i]", "ops.softmax_backward"),
        (24, "2.4 Cost Function: Softmax cross-entropy: J = 1/B sum over b = 0..B [1..B] of J_b", "Model.evaluate"),
        (25, "J_b = sum over i of -y_bi log(z_bi) [log(x_bi)]", "ops.cross_entropy"),
        (26, "dJ_b/dz_bj = dJ_b/dx_bk dS_k/dz_bj = x_bj - y_bj", "ops.softmax_cross_entropy"),
        (27, "2.5 This Case: 2.5.0.1 Forward Propagation: L = 7", "networks.layered"),
        (28, "sigma^0 = R(z^0), f^0 = C(x^0, w^0)", "networks.layered"),
        (29, "2.5.0.2 Backpropagation: dsigma_bi^6/dz_bj^6 = dS_bi/dz_bj^6", "networks.layered"),
        (30, "Delta b_bi^6 = delta_bi^6 = -eta dJ_b/dz_bi^6 [D, F, P, C, P; delta^2]", "networks.layered"),
    ),
}  # fmt: skip

EQUATIONS = tuple(Equation(document, *row) for document, rows in _ROWS.items() for row in rows)


def equation(document: str, number: int | str) -> Equation:
    """The row of one equation, such as equation("two-conv", 16). Raises SettingError with what there is."""
    rows = {(row.document, str(row.number)): row for row in EQUATIONS}
    if (document, str(number)) in rows:
        return rows[document, str(number)]
    known = [str(row[0]) for row in _ROWS.get(document, ())] or list(_ROWS)
    raise SettingError(f"equation {document!r}, {number!r} is not known; choose one of {'; '.join(known)}")
