"""The old core SDK, unmodified, which signs in the older way and sends everything differently."""

import json
import unittest

from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from aliyunsdkecs.request.v20140526.DescribeInstancesRequest import DescribeInstancesRequest
from aliyunsdkhbr.request.v20170908.DescribePoliciesV2Request import DescribePoliciesV2Request

from clients import address, environment, region


def client(secret=None):
    key = environment("HIKAE_ACCESS_KEY_ID")
    return AcsClient(key, secret or environment("HIKAE_ACCESS_KEY_SECRET"), region())


def call(request, secret=None):
    request.set_endpoint(address())
    request.set_protocol_type("http")
    return json.loads(client(secret).do_action_with_exception(request))


class OldCore(unittest.TestCase):
    def test_typed_requests(self):
        answer = call(DescribeInstancesRequest())
        self.assertTrue(answer["Instances"]["Instance"])
        self.assertTrue(answer["RequestId"])
        answer = call(DescribePoliciesV2Request())
        self.assertIn("Policies", answer)

    def test_a_common_request(self):
        request = CommonRequest(version="2014-05-26", action_name="DescribeRegions")
        request.set_domain(address())
        request.set_protocol_type("http")
        answer = json.loads(client().do_action_with_exception(request))
        self.assertIn(region(), [one["RegionId"] for one in answer["Regions"]["Region"]])

    def test_a_wrong_secret(self):
        with self.assertRaises(ServerException) as caught:
            call(DescribePoliciesV2Request(), secret="wrong")
        # The SDK says this, and not SignatureDoesNotMatch, when the server shows it signed the very same string.
        self.assertEqual(caught.exception.get_error_code(), "InvalidAccessKeySecret")


if __name__ == "__main__":
    unittest.main()
