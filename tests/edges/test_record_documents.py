"""Documents as records: what is read of each format, in which order, and what hostile ones cost."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc

import pytest

from enricher.edges.record_inputs import open_input
from enricher.edges.record_inputs.documents import asking, document, formats
from enricher.edges.record_inputs.documents import input as documents
from enricher.errors import InputError, UsageError
from tests.edges.documents import assembled, docx, mail, paragraph, pdf
from tests.edges.record_formats import all_rows


def write(directory, files):
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.fixture
def read(tmp_path):
    def read_files(files, suffix="", **options):
        write(tmp_path / "in", files)
        source = open_input(str(tmp_path / "in") + suffix, **options)
        try:
            return all_rows(source)
        finally:
            source.close()

    return read_files


@pytest.fixture
def text_of(read):
    def read_one(name, data, **options):
        _, (row,), faults = read({name: data}, **options)
        assert faults == {}
        return row

    return read_one


@pytest.fixture
def fault_of(read):
    def read_one(name, data, **options):
        keys, (before, _, after), faults = read({"0.txt": "before", name: data, "z.txt": "after"}, **options)
        assert (before["text"], after["text"], list(faults), keys[1]) == ("before", "after", [1], name)
        status, reason = faults[1]
        assert reason.startswith(f"{name}: ")
        return status, reason.removeprefix(f"{name}: ")

    return read_one


# ------------------------------------------------------------ which files, and in which order


def test_documents_come_in_the_order_of_their_whole_paths_as_bytes(read):
    names = ["a-b.txt", "a.txt", "a/b.txt", "a/b/c.md", "a0.txt", "B.TXT", "é.txt", "a/b-c.txt"]
    keys, values, _ = read(dict.fromkeys(names, "text"))
    assert keys == sorted(names, key=str.encode)
    assert [row["id"] for row in values] == keys


def test_what_is_no_document_is_passed_over_and_counted(tmp_path):
    write(tmp_path, {"a.txt": "a", "b.xlsx": "b", "c.XLSX": "c", "LICENSE": "d", ".git/e.txt": "e", ".f.txt": "f"})
    os.mkfifo(tmp_path / "g.txt")
    source = open_input(str(tmp_path))
    assert source.skipped == {".xlsx": 2, "(no suffix)": 1, "(hidden)": 2, "(no file)": 1}
    assert all_rows(source)[0] == ["a.txt"]


def test_links_lead_to_files_of_the_tree_and_nowhere_else(tmp_path):
    write(tmp_path, {"in/a.txt": "a", "in/.data/b.txt": "b", "out/secret.txt": "s", "inside/c.txt": "c"})
    for name, target in {
        "b.txt": ".data/b.txt",
        "c.txt": "../inside/c.txt",
        "secret.txt": "../out/secret.txt",
        "out": "../out",
        "loop": ".",
        "broken.txt": "nowhere.txt",
    }.items():
        (tmp_path / "in" / name).symlink_to(target)
    source = open_input(str(tmp_path / "in"))
    assert all_rows(source)[0] == ["a.txt", "b.txt"]
    assert source.skipped == {"(hidden)": 1, "(link)": 5}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/**/*.md", ["a.md", "x/b.md", "x/y/c.md"]),
        ("/*.md", ["a.md"]),
        ("/x/**", ["b.md", "b.txt", "y/c.md"]),
        ("/x/?.[!m]*", ["b.txt"]),
        ("/x/y/[a-c].md", ["c.md"]),
        ("/**/.*/*.md", [".h/d.md"]),
        ("/x/y/c.md", ["c.md"]),
        ("/[x].md", ["[x].md"]),
    ],
)
def test_patterns_choose_by_path(read, pattern, expected):
    files = ["a.md", "x/b.md", "x/b.txt", "x/y/c.md", ".h/d.md"] + (["[x].md"] if "[x]" in pattern else [])
    assert read(dict.fromkeys(files, "text"), pattern)[0] == expected


@pytest.mark.parametrize("suffix", ["", "/*.pdf", "/b.xlsx/*.txt"])
def test_a_directory_without_documents_is_refused_with_what_lies_there(tmp_path, suffix):
    write(tmp_path, {"b.xlsx": "b"})
    with pytest.raises(InputError, match=r"has no documents|Not a directory") as refused:
        open_input(str(tmp_path) + suffix)
    assert str(tmp_path) in str(refused.value)


def test_documents_have_one_key(tmp_path):
    write(tmp_path, {"a.txt": "a"})
    with pytest.raises(UsageError, match="documents have no key title"):
        open_input(str(tmp_path), key="title")


def test_fingerprint_changes_with_any_file(tmp_path):
    write(tmp_path, {"a.txt": "a", "x/b.txt": "b"})
    source = open_input(str(tmp_path))
    prints = [source.fingerprint(), source.fingerprint()]
    (tmp_path / "x" / "b.txt").write_text("c")
    os.utime(tmp_path / "x" / "b.txt", ns=(1, 1))
    prints.append(source.fingerprint())
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    prints.append(source.fingerprint())
    assert [prints.index(one) for one in prints] == [0, 0, 2, 3]


def test_a_name_that_is_no_utf8_is_written_out(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("text")
    source = open_input(str(tmp_path))
    assert all_rows(source)[0] == ["caf\\xe9.txt"]


# ------------------------------------------------------------ what is read of each format


def test_columns_are_those_of_the_formats_that_there_are(read, tmp_path):
    write(tmp_path, {"in/a.txt": "a"})
    source = open_input(str(tmp_path / "in"))
    assert (tuple(source.columns()), source.key_column, source.text_column) == (
        ("id", "text", "title", "format"),
        "id",
        "text",
    )
    _, (text, letter), _ = read({"b.eml": mail("Hi\n")})
    assert letter == {
        "id": "b.eml",
        "text": "Hi\n",
        "title": "Hello",
        "format": "eml",
        "subject": "Hello",
        "from": "Ann <ann@example.org>",
        "date": "2026-11-30T10:00:00+01:00",
    }
    assert text == {
        "id": "a.txt",
        "text": "a",
        "title": None,
        "format": "txt",
        "subject": None,
        "from": None,
        "date": None,
    }


def test_text_is_kept_as_it_is(text_of):
    row = text_of("a.md", "\ufeff---\n# The  title \r\n\n* é\t€\n")
    assert (row["text"], row["title"]) == ("---\n# The  title \r\n\n* é\t€\n", "The  title")


def test_a_page_is_what_its_reader_sees(text_of):
    row = text_of(
        "a.html",
        "<!doctype html><title> A \n title</title><style>p {}</style><script>alert('x')</script><body>"
        "<h1>Head&amp;line</h1><p>One <b>two</b>\n three<br>four<p hidden>secret"
        "<p style='color:red; DISPLAY : none'>dark"
        "<noscript>none</noscript><template>tpl</template><ul><li><p>first</p><li>second</ul>"
        "<table><tr><td>a<td>b<tr><td>c<td>d</table><pre>  x\n    y</pre><!-- no --><textarea>area</textarea>",
    )
    assert row["title"] == "A title"
    assert row["text"] == (
        "Head&line\n\nOne two three\nfour\n\n- first\n\n- second\n\na\tb\nc\td\n\n  x\n    y\n\narea"
    )


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("<meta charset=iso-8859-1>", "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        ("", "utf-8"),
        ("<meta charset=utf-8>", "utf-16"),
    ],
)
def test_a_page_is_in_the_encoding_of_its_mark_or_as_it_declares(text_of, head, encoding):
    word = "Привет" if encoding == "koi8-r" else "“é”"
    assert text_of("a.html", f"{head}<p>{word}".encode(encoding))["text"] == word


def test_a_word_document_is_what_its_reader_sees(text_of):
    body = (
        paragraph("One &amp; two")
        + paragraph("hidden", "<w:vanish/>")
        + paragraph("shown", '<w:vanish w:val="0"/>')
        + "<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>"
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
        f"<w:tbl><w:tr><w:tc>{paragraph('x')}{paragraph('y')}</w:tc><w:tc>{paragraph('z')}</w:tc></w:tr></w:tbl>"
        "<w:p><w:r><mc:AlternateContent><mc:Choice><w:t>choice</w:t></mc:Choice><mc:Fallback><w:t>fallback</w:t>"
        "</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    row = text_of("a.docx", docx(body, title="The title", notes=paragraph("A note"), main="word/document2.xml"))
    assert row["title"] == "The title"
    assert row["text"] == "One & two\n\nshown\na\tb\nc\nx y \tz \t\nchoice\nA note"


def test_a_pdf_is_its_pages(text_of):
    row = text_of("a.pdf", pdf("One (page)", "Another", title="The title"))
    assert (row["text"].split(), row["title"], row["format"]) == (["One", "(page)", "Another"], "The title", "pdf")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (mail("plain\n", "<p>page"), "plain\n"),
        (mail("", "<p>page <script>no</script>"), "page"),
        (mail("“é”\n", attachment=b"bytes"), "“é”\n"),
        (b"Content-Type: text/plain; charset=iso-8859-1\n\n\xe9\x80", "é€"),
        (b"Subject: =?utf-8?q?caf=C3=A9?=\n\n\xc3\xa9\r\n", "é\n"),
    ],
    ids=["both", "page", "attachment", "latin", "undeclared"],
)
def test_a_mail_is_its_body(text_of, message, text):
    assert text_of("a.eml", message)["text"] == text


# ------------------------------------------------------------ what cannot be read, and costs no other


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"caf\xe9", "it is not UTF-8: byte 0xe9 at byte 4"),
        ("a.md", "a".encode("utf-16-le"), "it holds a NUL at character 2: it is no text, or in UTF-16 unmarked"),
        ("a.txt", b"\xff\xfea", "it is not utf-16-le: byte 0x61 at byte 3"),
        ("a.html", b"<meta charset=klingon><p>x", "it declares an encoding that is not known: klingon"),
        ("a.html", b"<meta charset=utf-8><p>\xe9", "it is not UTF-8: byte 0xe9 at byte 24"),
        (
            "a.eml",
            b"Content-Type: text/plain; charset=klingon\n\nx",
            "it declares an encoding that is not known: klingon",
        ),
        ("a.docx", b"PK\x03\x04 and no more", "it is no whole .docx: File is not a zip file"),
        ("a.docx", b"\xd0\xcf\x11\xe0", "it is encrypted, or no .docx but a .doc: save it as .docx without a password"),
        ("a.docx", docx("<w:p>"), "it is no whole .docx: mismatched tag: line 1, column 169"),
        ("a.pdf", b"%PDF-1.4 and no more", "it is no whole PDF: Failed to load document (PDFium: Data format error)."),
    ],
)
def test_a_document_that_cannot_be_read_is_a_fault_with_its_reason(fault_of, name, data, reason):
    assert fault_of(name, data) == ("unreadable", reason)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b" \n", "it has no text"),
        ("a.html", b"<script>x</script>", "it has no text"),
        ("a.docx", docx(""), "it has no text"),
        ("a.eml", mail(attachment=b"bytes"), "it has no text of its own, only attachments"),
        ("a.pdf", pdf(None), "its page holds images and no text: recognise that first, with ocrmypdf for example"),
        (
            "a.pdf",
            pdf(None, None),
            "its 2 pages hold images and no text: recognise that first, with ocrmypdf for example",
        ),
    ],
    ids=["txt", "html", "docx", "eml", "pdf", "pdf of 2"],
)
def test_a_document_that_says_nothing_is_empty(fault_of, name, data, reason):
    assert fault_of(name, data) == ("empty", reason)


def test_an_encrypted_pdf_is_a_fault(fault_of):
    word = b"(" + b"x" * 32 + b")"
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"]
    objects.append(b"<</Filter/Standard/V 1/R 2/O" + word + b"/U" + word + b"/P -4>>")
    encrypted = assembled(objects, b"/Encrypt 3 0 R/ID[(a)(a)]")
    assert fault_of("a.pdf", encrypted) == ("unreadable", "it is encrypted: save it without a password")


def test_entities_are_not_expanded(fault_of):
    laughs = '<!DOCTYPE d [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 50}">' for n in range(10)
    ) + "]>"  # fmt: skip
    bomb = docx(paragraph("&k;"), head=laughs)
    assert fault_of("a.docx", bomb) == ("unreadable", "it declares a document type, which no .docx does")


def test_a_bomb_is_not_unpacked_beyond_the_bound(monkeypatch):
    monkeypatch.setattr("enricher.edges.record_inputs.documents.docx._MAX_XML_BYTES", 8 << 20)
    bomb = docx(" " * (64 << 20))
    assert len(bomb) < 128 << 10
    tracemalloc.start()
    with pytest.raises(document.DocumentError, match="it unpacks to more than 8 MiB"):
        formats.read_document("docx", bomb, "utf-8")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2 << 20


def test_a_text_that_is_too_long_is_a_fault(fault_of):
    long = docx(paragraph("x" * (17 << 20)))
    assert fault_of("a.docx", long) == ("unreadable", "its text is longer than 16 MiB")


def test_a_file_that_is_too_large_is_a_fault_and_is_not_read(fault_of, monkeypatch):
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 1 << 20)
    assert fault_of("a.txt", b"x" * (3 << 20)) == ("unreadable", "its file of 3 MiB is larger than 1 MiB")


def test_a_page_nested_deeply_is_read(text_of):
    assert text_of("a.html", "<div>" * 5_000 + "deep")["text"] == "deep"


def test_pages_that_refer_to_each_other_end(read):
    """The tree of pages is a ring: a walk over it would not end."""
    ring = assembled([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000>>"])
    _, _, faults = read({"a.pdf": ring, "b.txt": "b"})
    assert list(faults) == [0]


def test_thousands_of_pages_are_read(text_of):
    assert text_of("a.pdf", pdf(*["page"] * 2_000))["text"].count("page") == 2_000


# ------------------------------------------------------------ the process that reads


ENDLESS = """
import sys
from enricher.edges.record_inputs.documents import child, formats
from enricher.edges.record_inputs.documents.document import Document
def read(kind, data, encoding):
    {deed}
    return Document(text="read")
