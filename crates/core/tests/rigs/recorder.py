"""A disk for nbdkit that keeps a log of what is written to it.

nbdkit python recorder.py image=FILE log=FILE

Each record of the log: a letter, the offset and the length (8 bytes each, little-endian), then for a write its bytes.
"w" is a write, "z" a length of zeros, "f" a flush: all before it is on the disk.
"""

import os
import struct

import nbdkit

API_VERSION = 2

_given = {}


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def config(key, value):
    _given[key] = value


def get_ready():
    _given["image"] = os.open(_given["image"], os.O_RDWR)
    # Unbuffered: whoever asks for the length of the log sees every record before it.
    _given["log"] = os.open(_given["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def open(readonly):
    return _given["image"]


def get_size(image):
    return os.fstat(image).st_size


def can_fua(image):
    return nbdkit.FUA_NATIVE


def pread(image, buffer, offset, flags):
    os.preadv(image, [buffer], offset)


def pwrite(image, buffer, offset, flags):
    os.pwrite(image, buffer, offset)
    _note(b"w", offset, len(buffer), bytes(buffer))
    _flush_if_asked(flags)


def zero(image, count, offset, flags):
    os.pwrite(image, bytes(count), offset)
    _note(b"z", offset, count)
    _flush_if_asked(flags)


def flush(image, flags):
    _note(b"f")


def _flush_if_asked(flags):
    if flags & nbdkit.FLAG_FUA:
        _note(b"f")


def _note(what, offset=0, length=0, data=b""):
    os.write(_given["log"], what + struct.pack("<QQ", offset, length) + data)
