"""Pages whose interaction, not their computing, is their own; a folder called `pages` would be run by Streamlit."""
