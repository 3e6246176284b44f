"""Result files and large payloads, behind one small protocol."""
