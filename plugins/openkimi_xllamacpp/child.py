"""The process that holds the engine, run as a program; it ends when its standard input does.

It reads its settings from a line of standard input, and writes ``+`` once the engine listens on its socket,
``+gpu`` where a GPU works for it, or ``-`` and what kind of thing went wrong. llama.cpp's log goes to
standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any


def main() -> None:
    """Run the engine for as long as somebody holds the other end of standard input."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a library prints gets into the answer
    settings = json.loads(sys.stdin.buffer.readline())
    import xllamacpp

    server = None
    try:
        sees_gpu = _sees_gpu(xllamacpp)
        on_cpu = settings["n_gpu_layers"] == 0 or not sees_gpu
        if settings["needs_gpu"] and not sees_gpu:
            said = "-device"
        elif on_cpu and settings["too_large"]:
            said = "-memory"
        else:
            params = _params(xllamacpp, settings)
            # Weights repacked for this processor are a copy, which cannot be dropped like the file's.
            params.no_extra_bufts = on_cpu and settings["memory_is_short"]
            server = xllamacpp.Server(params)
            said = "+" if on_cpu else "+gpu"
    except OverflowError:
        said = "-context"
    except RuntimeError:
        said = "-model"
    answer.write(said + "\n")
    answer.close()
    if server is not None:
        sys.stdin.buffer.read()
        # Whoever made the folder of the socket may have had no time to remove it.
        shutil.rmtree(os.path.dirname(settings["hostname"]), ignore_errors=True)  # noqa: PTH120
        # The engine would first finish what it computes; nobody waits for that any more.
        os._exit(0)


def _params(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = [settings["hostname"]]
    for name in (
        "n_ctx",
        "n_parallel",
        "n_batch",
        "n_gpu_layers",
        "main_gpu",
        "n_threads_http",
        "cache_ram_mib",
    ):
        setattr(params, name, settings[name])
    params.split_mode = getattr(xllamacpp.llama_split_mode, settings["split_mode"])
    if settings["tensor_split"]:
        unused = [0.0] * (len(params.tensor_split) - len(settings["tensor_split"]))
        params.tensor_split = [*settings["tensor_split"], *unused]
    params.n_ubatch = settings["n_batch"]
    params.cpuparams.n_threads = settings["n_threads"]
    params.cpuparams_batch.n_threads = settings["n_threads_batch"]
    params.cache_type_k = getattr(xllamacpp.ggml_type, settings["cache_type_k"])
    params.cache_type_v = getattr(xllamacpp.ggml_type, settings["cache_type_v"])
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, settings["flash_attn_type"])
    params.no_op_offload = settings["cpu_only"]
    params.kv_unified = False
    params.cache_idle_slots = False  # each slot has a window of its own: none makes room for another
    params.endpoint_slots = True
    params.ui = False
    return params


def _sees_gpu(xllamacpp: Any) -> bool:
    kinds = xllamacpp.ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    return any(device["type"] in gpus for device in xllamacpp.get_device_info())


if __name__ == "__main__":
    main()
