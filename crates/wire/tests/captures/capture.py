"""Records what the official clients really send, one file a request (see README.md)."""
import importlib, json, pathlib, re, socket, sys, threading

HERE = pathlib.Path(__file__).parent
PORT = 18099
KEY, SECRET, TOKEN = "HKcapturecapturecapture", "capture-secret-of-no-account", "capture-session-token"

I, J = "i-0000000000000000000a", "i-0000000000000000000b"
D, PO, RULE = "d-0000000000000000000c", "po-0000000000000000000d", "rule-0000000000000000000e"
POINT, JOB, SNAP, GROUP = (
    "s-0000000000000000000000f", "job-0000000000000000000g", "s-0000000000000000000h", "ssg-0000000000000000000j")

HBR = {
    "CreatePolicyV2": {
        "PolicyName": "nightly-控え", "PolicyDescription": "every night + more & 50 % of *it*~",
        "PolicyType": "UDM_ECS_ONLY",
        "Rules": [
            {"RuleType": "BACKUP", "BackupType": "COMPLETE", "Schedule": "I|1631685600|P1D", "Retention": 7,
             "KeepLatestSnapshots": 1},
            {"RuleType": "TRANSITION", "Retention": 30,
             "RetentionRules": [{"AdvancedRetentionType": "WEEKLY", "Retention": 60, "WhichSnapshot": 1}]},
            {"RuleType": "REPLICATION", "ReplicationRegionId": "osaka", "Retention": 30},
            {"RuleType": "TAG", "TagFilters": [{"Key": "env", "Operator": "EQUAL", "Value": "prod"}],
             "DataSourceFilters": [{"SourceType": "UDM_ECS"}]},
            {"RuleType": "SECURITY", "Immutable": True},
        ]},
    "DescribePoliciesV2": {"PolicyId": PO, "MaxResults": 50},
    "DeletePolicyV2": {"PolicyId": PO},
    "CreatePolicyBindings": {
        "PolicyId": PO,
        "PolicyBindingList": [
            {"SourceType": "UDM_ECS", "DataSourceId": I, "Disabled": "false",
             "AdvancedOptions": {"UdmDetail": {"DiskIdList": [D], "SnapshotGroup": True, "TimeoutInSeconds": 20}}},
            {"SourceType": "UDM_ECS", "DataSourceId": J, "PolicyBindingDescription": "the other"},
        ]},
    "DescribePolicyBindings": {
        "PolicyId": PO, "SourceType": "UDM_ECS", "DataSourceIds": [I, J], "MaxResults": 50,
        "Filters": [{"Key": "DataSourceId", "Operator": "IN", "Values": [I, J]}]},
    "DeletePolicyBinding": {"PolicyId": PO, "SourceType": "UDM_ECS", "DataSourceIds": [I]},
    "ExecutePolicyV2": {"PolicyId": PO, "RuleId": RULE, "SourceType": "UDM_ECS", "DataSourceId": I},
    "CreateBackupJob": {
        "SourceType": "UDM_ECS", "InstanceId": I, "BackupType": "COMPLETE", "Retention": 7, "JobName": "by hand",
        "Detail": {"doCopy": False, "diskIdList": [D], "EnableFsFreeze": True, "timeoutSeconds": 40}},
    "CancelBackupJob": {"JobId": JOB},
    "DescribeBackupJobs2": {
        "SourceType": "UDM_ECS", "PageNumber": 1, "PageSize": 20, "SortDirection": "ASCEND",
        "Filters": [{"Key": "instanceId", "Operator": "IN", "Values": [I, J]},
                    {"Key": "CreatedTime", "Operator": "BETWEEN", "Values": ["1", "1799999999"]}]},
    "DescribeUdmSnapshots": {
        "SourceType": "UDM_ECS", "StartTime": 1, "EndTime": 1799999999, "UdmRegionId": "tokyo", "InstanceId": I,
        "SnapshotIds": [POINT]},
    "DeleteSnapshot": {"SnapshotId": POINT, "SourceType": "UDM_ECS", "Force": True},
    "CreateRestoreJob": {
        "RestoreType": "UDM_ECS_ROLLBACK", "SourceType": "UDM_ECS", "SnapshotId": POINT, "UdmRegionId": "tokyo",
        "UdmDetail": {"sourceInstanceId": I, "forceRestore": False, "bootAfterRestore": True}},
    "DescribeRestoreJobs2": {
        "RestoreType": "UDM_ECS_ROLLBACK", "PageNumber": 1, "PageSize": 50,
        "Filters": [{"Key": "RestoreId", "Operator": "EQUAL", "Values": ["r-0000000000000000000k"]}]},
    "DescribeRegions": {},
}
ECS = {
    "DescribeRegions": {"AcceptLanguage": "en-US"},
    "DescribeInstances": {"RegionId": "tokyo", "InstanceIds": json.dumps([I, J]), "Status": "Running", "MaxResults": 20},
    "DescribeDisks": {"RegionId": "tokyo", "InstanceId": I, "DiskType": "data", "Encrypted": False, "PageSize": 50},
    "DescribeSnapshots": {
        "RegionId": "tokyo", "SnapshotIds": json.dumps([SNAP]), "DiskId": D, "Status": "accomplished",
        "Tag": [{"Key": "HBR JobId", "Value": JOB}], "PageNumber": 1, "PageSize": 100},
    "DescribeSnapshotGroups": {"RegionId": "tokyo", "SnapshotGroupId": [GROUP], "Status": ["accomplished"]},
    "StartInstance": {"InstanceId": I},
    "StopInstance": {"InstanceId": I, "ForceStop": True},
}


