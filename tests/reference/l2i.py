"""Slow twins of L2I, written from the published formulas in the plainest way: numpy, float64, a loop per index."""

import numpy as np


def objective(S, W, H, mu):
    """1/2 sum (S - W H)^2 + mu sum H."""
    total = 0.0
    for f in range(S.shape[0]):
        for t in range(S.shape[1]):
            model = sum(W[f, k] * H[k, t] for k in range(W.shape[1]))
            total += 0.5 * (S[f, t] - model) ** 2
    return total + mu * sum(H[k, t] for k in range(H.shape[0]) for t in range(H.shape[1]))


def updated_codes(S, W, H, mu):
    """H_kt <- H_kt (sum_f W_fk S_ft) / (sum_f W_fk (W H)_ft + mu)."""
    new = np.zeros_like(H)
    for k in range(H.shape[0]):
        for t in range(H.shape[1]):
            model = [sum(W[f, j] * H[j, t] for j in range(W.shape[1])) for f in range(W.shape[0])]
            up = sum(W[f, k] * S[f, t] for f in range(W.shape[0]))
            down = sum(W[f, k] * model[f] for f in range(W.shape[0])) + mu
            new[k, t] = H[k, t] * up / down
    return new


def updated_dictionary(S, W, H):
    """Each half of the gradient with respect to the unscaled W, through w / |w|; then columns of unit length.

    The gradient of the objective at unit w_k is (I - w w^T) (W H H^T - S H^T)_k: what raises w_k is S H^T + w (w . W H
    H^T), what lowers it W H H^T + w (w . S H^T).
    """
    new = np.zeros_like(W)
    model = W @ H
    for k in range(W.shape[1]):
        w = W[:, k]
        drawn = sum(S[:, t] * H[k, t] for t in range(H.shape[1]))
        modeled = sum(model[:, t] * H[k, t] for t in range(H.shape[1]))
        column = w * (drawn + w * np.dot(w, modeled)) / (modeled + w * np.dot(w, drawn))
        new[:, k] = column / np.sqrt(np.dot(column, column))
    return new


def relevance(z, w, largest="max"):
    """r_k = z_k w_k / max_j z_j w_j, or over the largest absolute value; signs stay where no product is positive."""
    products = [z[k] * w[k] for k in range(len(z))]
    most = max(products)
    if largest == "max-abs" or most <= 0:
        most = max(abs(p) for p in products)
    return np.array([p / most if most > 0 else 0.0 for p in products])


def gain(W, H, kept):
    """sum over kept k of W_fk H_kt / (W H)_ft; 0 where the model is 0."""
    out = np.zeros((W.shape[0], H.shape[1]))
    for f in range(W.shape[0]):
        for t in range(H.shape[1]):
            whole = sum(W[f, k] * H[k, t] for k in range(W.shape[1]))
            out[f, t] = sum(W[f, k] * H[k, t] for k in kept) / whole if whole > 0 else 0.0
    return out


def attention(H, V, bV, U, bU, u, bu):
    """z_k = sum_t a_t H_kt, a = softmax_t(u . (tanh(V h_t + bV) relu(U h_t + bU)) + bu)."""
    scores = [np.dot(u, np.tanh(V @ h + bV) * np.maximum(U @ h + bU, 0)) + bu for h in H.T]
    weights = np.exp(scores) / np.sum(np.exp(scores))
    return sum(a * h for a, h in zip(weights, H.T, strict=True))


def fidelity(said, decided, task):
    """- sum_c p_c log q_c, or for several labels the mean of binary cross-entropies; p decided, q said."""
    if task == "multiclass":
        p, q = (np.exp(x) / np.exp(x).sum() for x in (decided, said))
        return -sum(p[c] * np.log(q[c]) for c in range(len(p)))
    p, q = (1 / (1 + np.exp(-x)) for x in (decided, said))
    return np.mean([-(p[c] * np.log(q[c]) + (1 - p[c]) * np.log(1 - q[c])) for c in range(len(p))])