child.read_document = read
child.main()
"""


@pytest.fixture
def misled(monkeypatch):
    """Let the child do something to itself where a document's name for it comes up."""

    def mislead(deed):
        monkeypatch.setattr(asking, "_COMMAND", (sys.executable, "-c", ENDLESS.format(deed=deed)))

    return mislead


def test_a_document_that_takes_too_long_is_given_up_and_the_next_one_is_read(read, misled, monkeypatch):
    monkeypatch.setattr(asking, "MAX_SECONDS", 1)
    misled("while b'loop' in data: pass")
    keys, values, faults = read({"a.html": "loop", "b.html": "good", "c.html": "loop"})
    assert (keys, values[1]["text"]) == (["a.html", "b.html", "c.html"], "read")
    assert faults == {place: ("unreadable", f"{keys[place]}: it was not read within 1 s") for place in (0, 2)}


def test_a_reader_that_dies_is_begun_again_once_for_a_document(read, misled):
    misled("if b'die' in data: import os; os.kill(os.getpid(), 11)")
    _, values, faults = read({"a.html": "die", "b.html": "good"})
    assert (values[1]["text"], faults) == (
        "read",
        {0: ("unreadable", "a.html: its reader was ended twice: by signal 11")},
    )


def test_memory_without_end_is_refused(read, misled):
    misled("x = bytearray(4 << 30) if b'much' in data else b''")
    _, values, faults = read({"a.html": "much", "b.html": "good"})
    assert (values[1]["text"], faults) == (
        "read",
        {0: ("unreadable", "a.html: reading it takes more than 2 GiB of memory")},
    )


