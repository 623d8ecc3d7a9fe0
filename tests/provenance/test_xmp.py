"""The reader of XMP from strangers."""

import pytest

from kgan.provenance.png import BadMetadata
from kgan.provenance.xmp import named, packet, parse_xml, properties
from tests.fuzzing import damaged, fuzz, only_user_errors

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def rdf(inner: str, attributes: str = "") -> str:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
        f'xmlns:xmp="http://ns.adobe.com/xap/1.0/" {attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>'
    )


def test_what_is_written_is_read():
    fields = {"xmp:CreatorTool": "a & b <c>", "Iptc4xmpExt:AISystemUsed": "größer"}
    assert properties(packet(fields)) == {named(name): value for name, value in fields.items()}
    assert properties(packet(fields).encode()) == properties(packet(fields))


def test_all_ways_of_writing_a_property_are_read():
    key = named("xmp:CreatorTool")
    assert properties(rdf("<xmp:CreatorTool>a</xmp:CreatorTool>"))[key] == "a"
    assert properties(rdf("", 'xmp:CreatorTool="a"'))[key] == "a"
    assert properties(rdf('<xmp:CreatorTool rdf:resource="a"/>'))[key] == "a"
    assert properties(rdf("<xmp:CreatorTool><![CDATA[<a>]]></xmp:CreatorTool>"))[key] == "<a>"
    items = "<rdf:li>a</rdf:li><rdf:li>b</rdf:li>"
    for kind in ("Bag", "Seq", "Alt"):
        text = f"<xmp:CreatorTool><rdf:{kind}>{items}</rdf:{kind}></xmp:CreatorTool>"
        assert properties(rdf(text))[key] == ("a", "b")
    structure = '<xmp:CreatorTool rdf:parseType="Resource"><xmp:a>1</xmp:a></xmp:CreatorTool>'
    assert properties(rdf(structure))[key] == ()


def test_a_mark_of_byte_order_and_padding_are_let_be():
    text = rdf("", 'xmp:CreatorTool="a"')
    for content in (b"\xef\xbb\xbf" + text.encode(), text.encode() + b"\0" * 10, b"\n " + text.encode()):
        assert properties(content)[named("xmp:CreatorTool")] == "a"


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))


@pytest.mark.parametrize(
    "content",
    [
        "<!DOCTYPE a>" + rdf(""),
        "<!doctype a>" + rdf(""),
        '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY l0 "ha">' + LAUGHS + "]>" + rdf("&l9;"),
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + rdf(""),
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + rdf("&e;"),
        '<!DOCTYPE x [<!ENTITY % e SYSTEM "http://localhost/x.dtd"> %e;]>' + rdf(""),
        rdf("<!-- <!ENTITY -->"),
        rdf("&e;"),
        rdf("<!DOCTYPE a>"),
        '<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE x+AD4-' + rdf(""),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a>' + rdf("")).encode("utf-16"),
        ("<!DOCTYPE a>" + rdf("")).encode("utf-16-le"),
        ("<!DOCTYPE a>" + rdf("")).encode("utf-32"),
        b"\xff" + rdf("").encode(),
        "\ud800" + rdf(""),
        "",
        "plain text",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a b='1' b='2'/>",
        "<a xmlns:p='n' xmlns:q='n' p:b='1' q:b='2'/>",
        "<p:a/>",
        "<a>&#0;</a>",
        "<a>\0</a>",
        "<a>" * 33 + "</a>" * 33,
        "<a>" * 100_000,
        "<a>" + "<b/>" * 20_000 + "</a>",
        "<a>" + " " * 2**22 + "</a>",
        "<a/>",
        f"<a>{rdf('')}{rdf('')}</a>",
        rdf("<xmp:Rating>1</xmp:Rating><xmp:Rating>1</xmp:Rating>"),
        rdf("<xmp:Rating>1</xmp:Rating>", 'xmp:Rating="2"'),
    ],
)
def test_unsafe_malformed_and_ambiguous_xml_is_one_clear_line(content):
    with pytest.raises(BadMetadata) as error:
        properties(content)
    assert str(error.value).isprintable() and len(str(error.value)) < 300


@pytest.mark.parametrize("content", ["<!DOCTYPE a><a/>", "<!ENTITY a 'b'><a/>", "<a><!ELEMENT b></a>"])
def test_document_types_are_refused_as_such(content):
    with pytest.raises(BadMetadata, match="document type"):
        parse_xml(content)


def test_the_parser_refuses_a_document_type_even_if_its_text_were_missed(monkeypatch):
    import re

    monkeypatch.setattr("kgan.provenance.xmp._FORBIDDEN", re.compile("(?!)"))
    for content in ("<!DOCTYPE a><a/>", '<!DOCTYPE x [<!ENTITY l0 "ha">' + LAUGHS + "]><a>&l9;</a>"):
        with pytest.raises(BadMetadata, match="document type"):
            parse_xml(content)


@fuzz(damaged(rdf("<xmp:Rating>1</xmp:Rating>").encode(), rdf("", 'xmp:Rating="2"').encode()))
def test_damaged_xmp_is_read_or_one_clear_line(content):
    with only_user_errors():
        assert all(isinstance(name, str) for name in properties(content))
