"""KServe's REST client against a running agent, over TCP and over the Unix socket, with JSON and with binary
tensors.

    python tests/peers/kserve_client.py --dunlin target/debug/dunlin
"""

import argparse
import asyncio
import sys
import tempfile

import httpx
import numpy as np
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from world import DIGITS, World


async def check(world):
    images = np.load(DIGITS / "test_images.npy").astype(np.float32).reshape(-1, 64)[:20]
    answers, passed = [], 0
    transports = {
        f"http://{world.api}": None,
        "http://device": httpx.AsyncHTTPTransport(uds=world.socket),
    }
    for base, transport in transports.items():
        client = InferenceRESTClient(RESTConfig(protocol="v2", transport=transport))
        assert await client.is_server_live(base) and await client.is_server_ready(base), "health"
        assert await client.is_model_ready(base, "digits"), "ready"
        output = world.get("/v2/models/digits")["outputs"][0]["name"]
        for binary_in in (False, True):
            for binary_out in (False, True):
                pixels = InferInput("pixels", list(images.shape), "FP32")
                pixels.set_data_from_numpy(images, binary_data=binary_in)
                wanted = [RequestedOutput(output, {"binary_data": binary_out})]
                request = InferRequest("digits", [pixels], request_id="7", request_outputs=wanted)
                answer = await client.infer(base, request, model_name="digits")
                assert answer.id == "7" and answer.model_name == "digits", answer
                answers.append(answer.outputs[0].as_numpy())
                passed += 1
        wrong = InferInput("pixels", [1, 63], "FP32")
        wrong.set_data_from_numpy(np.zeros((1, 63), np.float32), binary_data=False)
        try:
            await client.infer(base, InferRequest("digits", [wrong]), model_name="digits")
            raise SystemExit("a wrong shape was taken")
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 400 and "shape" in str(error), error
        try:
            await client.infer(base, InferRequest("other", [wrong]), model_name="other")
            raise SystemExit("an unknown model was asked")
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 404, error
        passed += 5
        await client.close()
    assert all(np.array_equal(answers[0], answer) for answer in answers), "all ways carry the same bits"
    return passed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, World(arguments.dunlin, folder) as world:
        print(f"kserve: {asyncio.run(check(world))} passed")


if __name__ == "__main__":
    sys.exit(main())
