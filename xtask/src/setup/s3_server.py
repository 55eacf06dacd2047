"""An S3 server for tests: moto, made to check signatures, one request at a time.

One at a time, because a conditional write must be one step and moto's is two. Writes where it is, and with which
key, into the file it is given, once it can be used.
"""

import json
import os
import sys
import threading
import time

PORT, TOLD, BUCKET = int(sys.argv[1]), sys.argv[2], sys.argv[3]
SECOND_BUCKET = BUCKET + "-second"
# Making the user, its policy and its key are the only things allowed without a signature.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "3"

import boto3  # noqa: E402
from botocore.exceptions import EndpointConnectionError  # noqa: E402
from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: E402
from werkzeug.serving import run_simple  # noqa: E402

ENDPOINT = f"http://127.0.0.1:{PORT}"
ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def client(service, key_id="none", secret="none"):
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )


def prepare():
    iam = client("iam")
    for _ in range(100):
        try:
            iam.create_user(UserName="hikae")
            break
        except EndpointConnectionError:
            time.sleep(0.1)
    iam.put_user_policy(UserName="hikae", PolicyName="all", PolicyDocument=json.dumps(ALLOW_ALL))
    key = iam.create_access_key(UserName="hikae")["AccessKey"]
    s3 = client("s3", key["AccessKeyId"], key["SecretAccessKey"])
    s3.create_bucket(Bucket=BUCKET)
    s3.create_bucket(Bucket=SECOND_BUCKET)
    told = {
        "endpoint": ENDPOINT,
        "bucket": BUCKET,
        "second_bucket": SECOND_BUCKET,
        "region": "us-east-1",
        "access_key_id": key["AccessKeyId"],
        "secret": key["SecretAccessKey"],
    }
    with open(TOLD + ".new", "w") as file:
        json.dump(told, file)
    os.rename(TOLD + ".new", TOLD)


threading.Thread(target=prepare, daemon=True).start()
run_simple("127.0.0.1", PORT, DomainDispatcherApplication(create_backend_app), threaded=False)
