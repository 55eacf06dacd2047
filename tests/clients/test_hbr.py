"""The typed HBR client, unmodified: the main job and its refusals, on simulated instances."""

import time
import unittest

from clients import Ecs, Hbr, ecs, hbr, region
from Tea.exceptions import TeaException

OVER = ("COMPLETE", "PARTIAL_COMPLETE", "FAILED", "CANCELED", "EXPIRED")
AT_MOST_SECONDS = 60


def poll(look):
    give_up = time.monotonic() + AT_MOST_SECONDS
    while True:
        row = look()
        if row.status in OVER:
            return row
        if time.monotonic() > give_up:
            raise AssertionError(f"not over after {AT_MOST_SECONDS} s: {row.to_map()}")
        time.sleep(0.1)


def instances():
    body = Ecs().describe_instances(ecs.DescribeInstancesRequest(region_id=region()))
    return body.instances.instance


class Refused:
    """What a call must be refused with."""

    def __init__(self, test, code, status=None):
        self.test, self.code, self.status = test, code, status

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        self.test.assertIsNotNone(error, f"not refused; expected {self.code}")
        if not hasattr(error, "code"):
            return False
        self.test.assertEqual(error.code, self.code, error)
        if self.status is not None:
            self.test.assertEqual(error.data.get("statusCode"), self.status, error)
        return True


class MainJob(unittest.TestCase):
    """In one piece, since each step needs the one before."""

    def setUp(self):
        self.client = Hbr()
        self.instance, self.other = [one.instance_id for one in instances()[:2]]

    def policy(self, name):
        rule = hbr.CreatePolicyV2RequestRules(
            rule_type="BACKUP", backup_type="COMPLETE", schedule="I|1700000000|P1D", retention=7
        )
        request = hbr.CreatePolicyV2Request(policy_name=name, policy_type="UDM_ECS_ONLY", rules=[rule])
        return self.client.create_policy_v2(request).policy_id

    def bind(self, policy, *bound):
        binding = hbr.CreatePolicyBindingsRequestPolicyBindingList
        listed = [binding(source_type="UDM_ECS", data_source_id=one) for one in bound]
        self.client.create_policy_bindings(
            hbr.CreatePolicyBindingsRequest(policy_id=policy, policy_binding_list=listed)
        )

    def points(self, instance):
        request = hbr.DescribeUdmSnapshotsRequest(
            source_type="UDM_ECS",
            start_time=0,
            end_time=int(time.time()) + 86400,
            udm_region_id=region(),
            instance_id=instance,
        )
        return self.client.describe_udm_snapshots(request).snapshots

    def test_protect_back_up_roll_back_clone_delete(self):
        policy = self.policy("client-test")
        self.bind(policy, self.instance)
        listed = self.client.describe_policies_v2(hbr.DescribePoliciesV2Request(policy_id=policy)).policies
        self.assertEqual([one.policy_id for one in listed], [policy])
        self.assertEqual(listed[0].policy_binding_count, 1)
        rule = listed[0].rules[0]
        self.assertEqual((rule.rule_type, rule.retention), ("BACKUP", 7))

        with Refused(self, "PolicyAlreadyBoundWithThisDataSource", 400):
            self.bind(self.policy("client-second"), self.instance)

        jobs = []
        for _ in range(2):
            request = hbr.ExecutePolicyV2Request(
                policy_id=policy, rule_id=rule.rule_id, source_type="UDM_ECS", data_source_id=self.instance
            )
            jobs.append(self.client.execute_policy_v2(request).job_id)
            done = poll(lambda: self.client.job(jobs[-1]))
            self.assertEqual(done.status, "COMPLETE", done.error_message)
            self.assertEqual(done.instance_id, self.instance)
        points = {point.job_id: point for point in self.points(self.instance)}
        first, second = (points[job] for job in jobs)
        for point in (first, second):
            self.assertEqual(point.status, "COMPLETE")
            self.assertGreater(point.bytes_total, 0)
            self.assertGreaterEqual(int(point.actual_bytes), 0)
            self.assertEqual(len(point.detail.disk_id_list), len(point.detail.native_snapshot_id_list))
        self.assertLess(self.client.job(jobs[1]).bytes_done, self.client.job(jobs[0]).bytes_done)

        self.roll_back(first.snapshot_id)
        self.clone(second.snapshot_id)
        self.delete(first.snapshot_id, second.snapshot_id)

    def restore(self, kind, point, detail):
        request = hbr.CreateRestoreJobRequest(
            restore_type=kind,
            source_type="UDM_ECS",
            snapshot_id=point,
            udm_region_id=region(),
            udm_detail=detail,
        )
        restore = self.client.create_restore_job(request).restore_id

        def look():
            filters = [hbr.DescribeRestoreJobs2RequestFilters(key="RestoreId", values=[restore])]
            request = hbr.DescribeRestoreJobs2Request(restore_type=kind, filters=filters)
            (row,) = self.client.describe_restore_jobs_2(request).restore_jobs.restore_job
            return row

        return poll(look)

    def roll_back(self, point):
        detail = {"sourceInstanceId": self.instance, "forceRestore": False, "bootAfterRestore": False}
        Ecs().stop_instance(ecs.StopInstanceRequest(instance_id=self.instance, force_stop=True))
        done = self.restore("UDM_ECS_ROLLBACK", point, detail)
        self.assertEqual(done.status, "COMPLETE", done.error_message)
        self.assertEqual(done.snapshot_id, point)

    def clone(self, point):
        detail = {
            "diskCategory": "cloud_essd",
            "instanceType": "",
            "restoredNetwork": "",
            "securityGroup": "",
            "restoredName": "client-clone",
            "restoredHostName": "client-clone",
            "bootAfterRestore": False,
        }
        done = self.restore("UDM_ECS", point, detail)
        self.assertEqual(done.status, "COMPLETE", done.error_message)
        made = {one.instance_id: one for one in instances()}
        self.assertIn(done.target_instance_id, made)
        self.assertNotEqual(done.target_instance_id, self.instance)

    def delete(self, point, kept):
        self.client.delete_snapshot(hbr.DeleteSnapshotRequest(snapshot_id=point, source_type="UDM_ECS"))
        left = [one.snapshot_id for one in self.points(self.instance)]
        self.assertNotIn(point, left)
        self.assertIn(kept, left)


class Refusals(unittest.TestCase):
    def test_a_wrong_secret(self):
        with Refused(self, "SignatureDoesNotMatch"):
            Hbr(access_key_secret="wrong").describe_policies_v2(hbr.DescribePoliciesV2Request())

    def test_an_unknown_key(self):
        with Refused(self, "InvalidAccessKeyId.NotFound"):
            Hbr(access_key_id="nobody").describe_policies_v2(hbr.DescribePoliciesV2Request())

    def test_an_unknown_policy(self):
        with self.assertRaises(TeaException) as caught:
            Hbr().delete_policy_v2(hbr.DeletePolicyV2Request(policy_id="po-000000000000000000no"))
        self.assertTrue(caught.exception.code)


class Reading(unittest.TestCase):
    def test_regions_instances_and_disks(self):
        regions = Ecs().describe_regions(ecs.DescribeRegionsRequest()).regions.region
        self.assertIn(region(), [one.region_id for one in regions])
        ours = {one.instance_id for one in instances()}
        disks = Ecs().describe_disks(ecs.DescribeDisksRequest(region_id=region())).disks.disk
        self.assertTrue(disks)
        self.assertLessEqual({disk.instance_id for disk in disks}, ours)


if __name__ == "__main__":
    unittest.main()
