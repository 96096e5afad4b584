"""Where a registry can lie: the scheme of a URL -> the store's class, imported on first use."""

from __future__ import annotations

from fairlead.core.catalog import Catalog, Variant

_POSTGRES = Variant("fairlead.stores.postgres_records:PostgresRecords", "postgres")

RECORD_STORES = Catalog("record store", "fairlead.record_stores", {"postgresql": _POSTGRES, "postgres": _POSTGRES})
BLOB_STORES = Catalog("blob store", "fairlead.blob_stores", {"s3": Variant("fairlead.stores.s3_blobs:S3Blobs", "s3")})
LOG_STORES = Catalog(
    "observation store", "fairlead.observation_stores", {"s3": Variant("fairlead.stores.prediction_log_s3:LogBucket", "s3")}
)
