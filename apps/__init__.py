"""The Streamlit app: thin pages over the registry."""
