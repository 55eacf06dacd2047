"""The official clients, pointed at a Hikae server by the environment.

HIKAE_ENDPOINT (http://host:port), HIKAE_ACCESS_KEY_ID, HIKAE_ACCESS_KEY_SECRET, and HIKAE_REGION (optional).
"""

import os

from alibabacloud_ecs20140526 import models as ecs  # noqa: F401  (for the tests)
from alibabacloud_ecs20140526.client import Client as EcsClient
from alibabacloud_hbr20170908 import models as hbr
from alibabacloud_hbr20170908.client import Client as HbrClient
from alibabacloud_tea_openapi.models import Config


def environment(name):
    value = os.environ.get(name)
    if not value:
        raise SystemExit(f"{name} is not set: run `cargo xtask test`, which starts a server and names it")
    return value


def address():
    """host:port"""
    return environment("HIKAE_ENDPOINT").removeprefix("http://").rstrip("/")


def region():
    return os.environ.get("HIKAE_REGION", "default")


def config(**overrides):
    settings = {
        "access_key_id": environment("HIKAE_ACCESS_KEY_ID"),
        "access_key_secret": environment("HIKAE_ACCESS_KEY_SECRET"),
        "endpoint": address(),
        "protocol": "http",
        **overrides,
    }
    return Config(**settings)


class Bodies:
    """The SDK swallows answers of a wrong shape and leaves the body empty: that must not pass for success."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        operation = getattr(self._client, name)

        def call(request):
            body = operation(request).body
            if body is None or not body.request_id:
                raise AssertionError(f"{name}: the SDK could not read the answer's body")
            return body

        return call


class Hbr(Bodies):
    def __init__(self, **overrides):
        super().__init__(HbrClient(config(**overrides)))

    def job(self, job):
        """One backup job's row."""
        filters = [hbr.DescribeBackupJobs2RequestFilters(key="JobId", values=[job])]
        request = hbr.DescribeBackupJobs2Request(source_type="UDM_ECS", filters=filters)
        rows = self.describe_backup_jobs_2(request).backup_jobs.backup_job
        if len(rows) != 1 or rows[0].job_id != job:
            raise AssertionError(f"asked for job {job}, got {[row.job_id for row in rows]}")
        return rows[0]


class Ecs(Bodies):
    def __init__(self, **overrides):
        super().__init__(EcsClient(config(**overrides)))
