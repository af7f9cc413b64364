"""Writers that load a server until it dies, each with a model of what it was promised."""

import random
import threading
import time

import model
from report import check
from torture import Lost

WRITERS = 8
OWN_COLLECTIONS = 2     # that each writer creates and drops
IDS_MAX = 90            # of a writer in one collection
BUSY_SECONDS = 0.02     # before a refused write is followed by the next


class Writer(threading.Thread):
    """One client: one request at a time, on its own points and its own collections."""

    def __init__(self, world, number, port_client):
        super().__init__(daemon=True)
        self.world = world
        self.number = number
        self.client = port_client
        self.rng = random.Random(repr((world.seed, world.generation, number)))
        self.failure = None
        self.requests = 0

    def run(self):
        try:
            while not self.world.is_over:
                self.step()
        except Lost:
            pass
        except Exception as error:  # told by the main thread
            self.failure = error
        finally:
            self.client.close()

    def step(self):
        shares = self.world.shares_of(self.number)
        share = self.rng.choice(shares)
        if self.world.has_own_collections and self.rng.random() < 0.1:
            share = self.rng.choice(shares[-OWN_COLLECTIONS:])
        operation = self.choose(share)
        is_point_write = isinstance(operation, (model.CreateCollection, model.DropCollection)) is False
        wait = not is_point_write or self.rng.random() < 0.8
        before = share.newest()
        after = operation.apply(before)
        self.requests += 1
        try:
            answer = self.client.call(operation.method, operation.url(share.collection, wait),
                                      operation.body())
        except Lost:
            share.accepted(operation)
            raise
        if answer.status >= 500 and self.world.is_failing:
            # The disk is going away under the server: what it could not finish may be there or not.
            share.accepted(operation)
            raise Lost(str(answer))
        if answer.status == 503:  # the queue is full: a definite no
            time.sleep(BUSY_SECONDS)
            return
        is_refused = after is before and not isinstance(operation, model.DropCollection)
        if answer.status in (404, 409) and (is_refused or before is None):
            return
        check(answer.status == 200, f"{operation.method} {operation.url(share.collection, wait)}: {answer}")
        check(not (is_refused and wait), f"{type(operation).__name__} was to be refused: {answer}")
        if wait and is_point_write:
            check(is_completed(answer.result), f"wait=true is answered {answer}")
        if wait:
            share.completed(operation)
        else:
            share.accepted(operation)

    def choose(self, share):
        state = share.newest()
        is_own = share.collection.startswith("own")
        if is_own and (state is None or self.rng.random() < 0.15):
            return model.CreateCollection(share.distance) if state is None else model.DropCollection()
        version = self.world.next_version(self.number)
        return model.random_operation(self.rng, self.world.seed, self.number, version, state, IDS_MAX)


def is_completed(result):
    """One update result, or a batch's list of them."""
    results = result if isinstance(result, list) else [result]
    return all(one["status"] == "completed" for one in results)


class Indexer(threading.Thread):
    """Creates and drops payload indexes on the shared collections while they are written."""

    def __init__(self, world, port_client):
        super().__init__(daemon=True)
        self.world = world
        self.client = port_client
        self.rng = random.Random(repr((world.seed, world.generation, "indexer")))
        self.failure = None
        self.requests = 0

    def run(self):
        try:
            while not self.world.is_over:
                self.step()
        except Lost:
            pass
        except Exception as error:  # told by the main thread
            self.failure = error
        finally:
            self.client.close()

    def step(self):
        collection = self.rng.choice(self.world.shared)[0]
        field, kind = self.rng.choice(sorted(model.INDEX_FIELDS.items()))
        known = self.world.indexes[collection]
        create = known.get(field) != {True}
        known[field] = {True, False}  # until it is answered
        self.requests += 1
        path = f"/collections/{collection}/index"
        if create:
            answer = self.client.call("PUT", path + "?wait=true", {"field_name": field, "field_schema": kind})
        else:
            answer = self.client.call("DELETE", f"{path}/{field}?wait=true")
        if answer.status >= 500 and self.world.is_failing:
            raise Lost(str(answer))
        check(answer.status == 200, f"index of {field} in {collection}: {answer}")
        known[field] = {create}
        time.sleep(0.05)


