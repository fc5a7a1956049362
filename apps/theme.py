"""Whether the page is dark, for pictures that are made on the server."""

import streamlit as st


def is_dark() -> bool:
    """Whether this user sees the dark theme."""
    return getattr(st.context.theme, "type", None) == "dark"