def echo(seen):
    """Keeps the bytes of one request after the other and answers each with an empty envelope."""
    listener = socket.create_server(("127.0.0.1", PORT))
    while True:
        peer, _ = listener.accept()
        data = b""
        while b"\r\n\r\n" not in data:
            data += peer.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        while length and len(body) < int(length[1]):
            body += peer.recv(65536)
        seen.append(head + b"\r\n\r\n" + body)
        answer = b'{"RequestId":"CAPTURE"}'
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
        peer.close()


def save(name, seen):
    assert len(seen) == 1, f"{name}: {len(seen)} requests"
    # The kernel's release, which the old client tells everyone and signs nowhere, is nobody's business.
    (HERE / f"{name}.http").write_bytes(re.sub(rb"\(Linux [^;]*;", b"(Linux;", seen.pop()))


def snake(action):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", action).lower()


def current(seen, package, label, calls, **config):
    from alibabacloud_tea_openapi.models import Config
    module = importlib.import_module(package)
    models = importlib.import_module(package + ".models")
    endpoint = config.pop("endpoint", f"127.0.0.1:{PORT}")
    client = importlib.import_module(package + ".client").Client(Config(
        access_key_id=KEY, access_key_secret=SECRET, endpoint=endpoint, protocol="http", **config))
    for action, params in calls.items():
        wanted = snake(action).replace("_", "")
        name = next(n for n in dir(client) if n.replace("_", "") == wanted)
        request = getattr(models, action + "Request", None)
        arguments = [] if request is None else [request().from_map(params)]
        getattr(client, name)(*arguments)
        save(f"{label}.{action}", seen)


def legacy(seen, package, label, calls):
    from aliyunsdkcore.client import AcsClient
    client = AcsClient(KEY, SECRET, "tokyo")
    for action, params in calls.items():
        try:
            module = importlib.import_module(f"{package}.{action}Request")
        except ModuleNotFoundError:
            continue
        request = getattr(module, action + "Request")()
        request.set_endpoint(f"127.0.0.1:{PORT}")
        request.set_protocol_type("http")
        request.set_accept_format("JSON")
        for name, value in params.items():
            setter = getattr(request, f"set_{name}", None) or getattr(request, f"set_{name}s", None)
            if setter:
                document = isinstance(value, dict) or (name == "SnapshotIds" and isinstance(value, list))
                setter(json.dumps(value) if document else value)
        client.do_action_with_exception(request)
        save(f"{label}.{action}", seen)


def main():
    seen = []
    threading.Thread(target=echo, args=(seen,), daemon=True).start()
    hbr, ecs = "alibabacloud_hbr20170908", "alibabacloud_ecs20140526"
    for package, product, calls in ((hbr, "hbr", HBR), (ecs, "ecs", ECS)):
        current(seen, package, f"acs3.{product}", calls)
        current(seen, package, f"v1.{product}", calls, signature_algorithm="v2")
    current(seen, hbr, "acs3.sts.hbr", {"CancelBackupJob": HBR["CancelBackupJob"]}, security_token=TOKEN)
    current(seen, hbr, "acs3.prefix.hbr", {"DescribeRegions": {}}, endpoint=f"127.0.0.1:{PORT}/osaka")
    current(seen, hbr, "acs3.scheme.hbr", {"DescribeRegions": {}}, endpoint=f"http://127.0.0.1:{PORT}")
    legacy(seen, "aliyunsdkhbr.request.v20170908", "core.hbr", HBR)
    legacy(seen, "aliyunsdkecs.request.v20140526", "core.ecs", ECS)


if __name__ == "__main__":
    sys.exit(main())
