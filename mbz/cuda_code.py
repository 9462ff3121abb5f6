"""Compiles CUDA sources for the device at hand, and launches their kernels.

By NVRTC, which comes with torch, and the driver; neither needs CUDA's toolkit.
"""

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Kernel", "compiled", "memory_left"]

_MACROS = """
#define PREFETCH(address) asm volatile("prefetch.global.L2 [%0];" ::"l"(address))
#define SHARED(kind, name) extern __shared__ __align__(16) kind name[]
"""
# Attributes of a function: CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, _MAX_DYNAMIC_SHARED_SIZE_BYTES.
_OWN_SHARED, _MOST_SHARED = 1, 8


Argument = Tensor | int | tuple[int] | None


class Kernel:
    """A kernel on one device.

    Attributes:
        most_shared: bytes of shared memory that a block of threads may have.
    """

    def __init__(self, image: bytes, name: str, threads: int, device: torch.device) -> None:
        """Loads what was compiled for this device; `threads` of a block."""
        self._threads = threads
        self._driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        self._function, self._module = ctypes.c_void_p(), ctypes.c_void_p()
        limits: Any = torch.cuda.get_device_properties(device)
        own = ctypes.c_int()  # what the kernel has anyway
        torch.cuda.synchronize(device)  # so that torch has opened it
        with torch.cuda.device(device):
            self._do("cuModuleLoadData", ctypes.byref(self._module), image)
            self._do(
                "cuModuleGetFunction", ctypes.byref(self._function), self._module, name.encode()
            )
            self._do("cuFuncGetAttribute", ctypes.byref(own), _OWN_SHARED, self._function)
            most = getattr(limits, "shared_memory_per_block_optin", limits.shared_memory_per_block)
            self.most_shared: int = most - own.value
            self._do("cuFuncSetAttribute", self._function, _MOST_SHARED, self.most_shared)

    def __call__(self, blocks: int, shared: int, arguments: Sequence[Argument]) -> None:
        """Launches it on torch's current stream.

        Args:
            blocks: how many blocks of threads.
            shared: bytes of shared memory of each, at most `most_shared`.
            arguments: tensors for pointers, None for a null one; integers for those of 32 bits, and
                tuples of one for those of 64.
        """
        values: list[Any] = []
        for argument in arguments:
            if isinstance(argument, int):
                values.append(ctypes.c_int(argument))
            elif isinstance(argument, tuple):
                values.append(ctypes.c_longlong(argument[0]))
            else:
                values.append(ctypes.c_void_p(None if argument is None else argument.data_ptr()))
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self._do(
            "cuLaunchKernel", self._function, blocks, 1, 1, self._threads, 1, 1, shared, stream,
            pointers, None,
        )  # fmt: skip

    def _do(self, name: str, *arguments: object) -> None:
        if code := getattr(self._driver, name)(*arguments):
            raise RuntimeError(f"{name} fails with error {code}")


def memory_left(device: torch.device) -> int:
    """Bytes of the device's memory that are free, or that torch only keeps to use them again."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@cache
def compiled(source: str, name: str, threads: int, device: torch.device) -> Kernel:
    """The kernel of this name in a source, for a device; the source finds its blocks' THREADS.

    Raises:
        RuntimeError, OSError: it cannot be had.
    """
    major, minor = torch.cuda.get_device_capability(device)
    options = [f"--gpu-architecture=sm_{major}{minor}", "--std=c++17", f"-DTHREADS={threads}"]
    return Kernel(_compile(_MACROS + source, options), name, threads, device)


def _compile(text: str, options: Sequence[str]) -> bytes:
    """Machine code of a source."""
    nvrtc = _nvrtc()
    program, size = ctypes.c_void_p(), ctypes.c_size_t()

    def do(name: str, *arguments: object) -> None:
        if code := getattr(nvrtc, name)(*arguments):
            raise RuntimeError(f"{name} fails with error {code}")

    do("nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"code.cu", 0, None, None)
    try:
        given = (ctypes.c_char_p * len(options))(*map(str.encode, options))
        if nvrtc.nvrtcCompileProgram(program, len(options), given):
            do("nvrtcGetProgramLogSize", program, ctypes.byref(size))
            said = ctypes.create_string_buffer(size.value)
            do("nvrtcGetProgramLog", program, said)
            raise RuntimeError(said.value.decode(errors="replace"))
        do("nvrtcGetCUBINSize", program, ctypes.byref(size))
        image = ctypes.create_string_buffer(size.value)
        do("nvrtcGetCUBIN", program, image)
        return image.raw
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _nvrtc() -> Any:  # noqa: ANN401 - of ctypes
    """The library, of the CUDA that torch was built with."""
    major = str(torch.version.cuda).split(".", maxsplit=1)[0]
    name = f"nvrtc64_{major}0_0.dll" if sys.platform == "win32" else f"libnvrtc.so.{major}"
    places = [name, *(str(p) for root in sys.path for p in Path(root).glob(f"nvidia/*/*/{name}"))]
    for place in places:
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    raise OSError(f"{name} is not found")
