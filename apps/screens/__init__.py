"""Pages whose interaction, not their computing, is their own. (A folder called `pages` would be run by Streamlit itself.)"""
