// onnxruntime-web under node, one thread: the same protocol as `worker/src/main.rs`.
//
// `node worker.mjs MODEL.onnx` runs the model once and prints one line of JSON, `{"output": […],
// "load_ms": …}` or `{"refused": "…"}`. Each line on standard input is a number of calls, answered by
// the median of their times in nanoseconds. Each call is timed with what `session.run` awaits.

import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import * as ort from 'onnxruntime-web';

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

// Number `place` of every input: between -1 and 1, scattered.
const number = (place) => (Math.imul(place, 2654435761) >>> 8) / 2 ** 23 - 1;

const start = process.hrtime.bigint();
let session, feeds;
try {
  const file = await readFile(process.argv[2]);
  session = await ort.InferenceSession.create(file, { executionProviders: ['wasm'] });
  feeds = Object.fromEntries(
    session.inputMetadata.map(({ name, shape }) => {
      const count = shape.reduce((product, extent) => product * extent, 1);
      return [name, new ort.Tensor('float32', Float32Array.from({ length: count }, (_, i) => number(i)), shape)];
    }),
  );
  const outputs = await session.run(feeds);
  const output = [...outputs[session.outputNames[0]].data.slice(0, 64)];
  console.log(JSON.stringify({ output, load_ms: Number(process.hrtime.bigint() - start) / 1e6 }));
} catch (error) {
  console.log(JSON.stringify({ refused: String(error?.message ?? error) }));
  process.exit(0);
}

for await (const line of createInterface({ input: process.stdin })) {
  const calls = Number(line);
  for (let i = 0; i < calls / 10; i++) await session.run(feeds);
  const times = new Float64Array(calls);
  for (let i = 0; i < calls; i++) {
    const begin = process.hrtime.bigint();
    await session.run(feeds);
    times[i] = Number(process.hrtime.bigint() - begin);
  }
  console.log(times.sort()[calls >> 1]);
}
