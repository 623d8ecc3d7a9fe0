"""XMP packets: written for our own marks, read from anyone.

XMP is RDF/XML (ISO 16684-1). The reader refuses what a metadata packet never needs and an attacker does: document
types, entities, deep nesting, many megabytes. It reads simple properties, as elements or attributes, and lists.
"""

import re
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

from kgan.provenance.png import BadMetadata
from kgan.text import one_line

MAX_BYTES = 2**22
MAX_DEPTH = 32
MAX_ELEMENTS = 20_000

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
}
_XML = "http://www.w3.org/XML/1998/namespace"
_FORBIDDEN = re.compile(r"<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)


def packet(fields: dict[str, str]) -> str:
    """An XMP packet with simple properties, from {"xmp:CreatorTool": "kgan 1.0", ...}; prefixes as in NAMESPACES.

    The packet is marked read-only (`end="r"`): changing it in place would break the checksum of its PNG chunk.
    """
    prefixes = sorted({name.partition(":")[0] for name in fields})
    declared = "".join(f'\n    xmlns:{prefix}="{NAMESPACES[prefix]}"' for prefix in prefixes)
    elements = "".join(f"\n   <{name}>{escape(value)}</{name}>" for name, value in fields.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{RDF}">\n'
        f'  <rdf:Description rdf:about=""{declared}>{elements}\n'
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="r"?>'
    )


def properties(content: bytes | str) -> dict[str, str | tuple[str, ...]]:
    """The properties of a packet: {"{namespace}name": text, or a tuple of the items of a list}.

    A structure is given as an empty tuple. Raises BadMetadata, in one line, for XML that is unsafe or malformed, for
    two descriptions of one property, and unless there is exactly one rdf:RDF.
    """
    root = parse_xml(content)
    descriptions = list(root.iter(f"{{{RDF}}}RDF"))
    if len(descriptions) != 1:
        raise BadMetadata(f"the XMP has {len(descriptions)} rdf:RDF elements instead of one")
    found: dict[str, str | tuple[str, ...]] = {}
    for description in descriptions[0].iterfind(f"{{{RDF}}}Description"):
        pairs: list[tuple[str, str | tuple[str, ...]]] = [
            (name, value) for name, value in description.attrib.items() if not name.startswith(f"{{{_XML}}}")
        ]
        pairs += [(child.tag, _value(child)) for child in description]
        for name, value in pairs:
            if name.startswith(f"{{{RDF}}}"):
                continue
            if name in found:
                raise BadMetadata(f"ambiguous: the XMP property {one_line(name)} is given twice")
            found[name] = value
    return found


def named(prefixed: str) -> str:
    """The key under which `properties` gives "xmp:CreatorTool" and the like."""
    prefix, _, name = prefixed.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{name}"


def _value(element: Element) -> str | tuple[str, ...]:
    resource = element.get(f"{{{RDF}}}resource")
    if resource is not None:
        return resource
    if not len(element):
        return element.text or ""
    if len(element) == 1 and element[0].tag in {f"{{{RDF}}}{kind}" for kind in ("Alt", "Bag", "Seq")}:
        return tuple(item.get(f"{{{RDF}}}resource") or item.text or "" for item in element[0])
    return ()


def parse_xml(content: bytes | str) -> Element:
    """Parses UTF-8 XML that may be hostile into elements. Raises BadMetadata.

    Document types and entity declarations are refused twice: by their text before parsing, in any case and place,
    and by the parser's own events.
    """
    if len(content) > MAX_BYTES:
        raise BadMetadata(f"the XML is longer than {MAX_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        text.encode("utf-8")
    except UnicodeError:
        raise BadMetadata("the XML is not UTF-8") from None
    text = text.strip("\0 \t\r\n").removeprefix("\ufeff")
    if _FORBIDDEN.search(text):
        raise BadMetadata("the XML has a document type or an entity, which kgan refuses")
    builder = _Builder()
    try:
        builder.parser.Parse(text, True)
        return builder.tree.close()
    except expat.ExpatError as error:
        raise BadMetadata(f"the XML is malformed ({expat.ErrorString(error.code)}, line {error.lineno})") from None


class _Builder:
    """Feeds expat's events to ElementTree's TreeBuilder while counting them."""

    def __init__(self):
        self.tree = TreeBuilder()
        self.depth = self.count = 0
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.tree.data
        for handler in (
            "StartDoctypeDeclHandler",
            "EntityDeclHandler",
            "UnparsedEntityDeclHandler",
            "ExternalEntityRefHandler",
            "SkippedEntityHandler",
        ):
            setattr(self.parser, handler, self.refuse)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH or self.count > MAX_ELEMENTS:
            raise BadMetadata("the XML is nested too deeply or has too many elements")
        self.tree.start(_qualified(name), {_qualified(key): value for key, value in attributes.items()})

    def end(self, name: str) -> None:
        self.depth -= 1
        self.tree.end(_qualified(name))

    def refuse(self, *_) -> None:
        raise BadMetadata("the XML has a document type or an entity, which kgan refuses")


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name
