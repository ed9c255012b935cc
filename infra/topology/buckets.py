"""The buckets of an S3 service: `python -m infra.topology.buckets`, keys in the AWS_* environment.

One for releases and one for MLflow; what an upload that was killed has left is not kept for ever.
"""

import os
from typing import Final

STORE: Final = "slipway"
MLFLOW: Final = "mlflow"
_UNFINISHED_DAYS: Final = 7


def make_buckets(url: str, *, access_key: str, secret_key: str) -> None:
    """Make the buckets that are missing.

    Args:
        url: The service's address.
        access_key: Who makes them.
        secret_key: Their password.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        config=Config(
            retries={"mode": "standard", "max_attempts": 10}, s3={"addressing_style": "path"}
        ),
    )
    rule = {
        "ID": "unfinished-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UNFINISHED_DAYS},
    }
    for bucket in (STORE, MLFLOW):
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError:
            client.create_bucket(Bucket=bucket)
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}
        )


if __name__ == "__main__":
    make_buckets(
        os.environ["AWS_ENDPOINT_URL_S3"],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    )
