"""API sections: signatures, docstrings and the comments beside parameters, from the source."""
import ast
import io
import re
import tokenize
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def line_comments(source: str) -> dict[int, str]:
    """Line number -> the comment on it."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ")
            for token in tokens if token.type == tokenize.COMMENT}


def code_span(text: object) -> str:
    """Markdown code within a line, whatever backticks it holds."""
    fence = "`" * (1 + max(map(len, re.findall("`+", str(text))), default=0))
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def literal(text: str) -> str:
    """Markdown that shows a comment or docstring as it is; code in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>\[\]{}$|])", r"\\\1", part)
                   for part in parts)


def unwrapped(annotation: ast.expr | None, comment: str) -> tuple[ast.expr | None, str]:
    """The type and help of the command line's `Annotated[type, typer.Option(help=...)]`."""
    if getattr(getattr(annotation, "value", None), "id", "") != "Annotated":
        return annotation, comment
    kind, about = annotation.slice.elts[:2]
    texts = [word.value.value for word in getattr(about, "keywords", [])
             if word.arg == "help" and isinstance(word.value, ast.Constant)]
    return kind, comment or "".join(texts[:1])


def field(role: str, annotation: ast.expr | None, default: ast.expr | None, comment: str) -> str:
    """One field of a section, such as ":param x: how many (`int`, default `3`)"."""
    annotation, comment = unwrapped(annotation, comment)
    facts = [before + code_span(ast.unparse(tree))
             for before, tree in (("", annotation), ("default ", default)) if tree]
    listed = ", ".join(facts)
    meaning = f"{literal(comment)} ({listed})" if facts and comment else literal(comment) or listed
    return f":{role}: {meaning or '–'}"


def function_fields(node: ast.FunctionDef, comments: dict[int, str]) -> list[str]:
    """One field per parameter, and what the function returns."""
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults = dict(zip([one.arg for one in positional][::-1], node.args.defaults[::-1]))
    defaults |= {one.arg: value for one, value in zip(node.args.kwonlyargs, node.args.kw_defaults)}
    fields = []
    for one in [*positional, node.args.vararg, *node.args.kwonlyargs, node.args.kwarg]:
        if one is None or one.arg in ("self", "cls"): continue
        default = defaults.get(one.arg)
        comment = comments.get((default or one).end_lineno, "")
        fields.append(field(f"param {one.arg}", one.annotation, default, comment))
    if node.returns:
        fields.append(field("returns", node.returns, None,
                            comments.get(node.returns.end_lineno, "")))
    return fields


def class_fields(node: ast.ClassDef, comments: dict[int, str]) -> list[str]:
    """One field per annotated public attribute."""
    return [field(f"ivar {part.target.id}", part.annotation, part.value,
                  comments.get(part.end_lineno, ""))
            for part in node.body
            if isinstance(part, ast.AnnAssign) and part.target.id[0] != "_"]


def signature(node: Definition) -> str:
    """Name and parameters, without types."""
    if isinstance(node, ast.ClassDef): return node.name
    bare = ast.parse(ast.unparse(node)).body[0]
    for one in ast.walk(bare.args):
        if isinstance(one, ast.arg): one.annotation = None
    if bare.args.args and bare.args.args[0].arg in ("self", "cls"): bare.args.args.pop(0)
    return f"{node.name}({ast.unparse(bare.args)})"


def public_methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """The methods of a class without an underscore."""
    return [part for part in node.body
            if isinstance(part, ast.FunctionDef) and part.name[0] != "_"]


def api_section(node: Definition, comments: dict[int, str], module: str,
                methods: tuple[str, ...] = (), kind: str = "") -> str:
    """One definition in MyST: signature, docstring, fields, and a class's public methods.

    `methods` are sections of those that a class inherits from a private one."""
    is_class = isinstance(node, ast.ClassDef)
    fields = (class_fields if is_class else function_fields)(node, comments)
    own = public_methods(node) if is_class else []
    parts = [literal(ast.get_docstring(node) or ""), "\n".join(fields), *methods,
             *[api_section(part, comments, module, kind="method") for part in own]]
    fence, role = "`" * (3 if kind else 4), kind or ("class" if is_class else "function")
    body = "\n\n".join(part for part in parts if part)
    return f"{fence}{{py:{role}}} {signature(node)}\n:module: {module}\n\n{body}\n{fence}"


def definitions(source: str) -> list[Definition]:
    """The functions and classes at the top level of some source."""
    try: body = ast.parse(source).body
    except SyntaxError: return []  # a cell with a magic
    return [node for node in body if isinstance(node, Definition)]


def symbols(package: Path) -> dict[str, str]:
    """Public name -> its dotted name, for every exported function and class."""
    found = {}
    for path in sorted(Path(package).rglob("[a-z]*.py")):
        dotted = ".".join(path.relative_to(Path(package).parent).with_suffix("").parts)
        for node in definitions(path.read_text("utf-8")):
            if node.name[0] != "_": found.setdefault(node.name, f"{dotted}.{node.name}")
    return found
