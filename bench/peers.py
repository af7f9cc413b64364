"""The engines that nigh is measured against, each with the settings that served it best.

Vectors of length 1 are compared by inner product, others by L2. M = 16 and ef_construction = 200
stand for the same graph everywhere: 16 links a node makes, 32 places on the lowest level.
"""
import importlib.metadata
import os
import shutil
import subprocess
import sys

import numpy as np

from engines import Engine, LeftOut
from sets import ROOT

sys.path.append(os.path.join(ROOT, "tests", "support"))
import environments  # noqa: E402

M, EF_CONSTRUCTION, DEGREE = 16, 200, 32


def of_profile(text, prefix):
    """The number in a profile such as "M32"."""
    return int(text.removeprefix(prefix).split(" ")[0])


class Hnswlib(Engine):
    name = "hnswlib"
    profiles = ("M16", "M32")

    @staticmethod
    def version():
        return importlib.metadata.version("hnswlib")

    def __init__(self, profile, bench_set):
        super().__init__(profile, bench_set)
        import hnswlib
        self.index = hnswlib.Index({"dot": "ip", "l2": "l2"}[bench_set.metric], bench_set.dimension)

    def build(self, threads):
        self.index.init_index(self.set.count, ef_construction=EF_CONSTRUCTION,
                              M=of_profile(self.profile, "M"))
        self.index.add_items(self.set.rows, num_threads=threads)

    def searcher(self, queries, k, ef):
        self.index.set_ef(max(ef, k))
        return lambda: self.index.knn_query(queries, k, num_threads=1)[0]

    def save(self, path):
        self.index.save_index(path)

    def load(self, path):
        self.index.load_index(path, max_elements=self.set.count)


class Faiss(Engine):
    """HNSW over f32, over 8-bit codes with the best k_factor x k measured again in f32, and over
    f16 codes."""

    name = "faiss"
    profiles = ("HNSW16_SQ8,RFlat", "HNSW16,Flat", "HNSW16_SQfp16")

    @staticmethod
    def version():
        return importlib.metadata.version("faiss-cpu")

    def __init__(self, profile, bench_set):
        super().__init__(profile, bench_set)
        import faiss
        self.faiss = faiss

    def build(self, threads):
        metric = {"dot": self.faiss.METRIC_INNER_PRODUCT, "l2": self.faiss.METRIC_L2}
        self.faiss.omp_set_num_threads(threads)
        self.index = self.faiss.index_factory(self.set.dimension, self.profile,
                                              metric[self.set.metric])
        self.graph().hnsw.efConstruction = EF_CONSTRUCTION
        rows = np.asarray(self.set.rows)
        self.index.train(rows)
        self.index.add(rows)
        self.faiss.omp_set_num_threads(1)

    def graph(self):
        return self.faiss.downcast_index(getattr(self.index, "base_index", self.index))

    def searcher(self, queries, k, ef):
        self.graph().hnsw.efSearch = max(ef, k)
        if hasattr(self.index, "k_factor"):
            self.index.k_factor = 2
        return lambda: self.index.search(queries, k)[1]

    def save(self, path):
        self.faiss.write_index(self.index, path)

    def load(self, path):
        self.faiss.omp_set_num_threads(1)
        self.index = self.faiss.read_index(path)


class FaissFlat(Faiss):
    """The exact scan of f32. One query after the other: many at once it multiplies as matrices."""

    name = "faiss-flat"
    profiles = ("Flat",)
    is_exact = True

    def build(self, threads):
        metric = {"dot": self.faiss.METRIC_INNER_PRODUCT, "l2": self.faiss.METRIC_L2}
        self.faiss.omp_set_num_threads(1)
        self.faiss.cvar.distance_compute_blas_threshold = 1 << 30
        self.index = self.faiss.index_factory(self.set.dimension, self.profile,
                                              metric[self.set.metric])
        self.index.add(np.asarray(self.set.rows))

    def searcher(self, queries, k, ef):
        return lambda: self.index.search(queries, k)[1]


