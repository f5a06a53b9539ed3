"""Writes small.parquet: three PNG pictures of one colour as Hugging Face's `datasets` lays them out.

    python make_parquet.py        # pyarrow 26.0.1; any version writes the same values
"""

import json
import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq


def png(colour, side=8):
    """A picture of one colour, without a library."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + bytes(colour) * side for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
names = ["red", "green", "blue", "none of them"]
features = {
    "image": {"_type": "Image"},
    "labels": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "List"},
    "note": {"dtype": "string", "_type": "Value"},
}
schema = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("labels", pa.list_(pa.int64())),
        ("note", pa.string()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": features}})},
)
table = pa.table(
    {
        "image": [{"bytes": png(c), "path": f"{i}.png"} for i, c in enumerate(colours)],
        "labels": [[0], [1, 2], []],
        "note": ["a", None, "c"],
    },
    schema=schema,
)
pq.write_table(table, "small.parquet", row_group_size=2, write_page_index=True)
