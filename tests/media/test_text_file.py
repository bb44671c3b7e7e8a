"""Texts in files are read by line and column, row by row, and each failure has its position."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.errors import InputError, SampleError
from layerzoo.media.lines import lines
from layerzoo.media.samples import samples
from layerzoo.media.text import decode

WITHOUT_SURROGATES = st.characters(codec="utf-8", exclude_characters="\0")


def texts(path: Path, column: str | None = None) -> list[str]:
    """Return each text, or its failure in brackets."""
    found = []
    for sample in samples(path, "text", column=column):
        try:
            found.append(f"[{sample.reason}]" if isinstance(sample, SampleError) else decode(sample.source))
        except SampleError as error:
            found.append(f"[{error.reason}]")
    return found


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        samples(path, "text", column=column)
    return str(caught.value).removeprefix(f"{path.as_posix()}: ")


class TestLines:
    def test_each_line_is_a_text_with_ids_from_one(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.txt", "one\ntwo\r\nthree")
        assert [sample.id for sample in samples(path, "text")] == [f"{path}:{row}" for row in (1, 2, 3)]
        assert texts(path) == ["one", "two", "three"]

    def test_the_final_line_break_begins_no_text_and_an_empty_line_fails(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.txt", "one\n\ntwo\n")) == ["one", "[empty text]", "two"]

    def test_a_byte_order_mark_is_removed(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.txt", b"\xef\xbb\xbfone\n")) == ["one"]

    def test_a_line_ends_with_lf_crlf_or_cr(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.txt", "one\rtwo\rthree")) == ["one", "two", "three"]
        assert texts(written(tmp_path / "t.txt", "one\rtwo\r\nthree\nfour\r")) == ["one", "two", "three", "four"]
        assert texts(written(tmp_path / "t.txt", "one\n\rtwo\r\rthree")) == [
            "one",
            "[empty text]",
            "two",
            "[empty text]",
            "three",
        ]

    def test_no_other_character_ends_a_line(self, tmp_path: Path) -> None:
        line = "a\u2028b\x0bc\x85d\x0ce\x1cf\x1dg\x1eh\u2029i"
        assert texts(written(tmp_path / "t.txt", f"{line}\n")) == [line]

    def test_lines_equal_universal_newlines_at_any_block_boundary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written_lines = "a\r\n\r\rbc\n\r\nd\re" * 5
        expected = io.StringIO(written_lines, newline=None).read().split("\n")
        for block in range(1, 9):
            monkeypatch.setattr("layerzoo.media.lines._BLOCK_BYTES", block)
            assert [bytes(line).decode() for line in lines(io.BytesIO(written_lines.encode()))] == expected  # type: ignore[arg-type]

    def test_cells_of_a_csv_equal_the_csv_module(self, tmp_path: Path) -> None:
        for end in ("\n", "\r\n", "\r"):
            path = written(tmp_path / "t.csv", f'id,text{end}1,"two{end}lines"{end}2,one{end}')
            with path.open(newline="") as file:
                expected = [row["text"] for row in csv.DictReader(file)]
            assert texts(path) == expected

    def test_bytes_that_are_not_utf_8_fail_alone(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.txt", b"one\ncaf\xe9\ntwo\n")
        assert texts(path) == ["one", "[not UTF-8: byte 0xe9 at position 3]", "two"]

    def test_a_line_of_ten_megabytes_is_read_and_one_of_forty_is_refused(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.txt", b"a" * 10_000_000 + b"\nshort\n" + b"b" * 40_000_000 + b"\nlast")
        found = texts(path)
        assert len(found[0]) == 10_000_000
        assert found[1:] == ["short", "[a line of more than 16 MiB]", "last"]

    @pytest.mark.parametrize("name", ["t.txt", "t.csv"])
    def test_memory_does_not_grow_with_the_file(self, tmp_path: Path, name: str) -> None:
        path = written(tmp_path / name, "text\n" + f"a row of {200 * chr(97)}\n" * 50_000)
        tracemalloc.start()
        count = sum(1 for _ in samples(path, "text"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count >= 50_000
        assert peak < 1_000_000

    def test_files_that_are_not_text_are_refused(self, tmp_path: Path, samples: Path) -> None:
        assert refusal(written(tmp_path / "e.txt", "")) == "empty file"
        assert refusal(written(tmp_path / "u.txt", "hello".encode("utf-16"))) == "UTF-16: save it as UTF-8"
        assert refusal(written(tmp_path / "n.txt", b"a\0b")) == "not text: it holds null bytes"
        assert refusal(samples / "foolbox/data/imagenet_00_243.jpg") == "not text: looks like an image (jpeg)"
        assert "one object a line (.jsonl)" in refusal(written(tmp_path / "d.json", "[1]"))
        assert "has lines and no columns" in refusal(written(tmp_path / "t.txt", "a\n"), column="text")


class TestCsv:
    def test_the_column_named_text_is_used(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.csv", 'id,text,label\n1,"a, ""b""\nc",x\n2,d,y\n')
        assert texts(path) == ['a, "b"\nc', "d"]
        assert [sample.id for sample in samples(path, "text")] == [f"{path}:1", f"{path}:2"]

    def test_another_column_can_be_selected(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.csv", "id,text,label\n1,a,x\n")
        assert texts(path, "label") == ["x"]
        assert texts(path, "id") == ["1"]

    def test_the_only_text_column_is_used(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.csv", "id,review,stars\n1,good,4.5\n2,,nan\n")) == ["good", "[empty text]"]
        assert texts(written(tmp_path / "t.csv", "review\n1\n2\n"), "review") == ["1", "2"]

    def test_an_ambiguous_column_must_be_named(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.csv", "title,review\na,b\n")
        assert refusal(path).startswith("2 columns of text and none called 'text': say which (column=, --column)")
        assert refusal(path).endswith("Columns: title, review")
        assert refusal(path, "txet") == "there is no column 'txet'. Columns: title, review"
        assert refusal(written(tmp_path / "n.csv", "a,b\n1,2\n")).startswith("no column of text")

    def test_an_empty_column_makes_the_choice_ambiguous(self, tmp_path: Path) -> None:
        assert refusal(written(tmp_path / "t.csv", "review,label\n,pos\n")).startswith("2 columns of text")

    def test_tabs_separate_columns(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.tsv", "text\tlabel\na, b\tx\n")) == ["a, b"]

    def test_other_separators_are_reported(self, tmp_path: Path) -> None:
        assert refusal(written(tmp_path / "t.csv", "id;text\n1;a\n")).startswith("its columns are separated by ';'")
        assert refusal(written(tmp_path / "t.tsv", "id,text\n1,a\n")).startswith("its columns are separated by ','")

    def test_a_row_with_the_wrong_number_of_cells_fails_alone(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.csv", "id,text\n1,a\n2\n3,c,c\n\n4,d\n")
        assert texts(path) == ["a", "[1 cells, and the header has 2]", "[3 cells, and the header has 2]", "d"]

    def test_an_empty_line_is_a_row_of_a_single_column_only(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.csv", "text\na\n\nb\n")) == ["a", "[empty text]", "b"]

    def test_an_unterminated_quote_is_not_read_as_one_long_cell(self, tmp_path: Path) -> None:
        found = texts(written(tmp_path / "t.csv", 'id,text\n1,a\n2,"b\n3,c\n'))
        assert found[0] == "a"
        assert found[1].startswith("[malformed from here on")

    def test_bytes_that_are_not_utf_8_fail_alone(self, tmp_path: Path) -> None:
        path = written(tmp_path / "t.csv", b"\xef\xbb\xbftext,id\ncaf\xe9,1\nb,2\n")
        assert texts(path) == ["[not UTF-8: byte 0xe9 at position 3]", "b"]

    def test_a_cell_of_a_megabyte_is_read(self, tmp_path: Path) -> None:
        assert [len(text) for text in texts(written(tmp_path / "t.csv", "text,id\n" + "a" * 1_000_000 + ",1\n"))] == [
            1_000_000
        ]

    def test_a_header_without_rows(self, tmp_path: Path) -> None:
        assert refusal(written(tmp_path / "t.csv", "text,id\n")) == "no texts in this file"

    @given(rows=st.lists(st.tuples(st.text(WITHOUT_SURROGATES, max_size=9), st.integers()), min_size=1, max_size=9))
    def test_files_written_by_the_csv_module_are_read_back(
        self, rows: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        file = io.StringIO(newline="")
        csv.writer(file).writerows([("text", "id"), *rows])
        path = written(tmp_path_factory.getbasetemp() / "t.csv", file.getvalue())
        found = [sample.source.decode() for sample in samples(path, "text") if not isinstance(sample, SampleError)]
        assert found == [text.replace("\r\n", "\n") for text, _ in rows]


class TestJsonLines:
    def test_objects_and_strings_are_rows(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.jsonl", '{"text": "a", "id": 1}\n{"id": 2, "text": "b"}\n')) == ["a", "b"]
        assert texts(written(tmp_path / "t.jsonl", '"a"\n"b"\n')) == ["a", "b"]

    def test_the_only_string_field_is_the_text_unless_a_null_field_is_ambiguous(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path / "t.jsonl", '{"review": "a", "stars": 1}\n')) == ["a"]
        assert refusal(written(tmp_path / "t.jsonl", '{"review": null, "label": "x"}\n')).startswith(
            "2 columns of text"
        )
        assert refusal(written(tmp_path / "t.jsonl", '{"a": "x"}\n'), "b") == "there is no column 'b'. Columns: a"

    def test_a_bad_row_fails_alone(self, tmp_path: Path) -> None:
        rows = [
            '{"text": "a"}',
            "{",
            '{"text": null}',
            '{"text": 3}',
            '{"x": "y"}',
            "",
            "[" * 100_000,
            "7",
            '{"text": "\\ud800"}',
        ]
        found = texts(written(tmp_path / "t.jsonl", "\n".join(rows)))
        assert found[0] == "a"
        assert found[1].startswith("[not JSON: Expecting property name")
        assert found[2:6] == [
            "[no text: null]",
            "[no text: the value is of type int]",
            "[no 'text' among x]",
            "[empty line]",
        ]
        assert found[6].startswith("[not JSON: ")
        assert found[7:] == [
            "[no text: the value is of type int]",
            "[not valid Unicode: a lone surrogate at character 0]",
        ]


class TestParquet:
    def table(self, path: Path, **columns: Any) -> Path:
        pq.write_table(pa.table(columns), path, row_group_size=2)
        return path

    @pytest.mark.parametrize("type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
    def test_text_columns_are_read(self, tmp_path: Path, type: Any) -> None:
        path = self.table(tmp_path / "t.parquet", id=[1, 2, 3], review=pa.array(["a", None, "ü"]).cast(type))
        assert texts(path) == ["a", "[no text: null]", "ü"]
        assert [sample.id for sample in samples(path, "text")] == [f"{path}:{row}" for row in (1, 2, 3)]

    def test_an_ambiguous_or_non_text_column_is_refused(self, tmp_path: Path) -> None:
        path = self.table(tmp_path / "t.parquet", id=[1], a=["x"], b=["y"])
        assert texts(path, "b") == ["y"]
        assert refusal(path).startswith("2 columns of text and none called 'text'")
        assert refusal(path, "id") == "column 'id' holds int64, not text. Columns of text: a, b"

    def test_bytes_that_are_not_utf_8_fail_alone(self, tmp_path: Path) -> None:
        bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"b"]).buffers())
        assert texts(self.table(tmp_path / "t.parquet", text=bad)) == ["[not UTF-8: byte 0xe9 at position 3]", "b"]

    def test_a_truncated_file_and_a_file_of_another_format(self, tmp_path: Path) -> None:
        whole = self.table(tmp_path / "t.parquet", text=["a", "b"]).read_bytes()
        assert refusal(written(tmp_path / "cut.parquet", whole[:-9])).startswith("truncated or damaged")
        assert refusal(written(tmp_path / "csv.parquet", "text\na\n")) == "not .parquet: looks like text"
        assert refusal(written(tmp_path / "t.csv", whole)) == "not .csv: looks like text (parquet)"

    def test_damage_in_the_middle_ends_the_texts_with_a_failure(self, tmp_path: Path) -> None:
        rows = pa.table({"text": [f"row {i}" for i in range(4000)]})
        pq.write_table(rows, tmp_path / "t.parquet", row_group_size=2000, compression="none", use_dictionary=False)
        damaged = bytearray((tmp_path / "t.parquet").read_bytes())
        second_group = damaged.index(b"row 2000") - 40
        damaged[second_group : second_group + 40] = bytes(40)
        found = texts(written(tmp_path / "damaged.parquet", bytes(damaged)))
        assert found[:-1] == [f"row {i}" for i in range(len(found) - 1)]
        assert len(found) > 1000
        assert found[-1].startswith("[truncated or damaged")


def test_a_real_text_as_json_lines(samples: Path, tmp_path: Path) -> None:
    readme = (samples / "skimage/data/README.txt").read_text().splitlines()
    path = written(tmp_path / "t.jsonl", "".join(json.dumps({"text": line}) + "\n" for line in readme))
    assert [text for text in texts(path) if text != "[empty text]"] == [line for line in readme if line.strip()]