class Usearch(Engine):
    """It never measures again what it found on shorter numbers, so few bits bound its recall."""

    name = "usearch"
    profiles = ("bf16", "f32", "f16", "i8")

    @staticmethod
    def version():
        return importlib.metadata.version("usearch")

    def build(self, threads):
        from usearch.index import Index
        self.index = Index(ndim=self.set.dimension, dtype=self.profile, connectivity=M,
                           metric={"dot": "ip", "l2": "l2sq"}[self.set.metric],
                           expansion_add=EF_CONSTRUCTION)
        self.index.add(np.arange(self.set.count), np.asarray(self.set.rows), threads=threads)

    def searcher(self, queries, k, ef):
        self.index.expansion_search = max(ef, k)
        return lambda: self.index.search(queries, k, threads=1).keys.reshape(-1, k)

    def save(self, path):
        self.index.save(path)

    def load(self, path):
        from usearch.index import Index
        self.index = Index.restore(path)


class Svs(Engine):
    """Vamana. Its compressed forms (LVQ, LeanVec) end the process on processors not Intel's."""

    name = "scalable-vs"
    profiles = ("f16", "f32", "LVQ8", "LVQ4x8")
    saves_folder = True

    @staticmethod
    def version():
        return importlib.metadata.version("scalable-vs")

    def __init__(self, profile, bench_set):
        super().__init__(profile, bench_set)
        import svs
        self.svs = svs
        self.metric = {"dot": svs.DistanceType.MIP, "l2": svs.DistanceType.L2}[bench_set.metric]

    def build(self, threads):
        parameters = self.svs.VamanaBuildParameters(
            alpha={"dot": 0.95, "l2": 1.2}[self.set.metric], graph_max_degree=2 * M,
            window_size=EF_CONSTRUCTION)
        rows = np.asarray(self.set.rows)
        if self.profile.startswith("LVQ"):
            source = self.compressed(rows)
        else:
            source = rows.astype({"f16": np.float16, "f32": np.float32}[self.profile])
        self.index = self.svs.Vamana.build(parameters, source, self.metric, num_threads=threads)
        self.index.num_threads = 1

    def compressed(self, rows):
        primary, _, residual = self.profile.removeprefix("LVQ").partition("x")
        path = os.path.join(self.set.folder, "rows.fvecs")  # it compresses files only
        self.svs.write_vecs(rows, path)
        data = self.svs.VectorDataLoader(path, self.svs.DataType.float32, dims=self.set.dimension)
        return self.svs.LVQLoader(data, int(primary), int(residual or 0))

    def searcher(self, queries, k, ef):
        self.index.search_window_size = max(ef, k)
        return lambda: self.index.search(queries, k)[0]

    def save(self, path):
        self.index.save(*(os.path.join(path, part) for part in ("config", "graph", "data")))

    def load(self, path):
        svs, (config, graph, data) = self.svs, (
            os.path.join(path, part) for part in ("config", "graph", "data"))
        if self.profile.startswith("LVQ"):
            loader = svs.SerializedObject(data)
        else:
            kind = {"f16": svs.DataType.float16, "f32": svs.DataType.float32}[self.profile]
            loader = svs.VectorDataLoader(data, kind)
        self.index = svs.Vamana(config, svs.GraphLoader(graph), loader, self.metric, num_threads=1)


class Rabitq(Engine):
    """SymphonyQG: 1-bit codes of the neighbours beside each node, vectors in f32 or fewer bits."""

    name = "rabitqlib"
    profiles = ("R32 random", "R32 pipnn", "R64 random")

    @staticmethod
    def version():
        return importlib.metadata.version("rabitqlib")

    def build(self, threads):
        import rabitqlib
        self.index = rabitqlib.SymqgIndex(self.set.dimension, of_profile(self.profile, "R"),
                                          {"dot": "ip", "l2": "l2"}[self.set.metric], 0)
        self.index.build(np.asarray(self.set.rows), EF_CONSTRUCTION, threads,
                         self.profile.split(" ")[1])

    def searcher(self, queries, k, ef):
        return lambda: self.index.search(queries, k, max(ef, k), 1)[0].reshape(len(queries), k)

    def save(self, path):
        self.index.save(path)

    def load(self, path):
        import rabitqlib
        self.index = rabitqlib.SymqgIndex.load(path)


