"""The templates, styles and scripts of the results pages, which the code reads by name."""

PAGE_FILES = tuple(
    f"artefacts/page/{name}"
    for name in (
        *(f"{part}.html.j2" for part in ("base", "macros", "scale", "paper", "explore", "reading", "front")),
        *("page.css", "page.js", "browser.js", "costs.js"),
    )
)
