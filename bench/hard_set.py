"""A synthetic set that is as hard as real embeddings are: made from a seed, block by block.

Gaussian noise is no test: it has no near neighbours worth finding. Real embeddings lie in many
overlapping clusters, each of them flat in its own way, over a spectrum that falls slowly. So:

    row = centre + local + noise,  rotated, and brought to length 1 unless told otherwise

- centre: one of CLUSTERS points, drawn from a Gaussian whose j-th axis has scale j^-CENTRE_FALL;
  the clusters' sizes differ (exponential weights);
- local: a combination of LOCAL directions that belong to the cluster and follow the same spectrum,
  the i-th with scale i^-LOCAL_FALL: each cluster is a thin pancake of its own;
- noise: in all directions, with the flatter spectrum j^-NOISE_FALL, so that neighbours of the same
  cluster are hard to tell apart and the intrinsic dimension stays high;
- the rotation (one random orthogonal matrix) leaves no coordinate that stands for an axis.

The three parts have the lengths of SHARES. The same seed gives the same rows on the same machine;
a set of n rows is a prefix of a larger one. Queries come from the same distribution, other draws.
"""
import numpy as np

CLUSTERS = 2000
LOCAL = 24
CENTRE_FALL, LOCAL_FALL, NOISE_FALL = 0.625, 0.7, 0.45
SHARES = {"centre": 0.8, "local": 0.5, "noise": 0.9}
BLOCK = 20_000


def spectrum(count, fall):
    """Scales 1, 2^-fall, 3^-fall ... whose squares add up to 1."""
    scales = np.arange(1, count + 1, dtype=np.float64) ** -fall
    return (scales / np.linalg.norm(scales)).astype(np.float32)


class HardSet:
    def __init__(self, dimension, seed, normalise=True):
        self.dimension, self.seed, self.normalise = dimension, seed, normalise
        shape = np.random.default_rng([seed, 0])
        axes = spectrum(dimension, CENTRE_FALL)
        self.centres = shape.standard_normal((CLUSTERS, dimension), dtype=np.float32)
        self.centres *= SHARES["centre"] * axes
        scales = SHARES["local"] * spectrum(LOCAL, LOCAL_FALL)[:, None] * axes
        self.local = shape.standard_normal((CLUSTERS, LOCAL, dimension), dtype=np.float32)
        self.local *= scales
        self.noise = SHARES["noise"] * spectrum(dimension, NOISE_FALL)
        weights = shape.exponential(size=CLUSTERS)
        self.bounds = np.cumsum(weights / weights.sum())
        self.rotation = np.linalg.qr(shape.standard_normal((dimension, dimension)))[0].astype(np.float32)

    def draw(self, random, count):
        cluster = np.minimum(np.searchsorted(self.bounds, random.random(count)), CLUSTERS - 1)
        rows = random.standard_normal((count, self.dimension), dtype=np.float32)
        rows *= self.noise
        rows += self.centres[cluster]
        along = random.standard_normal((count, LOCAL), dtype=np.float32)
        order = np.argsort(cluster, kind="stable")
        begins = np.searchsorted(cluster[order], np.arange(CLUSTERS + 1))
        for number in np.unique(cluster):
            members = order[begins[number]:begins[number + 1]]
            rows[members] += along[members] @ self.local[number]
        rows = rows @ self.rotation
        if self.normalise:
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def fill(self, rows):
        """Writes the set's first len(rows) rows, a block at a time."""
        for block, begin in enumerate(range(0, len(rows), BLOCK)):
            part = self.draw(np.random.default_rng([self.seed, 1, block]), BLOCK)
            rows[begin:begin + BLOCK] = part[:len(rows) - begin]

    def queries(self, count):
        return self.draw(np.random.default_rng([self.seed, 2]), count)
