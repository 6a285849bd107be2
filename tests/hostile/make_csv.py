#!/usr/bin/env python3
"""Writes tests/hostile/csv: a good file, and files that are damaged or strange in one way each."""
from pathlib import Path

FOLDER = Path(__file__).parent / "csv"
FILES = {
    "good": b'month,co2,"a, b"\r\n1961-03,315.5,1\r\n1961-04,NA,2\r\n',
    "empty": b"",
    "only_bom": b"\xef\xbb\xbf",
    "only_line_ends": b"\r\n\n\r\r\n",
    "header_only": b"a,b\n",
    "no_header": b"1,2\n3,4\n",
    "too_few": b"a,b\n1,2\n3\n",
    "too_many": b"a,b\n1,2,3\n",
    "quote_without_end": b'a,b\n1,"2\n3,4\n',
    "quote_inside": b'a,b\n1,2"3\n',
    "no_number": b"a,b\nx,y\nz,w\n",
    "nul": b"a,b\n1,\x002\n",
    "not_utf8": b"a,\xff\xfe\n1,2\n",
    "huge_number": b"a\n1e999\n-1e-999\n",
    "infinite": b"a\ninf\n-nan\n",
    "many_columns": b",".join(b"c%d" % i for i in range(5000)) + b"\n",
    "one_cell": b"a\n1",
    "semicolons": b"a;b\n1;2,5\n",
    "tabs": b"a\tb\n1\t\n",
    "all_missing": b"a,b\n,\n,\n",
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in FILES.items():
        (FOLDER / f"{name}.csv").write_bytes(data)
