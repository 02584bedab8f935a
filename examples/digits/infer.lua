-- One handwritten 0 for the local inference API, again and again:
--   wrk -t1 -c1 -d10s --latency -s examples/digits/infer.lua http://127.0.0.1:8500/v2/models/digits/infer
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [
  0,0,5,13,9,1,0,0, 0,0,13,15,10,15,5,0, 0,3,15,2,0,11,8,0, 0,4,12,0,0,8,8,0,
  0,5,8,0,0,9,8,0,  0,4,11,0,1,12,7,0,   0,2,14,5,10,12,0,0, 0,0,6,13,10,0,0,0]}]}]]
