"""Where a registry and observations can lie: the scheme of a URL -> the store's class, imported on first use."""

from __future__ import annotations

from fairlead.core.catalog import Catalog, Variant

_POSTGRES = Variant("fairlead.stores.postgres_records:PostgresRecords", "postgres")

RECORD_STORES = Catalog("record store", "fairlead.record_stores", {"postgresql": _POSTGRES, "postgres": _POSTGRES})
BLOB_STORES = Catalog("blob store", "fairlead.blob_stores", {"s3": Variant("fairlead.stores.s3_blobs:S3Blobs", "s3")})
LOG_STORES = Catalog(
    "observation store", "fairlead.observation_stores", {"s3": Variant("fairlead.stores.prediction_log_s3:LogBucket", "s3")}
)
LOG_QUERIES = Catalog(
    "way to ask the observation log",
    "fairlead.observation_queries",
    {"sql": Variant("fairlead.stores.prediction_log_sql:run_sql", "observe")},
)
