"""The peer's real client at work. Runs in the peer's own environment, as a child process:

    python client.py TASK '{"uri": ..., ...}'

prints JSON lines; the last one is the task's answer. Only the standard library and MLflow are imported here.
"""

import json
import os
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path

import mlflow
from mlflow import MlflowClient


def _folder(files, size):
    """A folder with `files` files of `size` random bytes each."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["BENCH_FOLDER"]))
    for number in range(files):
        with (folder / f"model-{number:03}.bin").open("wb") as out:
            for left in range(size, 0, -(2**22)):
                out.write(os.urandom(min(left, 2**22)))
    return folder


def _experiment(client, task):
    """An experiment whose artifacts go through the server (None) or to the place that is given."""
    name = f"bench-{time.time_ns()}"
    return client.create_experiment(name, artifact_location=task.get("artifact_location"))


def _uploaded(client, task):
    """A run with one artifact of `size` bytes: (run id, the artifact's place)."""
    run = client.create_run(_experiment(client, task))
    folder = _folder(1, task["size"])
    client.log_artifact(run.info.run_id, str(folder / "model-000.bin"))
    return run.info.run_id, f"{run.info.artifact_uri}/model-000.bin"


def latency(task):
    """create_model_version of an artifact that is already uploaded, on a steady beat; seconds of each."""
    client = MlflowClient(task["uri"])
    run_id, source = _uploaded(client, task)
    names = [f"model-{number}" for number in range(20)]
    for name in names:
        client.create_registered_model(name)
    for number in range(10):
        client.create_model_version(names[number % 20], source, run_id)
    seconds, threads = [], []

    def one(number, due):
        # from the beat, not from a free thread: what waits is waiting
        client.create_model_version(names[number % 20], source, run_id)
        seconds.append(time.perf_counter() - due)

    begin = time.perf_counter()
    for number in range(task["count"]):
        due = begin + number / task["per_second"]
        time.sleep(max(0.0, due - time.perf_counter()))
        thread = threading.Thread(target=one, args=(number, time.perf_counter()))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(60)
    return {"seconds": seconds}


def throughput(task):
    """`publishers` threads register versions for `seconds`; versions counted after a warm-up."""
    client = MlflowClient(task["uri"])
    run_id, source = _uploaded(client, task)
    names = ["model"] if task["shape"] == "one model" else [f"model-{number}" for number in range(400)]
    for name in (f"{task['stem']}-{name}" for name in names):
        client.create_registered_model(name)
    numbers = queue.SimpleQueue()
    for number in range(1_000_000):
        numbers.put(number)
    end = time.perf_counter() + task["warm_up_s"] + task["seconds"]
    done, lock, failed = [], threading.Lock(), []

    def publisher():
        folder = _folder(1, task["size"])
        file = str(folder / "model-000.bin")
        experiment = _experiment(client, task)
        while time.perf_counter() < end:
            number = numbers.get()
            name = f"{task['stem']}-{names[number % len(names)]}"
            try:
                if task["upload"]:
                    run = client.create_run(experiment)
                    client.log_artifact(run.info.run_id, file)
                    client.create_model_version(name, f"{run.info.artifact_uri}/model-000.bin", run.info.run_id)
                else:
                    client.create_model_version(name, source, run_id)
            except mlflow.exceptions.MlflowException as error:
                with lock:
                    failed.append(f"{error.error_code}: {error}"[:300])
                continue
            with lock:
                done.append(time.perf_counter())

    threads = [threading.Thread(target=publisher) for _ in range(task["publishers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = end - task["seconds"]
    return {
        "versions": sum(first <= at <= end for at in done),
        "failed": len(failed),
        "first_failure": next(iter(failed), None),
        "client_cpu_s": time.process_time(),
    }


def big_files(task):
    """log_artifact(s) + create_model_version of `files` files of `size` bytes, then download_artifacts."""
    client = MlflowClient(task["uri"])
    client.create_registered_model(task["stem"])
    experiment = _experiment(client, task)
    folder = _folder(task["files"], task["size"])
    began = time.perf_counter()
    run = client.create_run(experiment)
    if task["files"] == 1:
        client.log_artifact(run.info.run_id, str(folder / "model-000.bin"), "model")
    else:
        client.log_artifacts(run.info.run_id, str(folder), "model")
    client.create_model_version(task["stem"], f"{run.info.artifact_uri}/model", run.info.run_id)
    published = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=os.environ["BENCH_FOLDER"]) as target:
        mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{task['stem']}/1", dst_path=target)
        downloaded = time.perf_counter()
        got = sum(file.stat().st_size for file in Path(target).rglob("*.bin"))
    for file in folder.iterdir():
        file.unlink()
    if got != task["files"] * task["size"]:
        raise RuntimeError(f"downloaded {got} bytes")
    return {"publish_s": published - began, "download_s": downloaded - published}


def publish(task):
    """What a training script does at its end: one 1 MiB file that exists, uploaded and registered."""
    client = MlflowClient(task["uri"])
    run = client.create_run(task["experiment"])
    client.log_artifact(run.info.run_id, task["file"])
    client.create_model_version(task["stem"], f"{run.info.artifact_uri}/{Path(task['file']).name}", run.info.run_id)
    return {}


def prepare(task):
    """An experiment, a model and a 1 MiB file for `publish`."""
    client = MlflowClient(task["uri"])
    client.create_registered_model(task["stem"])
    return {"experiment": _experiment(client, task), "file": str(_folder(1, 2**20) / "model-000.bin")}


def search(task):
    """Questions of a reader among seeded versions; seconds of each, by kind."""
    client = MlflowClient(task["uri"])

    def timed(ask, count, least):
        seconds = []
        for number in range(-5, count):
            began = time.perf_counter()
            found = len(ask(abs(number)))
            if number >= 0:
                seconds.append(time.perf_counter() - began)
            if found < least:
                raise RuntimeError(f"found {found} of {least}")
        return seconds

    def one(number):
        name, version = f"seeded-{number * 7 % task['models']}", str(number * 13 % task["versions"] + 1)
        return [client.get_model_version(name, version)]

    def of_model(number):
        name = f"seeded-{number * 7 % task['models']}"
        return client.search_model_versions(f"name = '{name}'", max_results=100)

    return {
        "resolve": timed(one, task["count"], 1),
        "list_100_versions": timed(of_model, task["count"], 100),
        "search_page": timed(lambda _: client.search_model_versions(max_results=100), task["count"] // 2, 100),
    }


TASKS = {task.__name__: task for task in (latency, throughput, big_files, publish, prepare, search)}

if __name__ == "__main__":
    settings = json.loads(sys.argv[2])
    mlflow.set_tracking_uri(settings["uri"])
    print(json.dumps(TASKS[sys.argv[1]](settings)), flush=True)
