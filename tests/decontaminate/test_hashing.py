"""SHA-256 and size of files."""

import hashlib
import io

from curation.decontaminate.hashing import Hashing, hash_of


def test_what_passes_through_is_hashed():
    buffer = io.BytesIO()
    file = Hashing(buffer)
    for piece in (b"ab", memoryview(b"cd"), b""):
        file.write(piece)
    file.close()
    assert (file.size, file.tell(), buffer.getvalue()) == (4, 4, b"abcd")
    assert file.sha256 == hashlib.sha256(b"abcd").hexdigest()


def test_a_file_of_more_than_one_chunk_has_the_hash_of_all_its_bytes(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / "x").write_bytes(data)
    assert hash_of(str(tmp_path / "x")) == (len(data), hashlib.sha256(data).hexdigest())
