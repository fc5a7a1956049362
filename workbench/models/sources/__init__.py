"""Where models come from: the cache, a hub, a package archive, or the workbench itself."""

from workbench.models.sources.fetch import Fetched, fetch_catalogued, fetch_hub

__all__ = ["Fetched", "fetch_catalogued", "fetch_hub"]