class World:
    """All that was written, over all generations of the server on one folder."""

    def __init__(self, seed, has_own_collections=True):
        self.seed = seed
        self.generation = 0
        self.is_over = False
        self.is_failing = False  # from when on answers of 500 and more are to be expected
        self.is_failing_from_start = False
        self.has_own_collections = has_own_collections
        self.strangers = set()  # collections of others
        self.versions = [0] * WRITERS
        self.shared = [(f"shared-{distance}", distance) for distance in model.DISTANCES]
        self.indexes = {name: {} for name, _ in self.shared}  # field -> what it may be
        self.shares = {}
        for writer in range(WRITERS):
            for name, distance in self.shared:
                self.shares[name, writer] = model.Share(name, writer, distance, {})
            for n in range(OWN_COLLECTIONS if has_own_collections else 0):
                name = f"own-{writer}-{n}"
                self.shares[name, writer] = model.Share(name, writer, "Dot", None)

    def shares_of(self, writer):
        """The writer's shares, its own collections last."""
        return [share for (_, owner), share in self.shares.items() if owner == writer]

    def next_version(self, writer):
        self.versions[writer] += 1
        return self.versions[writer] * WRITERS + writer

    def create_shared(self, client):
        for name, distance in self.shared:
            operation = model.CreateCollection(distance)
            client.must(operation.method, operation.url(name, True), operation.body())

    def write(self, server, seconds, end, may_die=False):
        """Lets the writers run for a while, or until the server dies, then ends it by end(); how many
        requests were sent."""
        self.generation += 1
        self.is_over, self.is_failing = False, self.is_failing_from_start
        threads = [Writer(self, number, server.client()) for number in range(WRITERS)]
        threads.append(Indexer(self, server.client()))
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and server.is_running():
            time.sleep(min(0.01, max(0.0, deadline - time.monotonic())))
        is_dead = not server.is_running()
        end()
        self.is_over = True
        for thread in threads:
            thread.join()
        for thread in threads:
            if thread.failure:
                raise thread.failure
        check(may_die or not is_dead, f"the server died under its writers: {server.log_tail(1500)}")
        return sum(thread.requests for thread in threads)

    def check(self, client, queries=4):
        """Compares all of the server with all of the model."""
        rng = random.Random(repr((self.seed, self.generation, "check")))
        names = [entry["name"] for entry in client.must("GET", "/collections")["collections"]]
        check(names == sorted(set(names)), f"collections are listed as {names}")
        known = {name for name, _ in self.shares}
        unknown = set(names) - known - self.strangers
        check(not unknown, f"collections nobody created: {unknown}")
        for name, distance in self.shared:
            check(name in names, f"collection {name} is lost")
        for name in sorted(known):
            shares = [share for (collection, _), share in self.shares.items() if collection == name]
            exists = client.must("GET", f"/collections/{name}/exists")["exists"]
            check(exists == (name in names), f"exists says {exists} of {name}, which is listed: {name in names}")
            if exists:
                model.check_collection(client, shares, rng, queries if len(shares) > 1 else 1, IDS_MAX)
            else:
                shares[0].settle(None)
        for name, _ in self.shared:
            self.check_indexes(client, name)

    def check_indexes(self, client, name):
        schema = client.must("GET", f"/collections/{name}")["payload_schema"]
        known = self.indexes[name]
        for field, kind in model.INDEX_FIELDS.items():
            allowed = known.get(field, {False})
            check((field in schema) in allowed, f"{name}: index of {field} is there: {field in schema}, "
                                                f"allowed: {sorted(allowed)}")
            check(field not in schema or schema[field]["data_type"] == kind, f"{name}: {field} is {schema.get(field)}")
        self.indexes[name] = {field: {True} for field in schema}
