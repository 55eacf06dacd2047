"""Steps of the demo's scenario, done with the official SDK. Each prints its answer as one line of JSON."""

import json
import sys
import time

from clients import Hbr, hbr

POLL_SECONDS = 0.3
AT_MOST_SECONDS = 300
OVER = ("COMPLETE", "PARTIAL_COMPLETE", "FAILED", "CANCELED")


def protect(name, first, *instances):
    """A policy on all instances, executed for the first; waits for that job."""
    client = Hbr()
    rule = hbr.CreatePolicyV2RequestRules(
        rule_type="BACKUP", backup_type="COMPLETE", schedule="I|1700000000|P1D", retention=7
    )
    policy = client.create_policy_v2(
        hbr.CreatePolicyV2Request(policy_name=name, policy_type="UDM_ECS_ONLY", rules=[rule])
    ).policy_id
    binding = hbr.CreatePolicyBindingsRequestPolicyBindingList
    client.create_policy_bindings(
        hbr.CreatePolicyBindingsRequest(
            policy_id=policy,
            policy_binding_list=[binding(source_type="UDM_ECS", data_source_id=one) for one in instances],
        )
    )
    found = client.describe_policies_v2(hbr.DescribePoliciesV2Request(policy_id=policy)).policies
    rules = [rule.rule_id for rule in found[0].rules if rule.rule_type == "BACKUP"]
    job = client.execute_policy_v2(
        hbr.ExecutePolicyV2Request(
            policy_id=policy, rule_id=rules[0], source_type="UDM_ECS", data_source_id=first
        )
    ).job_id
    return {"PolicyId": policy, "RuleId": rules[0], **finished(client, job)}


def finished(client, job):
    """Polls until the job is over."""
    give_up = time.monotonic() + AT_MOST_SECONDS
    while time.monotonic() < give_up:
        row = client.job(job)
        if row.status in OVER:
            return {"JobId": job, "Status": row.status, "ErrorMessage": row.error_message or ""}
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"job {job} is not over after {AT_MOST_SECONDS} s")


STEPS = {"protect": protect}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](*sys.argv[2:])))
