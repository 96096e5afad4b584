"""Tools: records, blobs and documents. One adapter per file; every port has one exam in tests/contract."""
