"""Where files lie: the folders of an invocation, and templates of paths filled in with wildcards."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The folders that templates of paths begin with.

    Parameters
    ----------
    root : ``{root}``, the results of all scales
    results : ``{results}``, the results of this scale
    resources : ``{resources}``, data sets as they were fetched and prepared
    """

    root: str
    results: str
    resources: str

    def fill(self, template: str, **wildcards: str) -> str:
        """Return a path: a template with the folders and any wildcards filled in; other wildcards stay, for Snakemake to match."""
        for name, value in {"root": self.root, "results": self.results, "resources": self.resources, **wildcards}.items():
            template = template.replace(f"{{{name}}}", value)
        return template