def test_whatever_a_library_raises_is_the_fault_of_its_document(read, misled):
    misled("if b'bad' in data: raise IndexError('list index out of range')")
    _, values, faults = read({"a.html": "bad", "b.html": "good"})
    assert (values[1]["text"], faults) == (
        "read",
        {0: ("unreadable", "a.html: it is damaged: IndexError: list index out of range")},
    )


def test_a_library_that_is_missing_is_named_with_the_command(read, misled):
    misled("raise ModuleNotFoundError(name='pypdfium2')")
    with pytest.raises(InputError, match="of the format pdf cannot be read: its library is not installed") as refused:
        read({"a.pdf": b"%PDF"})
    assert refused.value.hint == "pip install 'enricher[documents]'"


def test_a_mail_in_plain_text_is_read_without_the_library_for_pages():
    program = (
        "import sys; sys.modules['selectolax'] = None\n"
        "from enricher.edges.record_inputs.documents.formats import read_document\n"
        "mail = b'Content-Type: text/plain; charset=iso-8859-1\\n\\ncaf\\xe9'\n"
        "print(ascii(read_document('eml', mail, 'utf-8').text))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (r"'caf\xe9'", "") == (done.stdout.strip(), done.stderr)


def test_a_reader_that_does_not_start_ends_the_run(read, monkeypatch):
    monkeypatch.setattr(asking, "_COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(InputError, match="the reader of documents does not start"):
        read({"a.html": "x"})


def test_an_interrupt_at_the_terminal_is_not_for_the_reader(tmp_path):
    write(tmp_path, {"a.html": "x"})
    source = open_input(str(tmp_path))
    list(source.rows())
    assert os.getsid(source._asking._child.pid) != os.getsid(0)
    source.close()


def test_documents_come_as_they_are_read_and_not_only_when_many_are(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "_BATCH_SECONDS", 0.0)
    write(tmp_path, {f"{n}.txt": "x" for n in range(5)})
    source = open_input(str(tmp_path))
    assert [len(batch.keys) for batch in source.rows()] == [1] * 5
