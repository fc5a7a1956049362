"""`streamlit run apps/main.py`: the menu, and the page that the address names."""

import sys
from pathlib import Path

import streamlit as st

if str(Path(__file__).parents[1]) not in sys.path:  # streamlit puts this folder on the path, not the one above it
    sys.path.insert(0, str(Path(__file__).parents[1]))

from apps.menu import run

st.set_page_config("Workbench", page_icon=str(Path(__file__).with_name("icon.png")), layout="wide")
st.html(Path(__file__).parent / "views" / "page.css")
run()