class QdrantEdge(Engine):
    """Qdrant's own engine in this process; requests are made before the clock runs. Its vectors
    lie in files it maps, so its bytes are those of its folder."""

    name = "qdrant-edge"
    profiles = ("int8 2x", "f32")
    saves_folder = True
    BATCH = 5000

    @staticmethod
    def version():
        return importlib.metadata.version("qdrant-edge-py")

    def __init__(self, profile, bench_set):
        super().__init__(profile, bench_set)
        import qdrant_edge
        self.edge = qdrant_edge
        # A shard is its folder from the start.
        self.folder = os.path.join(bench_set.folder, f"shard-{os.getpid()}")

    def config(self, threads):
        edge = self.edge
        codes = (edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=edge.Memory.Pinned)
                 if self.profile != "f32" else None)
        distance = {"dot": edge.Distance.Dot, "l2": edge.Distance.Euclid}[self.set.metric]
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=self.set.dimension, distance=distance),
            hnsw_config=edge.HnswIndexConfig(
                m=M, ef_construct=EF_CONSTRUCTION, full_scan_threshold=10,
                max_indexing_threads=threads, memory=edge.Memory.Pinned),
            quantization_config=codes, max_search_threads=1, wal_enabled=False,
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100,
                                                 max_segment_size=10**9))

    def build(self, threads):
        edge = self.edge
        os.makedirs(self.folder)
        self.shard = edge.EdgeShard.create(self.folder, self.config(threads))
        for begin in range(0, self.set.count, self.BATCH):
            part = self.set.rows[begin:begin + self.BATCH].tolist()
            self.shard.update(edge.UpdateOperation.upsert_points(
                [edge.Point(begin + number, row) for number, row in enumerate(part)]))
        self.shard.optimize()
        self.shard.flush()
        if self.shard.info().indexed_vectors_count < self.set.count:
            raise LeftOut("it did not index all vectors")
        self.extra_bytes_a_vector = folder_bytes(self.folder) / self.set.count

    def searcher(self, queries, k, ef):
        edge = self.edge
        codes = (edge.QuantizationSearchParams(rescore=True, oversampling=2.0)
                 if self.profile != "f32" else None)
        params = edge.SearchParams(hnsw_ef=max(ef, k), quantization=codes)
        requests = [edge.SearchRequest(edge.Query.Nearest(query), k, params=params)
                    for query in queries.tolist()]

        def run():
            found = [self.shard.search(request) for request in requests]
            ids = np.full((len(found), k), -1, np.int64)
            for number, hits in enumerate(found):
                ids[number, :len(hits)] = [hit.id for hit in hits]
            return ids
        return run

    def save(self, path):
        self.shard.close()
        os.rmdir(path)
        shutil.move(self.folder, path)

    def load(self, path):
        self.shard = self.edge.EdgeShard.load(path)


def folder_bytes(folder):
    return sum(os.stat(os.path.join(place, name)).st_blocks * 512
               for place, _, names in os.walk(folder) for name in names)


class Glass(Engine):
    """HNSW on codes of 8 bits (4 at level 2), the result measured again in f32. Its wheel is for
    another Python than this one, so it has an environment of its own. It tunes its prefetching
    itself."""

    name = "glass"
    profiles = ("HNSW level 2", "HNSW level 1")

    @staticmethod
    def interpreter():
        try:
            return environments.interpreter("venv-glass")
        except RuntimeError as error:
            raise LeftOut(str(error).splitlines()[0]) from error

    @staticmethod
    def version():
        command = "import importlib.metadata; print(importlib.metadata.version('glassppy'))"
        return subprocess.run([Glass.interpreter(), "-c", command], check=True,
                              stdout=subprocess.PIPE, text=True).stdout.strip()

    def __init__(self, profile, bench_set):
        super().__init__(profile, bench_set)
        import glassppy
        self.glass = glassppy
        self.metric = {"dot": "IP", "l2": "L2"}[bench_set.metric]

    def build(self, threads):
        self.glass.set_num_threads(threads)
        rows = np.asarray(self.set.rows)
        self.graph = self.glass.Index("HNSW", self.set.dimension, self.metric, 2 * M,
                                      EF_CONSTRUCTION).build(rows)
        self.make_searcher(rows)

    def make_searcher(self, rows):
        self.index = self.glass.Searcher(self.graph, rows, self.metric,
                                         of_profile(self.profile, "HNSW level "))
        self.glass.set_num_threads(1)
        self.index.optimize(1)

    def searcher(self, queries, k, ef):
        self.index.set_ef(max(ef, k))
        return lambda: self.index.batch_search(queries, k, 1).reshape(len(queries), k)

    def save(self, path):
        self.graph.save(path)

    def load(self, path):
        self.graph = self.glass.Graph(path)
        self.make_searcher(np.asarray(self.set.rows))


PEERS = (Hnswlib, Faiss, FaissFlat, Usearch, Svs, Rabitq, QdrantEdge, Glass)
